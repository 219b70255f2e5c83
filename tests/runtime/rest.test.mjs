// Every refusal leads somewhere: a client that does what docs/PROTOCOL.md says of each error comes to rest, from any state.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";
import { Member, spaceId } from "./member.mjs";
import { Obedient } from "./obedient.mjs";

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const WORLDS = Number(process.env.WORLDS ?? 12);
const EVENTS = 10;

let runtime;
before(async () => {
  // Shared spaces grant and private ones admit; few calls a second, so that rates are met.
  runtime = await startRuntime({ variables: { RATE_USER_PER_S: "20", RATE_SPACE_PER_S: "100" } });
});
after(() => runtime.stop());

/** Numbers in [0, n), from a seed (mulberry32). */
function chance(seed) {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % n;
  };
}

/** How an obedient client's requests travel: now and then an answer is lost, or a proxy answers in its place. */
function sender(disturb = () => 0) {
  return async (method, path, init) => {
    const happens = disturb();
    if (happens === 1) return { status: 502, body: null, retryAfter: 0.05 };
    const response = await runtime.fetch("home", path, { method, ...init });
    const text = await response.text();
    if (happens === 2) return { status: 502, body: null, retryAfter: 0.05 };
    const isJson = /json\b/.test(response.headers.get("content-type") ?? "");
    return { status: response.status, body: isJson && text ? JSON.parse(text) : null, retryAfter: Number(response.headers.get("retry-after")) };
  };
}

const client = (sub, options = {}) => new Obedient({ send: sender(), newToken: () => runtime.token(sub), ...options });
const count = (mark) => ({ op: "add", collection: "edits", id: `e${mark}`, path: "n", by: 1, orPut: { n: 1 } });
const put = (id, value) => ({ op: "put", collection: "c", id, value });

describe("a client that obeys comes to rest", { concurrency: 4 }, () => {
  test("from a position that the space has never reached: of another deployment, of a later epoch, of this one", async () => {
    for (const elsewhere of [
      (here) => ({ epoch: "9zzzzzzzzzzzzz", version: here.version }),
      (here) => ({ epoch: here.epoch, version: here.version + 1000 }),
      (here) => ({ epoch: "000000000000", version: here.version + 1000 }),
      (here) => ({ epoch: `${here.epoch}z`, version: 1 }),
    ]) {
      const one = client(runtime.subject());
      one.edit([put("a", {})]);
      assert.equal(await one.rest(), "settled");
      const here = one.position;
      one.position = elsewhere(here);
      one.edit([put("b", {})]);
      assert.equal(await one.rest(), "settled");
      const truth = await runtime.truth(subjectOf(one));
      assert.deepEqual(truth.state(), [["c a", {}], ["c b", {}]]);
      assert.deepEqual(one.position, { epoch: truth.epoch, version: truth.version });
    }
  });

  test("though it repeats its own position beside the one that it was told", async () => {
    const device = runtime.device(runtime.subject());
    await device.push([put("a", {})]);
    const own = { epoch: "9zzzzzzzzzzzzz", since: 5 };
    const refused = await device.askPull(own);
    assert.deepEqual([refused.status, refused.body.code, refused.body.last], [409, "epoch_mismatch", undefined]);
    for (const accept of ["application/json", "application/x-ndjson"]) {
      const { status, text } = await device.askPull({ ...own, min: refused.body.position }, { accept });
      assert.equal(status, 200, text);
      assert.ok(text.includes('"reset":true') && text.includes('"id":"a"'), text);
    }
  });

  test("when a push is too large, by halves; and a mutation that no push can hold is told of", async () => {
    const one = client(runtime.subject());
    for (let n = 0; n < 20; n += 1) one.edit([put(`r${n}`, { text: "x".repeat(230_000) })]);
    one.edit([put("huge", { text: "x".repeat(5_000_000) })]);
    one.edit([put("last", {})]);
    assert.equal(await one.rest(), "settled");
    assert.deepEqual(one.told, ["too_large"]);
    const truth = await runtime.truth(subjectOf(one));
    assert.equal(truth.records.size, 21);
  });

  test("when its space is deleted, it is removed, or becomes a reader: it stops, and keeps its edits", async () => {
    for (const [end, pulls, code] of [
      [(owner, id) => owner.ask("DELETE", `/spaces/${id}`), false, "gone"],
      [(owner, id, other) => owner.remove(id, other), false, "forbidden"],
      [(owner, id, other) => owner.set(id, other, "reader"), true, "forbidden"],
    ]) {
      const owner = new Member(runtime, "owner");
      const member = new Member(runtime, "member");
      const space = await owner.create(spaceId());
      assert.equal((await owner.set(space, member, "writer")).status, 200);
      const one = client(member.sub, { space });
      one.edit([put("a", {})]);
      assert.equal(await one.rest(), "settled");
      await end(owner, space, member);
      one.edit([put("b", {})]);
      assert.equal(await one.rest(), code);
      assert.equal(one.outbox.length, 1);
      one.outbox = [];
      one.grant = null;
      assert.equal(await one.rest(), pulls ? "settled" : code);
    }
  });

  test(`in random worlds of lost answers, backups, emptied spaces, ended tokens and false positions (SEED=${SEED})`, async () => {
    const worlds = Array.from({ length: WORLDS }, (_, world) => live(SEED + world));
    for (const lived of await Promise.allSettled(worlds)) if (lived.status === "rejected") throw lived.reason;
  });
});

