// Shared spaces on the real runtime: who may do what, what removal and deletion stop and when, and that nothing of one space
// ever reaches who is not in it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { usedBy } from "./device.mjs";
import { ISSUER, eventually, startRuntime } from "./harness.mjs";
import { Member, mintGrant, spaceId } from "./member.mjs";
import { directoryHash, scopeOf, sharedHash, userHash } from "./published.mjs";
import { mintToken } from "./token.mjs";

const SECRET_VALUE = "only-the-team-knows-this";
const MINUTE = 60_000;

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a"] })));
after(() => runtime.stop());

const member = (name, options) => new Member(runtime, name, options);

/** A space with an owner, a writer and a reader. */
async function staffed() {
  const [owner, writer, reader] = ["owner", "writer", "reader"].map((name) => member(name));
  const id = await owner.create();
  assert.equal((await owner.set(id, writer, "writer")).status, 200);
  assert.equal((await owner.set(id, reader, "reader")).status, 200);
  return { id, owner, writer, reader, stranger: member("stranger") };
}

function assertProblem(answer, status, code, what) {
  assert.equal(answer.status, status, `${what}: ${answer.status} ${answer.text}`);
  assert.equal(answer.body.code, code, `${what}: ${answer.text}`);
}

async function position(who, id) {
  const { body } = await who.ask("GET", `/spaces/${id}`);
  return { epoch: body.epoch, version: body.version };
}

/** Waits until KV has a head of the space at this version, and returns its scope. */
async function published(who, id) {
  const { epoch, version } = await position(who, id);
  const scope = `${sharedHash(id)}.${epoch}`;
  const namespace = await runtime.namespace();
  await eventually(`a head of ${id} at ${version}`, async () => {
    const { metadata } = await namespace.getWithMetadata(`v1/${scope}/head`);
    return metadata && metadata.v >= version;
  });
  return scope;
}

