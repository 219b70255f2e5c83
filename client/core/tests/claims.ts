// Claims about one device, each with the mistake that breaks it: the test of the claim passes, and fails with the mistake.

import assert from "node:assert/strict";
import { capture, resolve } from "../src/capture.ts";
import type { Planted } from "../src/planted.ts";
import type { ConflictNote } from "../src/store.ts";
import { announcement, Bench, EPOCH, LATER, line, patch, put } from "./bench.ts";

export interface Claim {
  name: string;
  planted?: Planted;
  walk(): Promise<void>;
}
const applied = (id: number, version: number) => ({ id, status: "applied", version });
const conflict = (id: number, name: string, records: unknown[] = []) => ({ id, status: "conflict", conflict: name, records });
const codes = (bench: Bench) => bench.notes.map((note) => (note.kind === "rejected" ? note.code : note.conflict));

/** A second space over the store of the first. */
async function beside(bench: Bench, space: string, version: number, lines: unknown[] = []): Promise<Bench> {
  const other = new Bench(space, { newId: bench.options.newId });
  other.store = bench.store;
  await other.on({ type: "open", user: "user" });
  await other.answer(200, { grant: "g1", expiresIn: 600_000 });
  await other.page({ version, lines, end: true });
  await other.answer(200, { isStream: true });
  other.sends = [];
  return other;
}

/** A card is moved from the private space into s1: made there, and deleted here when that is applied. */
async function moved(): Promise<[Bench, Bench]> {
  const home = await Bench.at(7, [line(7, "a")]);
  const away = await beside(home, "s1", 3);
  await home.store.commit(1, { wake: "rows" }, async (tx) => {
    await capture(tx, { space: "s1", tx: "move", at: 1, changes: [put("a", { v: 7 })] });
    await capture(tx, { space: "~", tx: "move", at: 1, changes: [{ op: "delete", collection: "c", id: "a" }], waits: { space: "s1", tx: "move" } });
  });
  assert.equal(home.store.rows.rows.get("c a")?.space, "s1");
  await home.on({ type: "captured", seq: home.store.seq });
  await home.fire("push");
  assert.equal(home.sends.length, 0, "the deletion waits");
  await away.on({ type: "captured", seq: away.store.seq });
  await away.fire("push");
  assert.equal(away.body.mutations.length, 1);
  return [home, away];
}

