// Live for a client that has several spaces: one socket, which stands for one to each of them. What the addon would send is written by
// hand here.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { eventually, startRuntime } from "../runtime/harness.mjs";
import { Member } from "../runtime/member.mjs";
import { sharedHash } from "../runtime/published.mjs";

const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const PEM = publicKey.export({ type: "spki", format: "pem" });
const HOUR = 3_600_000;
const JSON_TYPE = { "content-type": "application/json" };
const hash = async (realms) => {
  const list = realms.toSorted().map((realmId) => ({ realmId, accepted: true }));
  return Buffer.from(await crypto.subtle.digest("SHA-1", new TextEncoder().encode(JSON.stringify(list)))).toString("base64");
};
const at = ({ epoch, version }) => `${epoch}.${version}`;

let runtime;
before(async () => (runtime = await startRuntime({ locations: ["a"] })));
after(() => runtime.stop());

/** A realm with its space, which `owner` has made and `others` are members of, and a row in it. */
async function realm(owner, ...others) {
  const id = `rlm~${randomBytes(9).toString("base64url")}`;
  const space = await owner.create(`dx_${Buffer.from(id).toString("base64url")}`);
  for (const other of others) assert.equal((await owner.set(space, other, "writer")).status, 200);
  // Each space counts its clients' mutations by itself.
  const writer = new Member(runtime, "writer", { sub: owner.sub });
  const put = async (record) => {
    const { status, body, text } = await writer.put(space, record);
    assert.equal(status, 200, text);
    return at(body);
  };
  return { id, space, put, at: await put("first") };
}

/** A row in the user's own space; resolves to where that stands then. */
async function putHome(user, id = "h", change = { op: "put", collection: "notes", id, value: { n: 1 } }) {
  const body = JSON.stringify({ client: user.client, mutations: [{ id: (user.home = (user.home ?? 0) + 1), changes: [change] }] });
  const answer = await user.ask("POST", "/sync/push", { body, headers: JSON_TYPE });
  assert.equal(answer.status, 200, answer.text);
  return at(answer.body);
}

async function session(user, claims) {
  const grant_type = "urn:ietf:params:oauth:grant-type:token-exchange";
  const body = JSON.stringify({ grant_type, subject_token: runtime.token(user.sub, claims), public_key: PEM });
  const response = await runtime.fetch("home", "/dexie/token", { method: "POST", headers: JSON_TYPE, body });
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()).accessToken;
}

/** The socket of a client that is where `positions` say, by realm, `~` its own space. */
class Line {
  told = [];
  end = null;
  #heard = 0;

  static async open(user, positions, { claims, location = "home", token } = {}) {
    const line = Object.assign(new Line(), { user, positions });
    const query = new URLSearchParams({ v: 3, rev: line.rev, realmsHash: await line.hash(), clientId: "c", dxcv: "4.4.14" });
    query.set("token", token ?? (await session(user, claims)));
    line.socket = new WebSocket(`${(await runtime.url(location)).replace("http", "ws")}/dexie/changes?${query}`);
    line.socket.addEventListener("message", ({ data }) => line.told.push(JSON.parse(data)));
    line.socket.addEventListener("close", ({ code }) => (line.end = code));
    await new Promise((resolve, reject) => {
      line.socket.addEventListener("open", resolve);
      line.socket.addEventListener("error", () => reject(new Error("no socket")));
    });
    return line;
  }

  get rev() {
    return JSON.stringify(this.positions);
  }

  async hash() {
    const realms = Object.keys(this.positions).filter((name) => name !== "~");
    return hash([this.user.sub, "rlm-public", ...realms]);
  }

  async ready(positions = {}) {
    Object.assign(this.positions, positions);
    this.socket.send(JSON.stringify({ type: "ready", rev: this.rev, realmSetHash: await this.hash() }));
    // It is heard before what follows it.
    await this.ping();
  }

  /** All that was told before the pong. */
  async ping() {
    this.socket.send('{"type":"ping"}');
    const from = this.#heard;
    await eventually("a pong", () => this.told.slice(from).some(({ type }) => type === "pong"), 10_000);
    const told = this.told.slice(from).filter(({ type }) => type !== "pong");
    this.#heard = this.told.length;
    this.told = this.told.filter(({ type }) => type !== "pong");
    this.#heard = this.told.length;
    return told;
  }