describe("the life of a space", { concurrency: 4 }, () => {
  test("each role may do what the table says, over every route", async () => {
    const { id, owner, writer, reader, stranger } = await staffed();
    const bob = encodeURIComponent(writer.sub);
    const push = { client: "c_12345678", mutations: [] };
    const table = [
      ["GET", `/spaces/${id}`, undefined, "reader"],
      ["PUT", `/spaces/${id}`, undefined, "owner"],
      ["GET", `/spaces/${id}/members`, undefined, "reader"],
      ["GET", `/spaces/${id}/members/${bob}`, undefined, "reader"],
      ["GET", `/spaces/${id}/policies`, undefined, "reader"],
      ["POST", `/spaces/${id}/grant`, undefined, "reader"],
      ["POST", `/sync/push?space=${id}`, push, "writer"],
      ["PUT", `/spaces/${id}/members/${bob}`, { role: "writer" }, "owner"],
      ["PUT", `/spaces/${id}/policies/todos`, { onConflict: "merge" }, "owner"],
      ["DELETE", `/spaces/${id}/policies/todos`, undefined, "owner"],
      ["POST", `/spaces/${id}/reset-epoch`, undefined, "owner"],
    ];
    const ranks = ["none", "reader", "writer", "owner"];
    for (const [method, path, body, least] of table) {
      for (const [who, role] of [[stranger, "none"], [reader, "reader"], [writer, "writer"], [owner, "owner"]]) {
        const answer = await who.ask(method, path, { body });
        const may = ranks.indexOf(role) >= ranks.indexOf(least);
        if (may) assert.ok([200, 204].includes(answer.status), `${method} ${path} by ${role}: ${answer.text}`);
        else assertProblem(answer, 403, "forbidden", `${method} ${path} by ${role}`);
      }
    }
    for (const path of ["/sync/pull", "/sync/head", `/sync/objects/${"0".repeat(64)}`]) {
      assertProblem(await reader.ask("GET", `${path}?space=${id}`), 403, "grant_required", path);
    }
  });

  test("answers have the shapes of the contract", async () => {
    const { id, owner, writer, reader } = await staffed();
    const { epoch, version } = await position(owner, id);
    assert.deepEqual((await owner.ask("GET", `/spaces/${id}`)).body, { space: id, role: "owner", epoch, version });
    const shown = (who, role) => ({ sub: who.sub, user: userHash(ISSUER, who.sub), role });
    assert.deepEqual((await owner.set(id, writer, "writer")).body, shown(writer, "writer"));
    const { members } = (await writer.ask("GET", `/spaces/${id}/members`)).body;
    const bySub = (a, b) => (a.sub < b.sub ? -1 : 1);
    assert.deepEqual(members.toSorted(bySub), [shown(owner, "owner"), shown(reader, "reader"), shown(writer, "writer")].toSorted(bySub));
    const policy = await owner.ask("PUT", `/spaces/${id}/policies/todos`, { body: { onConflict: "merge" } });
    assert.deepEqual([policy.status, policy.body], [200, { onConflict: "merge" }]);
    assert.deepEqual((await writer.ask("GET", `/spaces/${id}/policies`)).body, { policies: { todos: "merge" } });
    const granted = (await writer.ask("POST", `/spaces/${id}/grant`)).body;
    assert.equal(granted.role, "writer");
    assert.ok(granted.expires <= Date.now() + 10 * MINUTE && granted.expires > Date.now() + 9 * MINUTE);
    assert.ok(granted.expiresIn <= 10 * MINUTE && granted.expiresIn > 9 * MINUTE, "for who has no right clock");
    const removed = await owner.remove(id, writer);
    assert.deepEqual([removed.status, removed.text], [204, ""]);
    assert.ok(removed.response.headers.get("headwater-request"));
    assertProblem(await owner.ask("GET", `/spaces/${id}/members/${writer.sub}`), 404, "not_found", "who is none");
    assert.equal((await owner.remove(id, writer)).status, 204, "a lost answer is repeated");
  });

  test("what members push reaches members, and records of Headwater cannot be pushed", async () => {
    const { id, owner, writer, reader } = await staffed();
    assert.equal((await writer.put(id, "r1", { s: 1 })).body.results[0].status, "applied");
    const seen = await reader.records(id, { query: "consistency=strong" });
    assert.ok(seen.includes("c/r1") && seen.includes(`$members/${userHash(ISSUER, owner.sub)}`), seen.join());
    const forged = { op: "put", collection: "$members", id: userHash(ISSUER, writer.sub), value: { role: "owner" } };
    assert.equal((await writer.push(id, [forged])).body.results[0].code, "forbidden");
    assert.equal((await writer.ask("GET", `/spaces/${id}`)).body.role, "writer");
  });

  test("h20: a foreign client id in a shared space has numbers of its own", async () => {
    const { id, owner, writer } = await staffed();
    const client = "c_everybodys";
    for (const [who, number] of [[owner, 1], [writer, 1], [owner, 2], [writer, 2]]) {
      const { body } = await who.put(id, `r-${who.sub}-${number}`, {}, { client, number });
      assert.deepEqual([body.results[0].status, body.results[0].duplicate ?? false], ["applied", false]);
    }
  });

  test("a role counts at once, and the last owner stays", async () => {
    const { id, owner, writer } = await staffed();
    assert.equal((await writer.put(id, "r")).status, 200);
    await owner.set(id, writer, "reader");
    assertProblem(await writer.put(id, "r"), 403, "forbidden", "a push as a reader");
    assertProblem(await owner.remove(id, owner), 403, "forbidden", "the last owner's leave");
    assertProblem(await owner.set(id, owner, "writer"), 403, "forbidden", "the last owner's demotion");
    await owner.set(id, writer, "owner");
    assert.equal((await owner.remove(id, owner)).status, 204);
    assertProblem(await owner.set(id, owner, "owner"), 403, "forbidden", "who has left");
    assertProblem(await writer.remove(id, writer), 403, "forbidden", "the last owner's leave");
  });

  test("an id is taken for whoever is no member, and a space nobody made is 404 and leaves nothing in its object", async () => {
    const { id, stranger } = await staffed();
    assertProblem(await stranger.ask("PUT", `/spaces/${id}`), 403, "forbidden", "a taken id");
    const unused = spaceId("unused");
    for (const [method, path, body] of [
      ["GET", `/spaces/${unused}`],
      ["DELETE", `/spaces/${unused}`],
      ["POST", `/spaces/${unused}/grant`],
      ["GET", `/spaces/${unused}/members`],
      ["POST", `/spaces/${unused}/reset-epoch`],
      ["POST", `/sync/push?space=${unused}`, { client: "c_12345678", mutations: [] }],
    ]) {
      assertProblem(await stranger.ask(method, path, { body }), 404, "not_found", `${method} ${path}`);
    }
    const { rows, alarm } = await runtime.object({ scope: sharedHash(unused) }, { sql: [["SELECT name FROM sqlite_master"]] });
    assert.deepEqual([rows[0].filter(([name]) => !name.startsWith("_cf")), alarm], [[], null]);
    assert.equal((await stranger.ask("PUT", `/spaces/${unused}`)).status, 200, "and it can be made");
  });

  test("a push costs three rows, and a poll with a grant asks nobody", async () => {
    const { id, writer, reader } = await staffed();
    await writer.put(id, "r", { n: 1 });
    const { response } = await writer.put(id, "r", { n: 2 });
    assert.match(response.headers.get("server-timing"), /rows_written;desc="3"/);
    await published(writer, id);
    await reader.records(id);
    const polled = await reader.read(id, "/sync/pull");
    assert.match(polled.response.headers.get("server-timing"), /kv;desc="0", object;desc="0"/, polled.text);
  });

  test("members and grants are nothing for a private space, which is always there; its policies and its own deletion are", async () => {
    const alone = member("alone");
    for (const [method, path, body] of [
      ["GET", "/spaces/~/members"],
      ["PUT", "/spaces/~/members/bob", { role: "reader" }],
      ["DELETE", "/spaces/%7E/members/bob"],
      ["POST", "/spaces/~/grant"],
    ]) {
      assertProblem(await alone.ask(method, path, { body }), 403, "forbidden", path);
    }
    assert.equal((await alone.ask("PUT", "/spaces/~/policies/todos", { body: { onConflict: "overwrite" } })).status, 200);
    assert.deepEqual((await alone.ask("GET", "/spaces/~/policies")).body, { policies: { todos: "overwrite" } });
    const there = await alone.ask("GET", "/spaces/~");
    assert.equal(there.body.role, "owner");
    const again = await alone.ask("PUT", "/spaces/~");
    assert.deepEqual([again.status, again.body], [200, there.body], "whoever makes it finds it");
    const untouched = await member("untouched").ask("PUT", "/spaces/~");
    assert.deepEqual([untouched.status, untouched.body.version], [200, 0]);
  });

  test("making a space asks three times before the answer, what is there once, and Server-Timing says so with all rows", async () => {
    const [owner, stranger] = [member("owner"), member("stranger")];
    const used = ({ response }) => usedBy(response);
    const id = spaceId();
    const made = used(await owner.ask("PUT", `/spaces/${id}`));
    assert.equal(made.object, 3);
    const again = used(await owner.ask("PUT", `/spaces/${id}`));
    assert.deepEqual([again.object, again.rows_written], [1, 0]);
    assert.equal(used(await stranger.ask("PUT", `/spaces/${id}`)).object, 1);
    const other = used(await owner.ask("PUT", `/spaces/${spaceId()}`));
    assert.deepEqual([made.rows_written, other.rows_written], [41, 22], "the first one also begins the directory");
  });

  test("members come in pages of bytes", async () => {
    const { id, owner, writer } = await staffed();
    const subs = Array.from({ length: 60 }, (_, at) => `${String(at).padStart(4, "0")}${"\u0001".repeat(1_020)}`);
    for (const sub of subs) assert.equal((await owner.set(id, { sub }, "reader")).status, 200);
    const pages = [];
    for (let cursor = ""; cursor !== null; cursor = pages.at(-1).body.cursor) {
      pages.push(await writer.ask("GET", `/spaces/${id}/members${cursor && `?cursor=${cursor}`}`));
      assert.ok(pages.at(-1).text.length < 272 * 1024, `${pages.at(-1).text.length}`);
    }
    const listed = pages.flatMap(({ body }) => body.members.map(({ sub }) => sub));
    assert.deepEqual([pages.length, new Set(listed).size, listed.length], [2, 63, 63]);
    assert.ok(subs.every((sub) => listed.includes(sub)));
    for (const cursor of ["x", "~", "%00", `${pages[0].body.cursor}0`]) {
      assertProblem(await writer.ask("GET", `/spaces/${id}/members?cursor=${cursor}`), 400, "malformed", cursor);
    }
  });

  test("bodies are bounded and checked", async () => {
    const { id, owner } = await staffed();
    const path = `/spaces/${id}/members/bob`;
    const twice = '{"role":"reader","role":"owner"}';
    for (const body of ["", "{}", "[]", "{", '{"role":"admin"}', '{"role":null}', "\u0000", '{"rol":"reader"}', '{"role":"reader","until":1}', twice]) {
      assertProblem(await owner.ask("PUT", path, { body }), 400, "malformed", body);
    }
    for (const body of ['{"onConflict":"newest"}', '{"onconflict":"merge"}', '{"onConflict":"merge","role":"reader"}']) {
      assertProblem(await owner.ask("PUT", `/spaces/${id}/policies/todos`, { body }), 400, "malformed", body);
    }
    assertProblem(await owner.ask("GET", `/spaces/${id}/members?curser=x`), 400, "malformed", "a parameter");
    const large = JSON.stringify({ role: "reader", pad: "x".repeat(20_000) });
    assertProblem(await owner.ask("PUT", path, { body: large }), 413, "too_large", "20 KB");
    const untyped = await owner.ask("PUT", path, { body: '{"role":"reader"}', headers: { "content-type": "text/plain" } });
    assertProblem(untyped, 415, "unsupported_media_type", "text");
    assertProblem(await owner.ask("PUT", `/spaces/${id}/members/${"x".repeat(1_025)}`, { body: { role: "reader" } }), 400, "malformed", "a long subject");
    assertProblem(await owner.ask("PUT", `/spaces/${id}/policies/$members`, { body: { onConflict: "merge" } }), 400, "malformed", "a reserved name");
    for (const name of ["a%2Fb", "a%20b", "x".repeat(65), "%00", "%c3%a4", "team%2F..%2F~"]) {
      assertProblem(await owner.ask("GET", `/spaces/${name}`), 400, "malformed", name);
    }
    assert.equal((await owner.ask("POST", `/spaces/${id}`)).response.headers.get("allow"), "GET, HEAD, PUT, DELETE");
  });

  test("subjects with signs in them are members like others", async () => {
    const owner = member("owner");
    const id = await owner.create();
    const odd = member("odd", { sub: `auth0|ünï/${Math.random()}?&#%2F +` });
    assert.equal((await owner.set(id, odd, "writer")).status, 200);
    assert.equal((await odd.put(id, "r")).status, 200);
    assert.equal((await odd.ask("GET", `/spaces/${id}/members/${encodeURIComponent(odd.sub)}`)).body.sub, odd.sub);
    assert.deepEqual(await odd.invitations(), []);
    await odd.grant(id);
    await eventually("it is on the list", async () => (await odd.spaces())[id] === "writer");
  });
});

