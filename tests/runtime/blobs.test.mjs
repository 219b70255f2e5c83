// PUT and GET …/blob/{id}: files of dexie-cloud-addon in R2, over HTTP as it is.

import assert from "node:assert/strict";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { request } from "node:http";
import { after, before, describe, test } from "node:test";
import { BUCKET, ISSUER, eventually, startRuntime } from "./harness.mjs";
import { scopeOf } from "./published.mjs";

const MIB = 1024 * 1024;
const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const pem = publicKey.export({ type: "spki", format: "pem" });

/** A name as the addon makes them, with the character that browsers escape. */
const newId = () => `${randomBytes(11).toString("hex").slice(0, 21)}|Zz`;

/** A user with a session, who calls below /dexie. */
async function signIn(runtime, sub = runtime.subject()) {
  const body = {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange", subject_token: runtime.token(sub), public_key: pem,
  };
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const { accessToken } = await (await runtime.fetch("home", "/dexie/token", init)).json();
  return new User(runtime, sub, accessToken);
}

class User {
  constructor(runtime, sub, session) {
    Object.assign(this, { runtime, sub, session });
  }

  get headers() {
    return { authorization: `Bearer ${this.session}` };
  }

  put(id, body, { space = "", type = "image/png", headers = {} } = {}) {
    const path = `/dexie${space && `/${space}`}/blob/${encodeURIComponent(id)}?ct=${encodeURIComponent(type)}`;
    return this.runtime.fetch("home", path, { method: "PUT", headers: { ...this.headers, ...headers }, body });
  }

  get(id, { space = "", headers = {} } = {}) {
    return this.runtime.fetch("home", `/dexie${space && `/${space}`}/blob/${id}`, { headers: { ...this.headers, ...headers } });
  }

