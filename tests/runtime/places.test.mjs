// The places of bodies in the module by themselves: who gets in, in which order, and who waits for nobody.
// memory.test.mjs has the whole on the runtime.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { Place, configurePlaces } from "../../src/worker/js/places.js";

const MIB = 1024 * 1024;
const LIMIT = 4 * MIB;
const turn = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  entered = [];
  configurePlaces(65_536, 2 * MIB, 2 * LIMIT, 10_000, 10, 100, 2_000, 60_000);
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() });
});
afterEach(() => mock.timers.reset());

/** Those that have got in, in order. */
let entered = [];

const placeOf = (user, bytes = LIMIT) =>
  new Place(user, { headers: new Headers(bytes === null ? {} : { "content-length": bytes }) }, LIMIT);

/** Asks for a place; `is` says what has become of it. */
function ask(user, bytes) {
  const asked = { user, place: placeOf(user, bytes), is: "waiting" };
  asked.place.enter().then((isIn) => {
    asked.is = isIn ? "in" : "refused";
    if (isIn) entered.push(asked);
  });
  return asked;
}

async function pass(ms) {
  for (let at = 0; at < ms; at += 10) {
    mock.timers.tick(10);
    await turn();
  }
}

const inside = (all) => all.filter(({ is }) => is === "in");

describe("places of bodies in the module", () => {
  test("two full bodies are inside at once, and the next gets in when one has left, at its end or without it", async () => {
    const all = ["a", "b", "c", "d"].map((user) => ask(user));
    await pass(100);
    assert.deepEqual(all.map(({ is }) => is), ["in", "in", "waiting", "waiting"]);
    all[1].place.leave();
    all[1].place.leave();
    await pass(100);
    assert.deepEqual(all.map(({ is }) => is), ["in", "in", "in", "waiting"]);
    all[3].place.leave();
    all[0].place.leave();
    await pass(20_000);
    assert.equal(all[3].is, "in", "whoever asks again stands at the end");
  });

  test("a body whose length is not known counts as a full one, and none as more", async () => {
    const all = [ask("a", null), ask("b", 50 * MIB), ask("c", 70_000)];
    await pass(100);
    assert.deepEqual(all.map(({ is }) => is), ["in", "in", "waiting"]);
  });

  test("short bodies do not wait behind long ones, nor long ones behind short ones", async () => {
    const long = Array.from({ length: 5 }, (_, at) => ask(`long-${at}`));
    await pass(100);
    const short = Array.from({ length: 40 }, (_, at) => ask(`short-${at}`, 65_536));
    await turn();
    assert.deepEqual([inside(long).length, inside(short).length], [2, 32]);
    for (const { place } of inside(long)) place.leave();
    await pass(100);
    assert.equal(inside(long).length, 4);
  });

  test("a long body is not overtaken by those that would fit into what is left", async () => {
    const all = [ask("a"), ask("b", 3 * MIB), ask("c"), ask("d", 70_000)];
    await pass(100);
    assert.deepEqual(all.map(({ is }) => is), ["in", "in", "waiting", "waiting"]);
    all[1].place.leave();
    await pass(100);
    assert.deepEqual(all.map(({ is }) => is), ["in", "in", "in", "waiting"]);
  });

  test("who comes waits for no more than one body of every other user, however many of those wait", async () => {
    for (let at = 0; at < 40; at += 1) ask(at < 20 ? "many" : "more");
    await turn();
    ask("one");
    ask("two");
    for (let at = 0; at < 10; at += 1) {
      entered[at].place.leave();
      await pass(100);
    }
    const order = entered.map(({ user }) => user).slice(0, 10);
    assert.deepEqual(order, ["many", "many", "more", "one", "two", "many", "more", "many", "more", "many"]);
  });

  test("who has waited for ten seconds is refused, and stands in nobody's way", async () => {
    const all = [ask("a"), ask("b"), ask("c")];
    await pass(5_000);
    all.push(ask("d"));
    await pass(6_000);
    assert.deepEqual(all.map(({ is }) => is), ["in", "in", "refused", "waiting"]);
    all[0].place.leave();
    await pass(100);
    assert.equal(all[3].is, "in");
  });

  test("whose object has ended without a word holds its place among those who wait for 2 s, and inside for 60 s", async () => {
    const all = [ask("a"), ask("b")];
    await turn();
    const lost = ask("lost");
    // Its timer is dropped with it.
    mock.timers.reset();
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() });
    const next = ask("next");
    all[0].place.leave();
    await pass(1_500);
    assert.equal(next.is, "waiting");
    await pass(1_000);
    assert.deepEqual([lost.is, next.is], ["waiting", "in"]);
    await pass(58_000);
    const last = ask("last");
    await pass(5_000);
    assert.equal(last.is, "in");
  });

  test("an instance of the module that begins has all places free", async () => {
    const before = ["a", "b"].map((user) => ask(user));
    await turn();
    configurePlaces(65_536, 2 * MIB, 2 * LIMIT, 10_000, 10, 100, 2_000, 60_000);
    const now = ["c", "d"].map((user) => ask(user));
    await turn();
    for (const { place } of before) place.leave();
    const more = ask("e");
    await pass(100);
    assert.deepEqual([...now, more].map(({ is }) => is), ["in", "in", "waiting"]);
  });
});