/** The object that is the directory of a user. */
const directory = (who, command) => runtime.object({ scope: directoryHash(ISSUER, who.sub) }, command);

/** Writes so many rows into the directory of a user that was used before: entries, and also that the user has made them. */
async function fillDirectory(who, count, areMade) {
  const ids = `WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ${count}) SELECT 'filler' || n AS id FROM n`;
  const text = '{"incarnation":"0mwrnsa6yk3v9q2","standing":"owner","at":"0mwrnsa6yk3v9q2.1","noted":"1"}';
  const rows = [["entry", text], ...(areMade ? [["made", "1"]] : [])];
  const sql = rows.map(([kind, value]) => [`INSERT INTO private (kind, key, text) SELECT '${kind}', id, '${value}' FROM (${ids})`]);
  await directory(who, { sql });
}

describe("how many spaces a user makes", { concurrency: 3 }, () => {
  test("1,000, and handing them over makes no room; several at once are no more; a deletion makes room a day after the making", async () => {
    const [owner, heir] = [member("owner"), member("heir")];
    await owner.spaces();
    await fillDirectory(owner, 997, true);
    const handedOver = await owner.create();
    assert.equal((await owner.set(handedOver, heir, "owner")).status, 200);
    assert.equal((await owner.remove(handedOver, owner)).status, 204);
    await eventually("the end is on the list", async () => !((await owner.spaces())[handedOver]));
    const kept = await owner.create();
    const ids = Array.from({ length: 8 }, () => spaceId());
    const answers = await Promise.all(ids.map((id) => owner.ask("PUT", `/spaces/${id}`)));
    assert.deepEqual(answers.map(({ status }) => status).toSorted(), [200, 403, 403, 403, 403, 403, 403, 403]);
    const refused = answers.find(({ status }) => status === 403);
    assert.deepEqual([refused.body.code, /1,000/.test(refused.body.detail)], ["forbidden", true], refused.text);
    for (const [at, { status }] of answers.entries()) {
      if (status === 403) assertProblem(await heir.ask("GET", `/spaces/${ids[at]}`), 404, "not_found", "what was refused");
    }
    assert.equal((await owner.ask("PUT", `/spaces/${kept}`)).status, 200, "what is there is no new one");
    assert.equal((await owner.ask("DELETE", "/spaces/~")).status, 204);
    assertProblem(await owner.ask("PUT", `/spaces/${spaceId()}`), 403, "forbidden", "after emptying the private space");
    assert.equal((await owner.ask("DELETE", `/spaces/${kept}`)).status, 204);
    assertProblem(await owner.ask("PUT", `/spaces/${spaceId()}`), 403, "forbidden", "the space that is deleted was just made");
    await directory(owner, { sql: [[`UPDATE private SET text = '1' WHERE kind = 'made' AND key = '${kept}'`]] });
    await eventually("there is room", async () => (await owner.ask("PUT", `/spaces/${spaceId()}`)).status === 200);
    assertProblem(await owner.ask("PUT", `/spaces/${spaceId()}`), 403, "forbidden", "one more");
  });

  test("whose list is full makes and lists spaces all the same, and opens those of others", async () => {
    const [victim, owner] = [member("victim"), member("owner")];
    await victim.spaces();
    await fillDirectory(victim, 10_000, false);
    const others = await owner.create(spaceId("0"));
    await owner.set(others, victim, "writer");
    assert.equal((await victim.put(others, "r")).status, 200);
    await victim.grant(others);
    // Comes first on the list, which goes by id.
    const id = await victim.create(spaceId("0"));
    await eventually("it is listed", async () => (await victim.spaces())[id] === "owner");
    assert.equal((await victim.spaces())[others], undefined, "there is no room for it");
  });

  test("ids that others have are not counted", async () => {
    const [owner, other] = [member("owner"), member("other")];
    const taken = [await owner.create(), await owner.create()];
    await owner.ask("DELETE", `/spaces/${taken[1]}`);
    await other.spaces();
    assertProblem(await other.ask("PUT", `/spaces/${taken[0]}`), 403, "forbidden", "taken");
    assertProblem(await other.ask("PUT", `/spaces/${taken[1]}`), 410, "gone", "used up");
    const { rows } = await directory(other, { sql: [["SELECT kind FROM private"]] });
    assert.deepEqual(rows, [[["owner"]]]);
  });
});

