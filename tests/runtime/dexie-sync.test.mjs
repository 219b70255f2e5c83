// POST /dexie/sync as it is on the wire: which layer answers, and what that costs. With the addon itself: tests/dexie-cloud.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { usedBy } from "./device.mjs";
import { startRuntime } from "./harness.mjs";
import { Member, spaceId } from "./member.mjs";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const PEM = publicKey.export({ type: "spki", format: "pem" });

let shared;
before(async () => (shared = await startRuntime({ locations: ["a"] })));
after(() => shared.stop());

/** A client on the wire, which keeps of an answer what the addon keeps. */
class Client {
  identity = randomBytes(16).toString("base64");
  rows = new Map();
  lastPull;

  constructor(sub) {
    this.sub = sub;
  }

  static async of(sub, runtime = shared, space = undefined) {
    const client = Object.assign(new Client(sub), { runtime, path: space === undefined ? "/dexie" : `/dexie/${space}` });
    const body = JSON.stringify({ grant_type: EXCHANGE, subject_token: runtime.token(sub), public_key: PEM });
    const response = await runtime.fetch("home", "/dexie/token", { method: "POST", headers: { "content-type": "application/json" }, body });
    client.session = (await response.json()).accessToken;
    return client;
  }

  async sync(changes = [], at = "home") {
    const { identity: clientIdentity, lastPull } = this;
    const body = JSON.stringify({ v: 3, clientIdentity, schema: {}, lastPull, baseRevs: [], changes, y: [], dxcv: "4.4.14" });
    const headers = { authorization: `Bearer ${this.session}`, "content-type": "application/tson" };
    const response = await this.runtime.fetch(at, `${this.path}/sync`, { method: "POST", headers, body });
    assert.equal(response.status, 200, await response.clone().text());
    const answer = await response.json();
    this.#takeIn(answer);
    return { ...answer, used: usedBy(response) };
  }

  #takeIn({ serverRevision, realms, inviteRealms, changes }) {
    if (this.lastPull?.realms.includes(this.sub) && !realms.includes(this.sub)) this.rows.clear();
    this.lastPull = { serverRevision, realms, inviteRealms };
    for (const { table, muts } of changes) {
      for (const { type, keys, values } of muts) {
        for (const [at, key] of keys.entries()) {
          if (type === "delete") this.rows.delete(`${table}/${key}`);
          else this.rows.set(`${table}/${key}`, values[at]);
        }
      }
    }
  }
}

const upsert = (...values) => [{ table: "c", muts: [{ type: "upsert", keys: values.map(({ id }) => id), values, txid: randomBytes(9).toString("base64"), opNo: 1 }] }];

/** What of a cost counts here. */
const costs = ({ used }) => ({ object: used.object ?? 0, kv: used.kv ?? 0, written: used.rows_written ?? 0 });

describe("what a sync costs", () => {
  test("a push of a record is one request of the object and three rows, and the same again writes nothing", async () => {
    const client = await Client.of(shared.subject());
    // With its first answer a client gets a name of its own, and its row a number.
    for (const id of ["first", "second"]) await client.sync(upsert({ id }));
    const changes = upsert({ id: "a", n: 1 });
    const before = { ...client.lastPull };
    assert.deepEqual(costs(await client.sync(changes)), { object: 1, kv: 0, written: 3 });
    client.lastPull = before;
    const again = await client.sync(changes);
    assert.deepEqual(costs(again), { object: 1, kv: 0, written: 0 });
    assert.equal(client.rows.get("c/a").n, 1);
  });

  test("criteria cost two rows for each record that they change, and one", async () => {
    const client = await Client.of(shared.subject());
    await client.sync(upsert(...Array.from({ length: 20 }, (_, n) => ({ id: `r${n}`, n }))));
    await client.sync(upsert({ id: "r20", n: 20 }));
    const criteria = { index: "n", range: { type: 2, lower: 10, upper: 14, lowerOpen: false, upperOpen: false } };
    const mut = { type: "modify", keys: [], criteria, changeSpec: { done: 1 }, txid: "criteria", opNo: 1 };
    const answer = await client.sync([{ table: "c", muts: [mut] }]);
    assert.deepEqual(costs(answer), { object: 1, kv: 0, written: 11 });
    assert.equal([...client.rows.values()].filter(({ done }) => done === 1).length, 5);
  });

  test("a pull is answered by the isolate's memory after the first, without the object", async () => {
    const client = await Client.of(shared.subject());
    await client.sync(upsert({ id: "a" }));
    await client.sync();
    const { used, changes } = await client.sync();
    assert.deepEqual([costs({ used }), changes], [{ object: 0, kv: 0, written: 0 }, []]);
  });

  test("a first load comes from KV, as operations, with what is newer behind it", async () => {
    const sub = shared.subject();
    const writer = shared.device(sub);
    const values = Array.from({ length: 3_000 }, (_, n) => [`r${n} "é"`, { n, s: "x".repeat(950), ...(n === 7 && { realmId: "elsewhere" }) }]);
    await writer.load("c", values);
    await writer.load("d", [["{}", {}]]);
    await shared.waitForPublished(sub, writer.min);
    const client = await Client.of(sub);
    const { used, changes } = await client.sync([], "a");
    // The request is the directory's, which says that there are no realms.
    assert.ok(used.kv >= 3 && used.object === 1, JSON.stringify(used));
    assert.equal(client.rows.size, 3_001);
    assert.deepEqual(client.rows.get('c/r5 "é"'), { realmId: sub, owner: sub, n: 5, s: "x".repeat(950) });
    assert.equal(client.rows.get('c/r7 "é"').realmId, "elsewhere", "what a record says itself stays");
    assert.deepEqual(client.rows.get("d/{}"), { realmId: sub, owner: sub });
    assert.ok(changes.flatMap(({ muts }) => muts).every(({ keys }) => keys.length <= 500));
    await writer.push([{ op: "put", collection: "c", id: "late", value: { n: 0 } }]);
    await client.sync();
    assert.equal(client.rows.size, 3_002);
  });

  test("what the object has to page comes whole in one answer", async () => {
    const runtime = await startRuntime({ variables: { PUBLISH_AFTER_PULLS: "1000", PUBLISH_MAX_DELAY_MS: "600000" } });
    try {
      const sub = runtime.subject();
      await runtime.device(sub).load("c", Array.from({ length: 4_000 }, (_, n) => [`r${n}`, { n, s: "x".repeat(950) }]));
      const client = await Client.of(sub, runtime);
      const { used } = await client.sync();
      assert.ok(used.object >= 1, JSON.stringify(used));
      assert.equal(client.rows.size, 4_000);
    } finally {
      await runtime.stop();
    }
  });
});

