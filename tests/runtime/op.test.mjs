// The ops of a push as total functions: what each does to what stands there (fixtures/operations.json), and what is rejected.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";

const at = { collection: "c", id: "r" };
const put = (value) => ({ op: "put", ...at, value });
const patch = (fields) => ({ op: "patch", ...at, ...fields });
const add = (fields) => ({ op: "add", ...at, ...fields });
const include = (values, fields) => ({ op: "include", ...at, path: "tags", values, ...fields });
const exclude = (values, fields) => ({ op: "exclude", ...at, path: "tags", values, ...fields });

const { operations } = JSON.parse(readFileSync(new URL("../../fixtures/operations.json", import.meta.url)));

let runtime;
before(async () => (runtime = await startRuntime()));
after(() => runtime.stop());

/** The JSON text of the value that stands under c/r, as the wire's lines have it; undefined if there is none. */
async function textOf(device) {
  const query = "consistency=strong";
  const { status, text } = await device.ask(`/sync/pull?${query}`, { headers: { accept: "application/x-ndjson" } });
  assert.equal(status, 200, text);
  const line = text.split("\n").findLast((candidate) => candidate.includes('"collection":"c","id":"r"'));
  return line && !line.includes('"deleted":true') ? line.slice(line.indexOf(',"value":') + 9, -1) : undefined;
}

/** The text of a push of one mutation; texts stay as they are, because JSON.stringify would rewrite `1.0`. */
const pushText = (device, id, changes) => `{"client":"${device.id}","mutations":[{"id":${id},"changes":[${changes}]}]}`;
const putText = (value) => `{"op":"put","collection":"c","id":"r","value":${value}}`;

/** Puts `before` (if not null), then makes `change`, and returns the result and the text that stands there. */
async function apply(before, change) {
  const device = runtime.device(runtime.subject());
  if (before !== null) assert.equal((await device.post(pushText(device, 1, putText(before)))).status, 200);
  const list = Array.isArray(change) ? change : [change];
  const changes = list.map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join(",");
  const { status, text, body } = await device.post(pushText(device, before === null ? 1 : 2, changes));
  assert.equal(status, 200, text);
  return { result: body.results[0], text: await textOf(device), version: body.version };
}

describe("ops", { concurrency: 8 }, () => {
  for (const { name, before, changes, after: expected, missing } of operations) {
    test(name, async () => {
      const { result, text } = await apply(before, changes.slice(1, -1));
      assert.equal(result.status, "applied");
      assert.equal(text, expected ?? undefined);
      assert.equal(result.missing, missing);
    });
  }

  test("that an operation found no record is told, and told again when the push is repeated", async () => {
    const device = runtime.device(runtime.subject());
    const body = { client: device.id, mutations: [{ id: 1, changes: [put({}), { ...patch({ set: { a: 1 } }), id: "absent" }] }] };
    const [first] = (await device.post(body)).body.results;
    assert.deepEqual(first, { id: 1, status: "applied", version: 1, missing: true });
    const [again] = (await device.post(body)).body.results;
    assert.deepEqual(again, { ...first, duplicate: true });
  });

  test("a mutation that changes no record is applied and carries the current version", async () => {
    for (const change of [[], [{ op: "delete", ...at, id: "absent" }], [{ ...include(["a"]), id: "absent" }]]) {
      const { result, version } = await apply('{"a":1}', change);
      assert.deepEqual([result.status, result.version, version], ["applied", 1, 1]);
    }
  });
});

const deep = (levels) => JSON.parse(`${'{"a":'.repeat(levels - 1)}{}${"}".repeat(levels - 1)}`);
const MANY = Array.from({ length: 1001 }, (_, n) => ({ op: "put", collection: "c", id: `r${n}`, value: {} }));