describe("an end", { concurrency: 3 }, () => {
  test("removal stops writes at once, and reads when the grant ends: head and objects included", async () => {
    const { id, owner, writer } = await staffed();
    const filler = "x".repeat(200_000);
    for (let n = 0; n < 3; n += 1) assert.equal((await owner.put(id, `r${n}`, { s: SECRET_VALUE, filler })).status, 200);
    await published(owner, id);
    const grant = await writer.grant(id);
    const at = "a";
    const head = await writer.read(id, "/sync/head", { at });
    assert.equal(head.status, 200, head.text);
    const parts = [head.body.base, head.body.delta].flatMap((run) => run?.parts ?? []);
    assert.ok(parts.length > 0, "the space is large enough to have an object");
    const object = `/sync/objects/${parts[0].sha256}`;
    assert.ok((await writer.read(id, object, { at })).text.includes(SECRET_VALUE));
    assert.equal((await owner.remove(id, writer)).status, 204);
    assertProblem(await writer.put(id, "r"), 403, "forbidden", "a push");
    assertProblem(await writer.ask("POST", `/spaces/${id}/grant`), 403, "forbidden", "another grant");
    assertProblem(await writer.read(id, "/sync/pull?consistency=strong", { at }), 403, "forbidden", "a strong pull");
    const { epoch, version } = head.body;
    for (const path of [`/sync/pull?epoch=${epoch}&since=${version}`, "/sync/pull"]) {
      const polled = await writer.read(id, path, { at, headers: { accept: "application/x-ndjson" } });
      assert.equal(polled.status, 200, "the edge asks nobody");
      assert.equal(polled.text.includes(SECRET_VALUE), path === "/sync/pull");
    }
    await runtime.setClock(at, 10 * MINUTE);
    try {
      for (const path of ["/sync/pull", "/sync/pull?consistency=strong", "/sync/head", object]) {
        assertProblem(await writer.read(id, path, { at, grant }), 403, "grant_required", path);
      }
    } finally {
      await runtime.setClock(at, 0);
    }
  });

  test("a grant that has ended reads nothing, to the second", async () => {
    const { id, reader, owner } = await staffed();
    await published(owner, id);
    const { epoch: incarnation } = await position(owner, id);
    const exp = Math.floor(Date.now() / 1000) + 3;
    const grant = mintGrant(runtime, { sub: reader.sub, space: id, incarnation, exp });
    assert.equal((await reader.read(id, "/sync/pull", { grant })).status, 200);
    await new Promise((resolve) => setTimeout(resolve, exp * 1000 - Date.now() + 5));
    assertProblem(await reader.read(id, "/sync/pull", { grant }), 403, "grant_required", "after its end");
  });

  test("a deleted space is 410 for everybody on every route, for ever", async () => {
    const { id, owner, writer, reader, stranger } = await staffed();
    await writer.put(id, "r", { s: SECRET_VALUE });
    await Promise.all([owner, writer, reader].map((who) => who.grant(id)));
    const deleted = await owner.ask("DELETE", `/spaces/${id}`);
    assert.deepEqual([deleted.status, deleted.text], [204, ""]);
    const push = { client: "c_12345678", mutations: [] };
    for (const who of [owner, writer, reader, stranger]) {
      for (const [method, path, body] of [
        ["GET", `/spaces/${id}`],
        ["PUT", `/spaces/${id}`],
        ["DELETE", `/spaces/${id}`],
        ["GET", `/spaces/${id}/members`],
        ["PUT", `/spaces/${id}/members/bob`, { role: "owner" }],
        ["GET", `/spaces/${id}/policies`],
        ["POST", `/spaces/${id}/grant`],
        ["POST", `/spaces/${id}/reset-epoch`],
        ["POST", `/sync/push?space=${id}`, push],
      ]) {
        assertProblem(await who.ask(method, path, { body }), 410, "gone", `${method} ${path}`);
      }
    }
    assertProblem(await reader.read(id, "/sync/pull?consistency=strong"), 410, "gone", "a strong pull");
    const { rows } = await runtime.object({ scope: sharedHash(id) }, {
      sql: [["SELECT count(*) FROM records"], ["SELECT count(*) FROM clients"], ["SELECT text FROM private"]],
    });
    assert.deepEqual(rows, [[[0]], [[0]], []]);
    await eventually("no alarm is left", async () => {
      const { alarm } = await runtime.object({ scope: sharedHash(id) });
      return alarm === null;
    });
    for (const who of [owner, writer, reader]) {
      await eventually("the end is on the list", async () => !((await who.spaces())[id]));
    }
  });

  test("a private space that is deleted is empty at once, at every location, and is used on", async () => {
    const alone = runtime.device(runtime.subject("alone"));
    await alone.push([{ op: "put", collection: "c", id: "r", value: { s: SECRET_VALUE } }]);
    await runtime.waitForPublished(alone.sub, alone.min);
    const other = runtime.device(alone.sub, { at: "a" });
    await other.pull();
    assert.equal(other.records.size, 1);
    assert.equal((await alone.ask("/spaces/~", { method: "DELETE" })).status, 204);
    await other.pull({ consistency: "strong" });
    assert.equal(other.records.size, 0);
    const head = await runtime.waitForPublished(alone.sub, other.position);
    assert.ok(!JSON.stringify(head).includes(SECRET_VALUE) && !head.base && !head.delta);
    const last = await alone.ask("/sync/push", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ client: alone.id, epoch: alone.min.split(".")[0], mutations: [{ id: 2, changes: [] }] }),
    });
    assert.deepEqual([last.status, last.body.code, last.body.last], [409, "epoch_mismatch", 1]);
    const again = runtime.device(alone.sub);
    await again.pull();
    await again.push([{ op: "put", collection: "c", id: "new", value: {} }]);
    await other.pull({ min: again.min });
    assert.deepEqual([...other.records.keys()], ["c new"]);
  });
});

