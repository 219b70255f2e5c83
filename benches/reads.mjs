// Polls and pulls against `KV.get` streamed into a Response. The floor's value has the bytes of Headwater's answer, so
// it reads and sends as little as a KV read can.
import { gunzipSync } from "node:zlib";
import { Connection, check, header, once, request, summarize } from "./client.mjs";
import { compare, summary, timed } from "./compare.mjs";
import { places } from "./dataset.mjs";
import { Space, Used } from "./space.mjs";

const MEMORY_LAYER_MS = 1000;

// A space of `count` records, then one more change, published; so `since = version - 1` is one change behind.
async function prepare(runtime, sub, count) {
  const space = new Space(runtime, sub);
  const records = places(count);
  await space.fill(records);
  await space.fill([{ id: records[0].id, value: { ...records[0].value, seen: true } }]);
  const keys = await space.published();
  return { space, keys };
}

const pull = (space, since, headers) => space.get(`/sync/pull?epoch=${space.epoch}&since=${since}`, headers);

// Asks once, checks that the edge answers without the coordinator, and gives the floor a value of the same size.
async function sides(runtime, bytes, status, changes) {
  const answer = await once(runtime.headwater, bytes);
  check(answer, { status });
  if (header(answer, "headwater-source") === "coordinator") throw new Error("the coordinator answered a pull that KV could");
  const brought = status === 304 ? 0 : JSON.parse(answer.body).changes.length;
  if (brought !== changes) throw new Error(`expected ${changes} changes, got ${brought}`);
  const value = answer.size > 0 ? answer.body : Buffer.from("{}");
  await runtime.give(`answer-${value.length}`, value);
  const floorBytes = request("GET", `/answer-${value.length}`);
  return [
    { url: runtime.headwater, next: () => bytes, expect: { status } },
    { url: runtime.floor, next: () => floorBytes, expect: { status: 200, size: value.length } },
  ];
}

export async function smallReads(runtime, kind, options) {
  const { space } = await prepare(runtime, "small", 100);
  const wide = await prepare(runtime, "wide", 1200);
  const settings = { ...options, clients: 8 };
  const etag = { "if-none-match": `"${space.epoch}.${space.version}"` };
  const run = async (name, bytes, status, changes) =>
    compare(name, ...(await sides(runtime, bytes, status, changes)), settings);
  const fullTail = pull(wide.space, wide.space.version - 1);
  return {
    poll304: await run(`poll, nothing new, 304 (${kind})`, pull(space, space.version, etag), 304, 0),
    poll200: await run(`poll, nothing new, 200 (${kind})`, pull(space, space.version), 200, 0),
    tail: await run(`pull, one change behind (${kind})`, pull(space, space.version - 1), 200, 1),
    wideTail: await run(`pull, one behind, 200 KB tail (${kind})`, fullTail, 200, 1),
  };
}

// Many spaces, each asked once and then left alone until the memory layer has forgotten it. Headwater's pause is the
// floor's turn, so the two alternate here too. The floor reads the same heads.
export async function coldPolls(runtime, { rounds, spaces: count }) {
  const name = `poll, ${count} spaces, memory layer cold (KV)`;
  process.stderr.write(`  ${name} `);
  const spaces = [];
  for (let at = 0; at < count; at++) {
    const space = new Space(runtime, `cold-${at}`);
    await space.fill(places(20));
    spaces.push(space);
  }
  const heads = [];
  for (const space of spaces) heads.push((await space.published())[0]);
  const polls = spaces.map((space) => pull(space, space.version, { "if-none-match": `"${space.epoch}.${space.version}"` }));
  const gets = heads.map((key) => request("GET", `/${key}`));
  const connect = (url) => Promise.all(Array.from({ length: 8 }, () => Connection.open(url)));
  const [ours, theirs] = [await connect(runtime.headwater), await connect(runtime.floor)];
  const used = new Used();
  const pairs = [];
  for (let round = 0; round <= rounds; round++) {
    const started = performance.now();
    const onAnswer = round === rounds ? (answer) => used.add(answer) : undefined;
    const headwater = await timed(() => burst(ours, polls, 304, onAnswer));
    const floor = await timed(() => burst(theirs, gets, 200));
    // The first burst finds the layers as publication left them, the last one is for counting.
    if (round > 0 && round < rounds) pairs.push({ headwater, floor });
    await new Promise((later) => setTimeout(later, 1.2 * MEMORY_LAYER_MS - (performance.now() - started)));
    process.stderr.write(".");
  }
  for (const connection of [...ours, ...theirs]) connection.close();
  const row = summary(name, 8, pairs);
  row.used = used.means();
  process.stderr.write(` ${row.ratio.toFixed(2)}\n`);
  return row;
}

// Each request once, over all connections.
async function burst(connections, requests, status, onAnswer) {
  let next = 0;
  const times = [];
  const start = performance.now();
  await Promise.all(
    connections.map(async (connection) => {
      while (next < requests.length) {
        const sent = performance.now();
        const answer = await connection.send(requests[next++]);
        times.push(performance.now() - sent);
        check(answer, { status });
        onAnswer?.(answer);
      }
    }),
  );
  return summarize(times, (performance.now() - start) / 1000);
}

export async function firstLoads(runtime, options) {
  const records = 20_000;
  process.stderr.write(`  filling a space with ${records} records\n`);
  const { space, keys } = await prepare(runtime, "large", records);
  const rows = {};
  for (const gzip of [false, true]) {
    const headers = { accept: "application/x-ndjson", "accept-encoding": gzip ? "gzip" : "identity" };
    const bytes = space.get("/sync/pull", headers);
    const floorBytes = request("GET", `/${gzip ? "gzip/" : ""}${keys.join(",")}`, headers);
    const ours = await complete(runtime.headwater, bytes, gzip, records);
    const theirs = await once(runtime.floor, floorBytes);
    check(theirs, { status: 200 });
    const row = await compare(
      `first load of ${records} records, ${gzip ? "gzip" : "plain"} (KV)`,
      { url: runtime.headwater, next: () => bytes, expect: { status: 200 } },
      { url: runtime.floor, next: () => floorBytes, expect: { status: 200, size: theirs.size } },
      { ...options, clients: 1 },
    );
    rows[gzip ? "gzip" : "plain"] = { ...row, bytes: ours.size, floorBytes: theirs.size, keys: keys.length };
  }
  return rows;
}

// A first load counts only when it brings every record and its end.
async function complete(url, bytes, gzip, records) {
  const answer = await once(url, bytes);
  check(answer, { status: 200 });
  const compressed = header(answer, "content-encoding") === "gzip";
  if (compressed !== gzip) throw new Error(`asked for ${gzip ? "gzip" : "plain"}, got ${answer.head}`);
  if (header(answer, "headwater-source") === "coordinator") throw new Error("the coordinator answered a first load");
  const text = (gzip ? gunzipSync(answer.body) : answer.body).toString("utf8");
  const lines = text.trim().split("\n").map((line) => JSON.parse(line));
  const ids = new Set(lines.filter((line) => line.id !== undefined).map((line) => line.id));
  if (ids.size !== records || !lines.at(-1).end) throw new Error(`a first load brought ${ids.size} records`);
  return answer;
}