// [what is rejected, the change, its code if the contract leaves no choice]
const rejected = [
  ["an unknown op", { op: "upsert", ...at, value: {} }, "unsupported_op"],
  ["a field that its op does not have", patch({ sets: { a: 2 } }), "unsupported_op"],
  ["a field of another op", { ...put({}), set: { a: 2 } }, "unsupported_op"],
  ["a field given twice", `{"op":"put","collection":"c","id":"r","value":{},"value":{"a":2}}`, "invalid_value"],
  ["a number that no double holds", '{"op":"put","collection":"c","id":"r","value":{"n":1e999}}', "invalid_value"],
  ["no op at all", { ...at, value: {} }],
  ["a change that is no object", 7],
  ["a put without value", { op: "put", ...at }, "invalid_value"],
  ["a value that is an array", put([1]), "invalid_value"],
  ["a value that is a string", put("x"), "invalid_value"],
  ["a value nested 65 deep", put(deep(65))],
  ["a value over 256 KiB", put({ s: "x".repeat(256 * 1024) }), "too_large"],
  ["a mutation of 1,001 changes", MANY, "too_large"],
  ["a mutation over 1 MiB", [..."abcdef"].map((id) => ({ ...put({ s: id.repeat(200_000) }), id })), "too_large"],
  ["a collection name with a slash", { ...put({}), collection: "a/b" }, "invalid_value"],
  ["a collection name of 65 characters", { ...put({}), collection: "c".repeat(65) }, "invalid_value"],
  ["a collection that belongs to Headwater", { ...put({}), collection: "$conflicts" }],
  ["an empty record id", { ...put({}), id: "" }, "invalid_value"],
  ["a record id of 257 bytes", { ...put({}), id: "é".repeat(128) + "x" }, "invalid_value"],
  ["a record id with a control character", { ...put({}), id: "a\u0007b" }, "invalid_value"],
  ["a record id that is a number", { ...put({}), id: 7 }, "invalid_value"],
  ["a base of the wrong form", { ...put({}), base: "1" }],
  ["a path with an empty name", patch({ set: { "a..b": 1 } }), "invalid_value"],
  ["a path through __proto__", patch({ set: { "x.__proto__.y": 1 } }), "invalid_value"],
  ["a path through constructor", patch({ unset: ["constructor"] }), "invalid_value"],
  ["a path of 17 names", patch({ set: { [Array(17).fill("a").join(".")]: 1 } }), "invalid_value"],
  ["one path twice in a patch", patch({ set: { b: 1 }, unset: ["b"] }), "invalid_value"],
  ["a path and its ancestor in a patch", patch({ set: { b: {}, "b.c": 1 } }), "invalid_value"],
  ["a path into an array", patch({ set: { "list.0": 1 } }), "invalid_value"],
  ["an add that is not finite", add({ path: "big", by: 1e308 }), "invalid_value"],
  ["an add without a number", add({ path: "a", by: "1" }), "invalid_value"],
  ["an include of an object", include([{}]), "invalid_value"],
  ["an include without values", { op: "include", ...at, path: "tags" }, "invalid_value"],
  ["an orPut that is no object", add({ path: "a", by: 1, orPut: [] }), "invalid_value"],
];
const CODES = ["unsupported_op", "invalid_value", "too_large", "forbidden", "not_found"];

describe("rejected mutations", { concurrency: 8 }, () => {
  for (const [name, change, code] of rejected) {
    test(`${name} rejects its mutation alone and changes nothing`, async () => {
      const device = runtime.device(runtime.subject());
      const stands = { a: 1, list: [1], big: 1.7e308 };
      await device.push([put(stands)]);
      const good = { op: "put", collection: "c", id: "good", value: {} };
      const bad = Array.isArray(change) ? change : [{ ...good, id: "with-the-bad" }, change];
      const asText = (changes) => changes.map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join(",");
      const both = `{"id":2,"changes":[${asText(bad)}]},{"id":3,"changes":[${asText([good])}]}`;
      const { status, body, text } = await device.post(`{"client":"${device.id}","mutations":[${both}]}`);
      assert.equal(status, 200, text);
      const [first, second] = body.results;
      assert.equal(first.status, "rejected", text);
      assert.ok(code ? first.code === code : CODES.includes(first.code), `${first.code} instead of ${code}`);
      assert.deepEqual([second.id, second.status, second.version], [3, "applied", 2]);
      await device.pull({ consistency: "strong" });
      assert.deepEqual(device.state(), [["c good", {}], ["c r", stands]]);
      const { results } = (await device.post(pushText(device, 2, asText(bad)))).body;
      assert.deepEqual([results[0].status, results[0].code, results[0].duplicate], ["rejected", first.code, true]);
    });
  }

  test("changes that are no list, or missing, reject the mutation and use up its number", async () => {
    const device = runtime.device(runtime.subject());
    const { status, body, text } = await device.pushMutations([{ changes: "no" }, {}, { changes: [put({})] }]);
    assert.equal(status, 200, text);
    assert.deepEqual(body.results.map((result) => result.status), ["rejected", "rejected", "applied"]);
  });
});

