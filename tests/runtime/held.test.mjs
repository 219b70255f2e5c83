// What bodies that come slowly, or in very many pieces, hold of an isolate's memory: first the code that receives them by
// itself, with streams of a test's own, then the whole on the runtime.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, mock, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { collect, receiveBody, withBody } from "../../src/worker/body.js";
import { eventually, startRuntime } from "./harness.mjs";
import { Member } from "./member.mjs";

const MIB = 1024 * 1024;
const LIMIT = 4 * MIB;
const turn = () => new Promise((resolve) => setImmediate(resolve));

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc");

/** A request whose body a test writes. */
function open(headers = {}) {
  let controller;
  const body = new ReadableStream({ start: (it) => (controller = it) });
  const arrayBuffer = async () => (await new Response(body).arrayBuffer());
  return { body, arrayBuffer, headers: new Headers(headers), write: (bytes) => controller.enqueue(bytes), end: () => controller.close() };
}

const receive = (request, limit = LIMIT) => receiveBody(request, limit, 10_000, 120_000);

/** Whether there is room for a body of 4 MiB. */
async function hasRoom() {
  const request = open();
  const body = receive(request);
  request.write(new Uint8Array(LIMIT));
  request.end();
  return (await body) !== false;
}

describe("what is held of bodies", () => {
  test("a body in 300,000 pieces of a byte is held once, and comes whole", async () => {
    const request = open();
    collectGarbage();
    const used = () => (({ heapUsed, arrayBuffers }) => heapUsed + arrayBuffers)(process.memoryUsage());
    const before = used();
    const body = receive(request);
    for (let at = 0; at < 300_000; at += 1) {
      request.write(Uint8Array.of(at % 251));
      if (at % 1000 === 0) await turn();
    }
    await turn();
    collectGarbage();
    const mib = (used() - before) / MIB;
    assert.ok(mib < 8, `${mib.toFixed(1)} MiB are held for 0.3 MB`);
    request.end();
    const bytes = await body;
    assert.equal(bytes.length, 300_000);
    assert.ok(bytes.every((byte, at) => byte === at % 251));
  });

  test("a length that is stated takes nothing before the bytes come", async () => {
    const requests = Array.from({ length: 50 }, () => open({ "content-length": LIMIT }));
    const bodies = requests.map((request) => receive(request));
    for (const request of requests) request.write(new Uint8Array(1));
    await turn();
    assert.equal(await hasRoom(), true);
    for (const request of requests) request.end();
    assert.deepEqual((await Promise.all(bodies)).map((body) => body.length), Array(50).fill(1));
  });

  for (const [what, headers] of [["with a length", { "content-length": LIMIT }], ["without one", {}]]) {
    test(`of 60 unfinished bodies of 4 MiB ${what} eight are held, the others are told so, and then there is room again`, async () => {
      const requests = Array.from({ length: 60 }, () => open(headers));
      const bodies = requests.map((request) => receive(request));
      for (let at = 0; at < LIMIT - 64; at += MIB / 4) {
        for (const request of requests) request.write(new Uint8Array(Math.min(MIB / 4, LIMIT - 64 - at)));
        await turn();
      }
      assert.equal(await hasRoom(), false);
      for (const request of requests) request.end();
      const taken = (await Promise.all(bodies)).filter((body) => body !== false);
      assert.ok(taken.length >= 1 && taken.length <= 8, `${taken.length} were taken`);
      for (const body of taken) assert.equal(body.length, LIMIT - 64);
      assert.equal(await hasRoom(), true);
    });
  }

  test("a body is held until its use has ended, however that ends", async () => {
    const whole = Array.from({ length: 8 }, () => {
      const request = open();
      request.write(new Uint8Array(LIMIT));
      request.end();
      return request;
    });
    const uses = [];
    const used = whole.map((request) => withBody(request, LIMIT, 10_000, 120_000, () => new Promise((...both) => uses.push(both))));
    while (uses.length < 8) await turn();
    assert.equal(await hasRoom(), false);
    uses.forEach(([resolve, reject], at) => (at % 2 ? reject(new Error("the object is gone")) : resolve("answer")));
    const settled = await Promise.allSettled(used);
    assert.deepEqual(settled.map(({ status }) => status), whole.map((_, at) => (at % 2 ? "rejected" : "fulfilled")));
    assert.equal(await hasRoom(), true);
  });

  test("what a request held that was dropped without a word is free when it can hold nothing any more", async () => {
    const dropped = Array.from({ length: 8 }, () => open());
    for (const request of dropped) {
      request.write(new Uint8Array(LIMIT));
      void receiveBody(request, LIMIT, 10_000, 120_000);
    }
    await turn();
    assert.equal(await hasRoom(), false);
    // Its timers are dropped with it; here they have not fired, because only the clock has moved.
    mock.timers.enable({ apis: ["Date"], now: Date.now() + 12_000 });
    try {
      assert.equal(await hasRoom(), true);
    } finally {
      mock.timers.reset();
      for (const request of dropped) request.end();
      await turn();
    }
    assert.equal(await hasRoom(), true);
  });

  test("more than the limit is not taken, whatever length was stated", async () => {
    for (const length of [null, "", "5", "-5", "1e1", "0x10", "many", "10, 20", String(LIMIT)]) {
      for (const [bytes, limit, taken] of [[10, 10, true], [11, 10, false], [20_000, 10, false], [LIMIT + 1, LIMIT, false]]) {
        const request = open(length === null ? {} : { "content-length": length });
        const body = receive(request, limit);
        for (let at = 0; at < bytes; at += 100_000) request.write(new Uint8Array(Math.min(100_000, bytes - at)));
        request.end();
        // A stated length above the limit is believed.
        const expected = taken && Number(length ?? 0) !== LIMIT ? bytes : undefined;
        assert.equal((await body)?.length, expected, `${bytes} bytes, limit ${limit}, stated ${length}`);
      }
    }
  });

  test("what is collected is bounded and whole", async () => {
    const stream = (...pieces) => new Blob(pieces).stream();
    assert.equal(new TextDecoder().decode(await collect(stream("ab", "cd"), 4)), "abcd");
    assert.equal(await collect(stream("ab", "cd", "e"), 4), null);
    assert.equal((await collect([], 4)).length, 0);
  });
});

