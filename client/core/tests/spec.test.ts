// Every row of SPEC.md, by its name.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { DeviceFull, TermOver } from "../src/store.ts";
import { Bench, EPOCH, LATER, line, patch, put } from "./bench.ts";

const text = readFileSync(new URL("../../SPEC.md", import.meta.url), "utf8");
const rows = [...text.matchAll(/^\| `([^`]+: [^`]+)` \|/gm)].map(([, name]) => name as string);
const walked = new Set<string>();

function row(name: string, walk: () => Promise<void>): void {
  assert.ok(rows.includes(name), `${name} is a row of SPEC.md`);
  walked.add(name);
  test(name, walk);
}
after(() => assert.deepEqual(rows.filter((name) => !walked.has(name)), [], "every row is walked"));

const applied = (id: number, version: number) => ({ id, status: "applied", version });

// ——— Beginning.

row("open: a new database", async () => {
  const bench = new Bench();
  await bench.edit(put("a"));
  await bench.on({ type: "open", user: "user" });
  assert.equal(bench.phase, "loading");
  assert.equal(bench.request.isStream, true);
  assert.deepEqual(bench.body, {});
  assert.equal(bench.row.client, "id_000002");
});
row("open: a known space", async () => {
  const bench = await Bench.at(7);
  await bench.reopen();
  assert.equal(bench.phase, "pulling");
  assert.deepEqual(bench.body, { epoch: EPOCH, since: 7 });
});
row("open: numbered mutations are left", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  const { mutations } = bench.body;
  await bench.reopen();
  assert.equal(bench.phase, "unsure");
  assert.deepEqual(bench.body.mutations, mutations);
});
row("open: a load is left", async () => {
  const bench = new Bench();
  await bench.on({ type: "open", user: "user" });
  await bench.page({ version: 9, lines: [line(1, "a")], cursor: "k1" });
  await bench.reopen();
  assert.equal(bench.phase, "loading");
  assert.deepEqual(bench.body, { cursor: "k1" });
});
row("open: held", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.refuse(403, "forbidden");
  await bench.reopen();
  assert.equal(bench.held, "forbidden");
  assert.equal(bench.sends.length, 0);
});
row("open: another user", async () => {
  const bench = await Bench.at(7);
  await bench.edit(put("a"));
  await bench.reopen("bob");
  assert.equal(bench.held, "other-user");
  assert.equal(bench.sends.length, 0);
  // It is found out anew by whoever opens next.
  await bench.reopen("user");
  assert.equal(bench.request.kind, "push");
});

// ——— Loading and pulling.

