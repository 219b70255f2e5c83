// Codec and operations, by the examples that the server's tests read too.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { decode, encode, toTree, UnsupportedValueError, ValueTooLargeError } from "../src/codec.ts";
import { type Change, fold } from "../src/ops.ts";
import { canonical } from "./canonical.ts";

const fixture = (name: string) => JSON.parse(readFileSync(new URL(`../../../fixtures/${name}.json`, import.meta.url), "utf8"));

describe("operations, as the server computes them", () => {
  for (const { name, before, changes, after } of fixture("operations").operations) {
    test(name, () => {
      const folded = fold(before, JSON.parse(changes) as Change[]);
      // Numbers and the order of their names are those of JavaScript; everything else is the text of the server.
      assert.equal(folded, after && JSON.stringify(JSON.parse(after)));
    });
  }
  test("an operation that cannot be done changes nothing, and those around it are done", () => {
    const at = { collection: "c", id: "r" };
    const changes: Change[] = [
      { op: "add", ...at, path: "n", by: 1 },
      { op: "patch", ...at, set: { x: 1, "list.a": 2 } },
      { op: "add", ...at, path: "n", by: 1 },
    ];
    assert.equal(fold('{"n":1,"list":[]}', changes), '{"n":3,"list":[]}');
  });
  test("a name that objects inherit is a name like others", () => {
    assert.equal(fold("{}", [{ op: "patch", collection: "c", id: "r", set: { "toString.a": 1 } }]), '{"toString":{"a":1}}');
  });
});

describe("the same mutation, as the model of these tests compares them", () => {
  for (const { name, texts, canonical: expected, beyondDoubles } of fixture("canonical").mutations) {
    test(name, { skip: beyondDoubles ? "not with the numbers of JavaScript" : false }, () => {
      for (const text of texts) assert.equal(canonical(JSON.parse(text)), expected);
    });
  }
});

describe("values", () => {
  const there: [string, unknown, string][] = [
    ["a date", new Date(0), '{"$t":"Date","v":"1970-01-01T00:00:00.000Z"}'],
    ["an invalid date", new Date(Number.NaN), '{"$t":"Date","v":"NaN"}'],
    ["NaN", Number.NaN, '{"$t":"number","v":"NaN"}'],
    ["-Infinity", Number.NEGATIVE_INFINITY, '{"$t":"number","v":"-Infinity"}'],
    ["bytes", new Uint8Array([0, 255, 16, 32]), '{"$t":"Uint8Array","v":"0FxG80--"}'],
    ["a buffer", new Uint8Array([1, 2]).buffer, '{"$t":"ArrayBuffer","v":"0G8-"}'],
    ["a part of a buffer", new Uint8Array([9, 1, 2, 9]).subarray(1, 3), '{"$t":"Uint8Array","v":"0G8-"}'],
    ["numbers of 64 bits", new BigInt64Array([-1n]), '{"$t":"BigInt64Array","v":"||||||||||x-"}'],
    ["floats", new Float32Array([0, 0]), '{"$t":"Float32Array","v":"00000000000-"}'],
    ["a set", new Set([1, "a"]), '{"$t":"Set","v":[1,"a"]}'],
    ["a map", new Map([["k", new Date(0)]]), '{"$t":"Map","v":[["k",{"$t":"Date","v":"1970-01-01T00:00:00.000Z"}]]}'],
    ["a tag of the app's own", { $t: "evil" }, '{"$$t":"evil"}'],
    ["undefined in a list", [undefined], '[{"$t":"undefined"}]'],
    ["a bigint", 123n, '{"$t":"bigint","v":"123"}'],
    ["__proto__ as a name", JSON.parse('{"__proto__":1}'), '{"__proto__":1}'],
    ["nested objects", { a: { b: [1, { c: null }] } }, '{"a":{"b":[1,{"c":null}]}}'],
  ];
  for (const [name, value, text] of there) {
    test(`${name} goes there and back`, () => {
      const encoded = JSON.stringify(toTree({ value }));
      assert.equal(encoded, `{"value":${text}}`);
      const back = (decode(encoded) as { value: object }).value;
      assert.equal(JSON.stringify(toTree({ value: back })), encoded);
      assert.equal(Object.prototype.toString.call(back), Object.prototype.toString.call(value));
    });
  }
  test("a property that is undefined is left out, -0 is 0, half a pair is made whole", () => {
    assert.equal(encode({ a: undefined, b: -0, c: "\ud83c" }), '{"b":0,"c":"\ufffd"}');
  });
  test("an instance of a class is its own properties", () => {
    class Point {
      x = 1;
      get y() {
        return 2;
      }
    }
    assert.equal(encode(new Point()), '{"x":1}');
  });
  test("what cannot be synced is an error that names the path", () => {
    const shared = {};
    const loop: Record<string, unknown> = {};
    loop["me"] = loop;
    for (const [value, path] of [
      [{ a: [new Blob([])] }, "a.0"],
      [{ a: /x/ }, "a"],
      [{ a: () => 1 }, "a"],
      [{ a: shared, b: { c: shared } }, "b.c"],
      [loop, "me"],
    ] as const) {
      assert.throws(() => encode(value), (error: unknown) => error instanceof UnsupportedValueError && error.path === path);
    }
  });
  test("what is too large or too deep is an error", () => {
    assert.throws(() => encode({ a: "ä".repeat(131_072) }), ValueTooLargeError);
    let deep = {};
    for (let level = 0; level < 64; level += 1) deep = { deep };
    assert.throws(() => encode(deep), ValueTooLargeError);
    assert.doesNotThrow(() => encode((deep as { deep: unknown }).deep));
  });
});