describe("listing", () => {
  const lists = (who, id, role) =>
    eventually(`${who.sub} lists ${id} as ${role}`, async () => (await who.spaces())[id] === role);
  const askGrant = (who, id) => who.ask("POST", `/spaces/${id}/grant`);

  test("who opens a space has it on the list, changed and ended as the space says, and who makes one at once", async () => {
    const { id, owner, writer, reader } = await staffed();
    await lists(owner, id, "owner");
    assert.equal((await writer.spaces())[id], undefined, "nobody else puts it there");
    for (const [who, role] of [[writer, "writer"], [reader, "reader"]]) {
      assert.equal((await askGrant(who, id)).status, 200);
      await lists(who, id, role);
    }
    await owner.set(id, reader, "writer");
    await askGrant(reader, id);
    await lists(reader, id, "writer");
    await owner.remove(id, writer);
    assertProblem(await askGrant(writer, id), 403, "forbidden", "who was removed");
    await lists(writer, id, undefined);
    assert.equal((await reader.remove(id, reader)).status, 204);
    await lists(reader, id, undefined);
    await owner.ask("DELETE", `/spaces/${id}`);
    await lists(owner, id, undefined);
  });

  test("an invitation is shown to whoever has a list, and opening the space makes an entry of it", async () => {
    const [owner, invited] = [member("owner"), member("invited")];
    assert.deepEqual(await invited.list(), { spaces: [], invitations: [], cursor: null });
    const id = await owner.create();
    await owner.set(id, invited, "writer");
    await eventually("the invitation is there", async () => (await invited.invitations()).includes(id));
    assert.equal((await invited.spaces())[id], undefined);
    const [revoked] = [await owner.create()];
    await owner.set(revoked, invited, "writer");
    await eventually("the invitation is there", async () => (await invited.invitations()).includes(revoked));
    await owner.remove(revoked, invited);
    await askGrant(invited, id);
    await lists(invited, id, "writer");
    await askGrant(invited, revoked);
    await eventually("both are settled", async () => (await invited.invitations()).length === 0);
    assert.equal((await invited.spaces())[revoked], undefined);
  });

  test("a change costs one call of the directory, and grants after that none", async () => {
    const { id, reader } = await staffed();
    const calls = async () => (await directory(reader)).calls;
    const before = await calls();
    await askGrant(reader, id);
    await lists(reader, id, "reader");
    const listed = await calls();
    for (let n = 0; n < 5; n += 1) assert.equal((await askGrant(reader, id)).status, 200);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(await calls(), listed, "grants that say nothing new");
    assert.ok(before <= 1, "the hint");
  });

  test("nothing that is said for directories reaches a client", async () => {
    const { id, owner, writer, stranger } = await staffed();
    const answers = [
      await owner.ask("PUT", `/spaces/${id}`),
      await owner.ask("GET", `/spaces/${id}`),
      await owner.set(id, stranger, "reader"),
      await askGrant(writer, id),
      await askGrant(member("nobody"), id),
      await owner.remove(id, stranger),
      await writer.remove(id, writer),
      await owner.ask("DELETE", `/spaces/${id}`),
      await askGrant(writer, id),
    ];
    for (const { response } of answers) {
      const names = [...response.headers.keys()].filter((name) => name.startsWith("headwater-"));
      assert.ok(names.every((name) => ["headwater-request", "headwater-position"].includes(name)), names.join());
    }
  });

  test("no call reaches a user's private space before the user's own, and strangers leave nothing in a directory", async () => {
    const { id, owner, writer } = await staffed();
    await eventually("the hint has come", async () => (await directory(writer)).calls === 1);
    const { rows, alarm } = await directory(writer, { sql: [["SELECT name FROM sqlite_master"]] });
    assert.deepEqual([rows[0].filter(([name]) => !name.startsWith("_cf")), alarm], [[], null]);
    await askGrant(writer, id);
    await lists(writer, id, "writer");
    await owner.remove(id, writer);
    await owner.ask("DELETE", `/spaces/${id}`);
    await askGrant(writer, id);
    await lists(writer, id, undefined);
    for (const who of [owner, writer]) {
      assert.equal((await runtime.object(who.sub)).calls, 0, "shared spaces are no business of the private one");
      assert.equal((await directory(who)).alarm, null);
    }
    await writer.put("~", "r");
    assert.equal((await runtime.object(writer.sub)).calls, 1);
  });

  test("a probe of spaces of others writes nothing, and costs the directory one call each", async () => {
    const { id, stranger } = await staffed();
    for (let n = 0; n < 4; n += 1) assertProblem(await askGrant(stranger, id), 403, "forbidden", "a stranger");
    await eventually("it was told", async () => (await directory(stranger)).calls >= 1);
    const { rows, calls } = await directory(stranger, { sql: [["SELECT name FROM sqlite_master"]] });
    assert.deepEqual([rows[0].filter(([name]) => !name.startsWith("_cf")), calls <= 4], [[], true]);
    await askGrant(stranger, id);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal((await directory(stranger)).calls, calls);
  });

  test("a space that is made anew by a clock that is behind is listed as it is, once it is asked", async () => {
    const [first, second] = [member("first"), member("second")];
    const id = await first.create();
    await first.set(id, second, "writer");
    await askGrant(second, id);
    await lists(second, id, "writer");
    // As if the space had been made by a clock that is ahead by hours.
    const later = (Date.now() + 5 * 3_600_000).toString(36).padStart(9, "0");
    const update = `UPDATE private SET text = replace(text, substr(text, instr(text, '"at":"') + 6, 9), '${later}') WHERE kind = 'entry'`;
    await directory(second, { sql: [[update]] });
    const before = (await position(first, id)).epoch;
    await first.remove(id, second);
    assertProblem(await askGrant(second, id), 403, "forbidden", "who was removed");
    await lists(second, id, undefined);
    const { epoch } = await position(first, id);
    assert.ok(epoch > before && epoch.slice(0, 9) >= later, "the space begins above what the directory knows");
  });
});

