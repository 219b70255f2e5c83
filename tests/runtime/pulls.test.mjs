// Several pulls in one request on the real runtime: each as it would be alone, with its own rights, and what it costs.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";
import { Member } from "./member.mjs";

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["edge"] })));
after(() => runtime.stop());

const pulls = async (member, list, options = {}) => member.ask("POST", "/sync/pulls", { body: { pulls: list }, ...options });
const alone = (member, space, { grant, ...fields } = {}) =>
  member.ask("POST", space === "~" ? "/sync/pull" : `/sync/pull?space=${space}`, { body: fields, ...(grant && { grant }) });
/** What `Server-Timing` counts, by name. */
const used = ({ response }) =>
  Object.fromEntries([...response.headers.get("server-timing").matchAll(/(\w+);desc="(\d+)"/g)].map(([, name, count]) => [name, Number(count)]));

/** A member with a private space and `count` shared ones, each with a record of its own; and pulls of all of them. */
async function withSpaces(count) {
  const member = new Member(runtime, "reader");
  const spaces = ["~"];
  for (let n = 0; n < count; n += 1) spaces.push(await member.create());
  const list = [];
  for (const [at, space] of spaces.entries()) {
    member.next = 1;
    assert.equal((await member.put(space, `r${at}`, { at })).status, 200);
    list.push({ space, ...(space !== "~" && { grant: await member.grant(space) }) });
  }
  return { member, spaces, list };
}

