// Bodies that come slowly, in part, or with a length that is a lie: written byte by byte into sockets. The edge waits for
// them, and the object, which is billed while it waits, is not asked before they are whole.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const MIB = 1024 * 1024;
const IDLE_MS = 10_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["slow"] })));
after(() => runtime.stop());

/** A request of which a test sends what it likes, when it likes. */
class Wire {
  text = "";
  ended = false;
  bytes = 0;

  static async open(at = "home") {
    const { hostname, port } = new URL(await runtime.url(at));
    const wire = new Wire();
    wire.socket = connect({ host: hostname, port: Number(port), noDelay: true, allowHalfOpen: true });
    wire.socket.on("data", (chunk) => (wire.text += chunk.toString("latin1")));
    for (const event of ["end", "close", "error"]) wire.socket.on(event, () => (wire.ended = true));
    await new Promise((resolve, reject) => wire.socket.once("connect", resolve).once("error", reject));
    return wire;
  }

  head(device, headers, path = "/sync/push", method = "POST") {
    const all = { host: "test", authorization: `Bearer ${device.token}`, "content-type": "application/json", ...headers };
    const lines = Object.entries(all).filter(([, value]) => value !== null).map(([name, value]) => `${name}: ${value}`);
    this.socket.write(`${method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
  }

  /** Whether the other side still takes what is sent. */
  write(data) {
    return new Promise((resolve) => this.socket.write(data, (error) => resolve(!error)));
  }

  chunk(text) {
    return this.write(`${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`);
  }

  /** The answer, or null if the connection ends without one. */
  async answer(ms = 30_000) {
    const whole = () => /^HTTP\/1\.1 (\d+)[^]*?\r\n\r\n([^]*)$/.exec(this.text);
    await eventually("an answer, or the end", () => whole()?.[2] || this.ended, ms);
    const [, status, body] = whole() ?? [];
    if (!status) return null;
    const object = /server-timing:.*object;desc="(\d+)"/i.exec(this.text)?.[1];
    return { status: Number(status), code: /"code":"(\w+)"/.exec(body)?.[1], detail: /"detail":"([^"]+)"/.exec(body)?.[1], object: Number(object) };
  }

  reset() {
    this.socket.resetAndDestroy();
  }
}

const bodyOf = (device, changes = [put("r")]) => JSON.stringify({ client: device.id, mutations: [{ id: 1, changes }] });
const calls = async (sub) => (await runtime.object(sub)).calls;

/** A device whose object is up, and how often it had been asked. */
async function knownDevice(at) {
  const device = runtime.device(runtime.subject(), { at });
  await runtime.device(device.sub).push([put("before")]);
  return { device, asked: await calls(device.sub) };
}

async function assertUntouched(device, asked) {
  assert.equal(await calls(device.sub), asked, "the object was not asked");
  assert.deepEqual((await runtime.truth(device.sub)).state(), [["c before", {}]]);
}

describe("bodies that arrive", { concurrency: 4 }, () => {
  test("a body in many small pieces is one push, and the object is asked once", async () => {
    const { device, asked } = await knownDevice();
    const wire = await Wire.open();
    const body = bodyOf(device);
    wire.head(device, { "content-length": body.length });
    for (const piece of body.match(/[^]{1,8}/g)) {
      assert.equal(await calls(device.sub), asked, "not before the body is whole");
      assert.ok(await wire.write(piece));
    }
    assert.equal((await wire.answer()).status, 200);
    assert.equal(await calls(device.sub), asked + 1);
    wire.reset();
  });

  test("a body in chunks, without a length, is taken", async () => {
    const { device } = await knownDevice();
    const wire = await Wire.open();
    wire.head(device, { "transfer-encoding": "chunked" });
    for (const piece of bodyOf(device).match(/[^]{1,20}/g)) await wire.chunk(piece);
    await wire.write("0\r\n\r\n");
    assert.equal((await wire.answer()).status, 200);
    wire.reset();
  });

  test("exactly 4 MiB are taken, with a length and without, and a byte more is 413", async () => {
    for (const [bytes, status] of [[4 * MIB, 200], [4 * MIB + 1, 413]]) {
      for (const chunked of [false, true]) {
        const { device, asked } = await knownDevice();
        const body = bodyOf(device).padEnd(bytes, " ");
        const wire = await Wire.open();
        wire.head(device, chunked ? { "transfer-encoding": "chunked" } : { "content-length": bytes });
        if (chunked) {
          for (let at = 0; at < bytes; at += MIB / 2) await wire.chunk(body.slice(at, at + MIB / 2));
          await wire.write("0\r\n\r\n");
        } else await wire.write(body);
        const answer = await wire.answer();
        assert.equal(answer.status, status, `${bytes} bytes, chunked: ${chunked}`);
        assert.equal(await calls(device.sub), asked + (status === 200 ? 1 : 0));
        wire.reset();
      }
    }
  });

  test("an endless body is cut off", async () => {
    const { device, asked } = await knownDevice();
    const wire = await Wire.open();
    wire.head(device, { "transfer-encoding": "chunked" });
    const piece = " ".repeat(MIB);
    let sent = 0;
    while (sent < 64 && !wire.text && !wire.ended && (await wire.chunk(piece))) sent += 1;
    assert.equal((await wire.answer())?.status ?? 413, 413);
    assert.ok(sent < 40, `${sent} MiB were taken`);
    await assertUntouched(device, asked);
    wire.reset();
  });
});

describe("bodies that do not arrive", { concurrency: true }, () => {
  const late = async (wire, device, asked) => {
    const begun = Date.now();
    const answer = await wire.answer();
    const took = Date.now() - begun;
    assert.deepEqual([answer.status, answer.code, answer.object], [400, "malformed", 0]);
    assert.match(answer.detail, /did not arrive/);
    assert.ok(took < IDLE_MS + 8_000, `${took} ms`);
    await assertUntouched(device, asked);
    wire.reset();
  };

  for (const [name, headers, sent] of [
    ["a length, and nothing", { "content-length": 500 }, ""],
    ["a length, and half of it", { "content-length": 500 }, "x".repeat(250)],
    ["the length of a long body, and half of it", { "content-length": 500_000 }, "x".repeat(250_000)],
    ["a length that is more than comes", { "content-length": 1000 }, "whole"],
    ["a chunk that is announced only", { "transfer-encoding": "chunked" }, "400\r\n"],
    ["chunks without the last", { "transfer-encoding": "chunked" }, "5\r\n{\"a\":\r\n"],
  ]) {
    test(`${name}: 400 after 10 s, and the object is not asked`, async () => {
      const { device, asked } = await knownDevice();
      const wire = await Wire.open();
      wire.head(device, headers);
      await wire.write(sent === "whole" ? bodyOf(device) : sent);
      await late(wire, device, asked);
    });
  }

  test("the same for the body of a pull", async () => {
    const { device, asked } = await knownDevice();
    const wire = await Wire.open();
    wire.head(device, { "content-length": 50 }, "/sync/pull");
    await wire.write('{"consistency":"strong"');
    await late(wire, device, asked);
  });

  test("a small body that comes byte by byte has 10 s in all", async () => {
    const { device, asked } = await knownDevice();
    const wire = await Wire.open();
    wire.head(device, { "content-length": 500 });
    const drip = setInterval(() => wire.write("x"), 1000);
    await late(wire, device, asked).finally(() => clearInterval(drip));
  });

  test("a long body that comes byte by byte does not go on for ever", async () => {
    const { device, asked } = await knownDevice("slow");
    const wire = await Wire.open("slow");
    wire.head(device, { "content-length": 500_000 });
    const drip = setInterval(() => wire.write("x"), 1000);
    await pause(1500);
    // Two minutes pass at once.
    await runtime.setClock("slow", 121_000);
    try {
      await late(wire, device, asked);
    } finally {
      clearInterval(drip);
      await runtime.setClock("slow", 0);
    }
  });

  for (const [name, headers] of [["a length", { "content-length": 5000 }], ["chunks", { "transfer-encoding": "chunked" }]]) {
    test(`a connection that is reset in the middle of a body with ${name} changes nothing`, async () => {
      const { device, asked } = await knownDevice();
      const wire = await Wire.open();
      wire.head(device, headers);
      if (headers["content-length"]) await wire.write(bodyOf(device));
      else await wire.chunk(bodyOf(device));
      await pause(300);
      wire.reset();
      await pause(1000);
      await assertUntouched(device, asked);
    });
  }

  test("what comes behind a body that is shorter than it is cut to its length, and is no second push", async () => {
    const { device, asked } = await knownDevice();
    const wire = await Wire.open();
    const body = bodyOf(device);
    wire.head(device, { "content-length": body.length - 5 });
    await wire.write(body);
    assert.equal((await wire.answer()).status, 400);
    assert.equal(await calls(device.sub), asked + 1, "asked, because a body was there");
    assert.deepEqual((await runtime.truth(device.sub)).state(), [["c before", {}]]);
    wire.reset();
  });

  for (const [name, headers] of [
    ["two lengths", { "content-length": "10\r\ncontent-length: 20" }],
    ["a length below 0", { "content-length": -5 }],
    ["a length that is no number", { "content-length": "many" }],
    ["a length beyond all numbers", { "content-length": "9".repeat(40) }],
    ["a length and chunks", { "content-length": 5, "transfer-encoding": "chunked" }],
  ]) {
    test(`${name}: no 5xx of the Worker, and nothing changes`, async () => {
      const { device } = await knownDevice();
      const wire = await Wire.open();
      wire.head(device, headers);
      await wire.write("0\r\n\r\n");
      const answer = await wire.answer();
      const isOurs = wire.text.includes("Headwater-Request");
      assert.ok(!isOurs || (answer.status >= 400 && answer.status < 500), JSON.stringify(answer));
      assert.deepEqual((await runtime.truth(device.sub)).state(), [["c before", {}]]);
      wire.reset();
    });
  }
});

test("many bodies of 4 MiB at once are taken or told to come back, and the object lives", async () => {
  const device = runtime.device(runtime.subject());
  const text = "x".repeat(250_000);
  const answers = await Promise.all(Array.from({ length: 16 }, (_, at) => {
    const mutations = Array.from({ length: 4 }, (_, n) => {
      const changes = Array.from({ length: 4 }, (_, k) => put(`${at}-${n}-${k}`, { text }));
      return { id: n + 1, changes };
    });
    return device.post({ client: `c_many_${at + 100}`, mutations });
  }));
  const statuses = answers.map(({ status }) => status);
  assert.ok(statuses.every((status) => status === 200 || status === 503), `${statuses}`);
  assert.ok(statuses.includes(200));
  for (const { status, body, response } of answers) {
    if (status === 503) assert.deepEqual([body.code, response.headers.get("retry-after")], ["overloaded", "2"]);
  }
  console.log(`16 bodies of 4 MiB at once: ${statuses.filter((status) => status === 503).length} were told to come back`);
  assert.equal((await runtime.truth(device.sub)).records.size, statuses.filter((status) => status === 200).length * 16);
});