describe("identities", { concurrency: 2 }, () => {
  test("two issuers with the same subject are two people, everywhere", async () => {
    const secrets = ["first-issuer-secret-of-32-bytes!!", "second-issuer-secret-of-32-bytes!"];
    const keys = secrets.map((secret, at) => ({ kty: "oct", kid: `k${at}`, k: Buffer.from(secret).toString("base64url") }));
    const other = await startRuntime({ variables: { JWT_SECRET: null, JWT_ISSUER: null, JWT_KEYS: JSON.stringify({ keys }) } });
    try {
      const exp = Math.floor(Date.now() / 1000) + 3600;
      const aud = other.variables.JWT_AUDIENCE;
      const tokenOf = (at, claims) => mintToken({ aud, exp, ...claims }, { secret: secrets[at], header: { kid: `k${at}` } });
      const [one, two] = [0, 1].map((at) => {
        const token = tokenOf(at, { iss: `https://issuer-${at}.test`, sub: "alice" });
        return new Member(other, "alice", { sub: "alice", token, client: "c_same_device" });
      });
      await one.push("~", [{ op: "put", collection: "c", id: "of-one", value: { s: SECRET_VALUE } }]);
      const seen = await two.ask("GET", "/sync/pull?consistency=strong");
      assert.deepEqual([seen.status, seen.body.changes], [200, []]);
      const id = await one.create();
      assertProblem(await two.ask("GET", `/spaces/${id}`), 403, "forbidden", "the other alice");
      assertProblem(await two.read(id, "/sync/pull", { grant: await one.grant(id) }), 403, "grant_required", "with a grant of the first");
      assert.equal((await one.set(id, { sub: "bob" }, "writer")).status, 200);
      const bobs = [0, 1].map((at) => new Member(other, "bob", { sub: "bob", token: tokenOf(at, { iss: `https://issuer-${at}.test`, sub: "bob" }) }));
      assert.equal((await bobs[0].put(id, "r")).status, 200, "the issuer of who adds counts");
      assert.equal((await bobs[1].put(id, "r")).status, 403);
      for (const sub of ["", undefined]) {
        const nobody = new Member(other, "nobody", { sub, token: tokenOf(0, { iss: "https://issuer-0.test", sub }) });
        assertProblem(await nobody.ask("GET", "/spaces"), 401, "unauthenticated", "an empty subject");
        assertProblem(await nobody.ask("PUT", `/spaces/${spaceId()}`), 401, "unauthenticated", "an empty subject");
      }
    } finally {
      await other.stop();
    }
  });

  test("a second user on one device has numbers and records of their own", async () => {
    const client = "c_one_device";
    const [first, second] = [member("first", { client }), member("second", { client })];
    for (const who of [first, second]) {
      const { body } = await who.put("~", `of-${who.sub}`);
      assert.deepEqual([body.results[0].status, body.results[0].version], ["applied", 1]);
      const pulled = await who.ask("GET", "/sync/pull?consistency=strong");
      assert.deepEqual(pulled.body.changes.map((change) => change.id), [`of-${who.sub}`]);
    }
  });
});

