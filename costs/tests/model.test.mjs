// The bill is what the platform itself says that it would be: the examples of its public pages on prices, to the cent.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { thousandUsers } from "../report/answer.mjs";
import { DESIGNS, bill, each, freePlan, load, metered, month, perMillion, push, traffic } from "../model.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`../${name}.json`, import.meta.url), "utf8"));
const prices = read("prices");
const profiles = read("profiles");
const counts = read("counts");
const MILLION = 1_000_000;
const MONTH_S = 30 * 24 * 3600;

const dollars = ({ lines }) => Object.fromEntries(lines.filter((line) => line.dollars > 0).map((line) => [line.meter, line.dollars]));
const gbSeconds = (seconds) => seconds * 0.128;
/** Meters of operations and, beside them, of what is not counted but given. */
const of = (operations, more = {}) => ({ ...metered(operations, prices, { time: false }), ...more });

// https://developers.cloudflare.com/durable-objects/platform/pricing/#compute-billing-examples, September 2026.
const OBJECTS = [
  [1, { object_requests: 1.5 * MILLION }, 1_000_000, { object_requests: 0.15 }, 5.15],
  [2, { object_requests: 150_000, socket_messages: 72 * MILLION }, 100 * 3600 * 8 * 30, { object_requests: 0.45, object_gb_s: 137.5 }, 142.95],
  [3, { object_requests: 100, socket_messages: 259.2 * MILLION }, 100 * MONTH_S, { object_requests: 1.8, object_gb_s: 412.5 }, 419.3],
  [4, { object_requests: 10_000, socket_messages: 432 * MILLION }, (100 * MONTH_S) / 60, { object_requests: 3.15, object_gb_s: 12.5 }, 20.65],
];

// https://developers.cloudflare.com/workers/platform/pricing/#example-pricing, September 2026. Requests to static assets are free.
const WORKERS = [
  [1, 15 * MILLION, 15 * MILLION * 7, { worker_requests: 1.5, worker_cpu_ms: 1.5 }, 8],
  [2, 3 * MILLION, 3 * MILLION * 7, {}, 5],
  [3, 720, 720 * 180_000, { worker_cpu_ms: 1.99 }, 6.99],
  [4, 100 * MILLION, 100 * MILLION * 7, { worker_requests: 27, worker_cpu_ms: 13.4 }, 45.4],
  [5, 100 * MILLION, 20 * MILLION * 7, { worker_requests: 27, worker_cpu_ms: 2.2 }, 34.2],
];

// https://developers.cloudflare.com/r2/pricing/#r2-billing-examples, September 2026; these do not contain the plan's base.
const R2 = [
  ["standard storage", { r2_class_a: 1000, r2_class_b: MILLION }, 1000, { r2_gb: 14.85 }],
  ["asset hosting", { r2_class_a: 100_000, r2_class_b: 300 * MILLION }, 10, { r2_class_b: 104.4 }],
  ["rounding: a million and one operations above what is included", { r2_class_a: 2 * MILLION + 1 }, 11.1, { r2_class_a: 9, r2_gb: 0.03 }],
];

describe("the platform's own examples, to the cent", () => {
  for (const [number, operations, seconds, lines, total] of OBJECTS) {
    test(`Durable Objects, example ${number}: $${total}`, () => {
      const made = bill(of(operations, { object_gb_s: gbSeconds(seconds) }), prices);
      assert.deepEqual([dollars(made), made.total], [lines, total]);
    });
  }
  for (const [number, requests, cpu, lines, total] of WORKERS) {
    test(`Workers, example ${number}: $${total}`, () => {
      const made = bill(of({ worker_requests: requests }, { worker_cpu_ms: cpu }), prices);
      assert.deepEqual([dollars(made), made.total], [lines, total]);
    });
  }
  for (const [name, operations, gb, lines] of R2) {
    test(`R2, ${name}`, () => assert.deepEqual(dollars(bill(of(operations, { r2_gb: gb }), prices)), lines));
  }
});