row("load: a page", async () => {
  const bench = new Bench();
  await bench.on({ type: "open", user: "user" });
  await bench.page({ version: 9, lines: [line(1, "a")], cursor: "k1" });
  assert.equal(bench.phase, "loading");
  assert.deepEqual(bench.value("a"), { v: 1 });
  assert.equal(bench.row.load?.cursor, "k1");
  assert.equal(bench.row.position, null);
});
row("load: the end", async () => {
  const bench = new Bench();
  await bench.on({ type: "open", user: "user" });
  await bench.page({ version: 9, lines: [line(1, "a"), line(2, "b")], cursor: "k1" });
  await bench.edit(patch("a", { mine: 1 }));
  await bench.edit(patch("b", { mine: 1 }));
  await bench.page({ version: 10, lines: [line(10, "b", { v: 10 })], end: true });
  assert.deepEqual(bench.row.position, { epoch: EPOCH, version: 10 });
  assert.deepEqual(bench.value("b"), { v: 10, mine: 1 });
  const [first, second] = bench.body.mutations;
  // `a` is as it was seen; of `b` another value has come, so what was seen is older.
  assert.deepEqual([first.base, first.changes[0].base, second.changes[0].base], [10, undefined, 1]);
});
row("load: broken", async () => {
  const bench = new Bench();
  await bench.on({ type: "open", user: "user" });
  await bench.page({ version: 9, lines: [line(1, "a")], cursor: "k1" });
  await bench.answer(200, { isStream: true });
  assert.equal(bench.phase, "waiting");
  await bench.fire("wait");
  assert.deepEqual(bench.body, { cursor: "k1" });
});
row("load: the cursor has expired", async () => {
  const bench = new Bench();
  await bench.on({ type: "open", user: "user" });
  await bench.page({ version: 9, lines: [line(1, "a"), line(2, "b")], cursor: "k1" });
  await bench.answer(200, { isStream: true });
  await bench.fire("wait");
  await bench.refuse(410, "cursor_expired");
  assert.deepEqual(bench.body, { consistency: "strong" });
  // `b` was deleted meanwhile, and no line says so.
  await bench.page({ version: 12, lines: [line(1, "a")], end: true });
  assert.deepEqual([bench.value("a"), bench.value("b")], [{ v: 1 }, null]);
});
row("load: the cursor expires again", async () => {
  const bench = new Bench();
  await bench.on({ type: "open", user: "user" });
  for (let time = 0; time < 2; time += 1) await bench.refuse(410, "cursor_expired");
  assert.equal(bench.held, "bug");
});
row("pull: nothing new", async () => {
  const bench = await Bench.at(7);
  for (const answer of [() => bench.answer(304), () => bench.pulled(7)]) {
    await bench.on({ type: "poll" });
    assert.equal(bench.phase, "pulling");
    await answer();
    assert.equal(bench.phase, "idle");
  }
});
row("pull: the last page", async () => {
  const bench = await Bench.at(7, [line(7, "a")]);
  await bench.on({ type: "poll" });
  await bench.pulled(9, [line(6, "a", { old: 1 }), line(8, "b"), line(9, "c", null)]);
  assert.deepEqual([bench.value("a"), bench.value("b"), bench.row.position?.version, bench.phase], [{ v: 7 }, { v: 8 }, 9, "idle"]);
});
row("pull: more pages", async () => {
  const bench = await Bench.at(7);
  await bench.on({ type: "poll" });
  await bench.pulled(9, [line(8, "a")], { more: true, cursor: "k2" });
  assert.deepEqual([bench.row.position?.version, bench.body], [7, { epoch: EPOCH, since: 7, cursor: "k2" }]);
  assert.equal(bench.phase, "pulling");
  await bench.pulled(10, [line(10, "b")]);
  assert.equal(bench.row.position?.version, 10);
});
row("pull: reset", async () => {
  const bench = await Bench.at(7, [line(1, "a"), line(2, "b"), line(3, "c")]);
  await bench.edit(patch("c", { mine: 1 }));
  await bench.on({ type: "poll" });
  await bench.pulled(8, [line(1, "a")], { epoch: LATER, reset: true, more: true, cursor: "k3" });
  assert.equal(bench.phase, "loading");
  assert.deepEqual(bench.value("b"), { v: 2 }, "stays readable until the end");
  // A reload in the middle does not forget what the load has brought.
  await bench.reopen();
  await bench.page({ epoch: LATER, version: 9, lines: [line(9, "d")], end: true });
  assert.deepEqual(["a", "b", "d"].map((id) => bench.value(id)), [{ v: 1 }, null, { v: 9 }]);
  assert.deepEqual(bench.row.position, { epoch: LATER, version: 9 });
  assert.equal(bench.store.marks.rows.size, 0);
});
row("pull: an earlier state", async () => {
  const bench = await Bench.at(7);
  for (const [version, fields] of [[6, {}], [8, { epoch: LATER }], [99, { epoch: "00000000000a", reset: true }]] as const) {
    await bench.on({ type: "poll" });
    await bench.pulled(version, [line(8, "a")], fields);
    assert.deepEqual([bench.row.position?.version, bench.value("a"), bench.phase], [7, null, "waiting"]);
    await bench.fire("wait");
    await bench.pulled(7);
  }
  assert.equal(bench.logs.length, 3);
});
row("pull: epoch_mismatch", async () => {
  const bench = await Bench.at(7, [line(7, "a"), line(6, "b")]);
  await bench.on({ type: "poll" });
  await bench.refuse(409, "epoch_mismatch", { position: `${EPOCH}.5` });
  assert.deepEqual(bench.body, { min: `${EPOCH}.5` });
  assert.equal(bench.phase, "loading");
  await bench.page({ version: 5, lines: [line(5, "a", { v: 5 })], end: true });
  assert.deepEqual([bench.value("a"), bench.value("b"), bench.row.position?.version], [{ v: 5 }, null, 5]);
});
row("pull: epoch_mismatch again", async () => {
  const bench = await Bench.at(7);
  await bench.on({ type: "poll" });
  for (let time = 0; time < 2; time += 1) await bench.refuse(409, "epoch_mismatch", { position: `${EPOCH}.5` });
  assert.equal(bench.held, "epoch");
});
row("pull: no answer", async () => {
  const bench = await Bench.at(7);
  await bench.on({ type: "poll" });
  const waits: number[] = [];
  for (const [status, code] of [[0, ""], [503, "upstream"], [502, ""], [403, ""]] as const) {
    await (code ? bench.refuse(status, code) : bench.answer(status));
    assert.equal(bench.phase, "waiting");
    waits.push(bench.timers.get("wait")?.ms as number);
    await bench.fire("wait");
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000]);
});
row("pull: no grant", async () => {
  const bench = new Bench("s1");
  await bench.on({ type: "open", user: "user" });
  assert.equal(bench.request.kind, "grant");
  await bench.answer(200, { grant: "g1", expiresIn: 600_000 });
  assert.equal(bench.request.grant, "g1");
  await bench.page({ version: 1, end: true });
  bench.now += 540_001;
  await bench.on({ type: "poll" });
  assert.equal(bench.request.kind, "grant", "a minute before it ends");
  await bench.refuse(403, "forbidden");
  assert.equal(bench.held, "forbidden");
});
row("pull: grant_required", async () => {
  const bench = await Bench.at(7, [], "s1");
  bench.now += 120_000;
  await bench.on({ type: "poll" });
  await bench.refuse(403, "grant_required");
  assert.equal(bench.request.kind, "grant");
  for (let asked = 0; asked < 20 && !bench.held; asked += 1) {
    await bench.answer(200, { grant: "g2", expiresIn: 600_000 });
    await bench.refuse(403, "grant_required");
    if (bench.held) break;
    assert.equal(bench.phase, "waiting");
    bench.now += 60_000;
    await bench.fire("wait");
  }
  assert.equal(bench.held, "grant");
});

