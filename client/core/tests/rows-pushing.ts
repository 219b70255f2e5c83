// Rows of SPEC.md: pushing.

import assert from "node:assert/strict";
import { Bench, EPOCH, LATER, line, patch, put } from "./bench.ts";
import type { OutboxRow } from "../src/store.ts";
import { applied, row } from "./rows.ts";

row("push: captured", async () => {
  const bench = await Bench.at(7);
  await bench.edit(put("a"));
  assert.equal(bench.timers.get("push")?.ms, 0, "the first one goes at once");
  bench.now += 100;
  await bench.edit(patch("a", { b: 1 }));
  assert.equal(bench.timers.get("push")?.ms, 50, "what follows closely is gathered");
  bench.now += 140;
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
row("push: early", async () => {
  const bench = await Bench.at(7);
  await bench.editEarly(put("a"));
  assert.deepEqual([bench.phase, bench.machine.status.pending, bench.sent.length, bench.store.outbox.rows.size], ["pushing", 1, 0, 1]);
  assert.deepEqual(bench.body, {
    client: "id_000001", epoch: EPOCH, since: 7, acked: 0,
    mutations: [{ id: 1, at: 5, base: 7, changes: [{ op: "put", collection: "c", id: "a", value: { mine: 1 }, base: 0 }] }],
  });
  assert.equal(bench.machine.ahead(bench.now + 1000), null, "one at a time");
  await bench.edit(patch("a", { more: 1 }));
  await bench.pushed(8, [applied(1, 8)], [line(8, "a", { mine: 1 })]);
  assert.deepEqual([bench.value("a"), bench.row.acked, bench.row.position?.version], [{ mine: 1, more: 1 }, 1, 8]);
  assert.deepEqual(bench.body.mutations.map(({ id }: { id: number }) => id), [2], "what came meanwhile is a mutation of its own");
});
row("push: early, not now", async () => {
  const bench = await Bench.at(7);
  await bench.editEarly(put("a"), true);
  await bench.on({ type: "poll" });
  const { row } = bench;
  await bench.on({ type: "captured", seq: 1, early: { rows: [...bench.store.outbox.rows.values()], fresh: ["c a"], row } });
  assert.equal(bench.request.kind, "pull", "one at a time");
  assert.equal(bench.timers.get("push")?.ms, 0);
});
row("push: early, numbered otherwise", async () => {
  const bench = await Bench.at(7);
  await bench.editEarly(put("a"));
  const [queued] = [...bench.store.outbox.rows.values()] as [OutboxRow];
  await bench.store.commit(1, { wake: "rows" }, (tx) => tx.outbox.put([{ ...queued, changes: [JSON.stringify(put("a", { other: 1 }))] }]));
  await bench.pushed(8, [applied(1, 8)], [line(8, "a", { mine: 1 })]);
  assert.deepEqual([bench.phase, bench.machine.status.pending, bench.row.acked], ["unsure", 1, 0]);
  await bench.refuse(409, "client_forked", { last: 0, results: [] });
  assert.notEqual(bench.body.client, "id_000001");
  await bench.pushed(9, [applied(1, 9)], [line(9, "a", { other: 1 })]);
  assert.deepEqual([bench.value("a"), bench.machine.status.pending], [{ other: 1 }, 0]);
});
row("push: early, no answer", async () => {
  const bench = await Bench.at(7);
  await bench.editEarly(put("a"));
  const { mutations } = bench.body;
  await bench.edit(patch("a", { more: 1 }));
  await bench.answer(0);
  assert.equal(bench.phase, "unsure");
  await bench.fire("wait");
  assert.deepEqual(bench.body.mutations, mutations, "the same again, whatever came since");
});
row("open: an early edit is left", async () => {
  const bench = await Bench.at(7);
  await bench.editEarly(put("a"));
  const { mutations } = bench.body;
  await bench.edit(patch("a", { more: 1 }));
  await bench.reopen();
  assert.equal(bench.phase, "unsure");
  assert.deepEqual(bench.body.mutations, mutations);
});
row("push: settled", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  await bench.pushed(9, [applied(1, 9)], [line(8, "b"), line(9, "a", { mine: 1 })]);
  assert.equal(bench.phase, "idle");
  assert.deepEqual([bench.value("a"), bench.value("b"), bench.row.position?.version, bench.row.acked], [{ mine: 1 }, { v: 8 }, 9, 1]);
  assert.deepEqual([bench.sent.length, bench.store.base.rows.size, bench.machine.status.pending], [0, 0, 0]);
  const phases = bench.tells.flatMap((tell) => (tell.type === "status" ? [tell.status.phase] : []));
  assert.ok(!phases.includes("unsure"), `nothing was unsure: ${phases}`);
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
