// `npm run demo`: the main job on real data, against the running server (http://127.0.0.1:8787, or HEADWATER_URL).
// Device A pushes 3,201 films, device B pulls them and compares every record; A changes some, B pulls the increment
// and compares again. Each run is a user of its own, so it can be repeated. Exits with 1 when anything differs.

import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";
import { Stop, main, root, tools } from "./setup.mjs";
import { token } from "./token.mjs";

// JSON with the text of its numbers wants Node 21. `npm run` finds the Node that set-up installs; called directly, this
// script finds it itself.
if (Number(process.versions.node.split(".")[0]) < 21 && existsSync(tools.node)) {
  const { status } = spawnSync(tools.node, process.argv.slice(1), { stdio: "inherit" });
  process.exit(status ?? 1);
}

const SERVER = process.env.HEADWATER_URL ?? "http://127.0.0.1:8787";
const COLLECTION = "films";
const MUTATIONS_PER_PUSH = 500;
const PUBLISH_WAIT_MS = 120_000;
// The first publication after a pause comes within a second or two where it comes by itself.
const PATIENCE_MS = 4_000;

const sleep = (ms) => new Promise((later) => setTimeout(later, ms));
const count = (value) => value.toLocaleString("en");

// -- JSON that keeps numbers as they are written: 1.50 stays 1.50, and 2^53 + 1 keeps its last digit.

const parse = (text) => JSON.parse(text, (_, value, { source }) => (typeof value === "number" ? JSON.rawJSON(source) : value));
const compact = (text) => JSON.stringify(parse(text));

// -- One device: its own connection, its position, and what it has stored.

class Device {
  constructor(name, authorization) {
    this.name = name;
    this.client = `c_${randomBytes(6).toString("hex")}`;
    this.authorization = authorization;
    this.agent = new (SERVER.startsWith("https:") ? https : http).Agent({ keepAlive: true, maxSockets: 1 });
    this.next = 1;
    this.epoch = undefined;
    this.version = 0;
    this.records = new Map();
  }

  // Resolves with status, headers, body, the time it took, and the bytes that crossed the wire both ways, headers
  // included.
  ask(method, path, { headers = {}, body } = {}) {
    const { request } = SERVER.startsWith("https:") ? https : http;
    const all = { authorization: this.authorization, ...headers };
    const started = performance.now();
    return new Promise((resolve, reject) => {
      const asked = request(new URL(path, SERVER), { method, headers: all, agent: this.agent });
      let socket, before;
      asked.on("socket", (used) => {
        socket = used;
        before = { up: used.bytesWritten, down: used.bytesRead };
      });
      asked.on("error", reject);
      asked.on("response", async (answer) => {
        try {
          const chunks = await answer.toArray();
          const wire = Buffer.concat(chunks);
          const gzip = answer.headers["content-encoding"] === "gzip";
          resolve({
            status: answer.statusCode,
            headers: answer.headers,
            body: (gzip ? gunzipSync(wire) : wire).toString("utf8"),
            ms: performance.now() - started,
            up: socket.bytesWritten - before.up,
            down: socket.bytesRead - before.down,
          });
        } catch (error) {
          reject(error);
        }
      });
      asked.end(body);
    });
  }

  // `mutations` are lists of changes written as JSON text.
  async push(mutations) {
    const first = this.next;
    const list = mutations.map((changes, at) => {
      const base = this.version;
      return `{"id":${first + at},"at":${Date.now()},"base":${base},"changes":[${changes.join(",")}]}`;
    });
    const epoch = this.epoch ? `"epoch":"${this.epoch}",` : "";
    const body = `{"client":"${this.client}",${epoch}"acked":${first - 1},"mutations":[${list.join(",")}]}`;
    const answer = await this.ask("POST", "/sync/push", { headers: { "content-type": "application/json" }, body });
    expect(answer, 200);
    const { epoch: now, version, results } = JSON.parse(answer.body);
    const refused = results.find((result) => result.status !== "applied");
    if (refused) throw new Stop(`the server did not apply a mutation: ${JSON.stringify(refused)}`);
    this.next += mutations.length;
    this.epoch = now;
    // Only this device writes, so what it has stored is current at the version of the answer.
    this.version = version;
    return answer;
  }

  path(fields) {
    const known = { epoch: this.epoch, since: this.epoch && this.version, ...fields };
    return `/sync/pull?${new URLSearchParams(Object.entries(known).filter(([, value]) => value !== undefined))}`;
  }