export const claims: Claim[] = [
  {
    name: "what was sent before it was numbered is sent again before its echo is taken",
    planted: "early untried",
    async walk() {
      const bench = await Bench.at(7, [line(7, "a", { n: 1 })]);
      await bench.editEarly({ op: "add", collection: "c", id: "a", path: "n", by: 1 });
      const opened = bench.reopen();
      await bench.on({ type: "live", message: { type: "changes", epoch: EPOCH, from: 7, version: 8, changes: [line(8, "a", { n: 2 })] } });
      await opened;
      assert.deepEqual(bench.value("a"), { n: 2 });
      assert.equal(bench.request.kind, "push");
      await bench.pushed(8, [applied(1, 8)], [line(8, "a", { n: 2 })]);
      assert.deepEqual([bench.value("a"), bench.row.position?.version], [{ n: 2 }, 8]);
    },
  },
  {
    name: "an edit between two pages rests on what was seen where the load then brings another value",
    planted: "base of the end",
    async walk() {
      const bench = new Bench();
      await bench.on({ type: "open", user: "user" });
      await bench.page({ version: 9, lines: [line(1, "a")], cursor: "k1" });
      await bench.edit(patch("a", { mine: 1 }));
      await bench.page({ version: 10, lines: [line(10, "a", { v: 10 })], end: true });
      const [{ base, changes }] = bench.body.mutations;
      assert.equal(changes[0].base ?? base, 0);
    },
  },
  {
    name: "a conflict that another device has resolved leaves the screen of the one that had opened it",
    planted: "closed conflict kept",
    async walk() {
      const bench = await (await Bench.at(7, [line(7, "a")])).pushing([patch("a", { mine: 1 })]);
      await bench.pushed(8, [conflict(1, "x1", [{ collection: "c", id: "a", version: 7, theirs: { v: 7 } }])], [announcement(8, "x1", "a")]);
      assert.deepEqual(codes(bench), ["x1"]);
      await bench.on({ type: "live", message: { type: "changes", epoch: EPOCH, from: 8, version: 9, changes: [{ version: 9, collection: "$conflicts", id: "x1", deleted: true }] } });
      assert.deepEqual(codes(bench), []);
    },
  },
  {
    name: "a conflict shows what the edit was made on, though a line has come before the edit was sent",
    planted: "base of the line",
    async walk() {
      const bench = await Bench.at(7, [line(7, "a", { title: "milk", n: 1 })]);
      await bench.edit(patch("a", { title: "soy" }));
      await bench.on({ type: "live", message: { type: "changes", epoch: EPOCH, from: 7, version: 8, changes: [line(8, "a", { title: "oat", n: 1 })] } });
      await bench.fire("push");
      assert.equal(bench.body.mutations[0].base, 7);
      await bench.pushed(9, [conflict(1, "x_1", [{ collection: "c", id: "a", version: 8, theirs: { title: "oat", n: 1 } }])]);
      const [note] = bench.notes as ConflictNote[];
      const texts = { base: '{"title":"milk","n":1}', mine: '{"title":"soy","n":1}', theirs: '{"title":"oat","n":1}' };
      assert.deepEqual(note?.records, [{ key: "c a", ...texts, version: 8 }]);
      assert.equal(bench.store.base.rows.size, 0);
    },
  },
  {
    name: "what was applied is a part of what the next edit was made on",
    planted: "base of the line",
    async walk() {
      const bench = await (await Bench.at(7, [line(7, "a", { title: "milk" })])).pushing([patch("a", { n: 1 })]);
      await bench.edit(patch("a", { title: "soy" }));
      await bench.pushed(9, [applied(1, 9)], [line(9, "a", { title: "oat", n: 1 })]);
      if (bench.timers.has("push")) await bench.fire("push");
      await bench.pushed(10, [conflict(2, "x_1", [{ collection: "c", id: "a", version: 9, theirs: { title: "oat", n: 1 } }])]);
      const [note] = bench.notes as ConflictNote[];
      assert.deepEqual(note?.records.map(({ base, mine }) => [base, mine]), [['{"title":"milk","n":1}', '{"title":"soy","n":1}']]);
    },
  },
  {
    name: "a live echo waits for the answer to the push",
    planted: "live at once",
    async walk() {
      const bench = await (await Bench.at(7, [line(1, "n", { n: 1 })])).pushing([{ op: "add", collection: "c", id: "n", path: "n", by: 1 }]);
      await bench.on({ type: "live", message: { type: "changes", epoch: EPOCH, from: 7, version: 8, changes: [line(8, "n", { n: 2 })] } });
      assert.deepEqual(bench.value("n"), { n: 2 });
    },
  },
  {
    name: "a push that leaves out what may have been sent does not ask for changes, which could be its echo",
    planted: "changes of a part",
    async walk() {
      const add = { op: "add", collection: "c", id: "n", path: "n", by: 1 } as const;
      const bench = await (await Bench.at(7, [line(1, "n", { n: 1 })])).pushing([put("a")], [add]);
      await bench.refuse(413, "too_large");
      assert.equal(bench.body.mutations.length, 1);
      const isAsked = bench.body.since !== undefined;
      // Both were settled before the push was refused.
      await bench.pushed(9, [applied(1, 8)], isAsked ? [line(8, "a", { mine: 1 }), line(9, "n", { n: 2 })] : []);
      assert.deepEqual(bench.value("n"), { n: 2 });
    },
  },
  {
    name: "a load that begins again sweeps what it had brought and is gone by now",
    planted: "marks kept",
    async walk() {
      const bench = await Bench.at(7, [line(1, "z")]);
      await bench.on({ type: "poll" });
      await bench.pulled(8, [line(1, "a"), line(2, "b")], { epoch: LATER, reset: true, more: true, cursor: "k" });
      await bench.refuse(410, "cursor_expired");
      await bench.page({ epoch: LATER, version: 9, lines: [line(1, "a")], end: true });
      assert.deepEqual(["a", "b", "z"].map((id) => bench.value(id)), [{ v: 1 }, null, null]);
    },
  },
  {
    name: "a reload in the middle of a reset forgets nothing of what it has brought",
    planted: "marks forgotten",
    async walk() {
      const bench = await Bench.at(7, [line(1, "a")]);
      await bench.on({ type: "poll" });
      await bench.pulled(8, [line(2, "a")], { epoch: LATER, reset: true, more: true, cursor: "k" });
      await bench.reopen();
      await bench.page({ epoch: LATER, version: 9, lines: [line(9, "b")], end: true });
      assert.deepEqual([bench.value("a"), bench.value("b")], [{ v: 2 }, { v: 9 }]);
    },
  },
  {
    name: "nothing of one user goes out under another's token",
    planted: "any user",
    async walk() {
      const bench = await Bench.at(7);
      await bench.edit(put("a"));
      await bench.reopen("bob");
      assert.equal(bench.sends.length, 0);
    },
  },
  {
    name: "a record that a unique index refuses is kept, and has its row when there is room",
    planted: "unique lost",
    async walk() {
      const bench = new Bench();
      bench.store.unique = "name";
      await bench.on({ type: "open", user: "user" });
      await bench.page({ version: 2, lines: [line(1, "a", { name: "x" }), line(2, "b", { name: "x" })], end: true });
      assert.equal(bench.value("b"), null);
      assert.equal(bench.store.extra.rows.size, 1);
      await bench.on({ type: "poll" });
      bench.sends.splice(0, bench.sends.length - 1);
      await bench.pulled(3, [line(3, "a", { name: "y" })]);
      assert.deepEqual(bench.value("b"), { name: "x" });
      assert.equal(bench.store.extra.rows.size, 0);
    },
  },
  {
    name: "a record of a table that this version does not have is kept",
    planted: "unknown dropped",
    async walk() {
      const bench = new Bench();
      bench.store.tables = new Set(["other"]);
      await bench.on({ type: "open", user: "user" });
      await bench.page({ version: 1, lines: [line(1, "a")], end: true });
      assert.deepEqual(bench.store.state("~"), [["c a", { v: 1 }]]);
    },
  },
  {
    name: "of one key in two spaces the row is the first one's, and then the other's",
    async walk() {
      const home = await Bench.at(7, [line(7, "a")]);
      const away = await beside(home, "s1", 3, [line(3, "a", { foreign: 1 })]);
      assert.deepEqual(home.value("a"), { v: 7 }, "naming its id does not replace a private row");
      assert.deepEqual(away.store.state("s1"), [["c a", { foreign: 1 }]]);
      await home.on({ type: "poll" });
      await home.pulled(8, [line(8, "a", null)]);
      assert.deepEqual([home.value("a"), home.store.rows.rows.get("c a")?.space], [{ foreign: 1 }, "s1"]);
    },
  },
  {
    name: "an edit of a record whose row is that of another space rests on no copy: nobody has seen it",
    async walk() {
      const home = await Bench.at(7, [line(7, "a")]);
      const away = await beside(home, "s1", 3, [line(3, "a", { foreign: 1 })]);
      await away.edit(put("a", { mine: 1 }));
      await away.fire("push");
      assert.equal(away.body.mutations[0].changes[0].base, 0);
      await away.pushed(4, [conflict(1, "x_1", [{ collection: "c", id: "a", version: 3, theirs: { foreign: 1 } }])]);
      assert.deepEqual([home.value("a"), away.store.state("s1")], [{ v: 7 }, [["c a", { foreign: 1 }]]]);
    },
  },
  {
    name: "a move deletes in the old space when it is applied in the new one",
    async walk() {
      const [home, away] = await moved();
      await away.pushed(4, [applied(1, 4)], [line(4, "a")]);
      await home.on({ type: "captured", seq: home.store.seq });
      await home.fire("push");
      assert.equal(home.body.mutations[0].changes[0].op, "delete");
      await home.pushed(8, [applied(1, 8)], [line(8, "a", null)]);
      assert.equal(home.store.rows.rows.get("c a")?.space, "s1");
      assert.equal(home.store.base.rows.size, 0);
    },
  },
  {
    name: "a move that is refused puts the row back, and says so",
    async walk() {
      const [home, away] = await moved();
      await away.pushed(3, [{ id: 1, status: "rejected", code: "quota_exceeded" }]);
      assert.equal(home.store.rows.rows.get("c a")?.space, "~");
      assert.deepEqual(home.value("a"), { v: 7 });
      assert.deepEqual(codes(home).sort(), ["move", "quota_exceeded"]);
      assert.equal(home.store.outbox.rows.size, 0);
    },
  },
  {
    name: "what is behind a conflict says so, also when the position has moved on since",
    planted: "no after",
    async walk() {
      const bench = await (await Bench.at(7, [line(7, "a")])).pushing([patch("a", { mine: 1 })]);
      await bench.edit(patch("a", { mine: 2 }));
      await bench.pushed(9, [conflict(1, "x_1", [{ collection: "c", id: "a", version: 8, theirs: { v: 8 } }])], [line(8, "a")]);
      assert.deepEqual(bench.body.mutations[0].after, ["x_1"]);
    },
  },
  {
    name: "a resolution is an edit in the queue, and its conflict is shown until it is applied",
    async walk() {
      const bench = await (await Bench.at(7, [line(7, "a")])).pushing([patch("a", { mine: 1 })]);
      await bench.pushed(9, [conflict(1, "x_1", [{ collection: "c", id: "a", version: 8, theirs: { v: 8 } }])], [line(8, "a")]);
      const choose = () => bench.store.commit(1, { wake: "nothing" }, (tx) => resolve(tx, bench.notes[0] as ConflictNote, "mine", { tx: "r", at: 2 }));
      await choose();
      await bench.on({ type: "captured", seq: bench.store.seq });
      await bench.fire("push");
      assert.deepEqual(bench.body.mutations[0], { id: 2, at: 2, base: 9, changes: [{ op: "resolve", conflict: "x_1", take: "mine" }] });
      // Somebody else was quicker: it is parked itself, and the old conflict stays open.
      await bench.pushed(10, [conflict(2, "x_2", [{ collection: "c", id: "a", version: 10, theirs: { v: 10 } }])], [line(10, "a")]);
      assert.deepEqual(codes(bench), ["x_1", "x_2"]);
      assert.equal((bench.notes[0] as ConflictNote).resolving, undefined);
      await choose();
      await bench.on({ type: "captured", seq: bench.store.seq });
      await bench.fire("push");
      await bench.pushed(11, [applied(3, 11)], [line(11, "a", { v: 10, mine: 1 })]);
      assert.deepEqual([codes(bench), bench.value("a")], [["x_2"], { v: 10, mine: 1 }]);
    },
  },
  {
    name: "an edit of what somebody has deleted is taken as it is, for there is nothing that it could be repeated on",
    async walk() {
      const bench = await (await Bench.at(7, [line(7, "a")])).pushing([patch("a", { mine: 1 })]);
      await bench.pushed(9, [conflict(1, "x_1", [{ collection: "c", id: "a", version: 8, deleted: true }])], [line(8, "a", null)]);
      await bench.store.commit(1, { wake: "nothing" }, (tx) => resolve(tx, bench.notes[0] as ConflictNote, "mine", { tx: "r", at: 2 }));
      await bench.on({ type: "captured", seq: bench.store.seq });
      await bench.fire("push");
      const records = [{ collection: "c", id: "a", value: { v: 7, mine: 1 }, base: 8 }];
      assert.deepEqual(bench.body.mutations[0].changes, [{ op: "resolve", conflict: "x_1", records }]);
    },
  },
  {
    name: "typing in a record is one mutation, a transaction is one, and 2,500 changes are three",
    async walk() {
      const bench = await Bench.at(7, [line(7, "a")]);
      for (let key = 0; key < 50; key += 1) await bench.edit(patch("a", { text: "x".repeat(key) }));
      await bench.edit(put("b"), put("c"));
      await bench.edit(...Array.from({ length: 2500 }, (_, n) => put(`m${n}`)));
      await bench.fire("push");
      const sizes = bench.sent.map(({ keys }) => keys.length);
      assert.deepEqual(sizes, [1, 2, 1000, 1000, 500]);
      assert.deepEqual(bench.body.mutations.map(({ changes }: { changes: unknown[] }) => changes.length), [1, 2, 1000]);
      assert.equal(bench.body.mutations[0].changes[0].set.text.length, 49);
    },
  },
  {
    name: "an edit that was made before there was a position conflicts with what the load brings",
    async walk() {
      const bench = new Bench();
      await bench.edit(put("a"));
      await bench.on({ type: "open", user: "user" });
      await bench.page({ version: 3, lines: [line(3, "a")], end: true });
      assert.equal(bench.body.mutations[0].changes[0].base, 0);
      assert.deepEqual(bench.value("a"), { mine: 1 }, "what the user made stays in sight");
    },
  },
];