/** The edits that stand in an outbox. */
const marksOf = (outbox) => outbox.flatMap(({ changes }) => changes.map(({ id }) => Number(id.slice(1)))).filter(Boolean);

/** One user with two devices; whatever happened, both come to rest and no edit has disappeared. */
async function live(seed) {
  const random = chance(seed);
  const sub = runtime.subject("obedient");
  const disturb = () => [1, 2, 0, 0, 0, 0, 0, 0][random(8)];
  const clients = [0, 1].map(() => client(sub, { send: sender(disturb) }));
  const made = new Set();
  let [marks, backup, isCopied, trace] = [0, null, false, []];
  // Edits that are not there any more, or never will be: of a space that was emptied, of a database that was lost.
  const lost = [];
  const events = {
    edit: (one) => {
      marks += 1;
      made.add(marks);
      one.edit([count(marks), ...(random(2) ? [put("hot", { marks })] : [])]);
    },
    sync: (one) => one.rest(),
    backup: (one) => ((backup = one.backup()), (isCopied = true)),
    restore: (one) => {
      if (!backup) return;
      // What this device had not sent yet is lost with the database that the backup replaces.
      const kept = marksOf(backup.outbox);
      lost.push(...marksOf(one.outbox).filter((mark) => !kept.includes(mark)));
      one.restore(backup);
    },
    empty: async (one) => {
      const { status } = await one.ask("DELETE", "/spaces/~");
      if (status < 300) lost.push(...made);
    },
    reset: (one) => one.ask("POST", "/spaces/~/reset-epoch"),
    expire: (one) => (one.token = runtime.token(sub, { exp: Math.floor(Date.now() / 1000) - 600 })),
    elsewhere: (one) => {
      if (!one.position) return;
      const epochs = [one.position.epoch, "9zzzzzzzzzzzzz", "000000000000"];
      one.position = { epoch: epochs[random(3)], version: random(2) ? one.position.version : random(50) };
    },
    forget: (one) => (one.acked = random(3)),
    late: (one) => lost.push(...marksOf(one.outbox.splice(0, random(2)))),
  };
  const names = [...Object.keys(events), "edit", "edit", "edit", "sync", "sync"];
  try {
    for (let event = 0; event < EVENTS; event += 1) {
      const [name, at] = [names[random(names.length)], random(2)];
      trace.push(`${name} ${at}`);
      clients[at].requests = 0;
      await events[name](clients[at]);
    }
    for (const [at, one] of clients.entries()) {
      trace.push(`rest ${at}`);
      assert.equal(await one.rest(), "settled");
      assert.equal(one.outbox.length, 0);
    }
    await check(sub, made, lost, clients, isCopied);
  } catch (error) {
    error.message = `world ${seed} (${trace.join(", ")}): ${error.message}`;
    throw error;
  }
}

async function check(sub, made, lost, clients, isCopied) {
  const truth = await runtime.truth(sub);
  const told = clients.reduce((sum, { told }) => sum + told.length, 0);
  const missing = [...made].filter((mark) => !lost.includes(mark) && !truth.records.has(`edits e${mark}`));
  assert.ok(missing.length <= told, `edits ${missing} disappeared, and the application was told ${told} times`);
  // A copied database may send what the other copy has sent under another name.
  if (!isCopied) for (const [key, { value }] of truth.records) if (key.startsWith("edits ")) assert.equal(value.n, 1, `${key} was applied ${value.n} times`);
}

const subjectOf = (one) => JSON.parse(Buffer.from(one.token.split(".")[1], "base64url")).sub;

test("the table of errors in the contract names every code, and this client knows each", () => {
  const contract = readFileSync(new URL("../../docs/PROTOCOL.md", import.meta.url), "utf8");
  const table = contract.slice(contract.indexOf("| code | the client |"));
  const rows = table.slice(0, table.indexOf("\n\n")).split("\n").slice(2);
  const told = rows.flatMap((row) => [...row.split("|")[1].matchAll(/`(\w+)`/g)].map(([, code]) => code));
  const source = readFileSync(new URL("../../src/protocol/error.rs", import.meta.url), "utf8");
  const sent = [...source.matchAll(/\(\s*\d{3},\s*"(\w+)"/g)].map(([, code]) => code);
  assert.ok(sent.length > 15, "the codes stand in the table of errors");
  assert.deepEqual([...new Set(told)].toSorted(), [...new Set(sent)].toSorted());
});
