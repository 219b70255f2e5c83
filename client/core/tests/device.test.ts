// The leader of a device over HTTP and sockets that are simulated.

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import { capture } from "../src/capture.ts";
import { put } from "./bench.ts";
import { EPOCH, type FakeSocket, html, json, jwt, PageOfApp, settle, stream, write } from "./page.ts";
import type { Push } from "./server.ts";

let page: PageOfApp;
async function started(options: ConstructorParameters<typeof PageOfApp>[0] = {}): Promise<PageOfApp> {
  page = new PageOfApp(options);
  page.device.open("~");
  await settle();
  return page;
}
afterEach(() => page.device.stop());

describe("by HTTP", () => {
  test("loads line by line, pushes, and has what others write at the next poll", async () => {
    page = new PageOfApp();
    for (let n = 0; n < 10; n += 1) write(page.server, `r${n}é`, { n });
    page.device.open("~");
    await page.pass(100);
    assert.deepEqual(page.store.state("~"), page.server.state());
    assert.equal(page.requests[0]?.headers["authorization"], `Bearer ${jwt("alice")}`);
    await page.edit(put("mine"));
    await page.pass(60);
    assert.equal(page.pushes.length, 1);
    write(page.server, "theirs", { x: 1 });
    await page.pass(80_000);
    assert.deepEqual(page.store.state("~"), page.server.state());
    assert.equal(page.phase, "idle");
  });

  test("a load that breaks off goes on from the cursor whose lines are stored", async () => {
    page = new PageOfApp();
    for (let n = 0; n < 10; n += 1) write(page.server, `r${n}`, { n });
    page.instead = [stream(page.linesOf({}), true)];
    page.device.open("~");
    await page.pass(2000);
    const loads = page.requests.filter(({ path }) => path === "/sync/pull");
    assert.equal(loads.length, 2);
    assert.ok(loads[1]?.body["cursor"]);
    assert.deepEqual(page.store.state("~"), page.server.state());
  });

  test("now: everything is pushed, and what the coordinator has is here", async () => {
    await started();
    await page.pass(100);
    await page.edit(put("mine"));
    write(page.server, "theirs", { x: 1 });
    const now = page.device.now();
    await page.pass(1000);
    await now;
    assert.ok(page.requests.some(({ body }) => body?.["consistency"] === "strong"));
    assert.deepEqual(page.store.state("~"), page.server.state());
  });

  test("now: what is under way when it is asked does not keep it waiting: a grant, or a pull that fails", async () => {
    page = new PageOfApp();
    page.device.open("s1");
    await settle();
    for (const fails of [false, true]) {
      let isDone = false;
      if (fails) {
        // The first pull has no answer, and one pull serves both that and the wish.
        page.instead = [null];
        page.device.online();
      }
      void page.device.now().then(() => (isDone = true));
      await page.pass(5000);
      assert.equal(isDone, true);
    }
  });

  test("a page of a proxy is no refusal, whatever its status", async () => {
    await started();
    await page.pass(100);
    page.instead = [html(403)];
    await page.edit(put("a"));
    await page.pass(2000);
    assert.equal(page.pushes.length, 2);
    assert.deepEqual(page.pushes[0]?.body, page.pushes[1]?.body);
    assert.equal(page.phase, "idle");
  });

  test("without a connection nothing is lost, and `online` makes it try again", async () => {
    await started();
    await page.pass(100);
    page.instead = [null, null, null, null, null];
    await page.edit(put("a"));
    await page.pass(10_000);
    page.instead = [];
    page.device.online();
    await page.pass(100);
    await page.pass(60_000);
    assert.deepEqual(page.store.state("~"), page.server.state());
    assert.equal(page.device.status("~")?.pending, 0);
  });

  test("a long body is packed, and a short one goes as it is", async () => {
    await started();
    await page.pass(100);
    for (const length of [1_000, 100_000]) {
      await page.edit(put(`r${length}`, { text: "x".repeat(length) }));
      await page.pass(1000);
    }
    assert.deepEqual(page.pushes.map(({ headers }) => headers["content-encoding"]), [undefined, "gzip"]);
    assert.deepEqual(page.store.state("~"), page.server.state());
  });

  test("a push in a shared space brings the next grant in time, so that no request asks for one", async () => {
    page = new PageOfApp();
    for (const space of ["~", "s1"]) page.device.open(space);
    await page.pass(100);
    const grants = () => page.requests.filter(({ path }) => path === "/spaces/s1/grant").length;
    assert.equal(grants(), 1);
    // An edit every two minutes, for an hour, and polls in between.
    for (let edit = 0; edit < 30; edit += 1) {
      for (const space of ["~", "s1"]) await page.editIn(space, put(`${space.length}${edit}`));
      await page.pass(120_000);
    }
    assert.equal(grants(), 1);
    // One lasts ten minutes, and counts for nine; four minutes before that the next one is wanted.
    assert.ok(page.grants >= 10 && page.grants <= 16, `${page.grants} in an hour`);
    const own = page.requests.filter(({ path }) => path === "/sync/push");
    assert.ok(own.length > 0 && own.every(({ body }) => !("wantsGrant" in body)), "none is wanted of one's own space");
    const last = page.requests.filter(({ path }) => path === "/sync/pulls").at(-1)?.body["pulls"] as { grant?: string }[];
    assert.match(last[1]?.grant ?? "", /^g1\d of \/sync\/push\?space=s1$/);
    assert.deepEqual(page.store.state("s1"), page.server.state());
  });

  test("Retry-After is obeyed", async () => {
    await started();
    await page.pass(100);
    page.instead = [json({ status: 503, body: { code: "overloaded" } }, { "retry-after": "20" })];
    await page.edit(put("a"));
    await page.pass(19_000);
    assert.equal(page.pushes.length, 1);
    await page.pass(12_000);
    assert.equal(page.pushes.length, 2);
  });
});

