// Rows of SPEC.md: live messages, waiting, and what may happen in any state.

import assert from "node:assert/strict";
import { DeviceFull, TermOver } from "../src/store.ts";
import { Bench, EPOCH, line, put } from "./bench.ts";
import { PageOfApp, settle } from "./page.ts";
import { applied, row } from "./rows.ts";

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
row("live: before the space is open", async () => {
  const bench = new Bench();
  await bench.on({ type: "live", message: { type: "version", epoch: EPOCH, version: 9 } });
  await bench.on({ type: "open", user: "u" });
  await bench.fire("pull");
  await bench.page({ version: 8, lines: [line(8, "a")], end: true });
  await bench.answer(200, { isStream: true });
  await bench.fire("wait");
  assert.deepEqual(bench.body, { epoch: EPOCH, since: 8, min: `${EPOCH}.9` });
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
row("held: retry", async () => {
  const page = new PageOfApp();
  page.isForbidden = true;
  for (const space of ["~", "s1"]) page.device.open(space);
  await page.pass(100);
  assert.equal(page.device.status("s1")?.held?.why, "forbidden");
  page.isForbidden = false;
  page.device.retry("s1");
  await page.pass(100);
  assert.equal(page.device.status("s1")?.phase, "idle");
  page.isForbidden = true;
  page.device.online();
  await page.pass(100);
  assert.equal(page.device.status("s1")?.held?.why, "forbidden");
  page.isForbidden = false;
  page.device.pause();
  const requests = page.requests.length;
  page.device.open("s2");
  page.device.retry("s1");
  await page.pass(100);
  assert.equal(page.requests.length, requests, "while it is paused, `resume` does");
  page.device.resume();
  await page.pass(100);
  page.isForbidden = true;
  page.device.retry("s1");
  await page.pass(100);
  for (const space of ["~", "s1", "s2"]) assert.deepEqual([page.device.status(space)?.phase, page.device.status(space)?.held], ["idle", null]);
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
row("any: the device is full in the middle of a pull", async () => {
  for (const isReset of [false, true]) {
    const bench = await Bench.at(7, [line(1, "a", { n: 1 })]);
    await bench.on({ type: "poll" });
    await bench.pulled(9, [line(8, "b")], { more: true, cursor: "k2", reset: isReset });
    await bench.edit({ op: "add", collection: "c", id: "a", path: "n", by: 1 });
    bench.store.failure = new DeviceFull();
    await bench.pulled(9, [line(9, "a", { n: 2 })], { cursor: null });
    await bench.fire("push");
    if (isReset) {
      assert.deepEqual([bench.sends.length, bench.sent.length], [0, 0], "it is not known what the edit rests on");
      continue;
    }
    assert.deepEqual([bench.request.kind, bench.body.mutations[0].base, bench.body.since], ["push", 7, undefined]);
    // There is room again, and the answer is lost: no line that may hold the addition comes before it is known.
    await bench.fire("full");
    await bench.answer(0);
    await bench.fire("wait");
    assert.equal(bench.request.kind, "push");
    await bench.pushed(10, [applied(1, 10)]);
    assert.deepEqual([bench.request.kind, bench.body.cursor, bench.value("a")], ["pull", "k2", { n: 2 }]);
    await bench.pulled(9, [line(9, "a", { n: 2 })]);
    assert.deepEqual(bench.value("a"), { n: 3 });
    await bench.fire("wait");
    assert.equal(bench.body.min, `${EPOCH}.10`);
    await bench.pulled(10, [line(10, "a", { n: 3 })]);
    assert.deepEqual([bench.value("a"), bench.phase, bench.sent], [{ n: 3 }, "idle", []]);
  }
});
row("any: offline", async () => {
  for (const sockets of [false, true]) {
    const page = new PageOfApp({ sockets });
    page.device.open("~");
    await page.pass(100);
    for (const socket of page.sockets) socket.greet(page.server);
    page.instead = ["open"];
    await page.edit(put("a"));
    await page.pass(60);
    assert.equal(page.phase, "pushing");
    page.device.offline();
    await settle();
    assert.equal(page.phase, "unsure", "it is told at once");
    const before = [page.requests.length, page.sockets.length];
    await page.edit(put("b"));
    page.device.visible(true);
    await page.pass(20 * 60_000);
    assert.deepEqual([page.requests.length, page.sockets.length], before, "nothing is sent");
    page.instead = [null];
    const now = page.device.now();
    await page.pass(100);
    assert.equal(page.requests.length, (before[0] as number) + 1, "who asks has reason to try");
    page.device.offline();
    page.device.online();
    await page.pass(10_000);
    for (const socket of page.sockets.slice(-1)) socket.greet(page.server);
    await page.pass(60_000);
    await now;
    assert.deepEqual([page.store.state("~"), page.phase], [page.server.state(), "idle"]);
    page.device.offline();
    await settle();
    assert.equal(page.phase, "waiting", "also where nothing is under way");
    page.device.stop();
  }
});
row("any: the term is over", async () => {
  const bench = await (await Bench.at(7)).pushing([put("a")]);
  bench.store.failure = new TermOver();
  await bench.pushed(9, [applied(1, 9)], [line(9, "a", { mine: 1 })]);
  assert.deepEqual([bench.phase, bench.sent.length], ["closed", 1]);
});