  /** A call of the native protocol. */
  async native(method, path, body) {
    const headers = { authorization: `Bearer ${this.runtime.token(this.sub)}`, ...(body && { "content-type": "application/json" }) };
    const answer = await this.runtime.fetch("home", path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${await answer.clone().text()}`);
    return answer;
  }
}

const bytesOf = async (answer) => Buffer.from(await answer.arrayBuffer());

async function assertRefused(answer, status, code) {
  const body = await answer.json();
  assert.deepEqual([answer.status, body.code], [status, code], body.detail);
}

describe("a file", () => {
  let runtime;
  before(async () => {
    runtime = await startRuntime({ worker: BUCKET });
  });
  after(() => runtime.stop());

  test("comes back as it was put, under its user's scope and with its type", async () => {
    const user = await signIn(runtime);
    const id = newId();
    const put = await user.put(id, Buffer.from([0, 255, 16, 32]));
    assert.deepEqual([put.status, await put.json()], [200, { ref: id }]);
    const got = await user.get(id);
    assert.deepEqual([got.status, await bytesOf(got)], [200, Buffer.from([0, 255, 16, 32])]);
    assert.equal(got.headers.get("content-type"), "image/png");
    assert.equal(got.headers.get("content-length"), "4");
    const stored = await (await runtime.bucket()).head(`v1/${scopeOf(ISSUER, user.sub)}/b/${id}`);
    assert.deepEqual([stored.size, stored.httpMetadata.contentType], [4, "image/png"]);
  });

  test("may be empty", async () => {
    const user = await signIn(runtime);
    const id = newId();
    assert.equal((await user.put(id, Buffer.alloc(0))).status, 200);
    const got = await user.get(id);
    assert.deepEqual([got.status, (await bytesOf(got)).length], [200, 0]);
  });

  test("that is a page of somebody's is neither shown nor run", async () => {
    const user = await signIn(runtime);
    const id = newId();
    await user.put(id, "<script>alert(1)</script>", { type: "text/html" });
    const { headers } = await user.get(id);
    assert.deepEqual(
      ["content-type", "x-content-type-options", "content-disposition", "content-security-policy", "cache-control"].map((name) => headers.get(name)),
      ["text/html", "nosniff", "attachment", "sandbox; default-src 'none'", "no-store"],
    );
    const other = newId();
    await user.put(other, "x", { type: "text/html\r\nSet-Cookie: a=b" });
    assert.equal((await user.get(other)).headers.get("content-type"), "application/octet-stream");
  });

  test("of 20 MiB passes both ways, and one of more than 32 MiB is refused", async () => {
    const user = await signIn(runtime);
    const [id, bytes] = [newId(), randomBytes(20 * MIB)];
    assert.equal((await user.put(id, bytes)).status, 200);
    assert.ok(bytes.equals(await bytesOf(await user.get(id))), "the same bytes");
    await assertRefused(await user.put(newId(), Buffer.alloc(32 * MIB + 1)), 413, "too_large");
    assert.equal((await user.put(newId(), Buffer.alloc(32 * MIB))).status, 200);
  });

  test("stays what it is when its name is put again: an answer may have been lost", async () => {
    const user = await signIn(runtime);
    const id = newId();
    await user.put(id, "first");
    for (const body of ["first", "second", Buffer.alloc(MIB)]) {
      const again = await user.put(id, body, { type: "text/html" });
      assert.deepEqual([again.status, await again.json()], [200, { ref: id }]);
    }
    const got = await user.get(id);
    assert.deepEqual([await got.text(), got.headers.get("content-type")], ["first", "image/png"]);
  });

  test("whose sender goes away in the middle is not there", async () => {
    const user = await signIn(runtime);
    const id = newId();
    const { hostname, port } = new URL(await runtime.url("home"));
    const headers = { ...user.headers, "content-length": 5 * MIB };
    const sending = request({ hostname, port, method: "PUT", path: `/dexie/blob/${id}`, headers });
    sending.on("error", () => {});
    sending.write(Buffer.alloc(MIB));
    await new Promise((resolve) => setTimeout(resolve, 300));
    sending.destroy();
    await new Promise((resolve) => setTimeout(resolve, 300));
    await assertRefused(await user.get(id), 404, "not_found");
    assert.equal((await user.put(id, "whole")).status, 200);
    assert.equal(await (await user.get(id)).text(), "whole");
  });

  test("without its length, or packed, is refused", async () => {
    const user = await signIn(runtime);
    const stream = () => new ReadableStream({ start: (to) => (to.enqueue(new Uint8Array(5)), to.close()) });
    const init = { method: "PUT", headers: user.headers, body: stream(), duplex: "half" };
    await assertRefused(await runtime.fetch("home", `/dexie/blob/${newId()}`, init), 400, "malformed");
    await assertRefused(await user.put(newId(), "x", { headers: { "content-encoding": "gzip" } }), 400, "malformed");
  });

  test("under a name that is none is 404, and so is one that nobody has put", async () => {
    const user = await signIn(runtime);
    for (const id of ["x", "..%2f..%2fx", "1:abc", `${"a".repeat(24)}%00`]) {
      await assertRefused(await user.get(id), 404, "not_found");
      await assertRefused(await user.put(id, "x"), 404, "not_found");
    }
    await assertRefused(await user.get(newId()), 404, "not_found");
  });

  test("is nobody else's", async () => {
    const [alice, eve] = await Promise.all([signIn(runtime), signIn(runtime)]);
    const id = newId();
    await alice.put(id, "alice's");
    await assertRefused(await eve.get(id), 404, "not_found");
    await eve.put(id, "eve's");
    assert.equal(await (await alice.get(id)).text(), "alice's");
    for (const authorization of ["", `Bearer ${runtime.token(alice.sub)}`, "Bearer x"]) {
      for (const method of ["GET", "PUT"]) {
        const init = { method, headers: { authorization }, ...(method === "PUT" && { body: "x" }) };
        await assertRefused(await runtime.fetch("home", `/dexie/blob/${id}`, init), 401, "unauthenticated");
      }
    }
  });

  test("of a shared space is read by its members, put by its writers, and by nobody else", async () => {
    const [owner, reader, stranger] = await Promise.all([1, 2, 3].map(() => signIn(runtime)));
    const space = `s-${randomBytes(6).toString("hex")}`;
    await owner.native("PUT", `/spaces/${space}`);
    await owner.native("PUT", `/spaces/${space}/members/${reader.sub}`, { role: "reader" });
    const id = newId();
    assert.equal((await owner.put(id, "ours", { space })).status, 200);
    for (const user of [owner, reader]) assert.equal(await (await user.get(id, { space })).text(), "ours");
    await assertRefused(await owner.get(id), 404, "not_found");
    await assertRefused(await reader.put(newId(), "x", { space }), 403, "forbidden");
    await assertRefused(await stranger.put(newId(), "x", { space }), 403, "forbidden");
    await assertRefused(await stranger.get(id, { space }), 403, "forbidden");
    await assertRefused(await owner.put(newId(), "x", { space: `${space}-none` }), 404, "not_found");
  });

  test("is put only while the day has room for it", async () => {
    const user = await signIn(runtime);
    const { hostname, port } = new URL(await runtime.url("home"));
    // Files that are announced and never come count too.
    const announce = () =>
      new Promise((resolve) => {
        const headers = { ...user.headers, "content-length": 32 * MIB };
        const sending = request({ hostname, port, method: "PUT", path: `/dexie/blob/${newId()}`, headers });
        sending.on("error", () => resolve());
        sending.write(Buffer.alloc(1), () => setTimeout(() => (sending.destroy(), resolve()), 200));
      });
    await Promise.all(Array.from({ length: 32 }, announce));
    await assertRefused(await user.put(newId(), "x"), 507, "storage_full");
  });

  test("goes with its space when that is deleted, and no other space's does", async () => {
    const [owner, other] = await Promise.all([signIn(runtime), signIn(runtime)]);
    const space = `s-${randomBytes(6).toString("hex")}`;
    await owner.native("PUT", `/spaces/${space}`);
    const ids = [newId(), newId()];
    for (const id of ids) for (const options of [{ space }, {}]) await owner.put(id, "x", options);
    await other.put(ids[0], "other's");
    const bucket = await runtime.bucket();
    const count = async (prefix) => (await bucket.list({ prefix })).objects.length;
    const shared = (await bucket.list()).objects.find(({ key, size }) => key.includes(".") && key.endsWith(ids[0]) && size === 1).key.split("/b/")[0];
    const own = `v1/${scopeOf(ISSUER, owner.sub)}`;
    assert.deepEqual([await count(shared), await count(own)], [2, 2]);
    await owner.native("DELETE", `/spaces/${space}`);
    await eventually("the files of the shared space are gone", async () => (await count(shared)) === 0);
    assert.equal(await count(own), 2);
    await owner.native("DELETE", "/spaces/~");
    await eventually("the files of the private space are gone", async () => (await count(own)) === 0);
    assert.equal((await owner.put(newId(), "x")).status, 200, "the private space goes on");
    assert.equal(await (await other.get(ids[0])).text(), "other's");
  });

  test("is for pages of allowed origins, which send credentials", async () => {
    const user = await signIn(runtime);
    const [path, origin] = [`/dexie/blob/${newId().replace("|", "%7C")}`, "https://app.test"];
    const asks = { origin, "access-control-request-method": "PUT", "access-control-request-headers": "authorization,content-type" };
    const preflight = await runtime.fetch("home", path, { method: "OPTIONS", headers: asks });
    assert.equal(preflight.status, 204);
    assert.match(preflight.headers.get("access-control-allow-methods"), /\bPUT\b/);
    const put = await runtime.fetch("home", path, { method: "PUT", headers: { ...user.headers, origin }, body: "x" });
    const got = await runtime.fetch("home", path, { headers: { ...user.headers, origin } });
    const refused = await runtime.fetch("home", `/dexie/blob/${newId()}`, { headers: { ...user.headers, origin } });
    assert.deepEqual([put.status, got.status, refused.status], [200, 200, 404]);
    for (const { headers } of [preflight, put, got, refused]) {
      assert.equal(headers.get("access-control-allow-origin"), origin);
      assert.equal(headers.get("access-control-allow-credentials"), "true");
    }
    const foreign = await runtime.fetch("home", path, { headers: { ...user.headers, origin: "https://evil.test" } });
    assert.equal(foreign.headers.get("access-control-allow-origin"), null);
  });

  test("costs a put one request of the object and one row, and reading an own one none", async () => {
    const user = await signIn(runtime);
    await user.put(newId(), "x");
    const id = newId();
    const put = await user.put(id, "x");
    assert.match(put.headers.get("server-timing"), /object;desc="1", .*rows_written;desc="1"/);
    const got = await user.get(id);
    assert.match(got.headers.get("server-timing"), /object;desc="0", .*rows_written;desc="0"/);
  });
});

describe("without a bucket", () => {
  let runtime;
  before(async () => {
    runtime = await startRuntime();
  });
  after(() => runtime.stop());

  test("there are no files, and the addon is told so", async () => {
    const user = await signIn(runtime);
    const id = newId();
    await assertRefused(await user.put(id, "x"), 404, "not_found");
    await assertRefused(await user.get(id), 404, "not_found");
    assert.equal((await user.put(id, Buffer.alloc(MIB))).status, 404);
  });
});

describe("a file that no record names any more", () => {
  const DAY = 86_400_000;
  let runtime;
  before(async () => {
    runtime = await startRuntime({ worker: BUCKET });
  });
  after(() => runtime.stop());

  test("is deleted when a month has gone by, and one that a record names stays", async () => {
    const sub = runtime.subject();
    const bucket = await runtime.bucket();
    const names = async () => {
      const { objects } = await bucket.list({ prefix: `v1/${scopeOf(ISSUER, sub)}/b/` });
      return objects.map(({ key }) => key.split("/b/")[1]).toSorted();
    };
    // Of one in 64, by its end, the edge asks whether it is time for a look.
    const looks = () => `${newId().slice(0, -1)}0`;
    await runtime.setClock("home", -40 * DAY);
    let user = await signIn(runtime, sub);
    const [named, lost, first, second] = [`a${newId().slice(1)}`, `b${newId().slice(1)}`, looks(), looks()];
    for (const id of [named, lost]) await user.put(id, "x");
    const value = { file: { _bt: "Blob", ref: named, size: 1, ct: "image/png" } };
    await user.native("POST", "/sync/push", { client: "client-0000", mutations: [{ id: 1, changes: [{ op: "put", collection: "notes", id: "n", value }] }] });
    await user.put(first, "x");
    // Three files, a push, and the two calls of the look.
    await eventually("the look is over", async () => (await runtime.object(sub)).calls === 6);
    assert.deepEqual(await names(), [named, lost, first].toSorted(), "nothing is deleted at once");
    await runtime.setClock("home", 0);
    user = await signIn(runtime, sub);
    await user.put(second, "x");
    await eventually("what no record names is gone", async () => (await names()).length === 2);
    assert.deepEqual(await names(), [named, second].toSorted());
    assert.equal(await (await user.get(named)).text(), "x");
  });
});