// ——— Pushing.

row("push: captured", async () => {
  const bench = await Bench.at(7);
  await bench.edit(put("a"));
  assert.equal(bench.timers.get("push")?.ms, 50);
  bench.now += 240;
  bench.timers.clear();
  await bench.edit(patch("a", { b: 2 }));
  assert.equal(bench.timers.has("push"), false, "the first timer is not put off for ever");
  await bench.on({ type: "timer", name: "push" });
  assert.equal(bench.phase, "pushing");
  assert.deepEqual(bench.body, {
    client: "id_000001", epoch: EPOCH, since: 7, acked: 0,
    mutations: [{ id: 1, at: 5, base: 7, changes: [{ op: "put", collection: "c", id: "a", value: { mine: 1, b: 2 }, base: 0 }] }],
  });
});
row("push: settled", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.pushed(9, [applied(1, 9)], [line(8, "b"), line(9, "a", { mine: 1 })]);
  assert.equal(bench.phase, "idle");
  assert.deepEqual([bench.value("a"), bench.value("b"), bench.row.position?.version, bench.row.acked], [{ mine: 1 }, { v: 8 }, 9, 1]);
  assert.deepEqual([bench.sent.length, bench.store.base.rows.size, bench.machine.status.pending], [0, 0, 0]);
});
row("push: settled, with more", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.pushed(99, [applied(1, 9)], [], { more: true });
  assert.equal(bench.phase, "pulling");
  assert.equal(bench.body.min, `${EPOCH}.99`);
  assert.deepEqual(bench.value("a"), { mine: 1 }, "it stays in sight");
  await bench.pulled(99, [line(9, "a", { mine: 1 })]);
  assert.deepEqual([bench.value("a"), bench.sent.length, bench.phase], [{ mine: 1 }, 0, "idle"]);
});
row("push: conflict", async () => {
  const bench = await (await Bench.at(7, [line(7, "a", { v: 7 })])).pushing([patch("a", { mine: 1 })]);
  await bench.edit(patch("a", { mine: 2 }));
  const records = [{ collection: "c", id: "a", version: 8, theirs: { v: 8 } }];
  await bench.pushed(9, [{ id: 1, status: "conflict", conflict: "x_1", records }], [line(8, "a")]);
  const [note] = bench.notes;
  assert.deepEqual(note?.kind === "conflict" && note.records, [{ key: "c a", base: '{"v":7}', mine: '{"v":7,"mine":1}', theirs: '{"v":8}', version: 8 }]);
  assert.deepEqual(bench.value("a"), { v: 8, mine: 2 }, "theirs, and what is queued on top");
  if (bench.timers.has("push")) await bench.fire("push");
  assert.deepEqual(bench.body.mutations[0].after, ["x_1"]);
});
row("push: rejected", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.edit(patch("a", { more: 1 }));
  await bench.pushed(7, [{ id: 1, status: "rejected", code: "quota_exceeded", detail: "no" }]);
  assert.deepEqual(bench.notes.map((note) => note.kind === "rejected" && note.code), ["quota_exceeded", "parent"]);
  assert.deepEqual([bench.value("a"), bench.store.outbox.rows.size, bench.machine.status.pending], [null, 0, 0]);
});
row("push: missing", async () => {
  const bench = await (await Bench.at(7, [line(7, "a")])).pushing([patch("a", { mine: 1 })]);
  await bench.pushed(8, [{ ...applied(1, 8), missing: true }], [line(8, "a", null)]);
  assert.deepEqual(bench.notes.map((note) => note.kind === "rejected" && note.code), ["missing"]);
  assert.equal(bench.value("a"), null);
});
row("push: fewer results", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")]);
  await bench.pushed(9, [applied(1, 8)], [line(8, "a", { mine: 1 }), line(9, "b", { mine: 1 })]);
  assert.equal(bench.phase, "unsure");
  assert.equal(bench.row.position?.version, 7);
  assert.deepEqual(bench.body.mutations.map(({ id }: { id: number }) => id), [2]);
});
row("push: no answer", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  const { mutations } = bench.body;
  for (const [status, code] of [[0, ""], [503, "overloaded"], [500, "internal"]] as const) {
    await (code ? bench.refuse(status, code) : bench.answer(status));
    assert.equal(bench.phase, "unsure");
    await bench.edit(put("b"));
    await bench.on({ type: "poll" });
    if (bench.timers.has("wait")) await bench.fire("wait");
    assert.deepEqual(bench.body.mutations, mutations);
  }
});
row("push: rate_limited", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.answer(429, { code: "rate_limited" }, { retryAfter: 30_000 });
  assert.deepEqual([bench.phase, bench.timers.get("wait")?.ms], ["waiting", 30_000]);
});
row("push: a bug", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.refuse(400, "malformed");
  assert.deepEqual([bench.held, bench.logs.length, bench.sent.length], ["bug", 1, 1]);
});
row("push: too_large", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")], [put("c")]);
  await bench.refuse(413, "too_large");
  assert.equal(bench.phase, "unsure");
  assert.equal(bench.body.mutations.length, 2);
  assert.equal(bench.body.since, undefined);
});
row("push: too_large alone", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.refuse(413, "too_large");
  assert.deepEqual(bench.body.mutations, [{ id: 1, changes: [] }]);
  assert.deepEqual(bench.notes.map((note) => note.kind === "rejected" && note.code), ["too_large"]);
  assert.equal(bench.value("a"), null);
  await bench.pushed(7, [applied(1, 7)]);
  assert.deepEqual([bench.phase, bench.sent.length], ["idle", 0]);
});
row("push: timeout", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")]);
  const sizes: number[] = [];
  for (let time = 0; time < 4; time += 1) {
    sizes.push(bench.body.mutations.length);
    await bench.refuse(408, "timeout");
  }
  assert.deepEqual([sizes, bench.held], [[2, 2, 1, 1], "timeout"]);
});
row("push: a new token", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.refuse(401, "token_expired");
  assert.deepEqual([bench.phase, bench.tokens], ["waiting", 1]);
  await bench.on({ type: "token", user: "user" });
  assert.equal(bench.body.mutations.length, 1);
  await bench.pushed(8, [applied(1, 8)], [line(8, "a", { mine: 1 })]);
  assert.equal(bench.phase, "idle");
});
row("push: a refused token", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.refuse(401, "token_expired");
  await bench.on({ type: "token", user: "user" });
  await bench.refuse(401, "unauthenticated");
  assert.deepEqual([bench.held, bench.tokens, bench.sent.length], ["signed-out", 1, 1]);
});
row("push: stopped", async () => {
  for (const [status, code, why] of [[403, "forbidden", "forbidden"], [410, "gone", "gone"], [507, "storage_full", "full"]] as const) {
    const bench = await (await Bench.at(7)).pushing([put("a")]);
    await bench.refuse(status, code);
    assert.deepEqual([bench.held, bench.value("a"), bench.row.held?.why], [why, { mine: 1 }, why]);
    await bench.on({ type: "poll" });
    await bench.edit(put("b"));
    assert.equal(bench.sends.length, 0);
  }
});
row("push: out_of_order", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")]);
  await bench.pushed(99, [applied(1, 8), applied(2, 9)], [], { more: true });
  await bench.pulled(8, [line(8, "a", { mine: 1 })], { more: true, cursor: "k" });
  bench.sends = [];
  // The settled mutations are still here when the server, which has lost them, asks for them.
  await bench.store.commit(1, { wake: "nothing" }, async (tx) => tx.spaces.put({ ...(await tx.spaces.get("~")), load: null, min: null } as never));
  await bench.edit(put("c"));
  await bench.reopen();
  await bench.refuse(409, "out_of_order", { expected: 1 });
  assert.equal(bench.phase, "unsure");
  assert.deepEqual(bench.body.mutations.map(({ id }: { id: number }) => id), [1, 2, 3]);
});
row("push: out_of_order, unknown", async () => {
  const bench = await Bench.at(7);
  await bench.pushing([put("a")]);
  await bench.pushed(8, [applied(1, 8)], [line(8, "a", { mine: 1 })]);
  await bench.pushing([put("b")]);
  const { client } = bench.body;
  await bench.refuse(409, "out_of_order", { expected: 1 });
  assert.equal(bench.phase, "pushing");
  assert.deepEqual([bench.body.mutations[0].id, bench.body.acked, bench.body.client === client], [1, 0, false]);
});
row("push: client_forked", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")], [put("c")]);
  const { client } = bench.body;
  await bench.refuse(409, "client_forked", { last: 2, results: [applied(1, 8), { id: 2, status: "rejected", code: "quota_exceeded" }] });
  assert.notEqual(bench.body.client, client);
  assert.deepEqual(bench.body.mutations.map(({ id, changes }: { id: number; changes: { id: string }[] }) => [id, changes[0]?.id]), [[1, "c"]]);
  assert.equal(bench.notes.length, 1);
  assert.deepEqual(bench.value("a"), { mine: 1 }, "what was settled stays until a pull brings it");
});
row("push: epoch_mismatch", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")]);
  const { client } = bench.body;
  await bench.refuse(409, "epoch_mismatch", { position: `${LATER}.5`, last: 1, results: [applied(1, 5)], more: false });
  assert.equal(bench.body.min, `${LATER}.5`);
  await bench.pulled(5, [line(5, "a", { mine: 1 })], { epoch: LATER, reset: true });
  assert.equal(bench.body.epoch, LATER);
  assert.notEqual(bench.body.client, client);
  assert.deepEqual(bench.body.mutations.map(({ id, base, epoch }: { id: number; base: number; epoch: string }) => [id, base, epoch]), [[1, 7, EPOCH]]);
});
row("push: epoch_mismatch, more", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")]);
  const { client } = bench.body;
  await bench.refuse(409, "epoch_mismatch", { position: `${LATER}.5`, last: 1, results: [applied(1, 5)], more: true });
  assert.deepEqual([bench.phase, bench.body.client, bench.body.epoch, bench.body.mutations[0].id], ["unsure", client, EPOCH, 2]);
});
row("push: after a stolen lock", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.reopen("user", true);
  const { client } = bench.body;
  await bench.refuse(409, "client_forked", { last: 0, results: [] });
  assert.equal(bench.phase, "unsure");
  assert.equal(bench.timers.get("wait")?.ms, 60_000);
  bench.now += 60_001;
  await bench.fire("wait");
  assert.equal(bench.body.client, client);
  await bench.refuse(409, "client_forked", { last: 0, results: [] });
  assert.notEqual(bench.body.client, client);
});

