// Rows of SPEC.md: beginning, loading and pulling.

import assert from "node:assert/strict";
import { Bench, EPOCH, LATER, line, patch, put } from "./bench.ts";
import { row } from "./rows.ts";

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
  assert.deepEqual([first.base, first.changes[0].base, second.changes[0].base], [10, undefined, 0]);
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
row("pull: the day's budget is used up", async () => {
  const bench = await Bench.at(7, [line(7, "a")]);
  await bench.on({ type: "poll" });
  await bench.answer(503, { code: "overloaded", budget: "object_requests" }, { retryAfter: 7_200_000 });
  assert.deepEqual([bench.phase, bench.timers.get("budget")?.ms, bench.timers.has("wait")], ["waiting", 7_200_000, false]);
  for (const type of ["poll", "online"] as const) await bench.on({ type });
  assert.equal(bench.sends.length, 0);
  await bench.pushing([put("b")]);
  await bench.pushed(8, [{ id: 1, status: "applied", version: 8 }]);
  assert.deepEqual([bench.phase, bench.sent.length, bench.sends.length], ["waiting", 0, 0]);
  await bench.fire("budget");
  assert.equal(bench.phase, "pulling", "the day is over");
  await bench.pulled(8);
  // As any other refusal does: a push has no other day.
  await bench.pushing([put("c")]);
  await bench.answer(503, { code: "overloaded", budget: "object_requests" }, { retryAfter: 60_000 });
  assert.equal(bench.timers.get("wait")?.ms, 60_000);
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
