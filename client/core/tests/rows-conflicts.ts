// Rows of SPEC.md about conflicts that other devices of the user have opened.

import assert from "node:assert/strict";
import { announcement, Bench, EPOCH, LATER, line, listed, patch } from "./bench.ts";
import { row } from "./rows.ts";

const X = `x_${EPOCH}_8`;
const live = (version: number, ...lines: unknown[]) => ({ type: "live", message: { type: "changes", epoch: EPOCH, from: version - 1, version, changes: lines } }) as const;
const page = (conflicts: unknown[], cursor: string | null = null) => ({ epoch: EPOCH, version: 8, conflicts, more: cursor !== null, cursor });
const theirs = { collection: "c", id: "a", version: 7, theirs: { v: 7 } };
const mine = { op: "patch", collection: "c", id: "a", base: 5, set: { mine: 1 } };
const named = { n: 1, kind: "conflict", space: "~", conflict: X, records: [{ key: "c a" }], changes: [], fetched: false };
const whole = { ...named, fetched: true, changes: [JSON.stringify(mine)], records: [{ key: "c a", version: 7, mine: '{"v":7,"mine":1}', theirs: '{"v":7}' }] };

/** A space in which another device's conflict has been announced, and its contents are asked for. */
async function announced(): Promise<Bench> {
  const bench = await Bench.at(7, [line(7, "a")]);
  await bench.on(live(8, announcement(8, X, "a")));
  return bench;
}

row("conflict: of another device", async () => {
  const bench = await announced();
  assert.deepEqual([bench.notes, bench.phase, bench.request], [[named], "pulling", { kind: "conflict", space: "~", isStream: false, body: "" }]);
  await bench.answer(200, page([listed("x_another", [], [])], "17"));
  assert.deepEqual([bench.notes, bench.request.cursor], [[named], "17"]);
  await bench.answer(200, page([listed(X, [mine], [theirs])], "18"));
  assert.deepEqual([bench.notes, bench.phase, bench.sends.length, bench.row.unread], [[whole], "idle", 0, undefined], "no further page is needed");
  assert.deepEqual(bench.tells.at(-2), { type: "notes", space: "~", added: [1] });
});
row("conflict: no answer", async () => {
  const bench = await announced();
  await bench.answer(503, { code: "overloaded" });
  assert.deepEqual([bench.notes, bench.phase], [[named], "waiting"]);
  await bench.fire("wait");
  assert.equal(bench.request.kind, "conflict");
  await bench.reopen();
  await bench.pulled(8);
  assert.equal(bench.request.kind, "conflict", "also by the next leader");
  await bench.answer(200, page([listed(X, [mine], [theirs])]));
  assert.deepEqual([bench.notes, bench.phase], [[whole], "idle"]);
});
row("conflict: more joins it", async () => {
  const bench = await announced();
  await bench.answer(200, page([listed(X, [mine], [theirs])]));
  await bench.on(live(9, announcement(9, X, "a", "b")));
  assert.deepEqual([bench.notes, bench.request.kind], [[{ ...whole, fetched: false }], "conflict"]);
  const both = [mine, { op: "put", collection: "c", id: "b", value: { mine: 2 } }];
  await bench.answer(200, page([listed(X, both, [theirs, { collection: "c", id: "b", version: 0, deleted: true }])]));
  const [note] = bench.notes;
  assert.ok(note?.kind === "conflict");
  assert.deepEqual(note.records, [...whole.records, { key: "c b", version: 0, mine: '{"mine":2}', theirs: null }]);
});
row("conflict: of this device", async () => {
  const bench = await (await Bench.at(7, [line(7, "a")])).pushing([patch("a", { mine: 1 })]);
  await bench.pushed(8, [{ id: 1, status: "conflict", conflict: X, records: [theirs] }], [announcement(8, X, "a")]);
  await bench.on(live(9, announcement(9, X, "a", "b")));
  const [note, ...others] = bench.notes;
  assert.deepEqual([note?.kind === "conflict" && note.records, others, bench.sends.length, bench.phase], [
    [{ key: "c a", base: '{"v":7}', mine: '{"v":7,"mine":1}', theirs: '{"v":7}', version: 7 }], [], 0, "idle",
  ]);
});
row("conflict: of another user", async () => {
  // In a space whose members come behind the announcements, and on another page.
  const bench = new Bench("s1");
  await bench.on({ type: "open", user: "issuer alice b" });
  await bench.answer(200, { grant: "g1", expiresIn: 600_000 });
  const member = (hash: string, sub: string) => ({ version: 3, collection: "$members", id: hash, value: { sub, role: "writer" } });
  await bench.page({ version: 8, lines: [announcement(8, "x_own", "a"), { ...announcement(8, "x_foreign", "b"), value: { user: "h2", records: [], count: 1 } }], cursor: "k" });
  assert.equal(bench.notes.length, 0, "nobody knows yet whose they are");
  await bench.page({ version: 8, lines: [member("h1", "alice b"), member("h2", "b")], end: true });
  await bench.answer(200, { isStream: true });
  assert.deepEqual(bench.notes.map((note) => note.kind === "conflict" && note.conflict), ["x_own"]);
  assert.equal(bench.request.space, "s1");
});
row("conflict: closed", async () => {
  const bench = await announced();
  await bench.on(live(9, { version: 9, collection: "$conflicts", id: X, deleted: true }));
  await bench.answer(200, page([]));
  assert.deepEqual([bench.notes, bench.phase, bench.row.unread], [[], "idle", undefined]);
  const opener = await (await Bench.at(7, [line(7, "a")])).pushing([patch("a", { mine: 1 })]);
  await opener.pushed(8, [{ id: 1, status: "conflict", conflict: X, records: [theirs] }], [announcement(8, X, "a")]);
  assert.equal(opener.notes.length, 1);
  await opener.on(live(9, { version: 9, collection: "$conflicts", id: X, deleted: true }));
  assert.deepEqual(opener.notes, []);
});
row("conflict: gone with a history", async () => {
  const bench = await (await Bench.at(7, [line(7, "a")])).pushing([patch("a", { mine: 1 })]);
  await bench.pushed(8, [{ id: 1, status: "conflict", conflict: "x_here", records: [theirs] }], [announcement(8, "x_here", "a")]);
  await bench.on(live(9, announcement(9, X, "a")));
  await bench.answer(200, page([listed(X, [mine], [theirs])]));
  assert.equal(bench.notes.length, 2);
  await bench.on({ type: "poll" });
  await bench.pulled(4, [line(3, "a")], { epoch: LATER, reset: true });
  assert.deepEqual([bench.phase, bench.notes.map((note) => note.kind === "conflict" && note.conflict)], ["idle", ["x_here"]]);
});
