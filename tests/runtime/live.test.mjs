// Sockets: who gets one, what they are told, what goes over them, and when they end.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";
import { Member, spaceId } from "./member.mjs";
import { sharedHash } from "./published.mjs";
import { Socket, assertProblem, listen, upgrade } from "./socket.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const seconds = () => Math.floor(Date.now() / 1000);

describe("sockets", () => {
  let runtime;
  before(async () => {
    runtime = await startRuntime({ locations: ["a"], variables: { PUBLISH_INTERVAL_MS: "60000", PUBLISH_MAX_DELAY_MS: "60000" } });
  });
  after(() => runtime.stop());

  const someone = (name) => {
    const sub = runtime.subject(name);
    return { sub, token: runtime.token(sub), device: runtime.device(sub) };
  };

  /** A shared space with an owner and a writer, each with a token. */
  const team = async () => {
    const [owner, writer] = ["owner", "writer"].map((name) => new Member(runtime, name));
    const space = await owner.create(spaceId("live"));
    assert.equal((await owner.set(space, writer, "writer")).status, 200);
    return { owner, writer, space };
  };

  test("the greeting says where the space stands, when the token ends, and when to come back", async () => {
    const { token, device } = someone("alice");
    const fresh = await listen(runtime, token);
    assert.equal(fresh.protocol, "headwater.v1");
    assert.deepEqual([fresh.greeting.type, fresh.greeting.space, fresh.greeting.version], ["version", "~", 0]);
    await fresh.close();
    await device.pushMutations([{ changes: [put("a")] }]);
    const socket = await listen(runtime, token, { at: "a" });
    const { epoch, version, tokenExpiresIn, reconnectWithin, role, grant } = socket.greeting;
    assert.deepEqual([epoch, version], [device.min.split(".")[0], 1]);
    assert.ok(tokenExpiresIn > 3_500_000 && tokenExpiresIn <= 3_660_000, `the token ends in ${tokenExpiresIn} ms`);
    assert.deepEqual([reconnectWithin, role, grant], [5_000, undefined, undefined]);
    await socket.close();
  });

  test("what one device pushes the other is told, with the changes, whichever way it was pushed", async () => {
    const { token, device } = someone("alice");
    const socket = await listen(runtime, token);
    await device.pushMutations([{ changes: [put("a", { n: 1 })] }]);
    const first = await socket.hears("changes");
    assert.deepEqual([first.space, first.from, first.version], ["~", 0, 1]);
    assert.deepEqual(first.changes, [{ version: 1, collection: "c", id: "a", value: { n: 1 } }]);
    const other = await listen(runtime, token);
    assert.equal(other.greeting.version, 1);
    const skip = socket.told.length;
    assert.equal((await other.push("c_other-00", 1, [put("b")])).status, 200);
    const second = await socket.hears("changes", { skip });
    assert.deepEqual([second.from, second.version, second.changes.map(({ id }) => id)], [1, 2, ["b"]]);
    await Promise.all([socket.close(), other.close()]);
  });

  test("commits one after the other are told at once, then at most every 100 ms, and none is left out", async () => {
    const { token, device } = someone("alice");
    const socket = await listen(runtime, token);
    for (let n = 1; n <= 40; n += 1) await device.pushMutations([{ changes: [put(`r${n}`, { n })] }]);
    await socket.hears("changes", { where: ({ version }) => version === 40 });
    const news = socket.told.slice(1);
    assert.equal(news[0].from, 0);
    for (const [at, { from }] of news.entries()) assert.equal(from, at === 0 ? 0 : news[at - 1].version, "they follow each other");
    const brought = news.flatMap(({ changes }) => changes.map(({ value }) => value.n));
    assert.deepEqual(brought, Array.from({ length: 40 }, (_, at) => at + 1));
    assert.ok(news.length < 40, `${news.length} messages for 40 commits`);
    await socket.close();
  });

  test("changes that are not small are told without what they are", async () => {
    const { token, device } = someone("alice");
    const socket = await listen(runtime, token);
    await device.pushMutations([{ changes: [put("a", { text: "x".repeat(70_000) })] }]);
    const told = await socket.hears("version");
    assert.deepEqual([told.version, told.changes], [1, undefined]);
    await socket.close();
  });

  test("a ping is answered with where the space stands, and only if it is exactly that", async () => {
    const { token, device } = someone("alice");
    const socket = await listen(runtime, token);
    assert.equal((await socket.ping()).version, 0);
    await device.pushMutations([{ changes: [put("a")] }]);
    await socket.hears("changes");
    const pong = await eventually("the pong is of now", async () => {
      const pong = await socket.ping();
      return pong.version === 1 ? pong : null;
    });
    assert.deepEqual(Object.keys(pong), ["type", "space", "epoch", "version"]);
    socket.send('{"type": "ping"}');
    assert.equal(await socket.ended(), 1008);
  });

  test("pushes, pulls and resolutions are answered as HTTP answers them, in order", async () => {
    const { token, device } = someone("alice");
    const socket = await listen(runtime, token);
    const texts = [
      { type: "push", n: 1, body: { client: "c_socket-0", mutations: [{ id: 1, changes: [put("a", { n: 1 })] }] } },
      { type: "pull", n: 2, body: {} },
      { type: "push", n: 5, body: { client: "c_socket-0", mutations: [{ id: 2, changes: [put("b", { n: 2 })] }] } },
      { type: "pull", n: 6, body: {} },
      { type: "conflict", n: 7, body: { client: "c_socket-0", id: 3, resolutions: [{ conflict: "none", use: "theirs" }] } },
    ];
    for (const text of texts) socket.send(JSON.stringify(text));
    await socket.answer(7);
    assert.deepEqual(socket.answers.map(({ n }) => n), [1, 2, 5, 6, 7], "in order");
    const [first, pulled, , again, resolved] = socket.answers;
    assert.deepEqual(first.body.results.map(({ id, status, version }) => [id, status, version]), [[1, "applied", 1]]);
    assert.deepEqual([pulled.status, pulled.body.version, pulled.body.more], [200, 1, false]);
    assert.deepEqual(again.body.changes.map(({ id }) => id).sort(), ["a", "b"]);
    assert.ok([200, 400].includes(resolved.status), JSON.stringify(resolved));
    const { epoch, version } = again.body;
    socket.n = 7;
    const nothing = await socket.ask("pull", { epoch, since: version });
    assert.deepEqual(nothing, { type: "answer", n: 8, status: 304 });
    await device.pull({ consistency: "strong" });
    assert.deepEqual([...device.records.keys()].length, 2, "what was pushed over the socket is there by HTTP");
    await socket.close();
  });

  test("a push that is repeated the other way is applied once", async () => {
    const { token, device } = someone("alice");
    const socket = await listen(runtime, token);
    const body = { client: device.id, mutations: [{ id: 1, changes: [put("a")] }] };
    const first = await socket.ask("push", body);
    const again = await device.post(body);
    const once = await socket.ask("push", body);
    assert.deepEqual([first.body.version, again.body.version, once.body.version], [1, 1, 1]);
    assert.deepEqual([first, again, once].map(({ body }) => body.results[0].duplicate ?? false), [false, true, true]);
    await socket.close();
  });

  test("what is wrong with a message is said in its answer, with the status of HTTP", async () => {
    const { token } = someone("alice");
    const socket = await listen(runtime, token);
    assertProblem(await socket.ask("push", {}), 400, "malformed");
    assertProblem(await socket.ask("pull", { since: 1 }), 400, "malformed");
    assertProblem(await socket.ask("later", {}), 400, "malformed");
    assertProblem(await socket.ask("pull", { cursor: "x" }), 400, "malformed");
    assertProblem(await socket.ask("token", "a.b.c"), 401, "unauthenticated");
    const ordered = await socket.push("c_socket-1", 5, [put("a")]);
    assertProblem(ordered, 409, "out_of_order");
    assert.equal(ordered.body.expected, 1);
    assert.match(ordered.body.request, /^live-\d+-\d+$/);
    await socket.close();
  });

  test("a message of more than 256 KiB is not done, and so is not a pull of several pages", async () => {
    const { token, device } = someone("alice");
    const socket = await listen(runtime, token);
    const long = await socket.push("c_socket-2", 1, [put("a", { text: "x".repeat(256 * 1024) })]);
    assert.deepEqual(long, { type: "use_http", n: 1 });
    const wide = await socket.push("c_socket-2", 1, [put("a", { text: "é".repeat(200 * 1024) })]);
    assert.deepEqual(wide, { type: "use_http", n: 2 }, "bytes count");
    for (let n = 0; n < 3; n += 1) await device.pushMutations([{ changes: [put(`r${n}`, { text: "x".repeat(200_000) })] }]);
    assert.deepEqual(await socket.ask("pull", {}), { type: "use_http", n: 3 });
    assert.equal((await socket.push("c_socket-2", 1, [put("b")])).status, 200, "nothing of the first was done");
    await socket.close();
  });

  test("what is not of the protocol ends the socket with 1008", async () => {
    const { token } = someone("alice");
    for (const bad of ["{", "[]", '{"n":1,"type":"pull","body":{}}', new Uint8Array([1]), '{"type":"pull","n":0,"body":{}}', '{"type":"pull","n":1,"body":{}]']) {
      const socket = await listen(runtime, token);
      socket.send(bad);
      assert.equal(await socket.ended(), 1008, String(bad));
    }
    const socket = await listen(runtime, token);
    await socket.ask("pull", {});
    socket.send('{"type":"pull","n":1,"body":{}}');
    assert.equal(await socket.ended(), 1008, "numbers rise");
  });

  test("what comes over a socket that the server has ended is not done, also if its client never answers the end", async () => {
    const { owner, writer, space } = await team();
    const push = (n, id) => JSON.stringify({ type: "push", n, body: { client: "c_ended-00", mutations: [{ id: n, changes: [put(id)] }] } });
    for (const [why, end] of [
      ["what was not of the protocol", (socket) => socket.send("{")],
      ["a number that does not rise", (socket) => socket.send(push(0, "no"))],
      ["its user's removal", () => owner.remove(space, writer)],
    ]) {
      await owner.set(space, writer, "writer");
      const socket = await listen(runtime, writer.token, { space });
      socket.answersEnd = false;
      await end(socket);
      assert.ok([1008, 4003].includes(await socket.ended()), why);
      // Its user may push all the same, as far as members go.
      await owner.set(space, writer, "writer");
      const { told, answers } = socket;
      const before = [told.length, answers.length];
      for (let n = 1; n <= 3; n += 1) socket.send(push(n, `late${n}`));
      await owner.put(space, "seen", { why });
      const records = await owner.records(space, { query: "consistency=strong" });
      assert.deepEqual(records.filter((record) => record.includes("late")), [], why);
      assert.ok(records.includes("c/seen"));
      assert.deepEqual([told.length, answers.length], before, "and nothing more is said");
      socket.stream.destroy();
    }
  });

  test("of what was sent at once, what stands behind the end of the socket is not done", async () => {
    const { token, device } = someone("alice");
    const socket = await listen(runtime, token);
    const push = (n, id) => JSON.stringify({ type: "push", n, body: { client: "c_behind-0", mutations: [{ id: n, changes: [put(id)] }] } });
    for (const text of [push(1, "a"), "{", push(2, "b")]) socket.send(text);
    assert.equal(await socket.ended(), 1008);
    await device.pull({ consistency: "strong" });
    assert.ok(![...device.records.keys()].some((name) => name.includes("b")), [...device.records.keys()].join());
  });

  test("in a shared space the greeting brings role and grant, with which records are read by HTTP", async () => {
    const { owner, writer, space } = await team();
    await owner.put(space, "a", { n: 1 });
    const socket = await listen(runtime, writer.token, { space });
    const { role, grant, grantExpiresIn, version } = socket.greeting;
    assert.deepEqual([socket.greeting.space, role, version], [space, "writer", 3]);
    assert.ok(grantExpiresIn > 0 && grantExpiresIn <= 600_000);
    assert.equal((await writer.ask("GET", `/sync/pull?space=${space}`, { grant })).status, 200);
    await owner.put(space, "b", { n: 2 });
    assert.deepEqual((await socket.hears("changes")).changes.map(({ id }) => id), ["b"]);
    const pulled = await socket.ask("pull", {});
    assert.equal(pulled.status, 200);
    assert.ok(pulled.body.changes.some(({ id }) => id === "b"));
    const [pushed, next] = [await socket.push("c_granted-0", 1, [put("c")]), await socket.push("c_granted-0", 2, [put("d")])];
    assert.equal((await writer.ask("GET", `/sync/pull?space=${space}`, { grant: pushed.body.grant })).status, 200);
    assert.ok(pushed.body.grantExpiresIn > 0 && pushed.body.grantExpiresIn <= 600_000);
    assert.equal(next.body.grant, undefined, "that one is good for a while");
    await socket.close();
  });

  test("who is removed loses the socket at once, and the others go on", async () => {
    const { owner, writer, space } = await team();
    const [removed, stays] = await Promise.all([writer, owner].map(({ token }) => listen(runtime, token, { space })));
    assert.equal((await owner.remove(space, writer)).status, 204);
    assert.equal(await removed.ended(), 4003);
    assert.deepEqual(removed.told.at(-1), { type: "closed", code: "forbidden" });
    await owner.put(space, "secret", { n: 1 });
    await stays.hears("changes", { where: ({ changes }) => changes.some(({ id }) => id === "secret") });
    assert.ok(!JSON.stringify(removed.told).includes("secret"));
    const { status, body } = await upgrade(runtime, { space, protocol: `headwater.v1, bearer.${writer.token}` });
    assert.deepEqual([status, body.code], [403, "forbidden"]);
    await stays.close();
  });

  test("when a space is deleted all its sockets end", async () => {
    const { owner, writer, space } = await team();
    const sockets = await Promise.all([writer, owner].map(({ token }) => listen(runtime, token, { space })));
    assert.equal((await owner.ask("DELETE", `/spaces/${space}`)).status, 204);
    for (const socket of sockets) {
      assert.equal(await socket.ended(), 4003);
      assert.deepEqual(socket.told.at(-1), { type: "closed", code: "gone" });
    }
  });

  test("a reader hears and may not push", async () => {
    const { owner, space } = await team();
    const reader = new Member(runtime, "reader");
    await owner.set(space, reader, "reader");
    const socket = await listen(runtime, reader.token, { space });
    assert.equal(socket.greeting.role, "reader");
    assertProblem(await socket.push("c_reader-00", 1, [put("a")]), 403, "forbidden");
    await owner.put(space, "a");
    await socket.hears("changes");
    await socket.close();
  });

  test("a socket whose token has ended is told so with the next commit, and hears nothing of it", async () => {
    const { sub, device } = someone("alice");
    // Tokens are good for a minute longer than they say.
    const token = runtime.token(sub, { exp: seconds() - 57 });
    const [socket, asking] = [await listen(runtime, token), await listen(runtime, token)];
    assert.ok(socket.greeting.tokenExpiresIn <= 3_000);
    await pause(socket.greeting.tokenExpiresIn + 100);
    assert.equal(socket.end, null, "nothing watches a token while nothing happens");
    asking.send('{"type":"pull","n":1,"body":{}}');
    assert.equal(await asking.ended(), 4001);
    await device.pushMutations([{ changes: [put("late")] }]);
    assert.equal(await socket.ended(), 4001);
    assert.deepEqual(socket.told.slice(1), [{ type: "expired" }]);
  });

  test("a new token keeps a socket open, and one of another user does not", async () => {
    const { sub, device } = someone("alice");
    const socket = await listen(runtime, runtime.token(sub, { exp: seconds() - 56 }));
    assertProblem(await socket.ask("token", someone("mallory").token), 403, "forbidden");
    const { status, body } = await socket.ask("token", runtime.token(sub));
    assert.equal(status, 200);
    assert.ok(body.tokenExpiresIn > 3_500_000);
    await pause(socket.greeting.tokenExpiresIn + 100);
    await device.pushMutations([{ changes: [put("a")] }]);
    await socket.hears("changes");
    await socket.close();
  });

  test("a page of another origin gets no socket, one of an origin that is listed does", async () => {
    const { token } = someone("alice");
    const protocol = `headwater.v1, bearer.${token}`;
    for (const origin of ["https://evil.test", "null", "https://app.test.evil.test"]) {
      const { status, body } = await upgrade(runtime, { protocol, headers: { origin } });
      assert.deepEqual([status, body.code], [403, "forbidden"], origin);
    }
    for (const origin of ["https://app.test", await runtime.url("home")]) {
      const socket = await listen(runtime, token, { origin });
      await socket.close();
    }
  });

  test("what is refused before there is a socket is refused as by HTTP", async () => {
    const { token } = someone("alice");
    const protocol = `headwater.v1, bearer.${token}`;
    const space = spaceId("nowhere");
    for (const [what, options, status, code] of [
      ["no token", { protocol: "headwater.v1" }, 401, "unauthenticated"],
      ["another protocol", { protocol: `headwater.v2, bearer.${token}` }, 401, "unauthenticated"],
      ["a token in the header", { headers: { authorization: `Bearer ${token}` } }, 401, "unauthenticated"],
      ["a token that has ended", { protocol: `headwater.v1, bearer.${runtime.token("x", { exp: 1 })}` }, 401, "token_expired"],
      ["no upgrade", { protocol, headers: { upgrade: null, connection: "close" } }, 400, "malformed"],
      ["no such space", { protocol, space }, 404, "not_found"],
      ["no id", { protocol, space: "a/b" }, 400, "malformed"],
    ]) {
      const answer = await upgrade(runtime, options);
      assert.deepEqual([answer.status, answer.body.code], [status, code], what);
    }
    const { status, headers, stream } = await upgrade(runtime, { protocol });
    stream.destroy();
    assert.deepEqual([status, headers["sec-websocket-protocol"], headers["headwater-aside"]], [101, "headwater.v1", undefined]);
  });

  test("one user has a hundred sockets at most in a space, and another one has room", async () => {
    const { owner, writer, space } = await team();
    const sockets = await Promise.all(Array.from({ length: 100 }, () => listen(runtime, writer.token, { space })));
    const over = new Socket(runtime, writer.token, { space });
    await over.open();
    assert.equal(await over.ended(), 1013);
    const other = await listen(runtime, owner.token, { space });
    await sockets[0].close();
    const again = await eventually("there is room again", async () => {
      const socket = new Socket(runtime, writer.token, { space });
      await socket.open();
      return socket.greeting?.type === "version" ? socket : null;
    });
    await Promise.all([...sockets, other, again].map((socket) => socket.close()));
  });

  test("sockets sleep with their object, and hear what is committed when it wakes", async () => {
    const { owner, writer, space } = await team();
    const [sleeping, own] = [await listen(runtime, writer.token, { space }), await listen(runtime, owner.token, { space })];
    // One that the server has ended, and whose client never answers that.
    const ended = await listen(runtime, writer.token, { space });
    ended.answersEnd = false;
    ended.send("{");
    assert.equal(await ended.ended(), 1008);
    const before = await awake(runtime, space);
    // Pings do not wake it.
    for (let n = 0; n < 7; n += 1) {
      await pause(2_500);
      await sleeping.ping();
    }
    await owner.put(space, "a", { n: 1 });
    const told = await sleeping.hears("changes");
    assert.deepEqual(told.changes.map(({ id }) => id), ["a"]);
    assert.equal(told.from, sleeping.greeting.version);
    const woken = await awake(runtime, space);
    assert.equal(woken.begun, before.begun + 1, "it had fallen asleep once");
    assert.equal(woken.messages, before.messages, "no ping has reached it");
    assert.equal((await sleeping.push("c_sleeper-0", 1, [put("b")])).status, 200, "its messages are heard as before");
    ended.send(JSON.stringify({ type: "push", n: 1, body: { client: "c_ended-1", mutations: [{ id: 1, changes: [put("late")] }] } }));
    await eventually("that message has come", async () => (await awake(runtime, space)).messages > woken.messages + 1);
    assert.ok(!(await owner.records(space, { query: "consistency=strong" })).includes("c/late"), "an instance that begins knows of no ended socket");
    await own.hears("changes", { where: ({ changes }) => changes.some(({ id }) => id === "b") });
    assert.equal((await owner.remove(space, writer)).status, 204);
    assert.equal(await sleeping.ended(), 4003);
    await own.close();
  });
});