// A title cut within an emoji, as JSON.stringify writes it.
const CUT = "party \u{1F389}".slice(0, 7);
const cuts = {
  "a value": put({ title: CUT }),
  "a name in a value": put({ [CUT]: 1 }),
  "a name deep in a value": put({ list: [{ [CUT]: 1 }] }),
  "a value of a patch": patch({ set: { title: CUT } }),
  "a path to set": patch({ set: { [CUT]: 1 } }),
  "a path to unset": patch({ unset: [CUT] }),
  "an orPut": patch({ set: { a: 1 }, orPut: { title: CUT } }),
  "the path of an add": add({ path: CUT, by: 1 }),
  "an included value": include([CUT]),
  "an excluded value": exclude([CUT]),
  "a record id": { ...put({}), id: CUT },
  "a collection": { ...put({}), collection: CUT },
  "the name of a field": { ...put({}), [CUT]: 1 },
  "a record of a resolution": { op: "resolve", conflict: "x_0mwrnsa6yk3v9q2_1", records: [{ ...at, value: { title: CUT } }] },
};

describe("text that every device can read", { concurrency: 4 }, () => {
  for (const [place, change] of Object.entries(cuts)) {
    test(`half of a surrogate pair in ${place} rejects its mutation with a reason`, async () => {
      const device = runtime.device(runtime.subject());
      const [result, next] = (await device.pushMutations([{ changes: [change] }, { changes: [put({ whole: "\u{1F389}" })] }])).body.results;
      assert.deepEqual([result.status, result.code, next.status], ["rejected", "invalid_value", "applied"]);
      assert.match(result.detail, /half of a surrogate pair/);
    });
  }

  test("no answer holds a character at which some reader of lines ends one, whoever wrote it where", async () => {
    const sub = runtime.subject();
    const [one, two] = [runtime.device(sub), runtime.device(sub)];
    const ends = "a\u0085b\u2028c\u2029d\v\f\u001c\u001d\u001e\re";
    const id = "id\u2028\u2029";
    const value = { [ends]: ends, list: [ends] };
    await one.push([{ ...put(value), id }]);
    await one.push([{ ...patch({ set: { [`x.${ends}`]: ends } }), id }, { ...include([ends], { path: "list2" }), id }]);
    await two.push([{ ...put({ mine: ends }), id }], { base: 1 });
    const lines = await one.ask("/sync/pull?consistency=strong", { headers: { accept: "application/x-ndjson" } });
    const page = await one.ask("/sync/pull?consistency=strong");
    const conflicts = await one.ask("/sync/conflict");
    for (const { status, text } of [lines, page, conflicts]) {
      assert.equal(status, 200, text);
      assert.doesNotMatch(text, /[\u0085\u2028\u2029\v\f\r\u001c-\u001e]/);
    }
    const kept = page.body.changes.find((change) => change.id === id);
    assert.deepEqual(kept.value, { ...value, x: { [ends]: ends }, list2: [ends] });
    assert.equal(conflicts.body.conflicts[0].mutations[0].changes[0].value.mine, ends);
  });
});

describe("the text of values", { concurrency: 4 }, () => {
  // Texts that a parser and a printer would change: numbers, the order of keys, escapes.
  const texts = [
    '{"a":1.0,"b":1e5,"c":1E+2,"d":-0,"e":0.10,"f":123456789012345678901234567890}',
    '{"b":1,"a":2,"10":3,"9":4,"":5}',
    '{"s":"  two  spaces  ","n":[1,[2,[3]]],"o":{"z":{},"y":[]}}',
    '{"s":"line\\nfeed","t":"\\u2028","q":"\\"value\\":{}"}',
    '{"s":"žluťoučký 🐎","k\\"ey":"x"}',
  ];

  for (const text of texts) {
    test(`${text.slice(0, 40)} comes back as it went in`, async () => {
      const device = runtime.device(runtime.subject());
      assert.equal((await device.post(pushText(device, 1, putText(text)))).status, 200);
      assert.equal(await textOf(device), text);
      const json = await device.ask("/sync/pull?consistency=strong");
      assert.ok(json.text.includes(`"value":${text}`), "a JSON page has the same text");
    });
  }

  test("white space between tokens is not kept, so a pretty-printed body cannot break a line", async () => {
    const device = runtime.device(runtime.subject());
    const value = '{\r\n  "a" : [ 1.0 ,\t2 ] ,\n  "s" : "a  b"\n}';
    const body = `{\n"client":"${device.id}",\n"mutations":[{"id":1,"changes":[\n${putText(value)}]}]}`;
    assert.equal((await device.post(body)).status, 200);
    assert.equal(await textOf(device), '{"a":[1.0,2],"s":"a  b"}');
  });

  test("a patch leaves the text of what it does not touch", async () => {
    const device = runtime.device(runtime.subject());
    const value = '{"a":1.0,"m":{"x":1e2,"y":2},"z":123456789012345678901}';
    await device.post(pushText(device, 1, putText(value)));
    device.next = 2;
    await device.push([patch({ set: { "m.y": 3 } })]);
    assert.equal(await textOf(device), '{"a":1.0,"m":{"x":1e2,"y":3},"z":123456789012345678901}');
  });
});