describe("the model", () => {
  test("one operation above what is included costs a whole unit where units are rounded, and nothing where they are not", () => {
    assert.deepEqual(dollars(bill(of({ object_requests: MILLION + 1 }), prices)), { object_requests: 0.15 });
    assert.deepEqual(dollars(bill(of({ kv_writes: MILLION + 1 }), prices)), {});
    assert.deepEqual(dollars(bill(of({ object_requests: MILLION }), prices)), {});
  });

  test("every meter has a price, a source that is public and dated, and a rounding that is explained", () => {
    for (const [name, meter] of Object.entries(prices.meters)) {
      const source = prices.sources[meter.source];
      assert.ok(source.url.startsWith("https://developers.cloudflare.com/") && /^20\d\d-\d\d$/.test(source.date), name);
      assert.ok(meter.price >= 0 && meter.unit > 0 && meter.rounding in prices.rounding, name);
      assert.deepEqual(Object.keys(meter.included).sort(), Object.keys(prices.plans).sort(), name);
    }
  });

  test("every operation that is counted is shown by a meter, or said to be free", () => {
    for (const [path, { used }] of Object.entries(counts)) for (const name of Object.keys(used)) assert.ok(prices.operations[name], `${path}: ${name}`);
  });

  test("twenty messages over a socket are one object request, and an alarm that is set is a row", () => {
    const near = (one, other) => assert.ok(Math.abs(one - other) < 1e-9, `${one}, not ${other}`);
    near(perMillion({ socket_messages: 20 }, prices, { time: false }), 0.15);
    near(perMillion({ alarms_set: 1 }, prices, { time: false }), 1);
  });

  test("shares of paths add up to one, for any size and any number of edits", () => {
    const total = (shares) => shares.reduce((sum, [, share]) => sum + share, 0);
    for (const kib of [1, 20, 500, 1024, 3000, 4096, 20_000]) assert.ok(Math.abs(total(load(kib)) - 1) < 1e-9, `${kib} KiB`);
    for (const edits of [1, 2, 3, 10]) assert.ok(Math.abs(total(push(edits, "push")) - 1) < 1e-9, `${edits} edits`);
  });

  test("a push of two edits uses what lies between one and three", () => {
    const used = (shares, name) => shares.reduce((sum, [path, share]) => sum + share * (each(path, counts)[name] ?? 0), 0);
    const [one, two, three] = [1, 2, 3].map((edits) => used(push(edits, "push"), "rows_written"));
    assert.equal(two, (one + three) / 2);
  });

  test("README says what 1,000 users cost as the report does", () => {
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    const said = /1,000 users .* cost (\$[\d.]+) a month with sockets, .* and (\$[\d.]+) by polling/.exec(readme)?.slice(1);
    const made = /: (\$[\d.]+) a month with sockets, (\$[\d.]+) by polling/.exec(thousandUsers({ prices, counts, profiles }))?.slice(1);
    assert.ok(made);
    assert.deepEqual(said, made);
  });

  test("more use never costs less: not more devices, not more frequent polls", () => {
    const of = (design, more) => bill(month(design, { ...profiles.private_spaces, spaces: 1000, ...more }, { prices, counts }), prices).total;
    for (const design of Object.keys(DESIGNS)) {
      for (const [few, many] of [[{ devices: 2 }, { devices: 2.1 }], ...[61, 60, 31, 30, 29, 16, 15, 10, 5].map((poll_s, at, all) => [{ poll_s: all[at - 1] ?? 3600 }, { poll_s }])]) {
        assert.ok(of(design, few) <= of(design, many), `${design}: ${JSON.stringify(few)} costs ${of(design, few)}, ${JSON.stringify(many)} ${of(design, many)}`);
      }
    }
  });

  for (const [profile, rates] of Object.entries(profiles)) {
    test(`${profile}: no design does anything a negative number of times, and each answers every poll`, () => {
      const { pulls } = traffic(rates);
      for (const [design, { parts }] of Object.entries(DESIGNS)) {
        const assumed = Object.fromEntries(Object.entries(prices.assumptions).map(([name, { value }]) => [name, value]));
        const all = parts(rates, traffic(rates), assumed);
        for (const [path, times] of all) assert.ok(times >= 0, `${design}: ${path} ${times} times`);
        const answered = all.filter(([path]) => /(^|\.)pull\./.test(path)).reduce((sum, [, times]) => sum + times, 0);
        if (!DESIGNS[design].listens && design !== "r2_cdn") assert.ok(Math.abs(answered / pulls - 1) < 1e-9, `${design}: ${answered} of ${pulls}`);
        const { total } = bill(month(design, rates, { prices, counts }), prices);
        assert.ok(total >= prices.plans.paid.base && Number.isFinite(total), design);
        assert.equal(typeof freePlan(month(design, rates, { prices, counts }), prices).fits, "boolean");
      }
    });
  }
});