test("h6: a re-created id under a KV that still has the old head never shows what was there", async () => {
  const { id, owner, writer } = await staffed();
  await owner.put(id, "old", { s: SECRET_VALUE });
  await owner.put(id, "old-too", { s: SECRET_VALUE, filler: "x".repeat(200_000) });
  const oldScope = await published(owner, id);
  const oldGrant = await writer.grant(id);
  assert.ok((await writer.read(id, "/sync/pull", { at: "a" })).text.includes(SECRET_VALUE));
  // No deletion of ours frees an id: storage is lost.
  const listing = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '!_%' ESCAPE '!'";
  const { rows: [tables] } = await runtime.object({ scope: sharedHash(id) }, { sql: [[listing]] });
  const sql = tables.map(([table]) => [`DROP TABLE ${table}`]);
  await runtime.object({ scope: sharedHash(id) }, { alarm: null, sql });
  await runtime.object({ scope: sharedHash(id) }, { abort: true });
  const mallory = member("mallory");
  await mallory.create(id);
  const namespace = await runtime.namespace();
  assert.ok((await namespace.get(`v1/${oldScope}/head`)).includes(SECRET_VALUE), "KV has the old head");
  for (const at of ["home", "a"]) {
    for (const path of ["/sync/pull", "/sync/pull?consistency=eventual", "/sync/pull?consistency=strong", "/sync/head"]) {
      const { status, text } = await mallory.read(id, path, { at });
      assert.ok([200, 404].includes(status), `${path}: ${status} ${text}`);
      assert.ok(!text.includes(SECRET_VALUE), path);
    }
  }
  assertProblem(await writer.read(id, "/sync/pull?consistency=strong", { grant: oldGrant }), 403, "forbidden", "no member now");
  await mallory.set(id, writer, "reader");
  assertProblem(await writer.read(id, "/sync/pull?consistency=strong", { grant: oldGrant }), 403, "grant_required", "an old grant");
});

