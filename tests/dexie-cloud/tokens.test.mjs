// Tokens: the app's own token becomes what the addon keeps, which is refreshed by a signature and is good for nothing else.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ISSUER } from "../runtime/harness.mjs";
import { DEMO_USERS, useCloud } from "./cloud.mjs";
import { needs } from "./packages.mjs";

const cloud = useCloud();
const OAUTH = "urn:ietf:params:oauth";

/** What the addon keeps of the user who has signed in. */
const login = (device) => device.run(async (db) => (await db.table("$logins").toArray()).at(-1));
/** Lets the addon take its access token for one that has ended. */
const outdate = (device) => device.run((db) => db.table("$logins").update(db.cloud.currentUserId, { accessTokenExpiration: new Date(0) }));

const ask = (body, call = "token") =>
  fetch(`${cloud.origin}/dexie/${call}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

describe("signing in", () => {
  test("with the app's own token makes the issuer's subject the user of the addon", async () => {
    const user = cloud.user();
    const device = await cloud.device(user);
    assert.equal(await device.run((db) => db.cloud.currentUserId), user);
    const { accessTokenExpiration, refreshToken } = await login(device);
    assert.ok(refreshToken && accessTokenExpiration > new Date(), "it always has a refresh token");
    assert.ok((await device.syncState()).realms.includes(user), "the private realm has the user's id");
  });

  test("with a token that is not good gives nothing", async () => {
    const [now, sub] = [Math.floor(Date.now() / 1000), cloud.user()];
    const { runtime } = cloud;
    const forged = runtime.token(sub, {}, { secret: "another secret" });
    const tokens = [forged, runtime.token(sub, { exp: now - 600 }), runtime.token(sub, { iss: "https://else.test" }), "nonsense", ""];
    for (const subject_token of tokens) {
      const grant = { grant_type: `${OAUTH}:grant-type:token-exchange`, subject_token, subject_token_type: `${OAUTH}:token-type:jwt` };
      const answer = await ask({ ...grant, public_key: "" });
      assert.ok(answer.status >= 400 && answer.status < 500, `${answer.status} for ${subject_token}`);
      assert.ok(!(await answer.text()).includes("accessToken"));
    }
  });

  test("as a demo user needs no issuer, and gives a space that others have not", needs("demoUsers"), async () => {
    const [foo, again, bar] = await Promise.all([0, 0, 1].map((at) => cloud.device(null, { demo: DEMO_USERS[at] })));
    await foo.run((db) => db.notes.put({ id: "tokens", n: 1 }));
    for (const device of [foo, again, bar]) await device.sync();
    assert.equal(await foo.run((db) => db.cloud.currentUserId), DEMO_USERS[0]);
    assert.equal((await again.row("notes", "tokens")).n, 1);
    assert.equal(await bar.row("notes", "tokens"), undefined);
  });

  test("as a demo user who is not among those of the deployment is refused", async () => {
    const answer = await ask({ grant_type: "demo", demo_user: "stranger@demo.local", scopes: ["ACCESS_DB"], public_key: "" });
    assert.ok(answer.status >= 400 && answer.status < 500, String(answer.status));
  });

  test("in the ways that belong to another service is answered 404, which says what to do", async () => {
    const others = [{ grant_type: "otp", email: "a@b.example" }, { grant_type: "authorization_code", code: "x" }, { grant_type: "client_credentials" }];
    for (const grant of others) {
      const answer = await ask({ ...grant, scopes: ["ACCESS_DB"], public_key: "" });
      assert.equal(answer.status, 404, grant.grant_type);
      assert.match(await answer.text(), /fetchTokens/);
    }
    assert.equal((await fetch(`${cloud.origin}/dexie/auth-providers`)).status, 404);
  });
});

describe("a session", () => {
  test("that has ended is refreshed by a signature, and the device goes on", async () => {
    const [one, two] = await cloud.devices(2);
    const before = await login(one);
    await outdate(one);
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    await one.sync();
    await two.sync();
    const refreshed = one.line.of("token", ({ body }) => body.grant_type === "refresh_token");
    assert.deepEqual(refreshed.map(({ status }) => status), [200]);
    assert.equal((await two.row("notes", "n")).n, 1);
    assert.ok((await login(one)).accessTokenExpiration > new Date());
    await outdate(one);
    await one.sync();
    const tokens = one.line.of("token", ({ body }) => body.grant_type === "refresh_token").map(({ body }) => body.refresh_token);
    assert.deepEqual(tokens, [before.refreshToken, before.refreshToken], "the first refresh token stays good");
  });

  test("is not refreshed by whoever has the refresh token only, nor by another device's signature", async () => {
    const [one, two] = await cloud.devices(2);
    for (const device of [one, two]) {
      await outdate(device);
      await device.sync();
    }
    const [{ body: mine }, { body: theirs }] = [one, two].map((device) => device.line.of("token").at(-1));
    assert.equal((await ask(mine)).status, 200, "the same request again, as after a lost answer");
    const forged = [
      { ...mine, signature: undefined }, { ...mine, signature: "" }, { ...mine, signature: theirs.signature }, { ...mine, time_stamp: mine.time_stamp + 1 },
      { ...mine, refresh_token: theirs.refresh_token }, { ...mine, refresh_token: `${mine.refresh_token}x` },
    ];
    for (const body of forged) {
      const { status } = await ask(body);
      assert.ok(status >= 400 && status < 500, `${status} for ${JSON.stringify(body)}`);
    }
  });

  test("is good on the addon's routes only, and a refresh token nowhere", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    const { accessToken, refreshToken } = await login(one);
    for (const token of [accessToken, refreshToken]) {
      const answer = await fetch(`${cloud.origin}/sync/pull`, { headers: { authorization: `Bearer ${token}` } });
      assert.equal(answer.status, 401);
    }
    const { text } = one.syncs.at(-1);
    const headers = { authorization: `Bearer ${refreshToken}`, "content-type": "application/tson" };
    assert.equal((await fetch(`${cloud.origin}/dexie/sync`, { method: "POST", headers, body: text })).status, 401, "a refresh token is not a session");
  });

  test("that the server does not take keeps the queue, and the realm of the device", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    await one.run((db) => db.notes.put({ id: "kept", n: 1 }));
    await one.sync();
    const { accessToken } = await login(one);
    await one.run((db) => db.table("$logins").update(db.cloud.currentUserId, { accessToken: "nonsense" }));
    await one.run((db) => db.notes.put({ id: "waits", n: 1 }));
    await assert.rejects(one.sync(), /401/);
    assert.deepEqual([await one.pending(), (await one.rows("notes")).length], [1, 2]);
    await one.run((db, accessToken) => db.table("$logins").update(db.cloud.currentUserId, { accessToken }), accessToken);
    await one.open();
    await one.sync();
    assert.deepEqual([await one.pending(), (await one.rows("notes")).length], [0, 2]);
  });

  test("of the addon is that of the native client's user: one space", async () => {
    const user = cloud.user();
    const one = await cloud.device(user);
    await one.run((db) => db.notes.put({ id: "n", n: 1 }));
    await one.sync();
    assert.deepEqual([...(await cloud.runtime.truth(user)).records.keys()], ["notes n"]);
    const elsewhere = cloud.runtime.device(user, { token: cloud.runtime.token(user, { iss: ISSUER, sub: `${user}x` }) });
    await elsewhere.pull({ consistency: "strong" });
    assert.equal(elsewhere.records.size, 0);
  });
});

describe("nobody", () => {
  test("syncs what everybody may see, which is nothing, and sends nothing", async () => {
    const nobody = await cloud.device(null);
    await nobody.run((db) => db.notes.put({ id: "n", n: 1 }));
    await nobody.sync();
    assert.deepEqual((await nobody.syncState()).realms, ["rlm-public"]);
    assert.ok(nobody.syncs.every(({ headers, body, status }) => !headers.authorization && body.changes.length === 0 && status === 200));
    assert.equal((await nobody.row("notes", "n")).realmId, "unauthorized");
  });

  test("who becomes somebody takes the rows along, once, also if the answer is lost", async () => {
    const user = cloud.user();
    const other = await cloud.device(user);
    await other.run((db) => db.notes.put({ id: "there", n: 1 }));
    await other.sync();
    const device = await cloud.device(null);
    await device.run(async (db) => {
      await db.notes.bulkPut([{ id: "a", n: 1 }, { id: "b", n: 2 }]);
      await db.items.add({ title: "made by nobody" });
    });
    device.line.loses("sync", { where: ({ body }) => body.changes.length > 0 });
    await device.open({ token: cloud.runtime.token(user) }).catch(() => {});
    await device.open();
    await device.sync();
    await other.sync();
    assert.deepEqual((await other.rows("notes")).map(({ id, owner }) => [id, owner]), [["a", user], ["b", user], ["there", user]]);
    assert.deepEqual((await other.rows("items")).map(({ title }) => title), ["made by nobody"]);
    assert.deepEqual(await device.rows("notes"), await other.rows("notes"));
  });
});
