// GET and POST /sync/pull.

import assert from "node:assert/strict";
import { get } from "node:http";
import { after, before, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { startRuntime } from "./harness.mjs";

const NDJSON = "application/x-ndjson";
const put = (id, value = {}, collection = "c") => ({ op: "put", collection, id, value });
const remove = (id) => ({ op: "delete", collection: "c", id });
/** `count` records of about a kilobyte each. */
const kilobytes = (count, mark = "x") =>
  Array.from({ length: count }, (_, at) => [`r${String(at).padStart(5, "0")}`, { at, s: mark.repeat(950) }]);

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a", "b"] })));
after(() => runtime.stop());

/** A space that holds three versions, pulled by nobody yet. */
async function smallSpace() {
  const writer = runtime.device(runtime.subject());
  await writer.push([put("t1", { n: 1 }), put("t2")]);
  await writer.push([put("t3")]);
  await writer.push([remove("t2")]);
  return writer;
}

/** A space of 2 MB, published. */
async function largeSpace() {
  const writer = runtime.device(runtime.subject());
  await writer.load("c", kilobytes(2000));
  await runtime.waitForPublished(writer.sub, writer.min);
  return writer;
}

describe("what a pull brings", { concurrency: 4 }, () => {
  test("everything without since, in lines that later ones may overwrite", async () => {
    const writer = await smallSpace();
    const { body } = await writer.askPull({ consistency: "strong" });
    assert.deepEqual([body.version, body.more, body.cursor], [3, false, null]);
    const device = runtime.device(writer.sub);
    await device.pull({ consistency: "strong" });
    assert.deepEqual(device.state(), [["c t1", { n: 1 }], ["c t3", {}]]);
  });

  test("only what is newer with since, deletions included", async () => {
    const writer = await smallSpace();
    const [epoch] = writer.min.split(".");
    const { body } = await writer.askPull({ epoch, since: 1, min: writer.min });
    const newer = body.changes.filter((change) => change.version > 1);
    const told = newer.map(({ version, id, deleted }) => `${version} ${id} ${deleted ?? false}`).toSorted();
    assert.deepEqual(told, ["2 t3 false", "3 t2 true"]);
    assert.deepEqual([body.version, body.reset], [3, false]);
  });

  test("GET and POST mean the same", async () => {
    const writer = await smallSpace();
    const fields = { epoch: writer.min.split(".")[0], since: 1, consistency: "strong" };
    const [one, two] = [await writer.askPull(fields), await writer.askPull(fields, { method: "POST" })];
    assert.equal(two.status, 200, two.text);
    assert.deepEqual(two.body, one.body);
    const lines = await writer.askPull(fields, { method: "POST", accept: NDJSON });
    assert.equal(lines.response.headers.get("content-type").split(";")[0], NDJSON);
  });

  test("JSON and NDJSON bring the same", async () => {
    const writer = await smallSpace();
    const [one, two] = [runtime.device(writer.sub), runtime.device(writer.sub)];
    await one.pull({ min: writer.min });
    await two.stream({ min: writer.min });
    assert.deepEqual([two.position, two.state()], [one.position, one.state()]);
  });

  test("NDJSON begins with the position, ends with it, and has one line per change", async () => {
    const writer = await smallSpace();
    const { text } = await writer.askPull({ min: writer.min, epoch: writer.min.split(".")[0] }, { accept: NDJSON });
    assert.ok(text.endsWith("\n"));
    const lines = text.trimEnd().split("\n").map((line) => JSON.parse(line));
    const [first, last] = [lines.at(0), lines.at(-1)];
    assert.deepEqual(Object.keys(first).toSorted(), ["epoch", "reset", "version"]);
    assert.deepEqual(last, { end: true, epoch: first.epoch, version: 3 });
    for (const line of lines.slice(1, -1)) assert.ok(line.cursor ?? line.collection);
  });

  test("an empty space is answered, and its first push is seen", async () => {
    const device = runtime.device(runtime.subject());
    await device.pull();
    assert.deepEqual([device.version, device.state()], [0, []]);
    await device.push([put("t1")]);
    await device.pull();
    assert.deepEqual([device.version, device.state()], [1, [["c t1", {}]]]);
  });

  test("several readers at several locations come to the same records over many small steps", async () => {
    const writer = await smallSpace();
    const readers = ["home", "a", "b"].map((at) => runtime.device(writer.sub, { at }));
    for (let n = 0; n < 12; n += 1) {
      await writer.push(n % 3 === 2 ? [remove(`s${n - 1}`)] : [put(`s${n}`, { n }), put("t1", { n })]);
      const reader = readers[n % 3];
      await (n % 2 ? reader.stream({ min: writer.min }) : reader.pull({ min: writer.min }));
    }
    const truth = await runtime.truth(writer.sub);
    for (const reader of readers) {
      await reader.pull({ min: writer.min });
      assert.deepEqual([reader.position, reader.state()], [truth.position, truth.state()]);
    }
  });
});

describe("pages and cursors", { concurrency: 3 }, () => {
  test("JSON comes in pages of about 256 KiB that join to the whole", async () => {
    const writer = await largeSpace();
    const device = runtime.device(writer.sub, { at: "a" });
    const sizes = [];
    for await (const page of device.pages()) {
      sizes.push(page.text.length);
      assert.equal(page.body.more, page.body.cursor !== null);
    }
    assert.ok(sizes.length >= 5 && sizes.length <= 16, `${sizes.length} pages`);
    assert.ok(Math.max(...sizes) < 1_100_000, `a page of ${Math.max(...sizes)} bytes`);
    assert.deepEqual(device.state(), (await runtime.truth(writer.sub)).state());
  });

  test("a cursor works at any location", async () => {
    const writer = await largeSpace();
    const device = runtime.device(writer.sub, { at: "a" });
    const order = ["b", "home", "a"];
    let pages = 0;
    for await (const _ of device.pages()) device.at = order[pages++ % order.length];
    assert.ok(pages > 3);
    assert.deepEqual(device.state(), (await runtime.truth(writer.sub)).state());
  });

  test("a broken stream goes on from its last cursor, at another location and from POST as well", async () => {
    const writer = await largeSpace();
    const truth = await runtime.truth(writer.sub);
    const device = runtime.device(writer.sub, { at: "a" });
    const took = await device.stream({ cutAt: 1 });
    assert.ok(took.connections > 1, "a stream of 2 MB has a cursor line");
    assert.ok(took.objects.length > 0 && took.objects.every(({ left }) => left <= 0), "each object is named before it comes");
    assert.deepEqual(device.state(), truth.state());
    const other = runtime.device(writer.sub, { at: "b" });
    const whole = await other.stream();
    assert.equal(whole.connections, 1, "a stream that nobody cuts comes in one piece");
    const fields = { cursor: whole.cursors.at(-1) };
    const rest = await other.askPull(fields, { method: "POST", accept: NDJSON, at: "home" });
    assert.equal(rest.status, 200, rest.text);
    assert.ok(rest.text.split("\n").length < truth.records.size, "only the rest is sent");
    assert.deepEqual(JSON.parse(rest.text.trimEnd().split("\n").at(-1)).end, true);
  });

  test("a cursor of one user or epoch opens nothing for another", async () => {
    const [alice, bob] = [await largeSpace(), await smallSpace()];
    const first = await alice.askPull({});
    assert.equal(first.body.more, true);
    const { cursor } = first.body;
    const stolen = await bob.askPull({ cursor });
    assert.ok([400, 410].includes(stolen.status), `${stolen.status} ${stolen.text.slice(0, 200)}`);
    await alice.ask("/spaces/~/reset-epoch", { method: "POST" });
    const reader = runtime.device(alice.sub, { at: "home" });
    const { status, body } = await reader.askPull({ cursor, consistency: "strong" });
    // Either the pull begins again in the new epoch, or the client is told to begin it.
    if (status === 200) assert.deepEqual([body.reset, body.epoch > first.body.epoch], [true, true]);
    else assert.deepEqual([status, body.code], [410, "cursor_expired"]);
  });

  test("a cursor that is none is refused with 4xx", async () => {
    const writer = await smallSpace();
    for (const cursor of ["x", "AAAA", "%00", "1", "null", "x".repeat(2000)]) {
      const { status, body } = await writer.askPull({ cursor });
      assert.ok(status === 400 || status === 410, `${cursor.slice(0, 10)}: ${status}`);
      assert.ok(["malformed", "cursor_expired"].includes(body.code));
    }
  });

  test("NDJSON is compressed for a client that takes gzip, and not for another", async () => {
    const writer = await largeSpace();
    const url = new URL(`${await runtime.url("a")}/sync/pull`);
    const fetchRaw = (encoding) =>
      new Promise((resolve, reject) => {
        const headers = { authorization: `Bearer ${writer.token}`, accept: NDJSON, "accept-encoding": encoding };
        get(url, { headers }, (response) => {
          const chunks = [];
          response.on("data", (chunk) => chunks.push(chunk));
          response.on("end", () => resolve({ headers: response.headers, bytes: Buffer.concat(chunks) }));
          response.on("error", reject);
        }).on("error", reject);
      });
    const [packed, plain] = [await fetchRaw("gzip"), await fetchRaw("identity")];
    for (const encoding of ["gzip;q=0", "gzip;q=0.5, identity", "br"]) {
      assert.equal((await fetchRaw(encoding)).headers["content-encoding"], plain.headers["content-encoding"], encoding);
    }
    assert.notEqual(packed.headers.etag, plain.headers.etag, "each coding has a tag of its own");
    assert.equal(packed.headers["content-encoding"], "gzip");
    assert.ok([undefined, "identity"].includes(plain.headers["content-encoding"]));
    assert.ok(packed.bytes.length < plain.bytes.length / 4, `${packed.bytes.length} of ${plain.bytes.length}`);
    const lines = (bytes) => bytes.toString("utf8").split("\n").filter((line) => line.includes('"collection"'));
    assert.deepEqual(lines(gunzipSync(packed.bytes)), lines(plain.bytes));
  });
});

describe("since, min and consistency", { concurrency: 4 }, () => {
  test("min is reached at every location, as a position and as a number of this epoch", async () => {
    const writer = await smallSpace();
    const [epoch] = writer.min.split(".");
    for (const at of ["a", "b", "home"]) {
      const before = runtime.device(writer.sub, { at });
      await before.pull();
      const { version } = await writer.push([put("t9", { at })]);
      const position = await before.askPull({ epoch, since: 1, min: `${epoch}.${version}` });
      assert.ok(position.body.version >= version);
      const number = await before.askPull({ epoch, since: 1, min: version });
      assert.ok(number.body.version >= version);
      await before.pull({ min: writer.min });
      assert.deepEqual(before.records.get("c t9").value, { at });
    }
  });

  test("strong sees what was pushed before it, wherever it is asked", async () => {
    const writer = await smallSpace();
    const reader = runtime.device(writer.sub, { at: "b" });
    await reader.pull();
    for (let n = 0; n < 5; n += 1) {
      const { version } = await writer.push([put("t1", { n })]);
      await reader.pull({ consistency: "strong" });
      assert.equal(reader.version, version);
    }
  });

  test("eventual never goes back: what is older than the client is nothing new at its own position", async () => {
    const writer = await smallSpace();
    await runtime.waitForPublished(writer.sub, writer.min);
    const old = runtime.device(writer.sub, { at: "a" });
    await old.pull();
    await writer.push([put("t1", { n: 2 })]);
    const roamer = runtime.device(writer.sub, { at: "home" });
    await roamer.pull({ min: writer.min });
    roamer.at = "a";
    const { body } = await roamer.askPull(roamer.query({ consistency: "eventual", min: null }));
    assert.ok(body.version >= roamer.version, `${body.version} below ${roamer.version}`);
    if (body.version === roamer.version) assert.deepEqual(body.changes.filter((c) => c.version > roamer.version), []);
  });

  test("nothing newer: 200 without changes, or 304 to whoever sends the position as a tag, weak or in a list", async () => {
    const writer = await smallSpace();
    const device = runtime.device(writer.sub);
    await device.pull({ min: writer.min });
    const plain = await device.askPull(device.query());
    assert.deepEqual([plain.status, plain.body.changes, plain.body.version], [200, [], 3]);
    const tags = { "application/json": `"${device.position}"`, [NDJSON]: `"${device.position}.ndjson"` };
    for (const [accept, tag] of Object.entries(tags)) {
      for (const method of ["GET", "POST"]) {
        const ask = (held) => device.askPull(device.query(), { method, accept, headers: { "if-none-match": held } });
        for (const held of [tag, `W/${tag}`, `"x", W/"y" ,${tag}`, "*"]) {
          const { status, text, response } = await ask(held);
          assert.deepEqual([status, text, response.headers.get("etag")], [304, "", tag], `${method} ${accept} ${held}`);
        }
        const others = Object.values(tags).filter((other) => other !== tag);
        for (const held of ['"something-else"', '""', device.position, `"${device.epoch}.2"`, `"${device.epoch}.4"`, ...others]) {
          const { status, response } = await ask(held);
          assert.deepEqual([status, response.headers.get("etag")], [200, tag], `${method} ${accept} ${held}`);
        }
      }
    }
  });

  test("a tag counts for the answer that carries it and for no other", async () => {
    const [writer, stranger] = [await smallSpace(), await smallSpace()];
    const requests = [writer, stranger].flatMap((device) => {
      const [epoch] = device.min.split(".");
      const questions = [{}, { epoch, since: 1 }, { epoch, since: 2 }, { epoch, since: 3 }, { epoch: "0aaaaaaaaaaaa", since: 1 }];
      return questions.flatMap((fields) => ["application/json", NDJSON].map((accept) => ({ device, accept, fields: { ...fields, min: device.min } })));
    });
    const ask = ({ device, accept, fields }, headers) => device.askPull(fields, { accept, headers });
    for (const request of requests) request.tag = (await ask(request)).response.headers.get("etag");
    assert.equal(new Set(requests.map(({ tag }) => tag)).size, requests.length, "no two have the same");
    for (const request of requests) {
      const others = requests.map(({ tag }) => tag).filter((tag) => tag !== request.tag);
      const { status, text } = await ask(request, { "if-none-match": others.join(", ") });
      assert.equal(status, 200, text);
      assert.equal((await ask(request, { "if-none-match": request.tag })).status, 304, request.tag);
    }
  });

  test("a tag never replaces since: what the client lacks is sent although the tag is current", async () => {
    const writer = await smallSpace();
    const [epoch] = writer.min.split(".");
    const headers = { "if-none-match": `"${writer.min}"` };
    const { status, body } = await writer.askPull({ epoch, since: 1, min: writer.min }, { headers });
    assert.equal(status, 200);
    assert.ok(body.changes.length > 0);
  });

  test("a new epoch resets a client of the old one, and never the other way round", async () => {
    const writer = await smallSpace();
    const device = runtime.device(writer.sub, { at: "a" });
    await device.pull({ min: writer.min });
    const old = device.epoch;
    const { body: fresh } = await writer.ask("/spaces/~/reset-epoch", { method: "POST" });
    const took = await device.pull({ min: `${fresh.epoch}.${fresh.version}` });
    assert.equal(took.resets, 1);
    assert.ok(device.epoch === fresh.epoch && device.epoch > old);
    assert.deepEqual(device.state(), [["c t1", { n: 1 }], ["c t3", {}]]);
    for (const at of ["a", "b", "home"]) {
      device.at = at;
      const { resets } = await device.pull();
      assert.equal(resets, 0, `at ${at} the new epoch is kept`);
    }
  });

  test("a request from the future is never answered from the same history", async () => {
    const writer = await smallSpace();
    const [epoch] = writer.min.split(".");
    for (const fields of [{ epoch, since: 1000 }, { epoch, since: 1, min: `${epoch}.1000` }]) {
      const { status, body, text } = await writer.askPull(fields);
      // A later epoch begins at most once an hour, because it resets everybody; until then the client is told.
      if (status === 200) assert.ok(body.reset && body.epoch > epoch, text);
      else assert.deepEqual([status, body.code, body.position], [409, "epoch_mismatch", writer.min]);
    }
    const truth = await runtime.truth(writer.sub);
    assert.deepEqual(truth.state(), [["c t1", { n: 1 }], ["c t3", {}]]);
  });

  test("a whole number is one however it is written", async () => {
    const writer = await smallSpace();
    const [epoch] = writer.min.split(".");
    const asText = { method: "POST", headers: { "content-type": "application/json" } };
    const plain = await writer.askPull({ epoch, since: 1, min: 2 });
    const query = await writer.askPull({ epoch, since: "1.0", min: "2e0" });
    const body = await writer.ask("/sync/pull", { ...asText, body: `{"epoch":"${epoch}","since":1e0,"min":2.0}` });
    for (const answer of [query, body]) assert.deepEqual([answer.status, answer.body.changes], [200, plain.body.changes], answer.text);
  });

  test("fields of the wrong form are refused with 400", async () => {
    const writer = await smallSpace();
    const [epoch] = writer.min.split(".");
    const wrong = [
      { since: "-1" }, { since: "x" }, { since: "1.5" }, { since: "9007199254740993" }, { epoch: "NO" },
      { epoch: "x".repeat(33) }, { min: "x" }, { min: "0aaaaaaaaaaaa." }, { min: "0aaaaaaaaaaaa.-1" },
      { consistency: "maybe" }, { sinse: "1" },
    ];
    for (const fields of wrong) {
      const { status, body } = await writer.askPull({ epoch, ...fields });
      assert.deepEqual([status, body?.code], [400, "malformed"], JSON.stringify(fields));
    }
    const twice = await writer.ask(`/sync/pull?epoch=${epoch}&since=1&since=1`);
    assert.deepEqual([twice.status, twice.body.detail], [400, "since is given twice"]);
    for (const text of ["{", "[]", `{"epoch":"${epoch}","since":-1}`, '{"consistency":7}', '{"epoch":7}', '{"sinse":1}', '{"min":1,"min":1}']) {
      const headers = { "content-type": "application/json" };
      const { status, body } = await writer.ask("/sync/pull", { method: "POST", headers, body: text });
      assert.deepEqual([status, body?.code], [400, "malformed"], text);
    }
  });
});

describe("headers", { concurrency: 4 }, () => {
  const CARRIED = ["ETag", "Date", "Headwater-Version", "Headwater-Source", "Headwater-Age", "Server-Timing", "Headwater-Request"];

  test("200 and 304 say version, source and age, may not be stored, and expose that to other origins", async () => {
    const writer = await smallSpace();
    const device = runtime.device(writer.sub, { at: "a" });
    await device.pull({ min: writer.min });
    const origin = "https://app.test";
    for (const extra of [{}, { "if-none-match": `"${device.position}"` }]) {
      const { status, response } = await device.askPull(device.query(), { headers: { origin, ...extra } });
      assert.equal(status, extra["if-none-match"] ? 304 : 200);
      const { headers } = response;
      for (const name of CARRIED) assert.ok(headers.get(name) !== null, `${name} on ${status}`);
      assert.equal(headers.get("etag").replace(/^W\//, ""), `"${device.position}"`);
      assert.match(headers.get("headwater-source"), /^(edge|kv|coordinator)$/);
      assert.match(headers.get("headwater-age"), /^\d+$/);
      assert.equal(headers.get("cache-control"), "no-store");
      assert.equal(headers.get("content-type"), status === 200 ? "application/json" : null);
      const vary = headers.get("vary").toLowerCase().split(/,\s*/);
      for (const name of ["authorization", "origin", "accept", "accept-encoding", "headwater-grant"]) assert.ok(vary.includes(name), `Vary: ${name}`);
      const exposed = headers.get("access-control-expose-headers").toLowerCase();
      for (const name of CARRIED) assert.ok(exposed.includes(name.toLowerCase()), `${name} is exposed`);
      assert.equal(headers.get("access-control-allow-origin"), origin);
    }
  });

  test("the source is the furthest layer that was asked", async () => {
    const writer = await smallSpace();
    await runtime.waitForPublished(writer.sub, writer.min);
    const device = runtime.device(writer.sub, { at: "b" });
    const first = await device.askPull({});
    assert.equal(first.response.headers.get("headwater-source"), "kv");
    assert.ok(first.used.kv >= 1, "the answer says that KV was read");
    assert.equal((await runtime.counts("b", writer.sub))["edge.get.head"], 1);
    const again = await device.askPull({});
    assert.equal(again.response.headers.get("headwater-source"), "edge");
    assert.equal((await runtime.counts("b", writer.sub))["edge.get.head"], 1, "KV was not asked again");
    const strong = await device.askPull({ consistency: "strong" });
    assert.equal(strong.response.headers.get("headwater-source"), "coordinator");
    assert.equal(strong.response.headers.get("headwater-age"), "0");
  });
});