test("i9: nothing of another user's spaces reaches who is in none of them, on any route, under any name", async () => {
  const [alice, bob] = [member("alice"), member("bob")];
  const id = await bob.create();
  await bob.put(id, "shared-record", { s: SECRET_VALUE });
  await bob.put("~", "private-record", { s: SECRET_VALUE }, { number: 1 });
  await published(bob, id);
  await runtime.waitForPublished(bob.sub, `${(await bob.ask("GET", "/spaces/~")).body.epoch}.1`);
  const scope = scopeOf(ISSUER, bob.sub);
  const { epoch } = await position(bob, id);
  const before = [await position(bob, id), await bob.ask("GET", "/sync/pull?consistency=strong")];
  const names = [
    "~", id, alice.sub, bob.sub, scope, `${scope}.${epoch}`, directoryHash(ISSUER, bob.sub), sharedHash(id), `${sharedHash(id)}.${epoch}`,
    `v1/${scope}`, `../${id}`, `${id}/`, `${id}%00`, `~${bob.sub}`, userHash(ISSUER, bob.sub), "%2e%2e", id.toUpperCase(),
  ];
  const grants = [undefined, "x", await bob.grant(id), bob.token, alice.token];
  const push = { client: bob.client, epoch, mutations: [{ id: 2, changes: [{ op: "put", collection: "c", id: "of-alice", value: {} }] }] };
  const requests = names.flatMap((name) => {
    const [query, piece] = [`space=${encodeURIComponent(name)}`, encodeURIComponent(name)];
    return [
      ["POST", `/sync/push?${query}`, { ...push, epoch: undefined }],
      ["GET", `/sync/pull?${query}`],
      ["GET", `/sync/pull?${query}&consistency=strong`],
      ["GET", `/sync/pull?s%70ace=${encodeURIComponent(name)}&consistency=eventual`],
      ["POST", `/sync/pull?${query}`, {}],
      ["GET", `/sync/head?${query}`],
      ["GET", `/sync/objects/${"0".repeat(64)}?${query}`],
      ["GET", `/spaces?${query}&cursor=${id}`],
      ["GET", `/spaces/${piece}`],
      ["PUT", `/spaces/${piece}`],
      ["GET", `/spaces/${piece}/members`],
      ["GET", `/spaces/${piece}/members/${encodeURIComponent(bob.sub)}`],
      ["PUT", `/spaces/${piece}/members/${encodeURIComponent(alice.sub)}`, { role: "owner" }],
      ["DELETE", `/spaces/${piece}/members/${encodeURIComponent(bob.sub)}`],
      ["GET", `/spaces/${piece}/policies`],
      ["PUT", `/spaces/${piece}/policies/c`, { onConflict: "overwrite" }],
      ["DELETE", `/spaces/${piece}/policies/c`],
      ["POST", `/spaces/${piece}/grant`],
      ["POST", `/spaces/${piece}/reset-epoch`],
      ["DELETE", `/spaces/${piece}`],
    ].map((request) => [name, ...request]);
  });
  for (const [name, method, path, body] of requests) {
    for (const grant of path.startsWith("/sync") && method === "GET" ? grants : [undefined]) {
      const { status, text } = await alice.ask(method, path, { body, grant, at: "a" });
      assert.ok(!text.includes(SECRET_VALUE) && !text.includes("-record"), `${method} ${path} gave Alice what is Bob's`);
      assert.ok(status < 500, `${method} ${path}: ${status} ${text}`);
      const isOwn = name === "~" || path.startsWith("/spaces?");
      // A name that is an id nobody has is Alice's for the making.
      const isMade = !isOwn && /^[\w-]{1,64}$/.test(name) && name !== id;
      if (!isOwn && !isMade) assert.ok(status >= 400, `${method} ${path}: ${status} ${text}`);
    }
  }
  const now = [await position(bob, id), await bob.ask("GET", "/sync/pull?consistency=strong")];
  assert.deepEqual([now[0], now[1].body], [before[0], before[1].body], "nothing of Bob's has changed");
  assert.deepEqual((await bob.records(id, { query: "consistency=strong" })).filter((name) => name.startsWith("c/")), ["c/shared-record"]);
});