  // An NDJSON pull; its changes are applied when the last line has come.
  async pull(fields = {}) {
    const headers = { accept: "application/x-ndjson", "accept-encoding": "gzip" };
    const answer = await this.ask("GET", this.path(fields), { headers });
    expect(answer, 200);
    const lines = answer.body.trimEnd().split("\n");
    const { reset } = JSON.parse(lines[0]);
    const last = JSON.parse(lines.at(-1));
    if (last.end !== true) throw new Stop("the pull ended before its last line");
    const records = reset ? new Map() : new Map(this.records);
    answer.changes = 0;
    for (const line of lines.slice(1, -1)) {
      const change = parse(line);
      if (change.cursor !== undefined || change.object !== undefined) continue;
      answer.changes++;
      if (change.deleted) records.delete(change.id);
      else records.set(change.id, JSON.stringify(change.value));
    }
    this.records = records;
    this.epoch = last.epoch;
    this.version = last.version;
    return answer;
  }
}

function expect(answer, status) {
  if (answer.status === status) return;
  throw new Stop(`the server answered ${answer.status} instead of ${status}:\n${answer.body.slice(0, 500)}`);
}

// -- What is printed

const COLUMNS = [
  ["", 34],
  ["version", 7],
  ["changes", 7],
  ["bytes up", 9],
  ["bytes down", 10],
  ["ms", 6],
  ["answered by", -11],
  ["operations (cache look-ups are free)", 0],
];

function line(cells) {
  const text = cells.map((cell, at) => {
    const width = COLUMNS[at][1];
    return at === 0 || width <= 0 ? String(cell).padEnd(Math.abs(width)) : String(cell).padStart(width);
  });
  console.log(text.join("  ").trimEnd());
}

// What each answer says it used; Worker requests are what was asked.
function billed(answers) {
  const used = { "Worker request": answers.length };
  const names = { cache: "cache look-up", kv: "KV read", object: "object request", rows_read: "row read", rows_written: "row written", alarms_set: "alarm set" };
  for (const answer of answers) {
    for (const [, name, amount] of (answer.headers["server-timing"] ?? "").matchAll(/([a-z_]+);desc="(\d+)"/g)) {
      if (names[name]) used[names[name]] = (used[names[name]] ?? 0) + Number(amount);
    }
  }
  const plural = { "cache look-up": "cache look-ups", "row read": "rows read", "row written": "rows written", "alarm set": "alarms set" };
  return Object.entries(used)
    .filter(([, amount]) => amount > 0)
    .map(([name, amount]) => `${count(amount)} ${amount === 1 ? name : (plural[name] ?? `${name}s`)}`)
    .join(", ");
}

// `Headwater-Source: edge` stands for memory and Cache API; a look-up in the Cache API is counted, one in memory is not.
function layer({ headers }) {
  const source = headers["headwater-source"] ?? "coordinator";
  if (source !== "edge") return source === "kv" ? "KV" : source;
  return /cache;desc="[1-9]/.test(headers["server-timing"] ?? "") ? "cache" : "memory";
}

function report(what, version, changes, answers) {
  const sum = (field) => answers.reduce((total, answer) => total + answer[field], 0);
  const sizes = [sum("up"), sum("down"), Math.round(sum("ms"))].map(count);
  const layers = [...new Set(answers.map(layer))].join(", ");
  line([what, count(version), count(changes), ...sizes, layers, billed(answers)]);
}

// A line that is replaced on a terminal, and left out where output is kept.
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

// -- The steps

function films() {
  const text = readFileSync(join(root, "node_modules/vega-datasets/data/movies.json"), "utf8");
  return new Map(parse(text).map((film, at) => [`film-${String(at + 1).padStart(4, "0")}`, JSON.stringify(film)]));
}

const put = (id, value) => `{"op":"put","collection":"${COLLECTION}","id":"${id}","value":${value}}`;

async function reachable(device) {
  const answer = await device.ask("GET", "/health").catch(() => null);
  if (answer?.status === 200) return;
  throw new Stop(`no Headwater answers at ${SERVER}. Start it with \`npm start\` in another terminal and wait for its address. Where it has another one, say so: HEADWATER_URL=http://127.0.0.1:8788 npm run demo.`);
}

async function pushAll(device, records) {
  const entries = [...records];
  const answers = [];
  // One film, one mutation: each gets a version of its own, as if the user had typed them one by one.
  for (let at = 0; at < entries.length; at += MUTATIONS_PER_PUSH) {
    const batch = entries.slice(at, at + MUTATIONS_PER_PUSH);
    answers.push(await device.push(batch.map(([id, value]) => [put(id, value)])));
    progress(`pushed ${count(at + batch.length)} of ${count(entries.length)}`);
  }
  progress("");
  return answers;
}