describe("a user with few units", () => {
  let runtime;
  before(async () => {
    runtime = await startRuntime({ variables: { RATE_USER_PER_S: "2", RATE_SPACE_PER_S: "1000" } });
  });
  after(() => runtime.stop());

  test("messages cost what requests cost, and are refused where those are", async () => {
    const sub = runtime.subject("alice");
    const socket = await listen(runtime, runtime.token(sub));
    for (let n = 1; n <= 64; n += 1) socket.send(JSON.stringify({ type: "pull", n, body: {} }));
    assert.equal(await socket.ended(), 4003, "who goes on all the same has to come back with a request");
    assert.deepEqual(socket.told.at(-1), { type: "closed", code: "rate_limited" });
    assert.deepEqual(socket.answers.map(({ n }) => n), socket.answers.map((_, at) => at + 1));
    const taken = socket.answers.findIndex(({ status }) => status === 429);
    assert.ok(taken >= 15 && taken <= 40, `${taken} were taken at 2 a second`);
    const refused = socket.answers.slice(taken);
    for (const answer of refused) assertProblem(answer, 429, "rate_limited");
    assert.equal(refused.length, 33);
    assert.ok(Number.isInteger(refused[0].body.retryAfter) && refused[0].body.retryAfter >= 1);
    const device = runtime.device(sub);
    const { status } = await device.post({ client: device.id, mutations: [] });
    assert.equal(status, 429, "requests of the same user are refused then, too");
  });
});

/** How often an instance of a space's object has begun, and how many messages have come to it. */
async function awake(runtime, space) {
  const { begun, messages } = await runtime.object({ scope: sharedHash(space) });
  return { begun, messages };
}