  /** The next message. */
  async hears(type) {
    await eventually(() => `${type} is told, not ${JSON.stringify(this.told)}, ${this.end}`, () => this.told.length > 0, 10_000);
    const message = this.told.shift();
    this.#heard = Math.max(this.#heard - 1, 0);
    assert.equal(message.type, type, JSON.stringify(message));
    return message;
  }

  async ended(code) {
    await eventually(() => `the socket ends with ${code}, not ${this.end}`, () => this.end === code, 10_000);
  }

  /** Nothing is told within a moment. */
  async hearsNothing() {
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert.deepEqual(this.told, []);
  }

  close() {
    this.socket.close();
  }
}

/** A user with a row at home and a realm of somebody else's, who is ready. */
async function connected(options) {
  const [user, other] = [new Member(runtime, "user"), new Member(runtime, "other")];
  const shared = await realm(other, user);
  const line = await Line.open(user, { "~": await putHome(user), [shared.id]: shared.at }, options);
  await line.ready();
  return { user, other, shared, line };
}

describe("a client with several spaces", () => {
  test("is told to pull what another member writes in a realm, once each time that it says where it is", async () => {
    const { shared, line } = await connected();
    await shared.put("a");
    await line.hears("realms-changed");
    const position = await shared.put("b");
    await line.hearsNothing();
    await line.ready({ [shared.id]: position });
    await line.hearsNothing();
    await shared.put("c");
    await line.hears("realms-changed");
    line.close();
  });

  test("is told the changes of its own space from exactly where it is, with the hash that it sent", async () => {
    const { user, shared, line } = await connected();
    const before = line.rev;
    const position = await putHome(user, "n");
    const { baseRev, newRev, realmSetHash, changes } = await line.hears("changes");
    assert.deepEqual([baseRev, realmSetHash], [before, await line.hash()]);
    assert.deepEqual(JSON.parse(newRev), { "~": position, [shared.id]: shared.at });
    assert.deepEqual(changes.map(({ table, muts }) => [table, muts.map(({ keys }) => keys)]), [["notes", [["n"]]]]);
    await line.ready({ "~": position });
    await putHome(user, "m");
    await line.hears("changes");
    line.close();
  });

  test("is told to pull what its own space has lost, because a realm may have it", async () => {
    const { user, line } = await connected();
    const position = await putHome(user, "h", { op: "delete", collection: "notes", id: "h" });
    await line.hears("realms-changed");
    await line.ready({ "~": position });
    await putHome(user, "n");
    await line.hears("changes");
    line.close();
  });

  test("is told what came while its socket was down", async () => {
    const { user, shared, line } = await connected();
    line.close();
    await line.ended(1005);
    await shared.put("a");
    const again = await Line.open(user, line.positions);
    await again.ready();
    await again.hears("realms-changed");
    again.close();
  });

  test("pulls what it was told of, at another location than where it was written, where an older state is known", async () => {
    const { user, shared, line } = await connected({ location: "a" });
    const read = () => user.records(shared.space, { at: "a" });
    await read();
    await shared.put("a");
    await line.hears("realms-changed");
    assert.ok((await read()).includes("c/a"));
    line.close();
  });

  test("who has the older state nevertheless is not told of the same again and again", async () => {
    const { shared, line } = await connected();
    await shared.put("a");
    await line.hears("realms-changed");
    for (let times = 0; times < 5; times += 1) line.socket.send(JSON.stringify({ type: "ready", rev: line.rev, realmSetHash: await line.hash() }));
    await line.hearsNothing();
    await shared.put("b");
    await line.hears("realms-changed");
    line.close();
  });

  test("who is removed from a realm is told to pull, and goes on in the others", async () => {
    const { user, other, shared, line } = await connected();
    const second = await realm(other, user);
    line.close();
    const both = await Line.open(user, { ...line.positions, [second.id]: second.at });
    await both.ready();
    assert.equal((await other.remove(shared.space, user)).status, 204);
    await both.hears("realms-changed");
    await shared.put("secret");
    delete both.positions[shared.id];
    await both.ready();
    await both.hearsNothing();
    await second.put("a");
    await both.hears("realms-changed");
    assert.equal(both.end, null);
    both.close();
  });

  test("who is no member of a realm is told to pull once, and hears of the others", async () => {
    const { user, other, shared } = await connected();
    const foreign = await realm(other);
    const line = await Line.open(user, { "~": await putHome(user), [foreign.id]: foreign.at, [shared.id]: shared.at });
    await line.ready();
    await line.hears("realms-changed");
    await line.ready();
    await foreign.put("secret");
    await line.hearsNothing();
    await shared.put("a");
    await line.hears("realms-changed");
    line.close();
  });

  test("who has got a further realm comes back for it", async () => {
    const { user, other, line } = await connected();
    const second = await realm(other, user);
    line.positions[second.id] = second.at;
    line.socket.send(JSON.stringify({ type: "ready", rev: line.rev, realmSetHash: await line.hash() }));
    await line.ended(1012);
  });

  test("whose object of a realm is lost comes back", async () => {
    const { user, shared, line } = await connected();
    await runtime.object({ scope: sharedHash(shared.space) }, { abort: true });
    await line.ended(1012);
    const again = await Line.open(user, line.positions);
    await again.ready();
    await shared.put("a");
    await again.hears("realms-changed");
    again.close();
  });

  test("costs an object a message each time that it is somewhere else, and nothing while it pings", async () => {
    const { shared, line } = await connected();
    const messages = async () => (await runtime.object({ scope: sharedHash(shared.space) })).messages;
    assert.equal(await messages(), 1);
    await line.ready();
    await line.ping();
    const position = await shared.put("a");
    await line.hears("realms-changed");
    await line.ready({ [shared.id]: position });
    assert.equal(await messages(), 2);
    line.close();
  });

  test("lets the objects sleep", async () => {
    const { shared, line } = await connected();
    const object = () => runtime.object({ scope: sharedHash(shared.space) });
    const { begun } = await object();
    // The platform lets one sleep that was not needed for 10 s.
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    await shared.put("a");
    await line.hears("realms-changed");
    assert.equal((await object()).begun, begun + 1);
    line.close();
  });

  test("whose token has ended hears so instead of what is written then", async (t) => {
    const { other, shared, line } = await connected();
    t.after(() => runtime.setClock("home", 0));
    await runtime.setClock("home", 2 * HOUR);
    const later = Math.floor(Date.now() / 1000) + 3 * 3600;
    const writer = new Member(runtime, "writer", { sub: other.sub, token: runtime.token(other.sub, { exp: later }) });
    assert.equal((await writer.put(shared.space, "late")).status, 200);
    await line.hears("token-expired");
    await line.ended(1000);
    assert.deepEqual(line.told, []);
  });

  test("gets no socket without a good token, nor where its own space refuses", async () => {
    const user = new Member(runtime, "user");
    const positions = { "~": await putHome(user), rlm0: "0mwrnsa6yk3v9q2.1" };
    await assert.rejects(Line.open(user, positions, { token: "nonsense" }), /no socket/);
    const policy = await user.ask("PUT", "/spaces/~/policies/$dexie", { body: { access: "none" } });
    assert.equal(policy.status, 200, policy.text);
    await assert.rejects(Line.open(user, positions), /no socket/);
  });

  test("leaves no socket behind at an object", async () => {
    const { user, shared, line } = await connected();
    line.close();
    // An object gives a user 100.
    const token = await session(user);
    const openAndClose = async () => {
      const one = await Line.open(user, line.positions, { token });
      one.close();
      await one.ended(1005);
    };
    for (let times = 0; times < 11; times += 1) await Promise.all(Array.from({ length: 10 }, openAndClose));
    const last = await Line.open(user, line.positions);
    await last.ready();
    await shared.put("a");
    await last.hears("realms-changed");
    last.close();
  });
});

describe("where the module breaks off", () => {
  const usual = {};
  before(async () => {
    usual.runtime = runtime;
    runtime = await startRuntime();
  });
  after(async () => {
    await runtime.stop({ mayPanic: true });
    runtime = usual.runtime;
  });

  test("a client's socket is closed with the next word, and it comes back", async () => {
    const { user, shared, line } = await connected();
    const damaged = runtime.device(runtime.subject("damaged"));
    const patch = { op: "patch", collection: "c", id: "x", set: { n: 2 } };
    await damaged.push([{ op: "put", collection: "c", id: "x", value: { n: 1 } }]);
    await damaged.push([{ op: "put", collection: "c", id: "y", value: {} }]);
    await runtime.object(damaged.sub, { sql: [["UPDATE records SET line = 'damaged' WHERE id = 'x'"]] });
    assert.equal((await damaged.pushMutations([{ changes: [patch] }])).status, 503);
    await eventually("the module has broken off", () => runtime.logs.some((text) => text.includes("BUG: a stored line")));
    line.socket.send('{"type":"ping"}');
    await line.ended(1011);
    const again = await Line.open(user, line.positions);
    await again.ready();
    await shared.put("a");
    await again.hears("realms-changed");
    again.close();
  });
});
