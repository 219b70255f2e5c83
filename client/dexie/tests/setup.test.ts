// What is refused, or said, before anything is written; and the keys and ids that follow from a schema.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Dexie } from "dexie";
import { difference } from "../src/difference.ts";
import { headwater, newId, SchemaError } from "../src/index.ts";
import { idOfKey, keyOfId } from "../src/keys.ts";
import { Observable } from "../src/observable.ts";
import { type Collections, declareStores, readCollections } from "../src/schema.ts";

let databases = 0;
function declared(schema: Record<string, string>): Dexie {
  const db = new Dexie(`setup-${++databases}`);
  db.version(1).stores(schema);
  return db;
}
const refused = (schema: Record<string, string>, collections: Collections, pattern: RegExp) =>
  assert.throws(() => readCollections(declared(schema), collections, () => {}), (error) => error instanceof SchemaError && pattern.test(error.message));

describe("at set-up", () => {
  test("what cannot sync is an error that says why and what to do", () => {
    refused({ todos: "++id" }, ["todos"], /"todos".*"\+\+" key.*newId/);
    refused({ todos: "++" }, ["todos"], /"\+\+" key/);
    refused({ todos: "meta.id" }, ["todos"], /"meta\.id" lies inside an object/);
    refused({ todos: "[a+b.c]" }, ["todos"], /"b\.c" lies inside an object/);
    refused({ "to dos": "id" }, ["to dos"], /its name must be/);
    refused({ todos: "id" }, ["todo"], /names "todo".*no such table/);
    refused({ todos: "[a+b]" }, { todos: { space: "a" } }, /is a part of its key/);
    refused({ todos: "id" }, { todos: { space: "x.y" } }, /lies inside an object/);
  });

  test("a unique index is allowed, with a warning that says what may happen", () => {
    const warnings: string[] = [];
    readCollections(declared({ users: "id, &email" }), { users: true }, (text) => warnings.push(text));
    assert.match(warnings.join(), /"users".*"email".*not shown/);
  });

  test("headwater() comes after the schema and before the database is opened", async () => {
    assert.throws(() => declareStores(new Dexie("setup-none")), /after the schema/);
    const db = declared({ todos: "id" });
    await db.open();
    assert.throws(() => declareStores(db), /before the database is opened/);
    db.close();
  });

  test("headwater() syncs nothing while signed out, and everything works", async () => {
    const db = declared({ todos: "id" });
    const sync = headwater(db, { url: "http://127.0.0.1:9", token: async () => null, collections: ["todos"] });
    await db.table("todos").add({ id: newId(), title: "milk" });
    await assert.rejects(sync.now(), /signed-out/);
    await assert.rejects(sync.ready, /signed-out/);
    assert.deepEqual([sync.status.value.phase, await db.table("todos").count(), await db.table("_hw_outbox").count()], ["held", 1, 1]);
    await sync.close();
    assert.equal(sync.status.value.phase, "closed");
    db.close();
  });
});

describe("names", () => {
  test("keys and ids are one for one", () => {
    for (const [form, key, id] of [["string", "a b", "a b"], ["number", -1.5, "-1.5"], ["number", -0, "0"], ["compound", ["x", 1], '["x",1]']] as const) {
      assert.equal(idOfKey("t", form, key), id);
      assert.deepEqual(keyOfId(form, id), Object.is(key, -0) ? 0 : key);
    }
    for (const [form, id] of [["number", "1.0"], ["number", "x"], ["compound", '["x", 1]'], ["compound", "{}"], ["compound", "[null]"]] as const)
      assert.equal(keyOfId(form, id), undefined, id);
  });

  test("newId has 20 characters that sort by time", () => {
    const ids = Array.from({ length: 1000 }, newId);
    assert.ok(ids.every((id) => /^[0-9A-Za-z_]{20}$/.test(id)) && new Set(ids).size === ids.length);
    assert.ok((ids[0] as string).slice(0, 8) <= (ids[999] as string).slice(0, 8));
  });

  test("a difference is the shortest paths, and a parent where a name is no path", () => {
    const paths = (old: object, now: object) => {
      const parts = difference(old as never, now as never);
      return parts === null || parts === "put" ? parts : [Object.fromEntries(parts.set), parts.unset];
    };
    assert.deepEqual(paths({ a: 1, b: { c: 1, d: 2 } }, { b: { c: 2 }, a: 1 }), [{ "b.c": 2 }, ["b.d"]]);
    assert.deepEqual(paths({ a: { $t: "Date", v: "x" } }, { a: { $t: "Date", v: "y" } }), [{ a: { $t: "Date", v: "y" } }, []]);
    assert.deepEqual(paths({ a: { "": 1 } }, { a: { "": 2 } }), [{ a: { "": 2 } }, []]);
    assert.deepEqual(paths({ a: {} }, { a: { constructor: 1 } }), [{ a: { constructor: 1 } }, []]);
    assert.equal(paths({ prototype: 1 }, { prototype: 2 }), "put");
    assert.equal(paths({ a: [1], b: 1 }, { b: 1, a: [1] }), null);
    let [old, now]: [object, object] = [{ x: 1 }, { x: 2 }];
    for (let i = 0; i < 20; i++) [old, now] = [{ n: old }, { n: now }];
    const [path] = Object.keys((paths(old, now) as [object])[0]);
    assert.equal(path?.split(".").length, 16);
  });
});

test("an observable calls at once, and ends as a function and by its method", () => {
  const observable = new Observable(1);
  const seen: number[] = [];
  const stop = observable.subscribe((value) => seen.push(value));
  const { unsubscribe } = observable.subscribe({ next: (value) => seen.push(value * 10) });
  observable.set(2);
  stop();
  unsubscribe();
  observable.set(3);
  assert.deepEqual([seen, observable.getSnapshot()], [[1, 10, 2, 20], 3]);
});