/** Has pushes answered by something else until one goes without mutations, and that one by the server. */
async function probed(bench: Bench, status: number): Promise<void> {
  for (let time = 0; time < 2; time += 1) {
    await bench.answer(status);
    await bench.fire("wait");
  }
  assert.deepEqual(bench.body.mutations, []);
  await bench.pushed(7, []);
}
row("push: foreign", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")], [put("c")]);
  await probed(bench, 403);
  assert.equal(bench.body.mutations.length, 2);
  await probed(bench, 0);
  assert.equal(bench.body.mutations.length, 1);
  await bench.pushed(8, [applied(1, 8)]);
  assert.equal(bench.body.mutations.length, 2, "what passes lets the next one hold twice as many");
});
row("push: blocked", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  for (let time = 0; time < 3; time += 1) await probed(bench, 403);
  assert.deepEqual(bench.body.mutations, [{ id: 1, changes: [] }]);
  assert.deepEqual(bench.notes.map((note) => note.kind === "rejected" && note.code), ["blocked"]);
});
row("push: blocked, perhaps by the connection", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  for (let time = 0; time < 3; time += 1) await probed(bench, 0);
  assert.equal(bench.held, "blocked");
  await bench.on({ type: "withdraw" });
  assert.deepEqual(bench.body.mutations, [{ id: 1, changes: [] }]);
});
row("push: a replaced mutation was done", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")], [put("b")]);
  const { client } = bench.body;
  await probed(bench, 403);
  for (let time = 0; time < 3; time += 1) await probed(bench, 403);
  assert.deepEqual(bench.body.mutations, [{ id: 1, changes: [] }], "it goes alone");
  await bench.refuse(409, "client_forked", { last: 0, results: [] });
  assert.deepEqual([bench.body.client, bench.body.mutations[0].id], [client, 2]);
});

