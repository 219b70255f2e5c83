// `node scripts/import-dexie-cloud.mjs FILE [--realm REALM [--space SPACE]]`: brings what `npx dexie-cloud export` has written into a
// space, one realm at a time. FILE is the JSON of `export --legacy`, or `data.ndjson` of the ZIP. Without a realm it says which there are.
// HEADWATER_URL is the server (http://127.0.0.1:8787), HEADWATER_TOKEN a token of the user whose private space it is, or of a writer
// of the shared space. What stands there already stays as it is, so a run that broke off is simply repeated.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Stop, isMain, main } from "./setup.mjs";

const USAGE = "usage: HEADWATER_URL=… HEADWATER_TOKEN=… node scripts/import-dexie-cloud.mjs FILE [--realm REALM [--space SPACE]]";
/** Tables of the service itself: realms, members and roles are no records here. */
const OF_THE_SERVICE = new Set(["realms", "members", "roles"]);
// Below the limits of docs/PROTOCOL.md, which are 500 and 4 MiB.
const ROWS_PER_PUSH = 250;
const BYTES_PER_PUSH = 1 << 20;

/** What a file holds, as {realm, table, id, value}. */
export function rowsOf(text) {
  const rows = [];
  const add = (realm, table, id, value) => rows.push({ realm, table, id: typeof id === "string" ? id : JSON.stringify(id), value });
  const whole = parsed(text);
  if (whole?.data) {
    for (const [realm, tables] of Object.entries(whole.data)) {
      for (const [table, values] of Object.entries(tables)) for (const [id, value] of Object.entries(values)) add(realm, table, id, value);
    }
    return rows;
  }
  for (const [at, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const said = parsed(line);
    if (!said) throw new Stop(`Line ${at + 1} is no JSON. Is it the file of \`npx dexie-cloud export --legacy\`, or data.ndjson of its ZIP?`);
    if (said.type === "error") throw new Stop(`The export itself failed: ${said.message}`);
    const { realm, table = said.$type === "member" ? "members" : undefined, id, data } = said;
    if (realm && table && id !== undefined && data !== undefined) add(realm, table, id, data);
  }
  return rows;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Whether a value refers to bytes that stand in another file of the export. */
function holdsFile(value) {
  if (typeof value !== "object" || value === null) return false;
  return typeof value._bt === "string" || Object.values(value).some(holdsFile);
}

/**
 * A row as a record: without the realm that it came from and, in the user's own, without its owner, because what says nothing belongs to
 * the user of its space. A private id (`#settings:user`) names the user by the id that the user has now.
 */
export function recordOf({ realm, table, id, value }, sub) {
  const isPrivateId = id.startsWith("#") && id.endsWith(`:${realm}`);
  const now = isPrivateId ? `${id.slice(0, -realm.length)}${sub}` : id;
  const fields = Object.entries(value).filter(([name, field]) => !((name === "realmId" || name === "owner") && field === realm));
  return { collection: table, id: now, value: Object.fromEntries(fields.map(([name, field]) => [name, isPrivateId && field === id ? now : field])) };
}

class Space {
  #client = `c_${randomUUID()}`;
  #headers;
  #next = 1;

  constructor(url, token, space) {
    Object.assign(this, { url: url.replace(/\/$/, ""), space, query: space ? `space=${encodeURIComponent(space)}` : "" });
    this.#headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  }

  async #ask(method, path, body) {
    for (;;) {
      const answer = await fetch(this.url + path, { method, headers: this.#headers, ...(body && { body: JSON.stringify(body) }) });
      const text = await answer.text();
      const said = parsed(text);
      if (answer.ok && said) return said;
      const wait = Number(answer.headers.get("retry-after"));
      if (!(wait > 0 && wait < 600)) throw new Stop(`${method} ${path}: ${answer.status} ${said?.code ?? ""} ${said?.detail ?? text.slice(0, 200)}`);
      await new Promise((later) => setTimeout(later, wait * 1000));
    }
  }

  /** The names of all records, as `collection/id`. */
  async names() {
    if (this.space) this.#headers["headwater-grant"] = (await this.#ask("POST", `/spaces/${encodeURIComponent(this.space)}/grant`)).grant;
    const names = new Set();
    for (let cursor = ""; ; ) {
      const page = await this.#ask("GET", `/sync/pull?consistency=strong&${this.query}${cursor}`);
      if (page.reset) names.clear();
      for (const { collection, id, deleted } of page.changes) if (!deleted) names.add(`${collection}/${id}`);
      if (!page.more) return names;
      cursor = `&cursor=${encodeURIComponent(page.cursor)}`;
    }
  }

  /** Makes these records, each by a mutation of its own; a record that has come into being meanwhile is not replaced. Gives a result for each. */
  async make(records) {
    const mutations = records.map((record, at) => ({ id: this.#next + at, base: 0, changes: [{ op: "put", ...record }] }));
    const { results } = await this.#ask("POST", `/sync/push?${this.query}`, { client: this.#client, acked: this.#next - 1, onConflict: "reject", mutations });
    this.#next += records.length;
    return results;
  }
}

/** As many in each as one push may hold. */
function* pushesOf(records) {
  let [push, bytes] = [[], 0];
  for (const record of records) {
    const size = Buffer.byteLength(JSON.stringify(record));
    if (push.length === ROWS_PER_PUSH || (push.length > 0 && bytes + size > BYTES_PER_PUSH)) {
      yield push;
      [push, bytes] = [[], 0];
    }
    push.push(record);
    bytes += size;
  }
  if (push.length > 0) yield push;
}

function listRealms(rows) {
  const realms = new Map();
  for (const { realm, table } of rows) {
    if (!realms.has(realm)) realms.set(realm, new Map());
    const tables = realms.get(realm);
    tables.set(table, (tables.get(table) ?? 0) + 1);
  }
  for (const [realm, tables] of realms) console.log(`${realm}: ${[...tables].map(([table, count]) => `${table} ${count}`).join(", ")}`);
  console.log(`Realms: ${realms.size}. Import one with --realm.`);
}

function subjectOf(token) {
  const claims = parsed(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
  if (!claims?.sub) throw new Stop(`HEADWATER_TOKEN is no token. ${USAGE}`);
  return claims.sub;
}

/** Prints what became of the rows; true if all of them are there. */
async function importRealm(rows, { realm, space: id }, url, token) {
  const own = rows.filter((row) => row.realm === realm);
  if (own.length === 0) throw new Stop(`The file has no realm ${realm}. Without --realm it is said which it has.`);
  const sub = subjectOf(token);
  const space = new Space(url, token, id);
  const names = await space.names();
  const ofTheService = own.filter(({ table }) => OF_THE_SERVICE.has(table));
  const withFiles = own.filter(({ table, value }) => !OF_THE_SERVICE.has(table) && holdsFile(value));
  const left = new Set([...ofTheService, ...withFiles]);
  const records = own.filter((row) => !left.has(row)).map((row) => recordOf(row, sub));
  const absent = records.filter(({ collection, id }) => !names.has(`${collection}/${id}`));
  let made = 0;
  const failed = withFiles.map(({ table, id }) => `${table} ${id}: it refers to a file or a long text that the export keeps apart`);
  for (const push of pushesOf(absent)) {
    for (const [at, { status, code, detail }] of (await space.make(push)).entries()) {
      if (status === "applied") made += 1;
      else failed.push(`${push[at].collection} ${push[at].id}: ${status === "conflict" ? "somebody has made it meanwhile" : `${code}, ${detail}`}`);
    }
  }
  console.log(`Rows imported: ${made}. There already, and left as they were: ${records.length - absent.length}.`);
  if (ofTheService.length > 0) console.log(`Left out, of realms, members and roles: ${ofTheService.length}. See docs/DEXIE-CLOUD.md.`);
  for (const line of failed) console.error(`not imported: ${line}`);
  return failed.length === 0;
}

if (isMain(import.meta)) {
  await main(async () => {
    const { values, positionals } = parseArgs({ options: { realm: { type: "string" }, space: { type: "string" } }, allowPositionals: true });
    if (positionals.length !== 1) throw new Stop(USAGE);
    const rows = rowsOf(readFileSync(positionals[0], "utf8"));
    if (!values.realm) return listRealms(rows);
    const { HEADWATER_URL: url = "http://127.0.0.1:8787", HEADWATER_TOKEN: token } = process.env;
    if (!token) throw new Stop(USAGE);
    if (!(await importRealm(rows, values, url, token))) process.exitCode = 1;
  });
}