// Waits until the head that the edge shows is the version that was pushed.
async function published(device) {
  const started = performance.now();
  let pulls = 0;
  for (;;) {
    const answer = await device.ask("GET", "/sync/head");
    if (answer.status === 200) {
      const head = JSON.parse(answer.body.split("\n", 1)[0]);
      if (head.epoch === device.epoch && head.version >= device.version) break;
    } else if (answer.status !== 404) expect(answer, 200);
    const waited = performance.now() - started;
    if (waited > PUBLISH_WAIT_MS) throw new Stop(`version ${device.version} was not published within ${PUBLISH_WAIT_MS / 1000} s`);
    // Publication is driven by demand, so this stands in for the other devices that would ask meanwhile.
    if (waited > PATIENCE_MS) {
      expect(await device.ask("GET", device.path({ consistency: "strong" })), 200);
      pulls++;
    }
    progress(`waiting for publication: ${(waited / 1000).toFixed(1)} s`);
    await sleep(250);
  }
  progress("");
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`  … waited ${seconds} s until KV held that version. With the default settings a space is published when more than`);
  console.log("    256 KiB are new, after 50 pulls that the coordinator answered, or after 6 hours (15 minutes in a shared");
  console.log(`    space), but never twice within 30 s.${pulls > 0 ? ` Meanwhile this demo pulled ${pulls} times, standing in for other devices.` : ""}`);
}

// Changes of every kind. Returns one mutation each, and applies the same to `records`, which is what must come out.
function change(records) {
  const ids = [...records.keys()];
  const mutations = [];
  const edit = (id, work) => {
    const film = parse(records.get(id));
    work(film);
    records.set(id, JSON.stringify(film));
  };
  for (const id of ids.slice(0, 20)) {
    edit(id, (film) => (film.Watched = true));
    mutations.push([put(id, records.get(id))]);
  }
  for (const id of ids.slice(100, 130)) {
    edit(id, (film) => {
      film["IMDB Rating"] = JSON.rawJSON("9.50");
      delete film.Source;
    });
    mutations.push([`{"op":"patch","collection":"${COLLECTION}","id":"${id}","set":{"IMDB Rating":9.50},"unset":["Source"]}`]);
  }
  const rated = ids.slice(200).find((id) => Number.isInteger(JSON.parse(records.get(id))["IMDB Votes"]));
  edit(rated, (film) => (film["IMDB Votes"] = Number(film["IMDB Votes"].rawJSON) + 1));
  mutations.push([`{"op":"add","collection":"${COLLECTION}","id":"${rated}","path":"IMDB Votes","by":1}`]);
  const numbers = '{"Title":"Numbers as written","price":1.50,"large":9007199254740993,"power":1e3,"zero":-0.0}';
  records.set("film-new", compact(numbers));
  mutations.push([put("film-new", numbers)]);
  // One mutation of several changes: all of them, or none.
  const gone = ids.slice(-5);
  for (const id of gone) records.delete(id);
  mutations.push(gone.map((id) => `{"op":"delete","collection":"${COLLECTION}","id":"${id}"}`));
  return mutations;
}

// Text is compared, so a number that was rewritten or a key that moved counts as a difference.
function compare(device, expected) {
  const wrong = [];
  for (const [id, text] of expected) if (device.records.get(id) !== text) wrong.push(id);
  for (const id of device.records.keys()) if (!expected.has(id)) wrong.push(id);
  if (wrong.length > 0) {
    const [id] = wrong;
    const [want, have] = [expected.get(id) ?? "no record", device.records.get(id) ?? "no record"];
    throw new Stop(`${wrong.length} records differ; ${id}:\n  pushed ${want}\n  pulled ${have}`);
  }
  console.log(`  ✓ device ${device.name} holds all ${count(expected.size)} records, equal to the last digit`);
}

await main(async () => {
  parseArgs();
  const authorization = `Bearer ${token(`demo-${randomBytes(8).toString("hex")}`)}`;
  const [a, b] = [new Device("A", authorization), new Device("B", authorization)];
  await reachable(a);
  const records = films();
  const bytes = [...records.values()].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  console.log(`${count(records.size)} films from vega-datasets, ${count(bytes)} bytes of JSON, to ${SERVER}\n`);
  line(COLUMNS.map(([name]) => name));

  const pushed = await pushAll(a, records);
  report(`A pushes everything, ${pushed.length} requests`, a.version, records.size, pushed);
  await published(a);

  const first = await b.pull();
  report("B pulls everything, NDJSON, gzip", b.version, first.changes, [first]);
  compare(b, records);

  const edits = change(records);
  const increment = await a.push(edits);
  report("A puts, patches, adds, deletes", a.version, edits.flat().length, [increment]);

  const next = await b.pull({ min: `${a.epoch}.${a.version}` });
  report("B pulls the increment with min", b.version, next.changes, [next]);
  if (b.version !== a.version) throw new Stop(`B is at ${b.version}, A at ${a.version}`);
  compare(b, records);

  const poll = await b.ask("GET", b.path(), { headers: { "if-none-match": `"${b.epoch}.${b.version}"` } });
  expect(poll, 304);
  report("B polls, nothing new: 304", b.version, 0, [poll]);
  a.agent.destroy();
  b.agent.destroy();
});