test("an edit that waits is counted once, whether or not a transaction has seen it before it is told of", async () => {
  page = new PageOfApp();
  const capturing = () => page.store.commit(1, { wake: "rows" }, (store) => capture(store, { space: "~", tx: `tx${page.store.seq}`, at: 1, changes: [put("a")] }));
  await capturing();
  page.instead = [null, null, null];
  page.device.open("~");
  await settle();
  page.device.captured("~", page.store.seq);
  assert.equal(page.device.status("~")?.pending, 1);
  await capturing();
  page.device.captured("~", page.store.seq);
  await settle();
  assert.equal(page.device.status("~")?.pending, 2);
});

describe("the token", () => {
  test("one that is refused is asked for again once; the next refusal holds the space", async () => {
    page = new PageOfApp();
    page.tokens = [jwt("alice"), jwt("alice", 2)];
    const refused = () => json({ status: 401, body: { code: "token_expired" } });
    page.instead = [refused()];
    page.device.open("~");
    await page.pass(100);
    assert.deepEqual([page.asked, page.phase], [["start", "refused"], "idle"]);
    assert.equal(page.requests.at(-1)?.headers["authorization"], `Bearer ${jwt("alice", 2)}`);
    page.instead = [refused(), refused()];
    await page.edit(put("a"));
    await page.pass(100);
    assert.equal(page.device.status("~")?.held?.why, "signed-out");
    page.device.resume();
    await page.pass(100);
    assert.equal(page.phase, "idle");
  });

  test("while nobody is signed in everything is kept, and goes out when somebody is", async () => {
    page = new PageOfApp();
    page.tokens = [null, jwt("alice")];
    page.device.open("~");
    await page.edit(put("a"));
    await page.pass(1000);
    assert.equal(page.device.status("~")?.held?.why, "signed-out");
    await assert.rejects(page.device.now(), /signed-out/);
    assert.equal(page.requests.length, 0);
    await page.device.signedIn();
    await page.pass(1000);
    assert.deepEqual(page.server.state(), [["c a", { mine: 1 }]]);
  });

  test("of somebody else that comes while something is about to be sent: it is not sent", async () => {
    await started();
    await page.pass(100);
    page.tokens = [jwt("bob")];
    page.instead = [json({ status: 401, body: { code: "token_expired" } })];
    await page.edit(put("a"));
    await page.pass(5000);
    assert.equal(page.device.status("~")?.held?.why, "other-user");
    assert.ok(page.requests.every(({ headers }) => headers["authorization"] === `Bearer ${jwt("alice")}`));
  });

  test("another user's holds the space: nothing of the first one's goes out", async () => {
    await started();
    await page.pass(100);
    page.tokens = [jwt("bob")];
    await page.device.signedIn();
    await page.edit(put("a"));
    await page.pass(1000);
    assert.equal(page.device.status("~")?.held?.why, "other-user");
    assert.equal(page.pushes.length, 0);
  });

  test("is renewed on the open socket before it ends", async () => {
    await started({ sockets: true });
    page.sockets[0]?.greet(page.server, { tokenExpiresIn: 100_000 });
    page.tokens = [jwt("alice", 3)];
    await page.pass(41_000);
    const sent = page.sockets[0]?.sent.filter(({ type }) => type === "token");
    assert.deepEqual(sent?.map(({ token }) => token), [jwt("alice", 3)]);
  });
});