// ——— Everywhere.

const changes = (from: number, version: number, ...lines: unknown[]) => ({ type: "live", message: { type: "changes", epoch: EPOCH, from, version, changes: lines } }) as const;

row("live: changes", async () => {
  const bench = await Bench.at(7, [line(7, "a")]);
  await bench.on(changes(5, 8, line(6, "a", { old: 1 }), line(8, "b")));
  assert.deepEqual([bench.value("a"), bench.value("b"), bench.row.position?.version, bench.sends.length], [{ v: 7 }, { v: 8 }, 8, 0]);
  await bench.on(changes(6, 8, line(8, "b", { twice: 1 })));
  assert.deepEqual(bench.value("b"), { v: 8 });
});
row("live: changes while something is under way", async () => {
  const bench = await (await Bench.at(7, [line(1, "n", { n: 1 })])).pushing([{ op: "add", collection: "c", id: "n", path: "n", by: 1 }]);
  await bench.on(changes(7, 8, line(8, "n", { n: 2 })));
  assert.deepEqual(bench.value("n"), { n: 2 }, "the echo does not come before the answer");
  await bench.on(changes(8, 9, line(9, "b")));
  await bench.pushed(8, [applied(1, 8)], [line(8, "n", { n: 2 })]);
  assert.deepEqual([bench.value("n"), bench.value("b"), bench.row.position?.version], [{ n: 2 }, { v: 9 }, 9]);
});
row("live: a gap", async () => {
  const bench = await Bench.at(7);
  for (const message of [changes(8, 9, line(9, "a")), { type: "live", message: { type: "version", epoch: EPOCH, version: 9 } }] as const) {
    await bench.on(message);
    assert.equal(bench.sends.length, 0);
  }
  assert.deepEqual(bench.timers.get("pull"), { type: "timer", name: "pull", ms: 0, spread: 2000 });
  await bench.fire("pull");
  assert.deepEqual(bench.body, { epoch: EPOCH, since: 7, min: `${EPOCH}.9` });
  await bench.pulled(9, [line(9, "a")]);
  assert.equal(bench.phase, "idle");
});
row("wait: over", async () => {
  const bench = await Bench.at(7);
  await bench.on({ type: "poll" });
  await bench.answer(0);
  await bench.fire("wait");
  assert.equal(bench.phase, "pulling");
});
row("wait: hurried", async () => {
  const bench = await Bench.at(7);
  await bench.on({ type: "poll" });
  await bench.answer(0);
  await bench.on({ type: "online" });
  assert.equal(bench.phase, "pulling");
  await bench.answer(0);
  await bench.on({ type: "online" });
  assert.equal(bench.phase, "waiting", "once");
  await bench.fire("wait");
  await bench.answer(503, { code: "overloaded" }, { retryAfter: 60_000 });
  await bench.edit(put("a"));
  assert.equal(bench.phase, "waiting", "the server has said how long");
});
row("held: resume", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.refuse(507, "storage_full");
  await bench.on({ type: "resume" });
  assert.deepEqual([bench.request.kind, bench.row.held, bench.held], ["push", null, undefined]);
});
row("held: signed in", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.refuse(401, "token_expired");
  await bench.on({ type: "token", user: null });
  assert.equal(bench.held, "signed-out");
  await bench.on({ type: "token", user: "user" });
  assert.equal(bench.request.kind, "push");
});
row("any: another user's token", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.refuse(401, "token_expired");
  await bench.on({ type: "token", user: "bob" });
  assert.deepEqual([bench.held, bench.sends.length], ["other-user", 0]);
  await bench.on({ type: "resume" });
  assert.deepEqual([bench.held, bench.sends.length], ["other-user", 0]);
  await bench.on({ type: "token", user: "user" });
  assert.equal(bench.request.kind, "push", "the first user is back");
  // Signed out, and somebody else in; or while something is under way.
  await bench.refuse(401, "token_expired");
  await bench.on({ type: "token", user: null });
  await bench.on({ type: "token", user: "bob" });
  assert.deepEqual([bench.held, bench.sends.length], ["other-user", 0]);
  await bench.on({ type: "token", user: "user" });
  await bench.on({ type: "token", user: "bob" });
  await bench.answer(0);
  assert.deepEqual([bench.held, bench.sends.length], ["other-user", 0]);
});
row("any: the device is full", async () => {
  const bench = await Bench.at(7);
  await bench.on({ type: "poll" });
  bench.store.failure = new DeviceFull();
  await bench.pulled(8, [line(8, "a")]);
  assert.deepEqual([bench.machine.status.deviceFull, bench.timers.get("full")?.ms, bench.row.position?.version], [true, 300_000, 7]);
  await bench.pushing([put("b")]);
  assert.equal(bench.body.since, undefined, "it brings nothing that would need room");
  await bench.pushed(9, [applied(1, 9)]);
  assert.equal(bench.sends.length, 0);
  await bench.fire("full");
  assert.deepEqual(bench.body, { epoch: EPOCH, since: 7, min: `${EPOCH}.9` });
});
row("any: the term is over", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  bench.store.failure = new TermOver();
  await bench.pushed(9, [applied(1, 9)], [line(9, "a", { mine: 1 })]);
  assert.deepEqual([bench.phase, bench.sent.length], ["closed", 1]);
});
