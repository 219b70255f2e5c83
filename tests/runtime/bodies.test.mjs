// Bodies that come slowly, in part, or with a length that is a lie: written byte by byte into sockets. The edge waits for
// them, and the object, which is billed while it waits, is not asked before they are whole.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { gzipSync, brotliCompressSync, deflateSync } from "node:zlib";
import { eventually, startRuntime } from "./harness.mjs";
import { Member } from "./member.mjs";

const MIB = 1024 * 1024;
// At some locations time goes by so many times as fast, so that nobody waits for deadlines. Where a test must not be late itself
// it is not so much.
const PACES = { hurried: 20, brisk: 4 };
const IDLE_MS = 10_000 / PACES.hurried;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });

let runtime;
before(async () => {
  runtime = await startRuntime({ locations: Object.keys(PACES) });
  for (const [location, pace] of Object.entries(PACES)) await runtime.setPace(location, pace);
});
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
    return { status: Number(status), text: this.text, code: /"code":"(\w+)"/.exec(body)?.[1], detail: /"detail":"([^"]+)"/.exec(body)?.[1], object: Number(object) };
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
  const late = async (wire, device, asked, ms = IDLE_MS) => {
    const begun = Date.now();
    const answer = await wire.answer();
    const took = Date.now() - begun;
    assert.deepEqual([answer.status, answer.code, answer.object], [408, "timeout", 0]);
    assert.ok(took < ms + 4_000, `${took} ms`);
    await assertUntouched(device, asked);
    wire.reset();
  };

  for (const [name, headers, sent] of [
    ["a length, and nothing", { "content-length": 500 }, ""],
    ["a length, and half of it", { "content-length": 500 }, "x".repeat(250)],
    ["the length of a long body, and nothing", { "content-length": 200_000 }, ""],
    ["the length of a long body, and half of it", { "content-length": 500_000 }, "x".repeat(250_000)],
    ["a length that is more than comes", { "content-length": 1000 }, "whole"],
    ["a chunk that is announced only", { "transfer-encoding": "chunked" }, "400\r\n"],
    ["chunks without the last", { "transfer-encoding": "chunked" }, "5\r\n{\"a\":\r\n"],
    ["a length and a coding, and half of it", { "content-length": 500, "content-encoding": "gzip" }, "x".repeat(250)],
  ]) {
    test(`${name}: 408 after 10 s, and the object is not asked`, async () => {
      const { device, asked } = await knownDevice("hurried");
      const wire = await Wire.open("hurried");
      wire.head(device, headers);
      await wire.write(sent === "whole" ? bodyOf(device) : sent);
      await late(wire, device, asked);
    });
  }

  for (const [method, path] of [
    ["POST", "/sync/pull"],
    ["POST", "/sync/conflict"],
    ["PUT", "/spaces/~/policies/todos"],
    ["PUT", "/spaces/team/members/bob"],
  ]) {
    for (const length of [50, 16_000]) {
      test(`the same for ${length} bytes of ${method} ${path}, whatever the route takes`, async () => {
        const { device, asked } = await knownDevice("hurried");
        const wire = await Wire.open("hurried");
        wire.head(device, { "content-length": length }, path, method);
        await wire.write('{"consistency":"strong"');
        await late(wire, device, asked);
      });
    }
  }

  test("what comes byte by byte is late before long", async () => {
    for (const length of [500, 500_000]) {
      const { device, asked } = await knownDevice("hurried");
      const wire = await Wire.open("hurried");
      wire.head(device, { "content-length": length });
      const drip = setInterval(() => wire.write("x"), 100);
      await late(wire, device, asked).finally(() => clearInterval(drip));
    }
  });

  test("a body whose bytes keep coming is read to its end, however long it takes", async () => {
    const { device, asked } = await knownDevice("brisk");
    const wire = await Wire.open("brisk");
    const body = bodyOf(device).padEnd(100_000, " ");
    wire.head(device, { "content-length": body.length });
    // 5 KB/s: 20 s.
    const begun = Date.now();
    for (let at = 0; at < body.length; at += 2_000) {
      await wire.write(body.slice(at, at + 2_000));
      await pause((2_000 / 5_000 / PACES.brisk) * 1000);
    }
    assert.equal((await wire.answer()).status, 200);
    assert.ok((Date.now() - begun) * PACES.brisk > 20_000, "longer than a pause may last, and than its length was once given");
    assert.equal(await calls(device.sub), asked + 1);
    wire.reset();
  });

  test("a body that goes on for more than 120 s is late however fast it comes", async () => {
    const { device, asked } = await knownDevice("hurried");
    const wire = await Wire.open("hurried");
    wire.head(device, { "content-length": 4 * MIB });
    const drip = setInterval(() => wire.write("x".repeat(4_000)), 100);
    await late(wire, device, asked, 120_000 / PACES.hurried).finally(() => clearInterval(drip));
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
      const { device } = await knownDevice("hurried");
      const wire = await Wire.open("hurried");
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

describe("bodies that are packed", () => {
  async function send({ token }, body, coding = "gzip", { method = "POST", path = "/sync/push" } = {}) {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json", "content-encoding": coding };
    const response = await runtime.fetch("home", path, { method, headers, body });
    const text = await response.text();
    return { status: response.status, response, text, body: text === "" ? null : JSON.parse(text) };
  }

  test("gzip is taken on every route that takes a body, and what it says is done", async () => {
    const member = new Member(runtime, "packer");
    const id = await member.create();
    const ask = (method, path, body) => send(member, gzipSync(JSON.stringify(body)), "gzip", { method, path });
    const change = { op: "put", collection: "todos", id: "t", value: { text: "x".repeat(10_000) } };
    const pushed = await ask("POST", `/sync/push?space=${id}`, { client: member.client, mutations: [{ id: 1, changes: [change] }] });
    assert.deepEqual([pushed.status, pushed.body.results?.[0].status], [200, "applied"]);
    const { epoch } = pushed.body;
    const resolutions = [{ conflict: `x_${epoch}_1`, take: "mine" }];
    const resolved = await ask("POST", `/sync/conflict?space=${id}`, { client: member.client, epoch, id: 2, resolutions });
    assert.deepEqual([resolved.status, resolved.body.results?.[0].code], [200, "not_found"]);
    const set = await ask("PUT", `/spaces/${id}/members/bob`, { role: "writer" });
    assert.deepEqual([set.status, set.body.role], [200, "writer"]);
    assert.ok((await ask("PUT", `/spaces/${id}/policies/todos`, { onConflict: "merge" })).status < 300);
    const device = runtime.device(runtime.subject());
    await device.push([change]);
    const pulled = await send(device, gzipSync('{"consistency":"strong"}'), "gzip", { path: "/sync/pull" });
    assert.deepEqual(pulled.body.changes.map(({ value }) => value), [change.value]);
    const several = await send(device, gzipSync('{"pulls":[{}]}'), "gzip", { path: "/sync/pulls" });
    assert.deepEqual(several.body.pulls.map(({ status, body }) => [status, body.changes[0].value]), [[200, change.value]]);
  });

  test("every other coding is 415 with the one that is taken, on every route, and the object is not asked", async () => {
    const { device, asked } = await knownDevice();
    const body = bodyOf(device);
    for (const [coding, bytes] of [["br", brotliCompressSync(body)], ["deflate", deflateSync(body)], ["gzip, gzip", gzipSync(gzipSync(body))], ["zstd", body]]) {
      for (const [method, path] of [["POST", "/sync/push"], ["POST", "/sync/pull"], ["POST", "/sync/conflict"], ["PUT", "/spaces/~/policies/c"]]) {
        const answer = await send(device, bytes, coding, { method, path });
        assert.deepEqual([answer.status, answer.body.code], [415, "unsupported_media_type"], `${coding} ${path}`);
        assert.equal(answer.response.headers.get("accept-encoding"), "gzip");
      }
    }
    await assertUntouched(device, asked);
    assert.equal((await send(device, body, "identity")).status, 200);
  });

  test("exactly 4 MiB unpacked are taken, and a byte more is 413", async () => {
    for (const [bytes, status] of [[4 * MIB, 200], [4 * MIB + 1, 413]]) {
      const { device, asked } = await knownDevice();
      const answer = await send(device, gzipSync(bodyOf(device).padEnd(bytes, " ")));
      assert.equal(answer.status, status);
      assert.equal(await calls(device.sub), asked + (status === 200 ? 1 : 0));
    }
    const member = new Member(runtime, "long");
    const long = gzipSync('{"role":"reader"}'.padEnd(16 * 1024 + 1, " "));
    const answer = await send(member, long, "gzip", { method: "PUT", path: `/spaces/${await member.create()}/members/x` });
    assert.equal(answer.status, 413, "an administrative body has 16 KiB");
  });

  test("what is no gzip, or not all of it, or has something behind it is 400, and the object is not asked", async () => {
    const { device, asked } = await knownDevice();
    const good = gzipSync(bodyOf(device));
    const damaged = Buffer.from(good);
    damaged[good.length - 6] ^= 1;
    for (const bytes of [Buffer.from(bodyOf(device)), good.subarray(0, -1), good.subarray(0, 4), damaged, Buffer.concat([good, Buffer.from("more")]), Buffer.concat([good, good])]) {
      const answer = await send(device, bytes);
      assert.deepEqual([answer.status, answer.body.code], [400, "malformed"]);
      assert.match(answer.body.detail, /gzip/);
    }
    await assertUntouched(device, asked);
  });

  test("a bomb is 413, and takes no memory", async () => {
    const bomb = gzipSync(Buffer.alloc(128 * MIB), { level: 9 });
    const { device, asked } = await knownDevice();
    const before = runtime.memory();
    const answers = await Promise.all([1, 2, 3, 4].map(() => send(device, bomb)));
    for (const answer of answers) assert.ok([413, 503].includes(answer.status), answer.text);
    assert.ok(answers.some(({ status }) => status === 413));
    const mib = (runtime.memory() - before) / MIB;
    console.log(`bombs of ${(bomb.length / 1024).toFixed(0)} KiB took ${mib.toFixed(0)} MiB`);
    if (before !== null) assert.ok(mib < 100, `${mib.toFixed(0)} MiB`);
    await assertUntouched(device, asked);
  });
});

describe("what one user's bodies may take of what all share", () => {
  const open = async (device, length, sent) => {
    const wire = await Wire.open();
    wire.head(device, { "content-length": length });
    if (sent > 0) await wire.write(Buffer.alloc(sent, " "));
    return wire;
  };

  test("bodies that are announced and do not come take nothing from anybody", async () => {
    const idle = runtime.device(runtime.subject("idle"));
    const wires = await Promise.all(Array.from({ length: 200 }, () => open(idle, 256 * 1024, 0)));
    await pause(500);
    for (const sub of [idle.sub, runtime.subject()]) {
      assert.equal((await runtime.device(sub).push([put("r")])).status, "applied");
    }
    for (const wire of wires) wire.reset();
  });

  test("a user whose unfinished bodies fill their share is told to come back, and nobody else is", async () => {
    const eve = runtime.device(runtime.subject("eve"));
    const wires = await Promise.all(Array.from({ length: 20 }, () => open(eve, 4 * MIB, 4 * MIB - 100)));
    const pushed = (device) => device.post(bodyOf(device).padEnd(4 * MIB, " "));
    // What the wires have sent arrives when the runtime comes to it.
    const refused = await eventually("the share is full", async () => {
      const answer = await pushed(eve);
      return answer.status === 200 ? null : answer;
    });
    assert.deepEqual([refused.status, refused.body?.code, refused.response.headers.get("retry-after")], [503, "overloaded", "2"]);
    const bob = runtime.device(runtime.subject("bob"));
    assert.equal((await pushed(bob)).status, 200);
    for (const wire of wires) wire.write(Buffer.alloc(100, " "));
    const codes = await Promise.all(wires.map(async (wire) => (await wire.answer()).code));
    assert.ok(codes.filter((code) => code === "overloaded").length >= 16, codes.join());
    assert.ok(codes.every((code) => ["overloaded", "malformed"].includes(code)), codes.join());
    for (const wire of wires) wire.reset();
    await eventually("a push is taken", async () => (await pushed(eve)).status === 200);
  });
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