describe("on the runtime", () => {
  let runtime;
  before(async () => (runtime = await startRuntime()));
  after(() => runtime.stop());

  test("of 20 unfinished pushes of 4 MiB some are told to come back, and when they have gone a push is taken", async () => {
    const { hostname, port } = new URL(await runtime.url("home"));
    const eve = new Member(runtime, "eve");
    const head = `POST /sync/push HTTP/1.1\r\nhost: test\r\nauthorization: Bearer ${eve.token}\r\ncontent-type: application/json\r\n`;
    const sockets = await Promise.all(Array.from({ length: 20 }, async () => {
      const socket = connect({ host: hostname, port: Number(port) });
      socket.text = "";
      socket.on("data", (data) => (socket.text += data)).on("error", () => {});
      await new Promise((resolve) => socket.once("connect", resolve));
      socket.write(`${head}content-length: ${LIMIT}\r\n\r\n`);
      await new Promise((resolve) => socket.write(Buffer.alloc(LIMIT - 100, " "), resolve));
      return socket;
    }));
    const bob = runtime.device(runtime.subject());
    const whole = JSON.stringify({ client: bob.id, mutations: [{ id: 1, changes: [{ op: "put", collection: "c", id: "r", value: {} }] }] });
    const push = () => bob.post(whole.padEnd(LIMIT, " "));
    const refused = await push();
    assert.deepEqual([refused.status, refused.body?.code, refused.response.headers.get("retry-after")], [503, "overloaded", "2"]);
    await eventually("those that found no room are told so", () => sockets.filter(({ text }) => text !== "").length >= 12);
    for (const { text } of sockets.filter(({ text }) => text !== "")) assert.match(text, /^HTTP\/1\.1 (503|400) [^]*(overloaded|did not arrive)/);
    assert.ok(sockets.some(({ text }) => text.includes("overloaded")));
    for (const socket of sockets) socket.resetAndDestroy();
    await eventually("a push is taken", async () => (await push()).status === 200);
  });
});