describe("the socket", () => {
  /** Answers the messages of a socket as the server does. */
  function serve(socket: FakeSocket, from = 0): void {
    for (const { type, n, body } of socket.sent.slice(from)) {
      if (type === "push") socket.say({ type: "answer", n, ...page.server.push(body as Push) });
      if (type === "pull") socket.say({ type: "answer", n, ...page.server.pull(body as Record<string, unknown>) });
    }
  }
  async function greeted(): Promise<FakeSocket> {
    await started({ sockets: true });
    await page.pass(100);
    const socket = page.sockets.at(-1) as FakeSocket;
    socket.greet(page.server);
    await page.pass(100);
    return socket;
  }

  test("names the token, and carries pushes and live changes; what is on the device needs no pull", async () => {
    const socket = await greeted();
    assert.deepEqual(socket.protocols, ["headwater.v1", `bearer.${jwt("alice")}`]);
    await page.edit(put("a"));
    await page.pass(60);
    serve(socket);
    await page.pass(10);
    assert.deepEqual([page.pushes.length, page.server.state().length], [0, 1]);
    const requests = page.requests.length;
    const from = page.server.model.version;
    write(page.server, "b", { x: 1 });
    socket.say(page.server.live(from));
    await page.pass(10);
    assert.deepEqual(page.store.state("~"), page.server.state());
    assert.equal(page.requests.length, requests);
  });

  test("that is lost in the middle of an outbox loses and repeats nothing: the same mutations go by HTTP", async () => {
    const socket = await greeted();
    await page.edit({ op: "add", collection: "c", id: "n", path: "n", by: 1, orPut: { n: 1 } });
    await page.pass(60);
    const sent = socket.sent.at(-1)?.body as Push;
    // The server does it, and its answer does not come.
    page.server.push(sent);
    socket.close();
    await page.edit({ op: "add", collection: "c", id: "n", path: "n", by: 1, orPut: { n: 1 } });
    await page.pass(5000);
    assert.deepEqual((page.pushes[0]?.body as unknown as Push).mutations, sent.mutations);
    assert.deepEqual(page.server.state(), [["c n", { n: 2 }]]);
    assert.deepEqual(page.store.state("~"), page.server.state());
    // And back again: the next socket carries what comes next.
    const next = page.sockets.at(-1) as FakeSocket;
    assert.notEqual(next, socket);
    next.greet(page.server);
    const byHttp = page.pushes.length;
    await page.edit(put("b"));
    await page.pass(60);
    serve(next);
    await page.pass(10);
    assert.deepEqual([page.pushes.length, page.server.state().length], [byHttp, 2]);
  });

  test("what is too large for a message goes by HTTP", async () => {
    const socket = await greeted();
    await page.edit(put("a"));
    await page.pass(60);
    const { n } = socket.sent.at(-1) as { n: number };
    socket.say({ type: "use_http", n });
    await page.pass(10);
    assert.equal(page.pushes.length, 1);
    await page.edit(...["b", "c"].map((id) => put(id, { text: "x".repeat(140_000) })));
    await page.pass(60);
    assert.equal(page.pushes.length, 2);
    assert.deepEqual(page.store.state("~"), page.server.state());
  });

  test("that does not answer when the connection is back is given up, though it says that it is open", async () => {
    const socket = await greeted();
    write(page.server, "missed", { x: 1 });
    page.device.online();
    assert.deepEqual(socket.sent.at(-1), { type: "ping" });
    await page.pass(16_000);
    assert.equal(socket.readyState, 3);
    assert.deepEqual(page.store.state("~"), page.server.state());
  });

  test("access is lost: the coordinator is asked, not the copies, which a grant would open for ten more minutes", async () => {
    const socket = await greeted();
    const before = page.requests.length + socket.sent.length;
    socket.say({ type: "closed", code: "forbidden" });
    await page.pass(10);
    const asked = socket.sent.at(-1) as { type: string; body: Record<string, unknown> };
    const byHttp = page.requests.at(-1)?.body;
    assert.equal(page.requests.length + socket.sent.length, before + 1);
    assert.equal((asked?.body ?? byHttp)?.["consistency"], "strong");
  });

  test("a message without an answer for 30 s is one without an answer, and the socket is given up", async () => {
    const socket = await greeted();
    await page.edit(put("a"));
    await page.pass(40_000);
    assert.equal(socket.readyState, 3);
    assert.deepEqual(page.server.state(), [["c a", { mine: 1 }]]);
  });

  test("whose token has ended is opened again at once with the next one", async () => {
    const socket = await greeted();
    page.tokens = [jwt("alice", 5)];
    socket.say({ type: "expired" });
    await page.pass(1);
    assert.equal(socket.readyState, 3);
    assert.deepEqual(page.sockets.at(-1)?.protocols, ["headwater.v1", `bearer.${jwt("alice", 5)}`]);
  });

  test("brings the next grant of a shared space, and is given up while the space is held", async () => {
    page = new PageOfApp({ sockets: true });
    page.device.open("s1");
    await page.pass(100);
    const grants = () => page.requests.filter(({ path }) => path === "/spaces/s1/grant").length;
    assert.equal(grants(), 1);
    // Half an hour, in which the socket brings a grant every nine minutes, and a pull by HTTP uses it.
    for (let time = 0; time < 3; time += 1) {
      page.device.online();
      page.sockets.at(-1)?.greet(page.server, { space: "s1", grant: `g${time + 2}`, grantExpiresIn: 600_000, role: "writer" });
      page.sockets.at(-1)?.close();
      page.device.online();
      await page.pass(100);
      assert.equal(page.requests.at(-1)?.headers["headwater-grant"], `g${time + 2}`);
      await page.pass(500_000);
    }
    page.isForbidden = true;
    page.sockets.at(-1)?.say({ type: "closed", code: "forbidden" });
    page.sockets.at(-1)?.close(4003);
    await page.pass(700_000);
    page.device.online();
    await page.pass(100);
    assert.equal(page.device.status("s1")?.held?.why, "forbidden");
    assert.ok(page.sockets.every(({ readyState }) => readyState === 3));
    const count = page.sockets.length;
    await page.pass(1_000_000);
    assert.equal(page.sockets.length, count);
    page.isForbidden = false;
    page.device.resume();
    await page.pass(100);
    assert.equal(page.sockets.length, count + 1);
  });

  test("silence is asked about, and a socket that stays silent is replaced", async () => {
    const socket = await greeted();
    await page.pass(56_000);
    assert.deepEqual(socket.sent.map(({ type }) => type).filter((type) => type === "ping"), ["ping"]);
    socket.say({ type: "pong", space: "~", epoch: EPOCH, version: page.server.model.version });
    await page.pass(56_000);
    assert.equal(socket.readyState, 1);
    await page.pass(30_000);
    assert.equal(socket.readyState, 3);
    assert.ok(page.sockets.length > 1);
  });
});

test("a leader whose term is over writes nothing, and says so", async () => {
  await started();
  await page.pass(100);
  await page.edit(put("a"));
  page.store.term += 1;
  await page.pass(100);
  assert.equal(page.deposed, 1);
  assert.equal(page.pushes.length, 0);
  assert.equal(page.timers.size, 0, "no timer is left");
});