describe("several pulls in a request", () => {
  test("have the answers that they would have alone, and cost one request instead of five", async () => {
    const { member, list } = await withSpaces(4);
    const together = await pulls(member, list);
    assert.equal(together.status, 200, together.text);
    const counted = { cache: 0, kv: 0, object: 0, rows_read: 0, rows_written: 0 };
    for (const [at, { space, ...fields }] of list.entries()) {
      const one = await alone(member, space, fields);
      const { status, body } = together.body.pulls[at];
      assert.deepEqual([status, body], [200, one.body], space);
      assert.ok(body.changes.some(({ id }) => id === `r${at}`), space);
    }
    // Again with what they have: nothing is new, and memory or the location's cache may say so.
    const known = list.map((pull, at) => ({ ...pull, epoch: together.body.pulls[at].body.epoch, since: together.body.pulls[at].body.version }));
    assert.deepEqual((await pulls(member, known)).body, { pulls: known.map(() => ({ status: 304 })) });
    // What the coordinators are asked for is what they would be asked for alone.
    const strong = known.map((pull) => ({ ...pull, consistency: "strong" }));
    await pulls(member, strong);
    for (const { space, ...fields } of strong) for (const [name, count] of Object.entries(used(await alone(member, space, fields)))) counted[name] += count;
    const answer = await pulls(member, strong);
    assert.deepEqual(used(answer), counted);
    assert.equal(counted.object, 5);
    assert.deepEqual(answer.body, { pulls: known.map(() => ({ status: 304 })) });
  });

  test("have the rights of each alone: no grant, another's, another space's, and a space that never was", async () => {
    const { member, list, spaces } = await withSpaces(2);
    const mallory = new Member(runtime, "mallory");
    const refused = await pulls(mallory, [list[1], { space: spaces[1] }, { space: "never-was" }, { space: `${spaces[1]}/x` }, {}]);
    const told = refused.body.pulls.map(({ status, body }) => [status, body.code]);
    assert.deepEqual(told, [[403, "grant_required"], [403, "grant_required"], [403, "grant_required"], [400, "malformed"], [200, undefined]]);
    assert.deepEqual(refused.body.pulls[4].body.changes, [], "her own is empty");
    const swapped = await pulls(member, [{ space: spaces[2], grant: list[1].grant }, list[2]]);
    assert.deepEqual(swapped.body.pulls.map(({ status }) => status), [403, 200]);
    assert.equal((await pulls(member, list, { headers: { authorization: "" } })).status, 401);
  });

  test("of a removed member are refused by whatever reaches the coordinator, each for itself", async () => {
    const { member: owner, spaces } = await withSpaces(2);
    const member = new Member(runtime, "member");
    const list = [{}];
    for (const space of spaces.slice(1)) {
      await owner.set(space, member, "reader");
      list.push({ space, grant: await member.grant(space), consistency: "strong" });
    }
    await owner.remove(spaces[1], member);
    const told = (await pulls(member, list)).body.pulls.map(({ status, body }) => [status, body?.code]);
    assert.deepEqual(told, [[200, undefined], [403, "forbidden"], [200, undefined]]);
  });

  test("show a write that passed the location, and a position that is asked for", async () => {
    const { member, spaces, list } = await withSpaces(1);
    const first = (await pulls(member, list)).body.pulls;
    member.next = 2;
    const written = await member.put(spaces[1], "later");
    const known = list.map((pull, at) => ({ ...pull, epoch: first[at].body.epoch, since: first[at].body.version }));
    const next = (await pulls(member, known)).body.pulls;
    assert.deepEqual(next.map(({ status }) => status), [304, 200]);
    assert.deepEqual(next[1].body.changes.map(({ id }) => id), ["later"]);
    const min = written.response.headers.get("headwater-position");
    const elsewhere = await pulls(member, [{ ...known[1], min }], { at: "edge" });
    assert.equal(elsewhere.body.pulls[0].body.changes[0].id, "later");
  });

  test("bring what fits, and say of the rest that it is to be asked for alone", async () => {
    const { member, list, spaces } = await withSpaces(2);
    for (const space of spaces) {
      member.next = 2;
      for (let n = 0; n < 2; n += 1) assert.equal((await member.put(space, `long${n}`, { text: "x".repeat(110_000) })).status, 200);
    }
    const { pulls: told } = (await pulls(member, list)).body;
    assert.deepEqual(told.map(({ status, alone }) => status ?? alone), [200, 200, true]);
    assert.equal((await alone(member, spaces[2], list[2])).status, 400, "space is no field there");
    const { space, ...fields } = list[2];
    const rest = (await alone(member, space, fields)).body.changes.filter(({ collection }) => collection === "c");
    assert.equal(rest.length, 3);
  });

  test("are refused as a whole when they are no list, too many, too long, or of another type", async () => {
    const { member, list } = await withSpaces(0);
    for (const [body, status, code] of [
      ["", 400, "malformed"],
      ["[]", 400, "malformed"],
      ["{}", 400, "malformed"],
      ['{"pulls":1}', 400, "malformed"],
      ['{"pulls":[],"pulls":[]}', 400, "malformed"],
      ['{"pulls":[],"space":"~"}', 400, "malformed"],
      [JSON.stringify({ pulls: Array.from({ length: 6 }, () => ({})) }), 413, "too_large"],
      [`{"pulls":[${"{},".repeat(5000)}{}]}`, 413, "too_large"],
      [`{"pulls":[{"cursor":"${"x".repeat(20_000)}"}]}`, 413, "too_large"],
      [`${"[".repeat(15_000)}`, 400, "malformed"],
    ]) {
      const answer = await member.ask("POST", "/sync/pulls", { body });
      assert.deepEqual([answer.status, answer.body.code], [status, code], body.slice(0, 60));
    }
    assert.equal((await pulls(member, list, { headers: { "content-type": "text/plain" } })).status, 415);
    assert.equal((await member.ask("POST", "/sync/pulls?space=~", { body: { pulls: [] } })).status, 400);
    const wrong = await member.ask("GET", "/sync/pulls");
    assert.deepEqual([wrong.status, wrong.response.headers.get("allow")], [405, "POST"]);
    assert.deepEqual((await pulls(member, [])).body, { pulls: [] });
    const hostile = await pulls(member, [1, null, { since: 1 }, { sinse: 1 }, { space: "~", grant: "x".repeat(4000) }]);
    assert.deepEqual(hostile.body.pulls.map(({ status, body }) => body.code ?? status), ["malformed", "malformed", "malformed", "malformed", 200]);
  });
});