describe("an answer", () => {
  test("to nobody is the public realm, and costs nothing", async () => {
    const body = JSON.stringify({ v: 3, clientIdentity: "x", schema: {}, baseRevs: [], changes: [], y: [] });
    const response = await shared.fetch("home", "/dexie/sync", { method: "POST", headers: { "content-type": "application/tson" }, body });
    const { realms, changes } = await response.json();
    assert.deepEqual([response.status, realms, changes], [200, ["rlm-public"], []]);
    assert.deepEqual(costs({ used: usedBy(response) }), { object: 0, kv: 0, written: 0 });
  });

  test("to a body that is none says what is wrong, with the headers that pages need", async () => {
    const client = await Client.of(shared.subject());
    for (const body of ["", "[]", "{}", '{"clientIdentity":"a","changes":{}}']) {
      const headers = { authorization: `Bearer ${client.session}`, origin: "https://app.test" };
      const response = await shared.fetch("home", "/dexie/sync", { method: "POST", headers, body });
      assert.equal(response.status, 400, body);
      assert.equal((await response.json()).code, "malformed");
    }
  });
});

describe("a position where nobody has ever been", () => {
  const LAST = "9007199254740991";

  test("begins no new history where a reader of a shared space claims it", async () => {
    const [owner, reader] = ["owner", "reader"].map((name) => new Member(shared, name));
    const space = await owner.create(spaceId("claim"));
    await owner.set(space, reader, "reader");
    const client = await Client.of(reader.sub, shared, space);
    const { serverRevision } = await client.sync();
    const epoch = serverRevision.split(".")[0];
    client.lastPull.serverRevision = `${epoch}.${LAST}`;
    await client.sync(upsert({ id: "a" }));
    const after = await (await Client.of(reader.sub, shared, space)).sync();
    assert.equal(after.serverRevision.split(".")[0], epoch);
    assert.equal(client.rows.size, 0, "a reader's row goes");
  });

  test("is answered with everything there is, and the realm comes back with the next answer", async () => {
    const client = await Client.of(shared.subject());
    await client.sync(upsert({ id: "a" }));
    client.lastPull.serverRevision = `zzzzzzzzzzzz.${LAST}`;
    const { realms } = await client.sync();
    assert.deepEqual([realms, [...client.rows.keys()]], [["rlm-public"], ["c/a"]]);
    assert.deepEqual((await client.sync()).realms, [client.sub, "rlm-public"]);
  });

  test("is told over a socket to pull, and nothing breaks", async () => {
    const client = await Client.of(shared.subject());
    await client.sync(upsert({ id: "a" }));
    const url = `${(await shared.url("home")).replace("http", "ws")}/dexie/changes?v=3&rev=x&realmsHash=x&clientId=x&dxcv=4.4.14&token=${encodeURIComponent(client.session)}`;
    const socket = new WebSocket(url);
    await new Promise((resolve, reject) => {
      socket.addEventListener("open", resolve);
      socket.addEventListener("error", reject);
    });
    const heard = new Promise((resolve) => socket.addEventListener("message", ({ data }) => resolve(JSON.parse(data))));
    for (let times = 0; times < 2; times += 1) socket.send(JSON.stringify({ type: "ready", rev: `zzzzzzzzzzzz.${LAST}`, realmSetHash: "x" }));
    assert.equal((await heard).type, "realms-changed");
    socket.close();
    assert.equal((await client.sync()).realms.length, 2);
    assert.ok(!shared.logs.join("").includes("BUG:"), "no panic");
  });
});
