// What the coordinator puts into KV, and what reading it costs. Operations on KV are counted by the wrapper, not by
// the Worker, and what stands there is read by kv-schema/README.md.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { usedBy } from "./device.mjs";
import { eventually, startRuntime } from "./harness.mjs";
import { readLines, readObject } from "./published.mjs";

const KIB = 1024;
const MIB = 1024 * KIB;
const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const name = (at) => `r${String(at).padStart(6, "0")}`;
// Texts that differ, so that no two parts are alike by accident.
const filler = (at, bytes) => `${at} `.repeat(Math.ceil(bytes / `${at} `.length)).slice(0, bytes);
const records = (count, bytes) => Array.from({ length: count }, (_, at) => [name(at), { s: filler(at, bytes) }]);

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a", "b", "c"] })));
after(() => runtime.stop());

async function published(writer) {
  return runtime.waitForPublished(writer.sub, writer.min);
}

async function space(count, bytes) {
  const writer = runtime.device(runtime.subject());
  await writer.load("c", records(count, bytes));
  return { writer, head: await published(writer) };
}

/** The head in KV once it has folded everything into a base and nothing more is put. */
async function settled(sub) {
  for (let last = -1, same = 0; same < 4; ) {
    const { puts } = await runtime.kv("home", sub);
    same = puts.length === last ? same + 1 : 0;
    last = puts.length;
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
  return runtime.head(sub);
}

/** Adds records at the end until the base holds all there was, and returns that head. */
async function folded(writer) {
  const there = Number(writer.min.split(".")[1]);
  for (let n = 0; n < 6; n += 1) {
    const head = await settled(writer.sub);
    if (head.base?.to >= there) return head;
    await writer.load("end", records(300, 1000).map(([id, value]) => [`${there}-${n}-${id}`, value]));
    await published(writer);
  }
  return assert.fail("the base was never folded");
}

/** The keys of the records in one part. */
async function keysOf(head, { sha256 }) {
  const bytes = await readObject(await runtime.namespace(), head.scope, sha256);
  return readLines(bytes).map((line) => `${line.collection} ${line.id}`);
}

/** KV operations of one location for a space while `work` runs. */
async function counted(at, sub, work) {
  const before = await runtime.counts(at, sub);
  const result = await work();
  const now = await runtime.counts(at, sub);
  const used = Object.fromEntries(Object.entries(now).map(([key, n]) => [key, n - (before[key] ?? 0)]));
  const read = (kind) => used[`edge.get.${kind}`] ?? 0;
  return { result, used, keys: read("head") + read("object"), heads: read("head"), objects: read("object") };
}

describe("what stands in KV", { concurrency: 4 }, () => {
  test("a small space is one value and nothing else", async () => {
    const { writer, head } = await space(100, 500);
    assert.deepEqual((await runtime.keys(writer.sub)).map((key) => key.name), [head.key]);
    assert.deepEqual([head.delta ?? null, head.base ?? null, head.tail.from], [null, null, 0]);
    assert.equal(head.lines.length, 100);
    await runtime.checkPuts(writer.sub);
  });

  test("head and runs of a space above 256 KiB join to what the coordinator has", async () => {
    const { writer } = await space(1500, 1000);
    for (let n = 0; n < 5; n += 1) {
      await writer.push([put(name(n * 7), { n }), { op: "delete", collection: "c", id: name(n * 100 + 1) }]);
      await published(writer);
    }
    const { records: joined } = await runtime.publishedState(writer.sub);
    const truth = await runtime.truth(writer.sub);
    assert.equal(joined.size, truth.records.size);
    for (const [key, { version, value }] of truth.records) {
      assert.deepEqual([joined.get(key)?.version, joined.get(key)?.value], [version, value], key);
    }
    await runtime.checkPuts(writer.sub);
  });

  test("parts end at a megabyte or up to half a megabyte later", async () => {
    const { writer } = await space(6000, 1000);
    const { base, delta } = await settled(writer.sub);
    assert.ok(base, "6 MB have a base");
    for (const { parts } of [base, delta].filter((run) => run)) {
      for (const { bytes } of parts.slice(0, -1)) assert.ok(bytes >= MIB && bytes <= 1.6 * MIB, `${bytes} bytes`);
      assert.ok(parts.at(-1).bytes <= 1.6 * MIB);
    }
    const { bytes } = await runtime.publishedState(writer.sub);
    const parts = base.parts.length + (delta?.parts.length ?? 0);
    assert.ok(parts <= Math.ceil(bytes.base / MIB) + Math.ceil((bytes.delta ?? 0) / MIB), `${parts} parts`);
  });

  test("every value has a lifetime, a head none that is longer than that of what it names", async () => {
    const { writer } = await space(800, 1000);
    const head = await settled(writer.sub);
    const expirations = new Map((await runtime.keys(writer.sub)).map((key) => [key.name, key.expiration]));
    const own = expirations.get(head.key);
    assert.ok(own, "the head expires");
    assert.ok(Math.abs(own - head.expires / 1000) <= 2, "the head says when");
    assert.ok(own * 1000 > Date.now() + 86_400_000, "and not within a day");
    const named = [head.delta, head.base].flatMap((run) => run?.parts ?? []);
    assert.ok(named.length > 0);
    for (const { sha256 } of named) {
      const object = expirations.get(`v1/${head.scope}/o/${sha256}`);
      assert.ok(object >= own, `${sha256} lives until ${object}, the head until ${own}`);
    }
    const { puts, counts } = await runtime.checkPuts(writer.sub);
    assert.equal(counts["object.delete.object"] ?? 0, 0, "objects are left to expire");
    assert.ok(puts.length > 0);
  });

  test("folding a base in which a clustered 1% changed puts only the parts that changed", async () => {
    const { writer } = await space(8000, 1000);
    const first = await folded(writer);
    const { puts } = await runtime.kv("home", writer.sub);
    // 80 neighbours grow to 16 KiB each: their delta outgrows an eighth of the base and has to be folded.
    const cluster = Array.from({ length: 80 }, (_, n) => [name(3000 + n), { s: filler(n, 16 * KIB) }]);
    await writer.load("c", cluster);
    await published(writer);
    const second = await folded(writer);
    const old = new Set(first.base.parts.map((part) => part.sha256));
    const kept = second.base.parts.filter((part) => old.has(part.sha256));
    assert.ok(old.size >= 5, `${old.size} parts`);
    assert.ok(kept.length >= old.size - 3, `${kept.length} of ${old.size} parts were kept`);
    const later = (await runtime.kv("home", writer.sub)).puts.slice(puts.length).filter((p) => p.kind === "object");
    for (const put of later) assert.ok(!kept.some((part) => part.sha256 === put.name), `${put.name} was put again`);
    // A new part has a reason: it holds some of the cluster, or of the end, where the old base had not everything.
    const [from, to] = [`c ${name(3000)}`, `c ${name(3079)}`];
    const lastPart = await keysOf(first, first.base.parts.at(-1));
    let unexplained = 0;
    for (const part of second.base.parts.filter((one) => !old.has(one.sha256))) {
      const keys = await keysOf(second, part);
      const explained = keys.some((key) => key >= from && key <= to) || keys.at(-1) >= lastPart[0];
      unexplained += explained ? 0 : 1;
    }
    // The part behind the cluster may begin elsewhere than before; from its end on, all is as it was.
    assert.ok(unexplained <= 1, `${unexplained} parts were put without a change in them`);
    const { records: joined } = await runtime.publishedState(writer.sub);
    assert.equal(joined.get(`c ${name(3000)}`).value.s.length, 16 * KIB);
    assert.equal([...joined.keys()].filter((key) => key.startsWith("c ")).length, 8000);
    await runtime.checkPuts(writer.sub);
  });
});

describe("what reading costs", { concurrency: 3 }, () => {
  test("a new client's pull reads 1 + ⌈bytes / 1 MiB⌉ keys and asks no coordinator", async () => {
    const { writer } = await space(4000, 1000);
    const head = await settled(writer.sub);
    const { bytes } = await runtime.publishedState(writer.sub);
    const device = runtime.device(writer.sub, { at: "a" });
    const { result, keys, heads } = await counted("a", writer.sub, () => device.stream());
    const total = (bytes.base ?? 0) + (bytes.delta ?? 0) + head.size;
    assert.equal(heads, 1);
    assert.ok(keys <= 1 + Math.ceil(total / MIB), `${keys} keys for ${total} bytes`);
    assert.deepEqual([result.connections, result.sources], [1, ["kv"]]);
    assert.deepEqual([usedBy(result.responses[0]).kv, usedBy(result.responses[0]).object], [keys, 0], "it says so itself");
    assert.deepEqual(device.state(), (await runtime.truth(writer.sub)).state());
  });

  for (const [size, count] of [["small", 20], ["large", 3000]]) {
    test(`an increment of a ${size} space costs one KV key, or one coordinator request while KV lags`, async () => {
      const { writer } = await space(count, 1000);
      const reader = runtime.device(writer.sub);
      await reader.stream({ min: writer.min });
      await settled(writer.sub);
      await writer.push([put(name(3), { changed: 1 })]);
      await published(writer);
      // A location that has not looked yet: KV is current there.
      reader.at = "b";
      const current = await counted("b", writer.sub, () => reader.pull());
      assert.equal(reader.records.get(`c ${name(3)}`).value.changed, 1);
      assert.deepEqual([current.heads, current.objects, current.result.used.object ?? 0], [1, 0, 0]);
      // A location that has just looked: what it holds is older than `min`, so the coordinator is asked, once.
      await writer.push([put(name(4), { changed: 2 })]);
      const lagging = await counted("b", writer.sub, () => reader.pull({ min: writer.min }));
      assert.equal(reader.records.get(`c ${name(4)}`).value.changed, 2);
      assert.ok(lagging.keys + (lagging.result.used.object ?? 0) <= 1, JSON.stringify(lagging.result.used));
      // The overlay serves every other reader there.
      const second = runtime.device(writer.sub, { at: "b" });
      Object.assign(second, { epoch: reader.epoch, version: reader.version - 2, min: writer.min });
      const shared = await counted("b", writer.sub, () => second.pull());
      assert.deepEqual([shared.keys, shared.result.used.object ?? 0], [0, 0], "the answer was kept for all");
      assert.equal(second.version, reader.version);
    });
  }

  test("a poll with nothing new reads no body", async () => {
    const { writer } = await space(150, 1000);
    const device = runtime.device(writer.sub);
    await device.pull({ min: writer.min });
    device.at = "c";
    const { used, result } = await counted("c", writer.sub, () =>
      device.askPull(device.query(), { headers: { "if-none-match": `"${device.position}"` } }),
    );
    assert.equal(result.status, 304);
    assert.equal(used["edge.get.head"], 1, "KV was asked");
    assert.equal(used["edge.body.head"] ?? 0, 0, "for the metadata alone");
    assert.equal(result.used.object ?? 0, 0);
  });

  test("many polls of one location within a second read KV once", async () => {
    const { writer } = await space(10, 1000);
    const device = runtime.device(writer.sub, { at: "a" });
    const { keys } = await counted("a", writer.sub, async () => {
      for (let n = 0; n < 20; n += 1) await device.pull();
    });
    assert.equal(keys, 1);
  });
});

describe("when it is published", { concurrency: 2 }, () => {
  test("with faults off, the head reaches what is durable and then nothing more is put", async () => {
    const { writer } = await space(10, 100);
    for (let n = 0; n < 10; n += 1) await writer.push([put("x", { n })]);
    await published(writer);
    await settled(writer.sub);
    const { puts } = await runtime.kv("home", writer.sub);
    await new Promise((resolve) => setTimeout(resolve, 3000));
    assert.equal((await runtime.kv("home", writer.sub)).puts.length, puts.length);
    assert.ok(puts.length <= 14, `${puts.length} puts for 11 pushes`);
    await runtime.checkPuts(writer.sub);
  });

  test("nobody has to ask: after a kill in the middle, what was pushed is published", async () => {
    const lone = await startRuntime();
    try {
      const writer = lone.device(lone.subject());
      await writer.load("c", records(1500, 1000));
      const last = { client: writer.id, mutations: [{ id: writer.next, changes: [put(name(0), { last: true })] }] };
      const first = await writer.post(last);
      writer.min = `${first.body.epoch}.${first.body.version}`;
      await lone.kill();
      const head = await lone.waitForPublished(writer.sub, writer.min);
      assert.equal(head.version, Number(writer.min.split(".")[1]));
      const { records: joined } = await lone.publishedState(writer.sub);
      assert.equal(joined.size, 1500);
      await writer.pull();
      assert.equal(writer.records.size, 1500, "what was acknowledged survived the kill");
      const [again] = (await writer.post(last)).body.results;
      assert.deepEqual([again.duplicate, again.version], [true, first.body.version], "and is not applied again");
    } finally {
      await lone.stop();
    }
  });

  test("a publication reads each row of its delta once, however many parts the delta has", async () => {
    const lone = await startRuntime();
    try {
      const writer = lone.device(lone.subject());
      await writer.load("c", records(2000, 10_000));
      await lone.waitForPublished(writer.sub, writer.min);
      // Until the base holds all of that, edits may be folded into it.
      let head = null;
      for (let round = 0; round < 6 && !(head?.delta?.parts.length >= 2); round += 1) {
        await writer.load("c", records(160, 10_000).map(([id, { s }]) => [id, { s, round }]));
        head = await lone.waitForPublished(writer.sub, writer.min);
      }
      const rows = Math.round(head.delta.parts.reduce((sum, { bytes }) => sum + bytes, 0) / 10_000);
      const { rowsRead, rowsWritten } = await eventually("the publication is in the log", () => {
        const lines = lone.logs.join("").split("\n").filter((line) => line.includes('"published"') && line.endsWith("}"));
        return lines.map(JSON.parse).findLast((line) => line.version === head.version);
      });
      // 26 rows show that the tail does not fit; a slice ends behind a part, and what was read of the next part is read again.
      assert.ok(rowsRead >= rows && rowsRead < rows + 100, `${rowsRead} rows were read for a delta of ${rows}`);
      assert.ok(rowsWritten <= 8, `${rowsWritten} rows were written`);
    } finally {
      await lone.stop();
    }
  });

  test("by demand: not before the pulls that it would have served, and then", async () => {
    const variables = { PUBLISH_AFTER_PULLS: "3", PUBLISH_MAX_DELAY_MS: "600000" };
    const lazy = await startRuntime({ locations: ["a", "b"], variables });
    try {
      const writer = lazy.device(lazy.subject());
      await writer.push([put("x")]);
      // A location keeps the coordinator's answer for its other readers, so each of them costs one pull.
      for (const at of ["home", "a", "b"]) {
        await new Promise((resolve) => setTimeout(resolve, 1500));
        assert.equal(await lazy.head(writer.sub), null, `before the pull at ${at} nothing is published`);
        await lazy.device(writer.sub, { at }).pull();
      }
      await lazy.waitForPublished(writer.sub, writer.min);
      const big = { s: filler(1, 200_000) };
      const { version } = await writer.push([put("y", big), put("z", big)]);
      const head = await lazy.waitForPublished(writer.sub, writer.min);
      assert.equal(head.version, version, "a tail over 256 KiB does not wait for pulls");
    } finally {
      await lazy.stop();
    }
  });
});
