// The code that receives bodies by itself, with streams of a test's own: what they hold of an isolate's memory, when they are
// late, and what packed ones unpack to. bodies.test.mjs has the whole on the runtime.

import assert from "node:assert/strict";
import { after, before, describe, mock, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { collect, configureBodies, receiveBody, withBody } from "../../src/worker/js/body.js";

const MIB = 1024 * 1024;
const LIMIT = 4 * MIB;
const turn = () => new Promise((resolve) => setImmediate(resolve));

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc");

/** A request whose body a test writes. */
function open(headers = {}) {
  let controller;
  const body = new ReadableStream({ type: "bytes", start: (it) => (controller = it) });
  const end = () => {
    controller.close();
    controller.byobRequest?.respond(0);
  };
  return { body, headers: new Headers(headers), write: (bytes) => controller.enqueue(new Uint8Array(bytes)), end };
}

/** As it is deployed; a test may have less. */
const bounds = ({ heldMax = 32 * MIB, idleMs = 10_000, totalMs = 120_000, bytesPerS = 1000 } = {}) =>
  configureBodies(heldMax, idleMs, totalMs, bytesPerS, 16 * 1024 * 1024, 4096, 65_536, 16_384, 4096);
bounds();

let users = 0;
/** A user nobody else in this run is. */
const somebody = () => `user-${(users += 1)}`;
const receive = (request, { limit = LIMIT, user = somebody(), isGzip = false } = {}) => receiveBody(request, user, isGzip, limit);

/** How long a body is, or what is said instead. */
const brief = (body) => (body instanceof Uint8Array ? body.length : body);

/** Whether there is room for a body of 4 MiB of a user. */
async function hasRoom(user = somebody()) {
  const request = open();
  const body = receive(request, { user });
  request.write(new Uint8Array(LIMIT));
  request.end();
  return (await body) !== "overloaded";
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
    assert.deepEqual((await Promise.all(bodies)).map(brief), Array(50).fill(1));
  });

  for (const [what, headers] of [["with a length", { "content-length": LIMIT }], ["without one", {}]]) {
    for (const [whose, user, most] of [["of as many users", null, 7], ["of one user", "one", 4]]) {
      test(`of 60 unfinished bodies of 4 MiB ${whose} ${what} ${most} are held, the others are told so, and then there is room again`, async () => {
        const requests = Array.from({ length: 60 }, () => open(headers));
        const bodies = requests.map((request) => receive(request, { user: user ?? somebody() }));
        for (let at = 0; at < LIMIT - 64; at += MIB / 4) {
          for (const request of requests) request.write(new Uint8Array(Math.min(MIB / 4, LIMIT - 64 - at)));
          await turn();
        }
        assert.equal(await hasRoom(user ?? somebody()), false);
        if (user) assert.equal(await hasRoom(), true, "for everybody else");
        for (const request of requests) request.end();
        const taken = (await Promise.all(bodies)).map(brief).filter((body) => body !== "overloaded");
        assert.ok(taken.length >= 1 && taken.length <= most, `${taken.length} were taken`);
        assert.deepEqual(taken, Array(taken.length).fill(LIMIT - 64));
        assert.equal(await hasRoom(user ?? somebody()), true);
      });
    }
  }

  test("bodies that one user has announced and not sent take nothing from anybody", async () => {
    const requests = [8, 300, 8 * 1024, 9 * 1024, 256 * 1024, LIMIT].flatMap((length) =>
      Array.from({ length: 200 }, () => open({ "content-length": length })));
    const bodies = requests.map((request) => receive(request, { user: "idle" }));
    await turn();
    for (const user of ["idle", somebody(), somebody()]) assert.equal(await hasRoom(user), true);
    for (const request of requests) request.end();
    await Promise.all(bodies);
  });

  test("a body is held until its use has ended, however that ends", async () => {
    const whole = Array.from({ length: 7 }, () => {
      const request = open();
      request.write(new Uint8Array(LIMIT));
      request.end();
      return request;
    });
    const uses = [];
    const used = whole.map((request) => withBody(request, somebody(), false, LIMIT, () => new Promise((...both) => uses.push(both))));
    while (uses.length < 7) await turn();
    assert.equal(await hasRoom(), false);
    uses.forEach(([resolve, reject], at) => (at % 2 ? reject(new Error("the object is gone")) : resolve("answer")));
    const settled = await Promise.allSettled(used);
    assert.deepEqual(settled.map(({ status }) => status), whole.map((_, at) => (at % 2 ? "rejected" : "fulfilled")));
    assert.equal(await hasRoom(), true);
  });

  test("what a request held that was dropped without a word is free when it can hold nothing any more", async () => {
    const dropped = Array.from({ length: 7 }, () => open());
    for (const request of dropped) {
      request.write(new Uint8Array(LIMIT));
      void receive(request);
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
      for (const [bytes, limit] of [[10, 10], [11, 10], [20_000, 10], [LIMIT + 1, LIMIT]]) {
        const request = open(length === null ? {} : { "content-length": length });
        const body = receive(request, { limit });
        for (let at = 0; at < bytes; at += 100_000) request.write(new Uint8Array(Math.min(100_000, bytes - at)));
        request.end();
        // A stated length above the limit is believed, and what comes behind one is not the body's: the platform ends it there.
        const said = /^\d+$/.test(length ?? "") ? Number(length) : bytes;
        const expected = said > limit ? "too long" : Math.min(bytes, said);
        assert.equal(brief(await body), expected, `${bytes} bytes, limit ${limit}, stated ${length}`);
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

describe("when a body is late", () => {
  before(() => mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() }));
  after(() => mock.timers.reset());

  /** What becomes of a body of which `bytesPerS` come each second until `length` have, and after how many seconds. */
  async function sent({ length = LIMIT, bytesPerS = 0, atOnce = 0, limit = LIMIT, isSaid = true }) {
    const request = open(isSaid ? { "content-length": length } : {});
    let came = null;
    receive(request, { limit }).then((body) => (came = brief(body)));
    if (atOnce > 0) request.write(new Uint8Array(atOnce));
    let at = atOnce;
    for (let tenths = 0; tenths < 1300; tenths += 1) {
      await turn();
      if (came !== null) return [came, tenths / 10];
      const bytes = Math.min(Math.ceil(bytesPerS / 10), length - at);
      at += bytes;
      if (bytes > 0) request.write(new Uint8Array(bytes));
      if (at === length) {
        request.end();
        at += 1;
      }
      await turn();
      mock.timers.tick(100);
    }
    return ["nothing", 130];
  }

  const ROUTES = { "that says how long it is": {}, "whose length is not said": { isSaid: false } };
  for (const [what, options] of Object.entries(ROUTES)) {
    test(`a body ${what} is read to its end while its bytes keep coming, however long it is and whatever the route takes`, async () => {
      for (const length of [500, 8_000, 8_001, 16_384, 100_000, 119_000]) {
        const [came, seconds] = await sent({ length, bytesPerS: 1000, limit: length, ...options });
        assert.equal(came, length);
        assert.ok(Math.abs(seconds - length / 1000) < 1, `${length} bytes after ${seconds} s`);
      }
      assert.equal((await sent({ length: 500_000, bytesPerS: 5000, ...options }))[0], 500_000);
    });

    test(`a body ${what} is late after 10 s without a byte, whatever the route takes`, async () => {
      for (const [length, limit] of [[1, LIMIT], [300, 300], [8_001, LIMIT], [16_384, 16_384], [262_144, LIMIT], [LIMIT, LIMIT]]) {
        assert.deepEqual(await sent({ length, limit, ...options }), ["late", 10]);
      }
      assert.deepEqual(await sent({ atOnce: MIB, ...options }), ["late", 10]);
    });

    test(`a body ${what} is late when it is slower than 1 KB/s beyond the pause, and after 120 s`, async () => {
      // Until x = 10 + x / 10.
      assert.deepEqual(await sent({ length: 100_000, bytesPerS: 100, ...options }), ["late", 11.2]);
      assert.equal((await sent({ length: 500, bytesPerS: 1, ...options }))[0], "late");
      assert.deepEqual(await sent({ bytesPerS: 30_000, ...options }), ["late", 120]);
    });
  }
});

describe("bodies that are packed", () => {
  const packed = async (bytes, options = {}) => {
    const request = open(options.headers);
    const body = receive(request, { isGzip: true, ...options });
    for (let at = 0; at < bytes.length; at += 10_000) request.write(bytes.subarray(at, at + 10_000));
    request.end();
    return body;
  };

  test("are unpacked, and the limit counts what they unpack to", async () => {
    for (const [bytes, limit, taken] of [[0, 10, true], [10, 10, true], [11, 10, false], [LIMIT, LIMIT, true], [LIMIT + 1, LIMIT, false]]) {
      const text = Buffer.from("abcdefgh".repeat(bytes / 8 + 1)).subarray(0, bytes);
      const body = await packed(gzipSync(text), { limit: Math.max(limit, 64), ...(limit > 64 && { limit }) });
      if (limit <= 64) assert.deepEqual(Buffer.from(body), text);
      else if (taken) assert.ok(Buffer.from(body).equals(text), `${bytes}`);
      else assert.equal(brief(body), "too long");
    }
    assert.equal(brief(await packed(gzipSync(Buffer.alloc(100)), { limit: 99 })), "too long");
  });

  test("are broken where they are no gzip, or not all of it", async () => {
    const good = gzipSync("x".repeat(50_000));
    const damaged = Buffer.from(good);
    damaged[good.length - 6] ^= 1;
    for (const bytes of [Buffer.from("{}"), good.subarray(0, -1), good.subarray(0, 5), Buffer.alloc(100), damaged]) {
      assert.equal(brief(await packed(bytes)), "broken");
    }
  });

  test("count for what they take packed and unpacked, and then for nothing", async () => {
    bounds({ heldMax: 2 * MIB });
    try {
      assert.equal(brief(await packed(gzipSync(Buffer.alloc(3 * MIB)))), "overloaded");
      assert.equal(brief(await packed(gzipSync(Buffer.alloc(MIB / 2)))), MIB / 2);
    } finally {
      bounds();
    }
    for (let time = 0; time < 5; time += 1) assert.equal(brief(await packed(gzipSync(Buffer.alloc(LIMIT)), { user: "one" })), LIMIT);
    assert.equal(await hasRoom("one"), true);
  });

  test("a bomb is given up when it has unpacked to the limit", async () => {
    const bomb = gzipSync(Buffer.alloc(128 * MIB));
    collectGarbage();
    const before = process.memoryUsage().rss;
    assert.equal(brief(await packed(bomb, { limit: LIMIT })), "too long");
    const mib = (process.memoryUsage().rss - before) / MIB;
    assert.ok(mib < 64, `${mib.toFixed(0)} MiB`);
  });
});
