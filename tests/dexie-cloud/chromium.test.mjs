// The addon in a real browser, on pages of another origin than the server's: what only a browser does.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startBrowser } from "../../client/dexie/tests/browser.ts";
import { eventually } from "../runtime/harness.mjs";
import { DEMO_USERS, startCloud } from "./cloud.mjs";
import { Line } from "./line.mjs";
import { plugins } from "./packages.mjs";

const FOLDER = "../../../tests/dexie-cloud";
let [browser, cloud] = [];
const lines = [];
before(async () => {
  browser = await startBrowser(`${FOLDER}/page.mjs`, { worker: `${FOLDER}/worker.mjs`, plugins });
  cloud = await startCloud({ variables: { ALLOWED_ORIGINS: browser.originOf() } });
});
after(async () => {
  await browser?.stop();
  for (const line of lines) line.stop();
  await cloud?.stop();
});

/** A browser of a user, with a profile and a line of its own. */
class Device {
  static async of(user) {
    const device = new Device();
    device.user = user;
    device.context = await browser.another();
    device.line = await new Line(cloud.origin).start();
    lines.push(device.line);
    return device;
  }

  /** A tab with the app in it, which is opened as the addon is when nobody configures it. */
  async tab({ host, open = true, policy, ...settings } = {}) {
    const page = await this.context.newPage();
    await page.addInitScript(() => {
      globalThis.violations = [];
      const note = ({ effectiveDirective, blockedURI }) => violations.push(`${effectiveDirective} ${blockedURI}`);
      document.addEventListener("securitypolicyviolation", note);
    });
    await page.goto(`${browser.originOf(host)}/?${new URLSearchParams(policy && { policy })}`);
    const tab = new Tab(page, { url: `${this.line.origin}/dexie`, token: cloud.runtime.token(this.user), live: true, ...settings });
    if (open) await tab.open();
    return tab;
  }
}

class Tab {
  /** What the page has said on its console. */
  said = [];

  constructor(page, settings) {
    Object.assign(this, { page, settings });
    page.on("console", (message) => this.said.push(message.text()));
  }

  /** Calls a function of the page; a page that never answers is a failure which says what it said last. */
  async ask(name, ...args) {
    const { promise: late, reject } = Promise.withResolvers();
    const fail = () => reject(new Error(`not within 50 s: ${name} ${args[0]}\nThe page said:\n${this.said.slice(-40).join("\n")}`));
    const timer = setTimeout(fail, 50_000);
    const asked = this.page.evaluate(([name, args]) => hw[name](...args), [name, args]);
    return Promise.race([asked, late]).finally(() => clearTimeout(timer));
  }

  open() {
    return this.ask("open", this.settings);
  }

  async reload() {
    await this.page.reload();
    await this.open();
  }

  run(action, ...args) {
    return this.ask("run", String(action), args);
  }

  until(condition, ...args) {
    return eventually(() => `${condition} is true`, () => this.run(condition, ...args), 75_000);
  }

  /** What the page's `document` says of whether it is seen; no window of a headless browser is ever covered. */
  show(visibilityState) {
    return this.run((db, value) => {
      Object.defineProperty(document, "visibilityState", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, visibilityState);
  }
}

const connected = (db) => db.cloud.webSocketStatus.value === "connected";
const shows = (id, n) => [async (db, id, n) => (await db.notes.get(id))?.n === n, id, n];

/** Waits until the server has a record of which this is true. */
async function arrives(user, what, isThere = () => true, key = "notes n") {
  const native = cloud.native(user);
  await eventually(`${what} comes to the server`, async () => {
    await native.pull({ consistency: "strong" });
    return native.records.has(key) && isThere(native.records.get(key));
  });
}

const put = (id, n) => [{ op: "put", collection: "notes", id, value: { n } }];

describe("a page of another origin", { concurrency: true }, () => {
  test("signs in, syncs with credentials and hears by its socket", async () => {
    const device = await Device.of(cloud.user());
    const tab = await device.tab();
    await tab.run((db) => db.notes.put({ id: "n", n: 1 }));
    await arrives(device.user, "the row");
    await tab.until(connected);
    await cloud.native(device.user).push(put("m", 2));
    await tab.until(...shows("m", 2));
    const preflights = device.line.exchanges.filter(({ method }) => method === "OPTIONS").map(({ call }) => call);
    assert.deepEqual([...new Set(preflights)].sort(), ["sync", "token"]);
  });

  test("that is not among those that may call gets nothing", async () => {
    const device = await Device.of(cloud.user());
    const tab = await device.tab({ host: "localhost", open: false });
    // Without a token nobody has to sign in first, which waits for ever where it fails.
    Object.assign(tab.settings, { token: undefined });
    await tab.open().catch(() => {});
    assert.equal(await tab.run((db) => db.cloud.persistedSyncState.value?.serverRevision), undefined);
  });

  test("reads why it is refused: errors are shown to it too", async () => {
    const device = await Device.of(cloud.user());
    const tab = await device.tab();
    await tab.run(async (db) => db.table("$logins").update(db.cloud.currentUserId, { accessToken: "nonsense" }));
    const why = await tab.run((db) => db.cloud.sync({ purpose: "pull" }).then(() => "no error", String));
    assert.match(why, /401/);
  });

  test("refreshes its session with a key that no script can read, also after a reload", async () => {
    const device = await Device.of(cloud.user());
    const tab = await device.tab();
    await tab.run((db) => db.table("$logins").update(db.cloud.currentUserId, { accessTokenExpiration: new Date(0) }));
    await tab.reload();
    await tab.run((db) => db.notes.put({ id: "n", n: 1 }));
    await arrives(device.user, "the row");
    const refreshed = device.line.of("token", ({ body }) => body.grant_type === "refresh_token");
    assert.ok(refreshed.length > 0 && refreshed.every(({ status }) => status === 200));
  });

  test("writes in two tabs of one browser, each of which shows both, and each edit is sent once", async () => {
    const device = await Device.of(cloud.user());
    const [one, two] = [await device.tab(), await device.tab()];
    await one.run((db) => db.counters.put({ id: "c", n: 0 }));
    await two.until(async (db) => (await db.counters.get("c")) !== undefined);
    for (const tab of [one, two]) await tab.until(connected);
    await Promise.all([one, two].map((tab) => tab.run((db) => db.counters.update("c", { n: add(1) }))));
    await cloud.native(device.user).push(put("n", 1));
    for (const tab of [one, two]) {
      await tab.until(...shows("n", 1));
      await tab.until(async (db) => (await db.counters.get("c")).n === 2);
    }
    await arrives(device.user, "both additions", ({ value }) => value.n === 2, "counters c");
    const identities = new Set(device.line.of("sync").map(({ body }) => body.clientIdentity));
    assert.ok(identities.size <= 2, `${identities.size}: the first, which nobody knew yet, and that of the database`);
    await one.page.close();
    await cloud.native(device.user).push(put("n", 2));
    await two.until(...shows("n", 2));
  });

  test("goes on writing without a network, and the edits are sent when the app is opened again with one", async () => {
    const device = await Device.of(cloud.user());
    const tab = await device.tab();
    await tab.run((db) => db.notes.put({ id: "n", n: 0 }));
    await tab.until(connected);
    device.line.cut();
    for (let n = 0; n < 2; n += 1) await tab.run((db) => db.notes.update("n", { n: add(1) }));
    await cloud.native(device.user).push(put("m", 2));
    device.line.mend();
    await tab.reload();
    await tab.until(...shows("m", 2));
    await arrives(device.user, "both edits, once each,", ({ value }) => value.n === 2);
  });

  test("that stays open without a network sends its edits itself when there is one again", async () => {
    const device = await Device.of(cloud.user());
    const tab = await device.tab();
    await tab.run((db) => db.notes.put({ id: "n", n: 0 }));
    await tab.until(connected);
    await device.context.setOffline(true);
    await tab.run((db) => db.notes.update("n", { n: add(1) }));
    await tab.until((db) => ["offline", "error"].includes(db.cloud.syncState.value.phase));
    await device.context.setOffline(false);
    await cloud.native(device.user).push(put("m", 2));
    // The addon waits for 20 s, and for 40 s more if that was too early.
    await tab.until(...shows("m", 2));
    await arrives(device.user, "the edit, once,", ({ value }) => value.n === 1);
  });

  test("keeps a file in its row, because there is no place for files, and another device has it", async () => {
    const user = cloud.user();
    const [one, two] = [await Device.of(user), await Device.of(user)];
    const [laptop, phone] = [await one.tab(), await two.tab()];
    await laptop.run((db) => db.notes.put({ id: "n", photo: new Blob([new Uint8Array(5_000).fill(7)], { type: "image/png" }) }));
    await phone.until(async (db) => (await db.notes.get("n")) !== undefined);
    const photo = await phone.run(async (db) => {
      const { photo } = await db.notes.get("n");
      return [photo instanceof Blob, photo.type, [...new Uint8Array(await photo.arrayBuffer())].filter((byte) => byte === 7).length];
    });
    assert.deepEqual(photo, [true, "image/png", 5_000]);
  });

  test("that nobody looks at gives its socket up, and has everything again when somebody does", async () => {
    const device = await Device.of(cloud.user());
    const tab = await device.tab();
    await tab.until(connected);
    await tab.show("hidden");
    await eventually("the socket is given up, after 20 s", () => device.line.sockets === 0, 40_000);
    const native = cloud.native(device.user);
    await native.push(put("n", 1));
    await tab.show("visible");
    await tab.until(...shows("n", 1));
    await tab.until(connected);
    await native.push(put("n", 2));
    await tab.until(...shows("n", 2));
  });
});

/** What a page needs to be allowed: its own scripts, and the server by HTTP and by socket. */
const strict = ({ line: { origin } }) => `default-src 'none'; script-src 'self'; connect-src ${origin} ${origin.replace("http", "ws")}`;

describe("a page under a strict Content-Security-Policy", { concurrency: true }, () => {
  const file = () => hw.db.notes.put({ id: "n", photo: new Blob([new Uint8Array(5_000).fill(7)], { type: "image/png" }) });

  test("signs in, syncs and hears by its socket, if it may connect to the server", async () => {
    const device = await Device.of(cloud.user());
    const { page } = await device.tab({ policy: strict(device), customLoginGui: false });
    await page.evaluate(() => hw.db.notes.put({ id: "n", n: 1 }));
    await arrives(device.user, "the row");
    await page.waitForFunction(() => hw.db.cloud.webSocketStatus.value === "connected");
    await cloud.native(device.user).push(put("m", 2));
    await eventually("the socket brings the row", () => page.evaluate(async () => (await hw.db.notes.get("m"))?.n === 2));
    assert.deepEqual(await page.evaluate(() => violations), []);
    // And the policy is one.
    await page.evaluate((origin) => fetch(origin).catch(() => {}), cloud.origin);
    assert.deepEqual(await page.evaluate(() => violations), [`connect-src ${cloud.origin}/`]);
  });

  test("needs blob: besides for a file, where there is no place for files", async () => {
    const device = await Device.of(cloud.user());
    const { page } = await device.tab({ policy: `${strict(device)} blob:` });
    await page.evaluate(file);
    await arrives(device.user, "the file");
    assert.deepEqual(await page.evaluate(() => violations), []);
    const without = await Device.of(cloud.user());
    const { page: other } = await without.tab({ policy: strict(without) });
    await other.evaluate(file);
    await eventually("the file is not read", () => other.evaluate(() => violations.some((one) => one === "connect-src blob")));
  });
});

describe("a page with a service worker", { concurrency: true }, () => {
  /** What the worker has sent: {url, body}. */
  const sentBy = (tab) => tab.page.context().serviceWorkers()[0].evaluate(() => self.sent);

  /** A page whose worker is there before the database is opened: else the addon does without. */
  async function served(device, settings) {
    const tab = await device.tab({ open: false });
    Object.assign(tab.settings, { tryUseServiceWorker: true, ...settings });
    await tab.page.evaluate(async () => {
      await navigator.serviceWorker.register("/worker.js");
      await navigator.serviceWorker.ready;
    });
    await tab.open();
    assert.equal(await tab.run((db) => db.cloud.usingServiceWorker), true);
    return tab;
  }

  // With `requireAuth` the worker of addon 4.4.14 waits for ever for somebody to sign in, because it does not hear that somebody has.
  test("that signs in by login sends by its worker, with the page's tokens, and hears by its own socket", async () => {
    const device = await Device.of(cloud.user());
    const tab = await served(device, { requireAuth: false });
    await tab.run((db) => db.cloud.login());
    await tab.until((db) => db.cloud.persistedSyncState.value.realms.includes(db.cloud.currentUserId));
    // Nobody gets no socket, and after that refusal the addon waits until somebody does something.
    await eventually("it has a socket", async () => {
      await tab.page.mouse.click(1, 1);
      return tab.run(connected);
    });
    await cloud.native(device.user).push(put("m", 2));
    await tab.until(...shows("m", 2));
    await tab.run((db) => db.notes.put({ id: "n", n: 1 }));
    await arrives(device.user, "the row");
    const sent = await sentBy(tab);
    assert.ok(sent.some(({ url, body }) => url.endsWith("/sync") && body.includes('"notes"')), "the worker sends the row");
  });
});

describe("what the addon's own tests demand", () => {
  const [user] = DEMO_USERS;
  /** Plays a case of upstream.mjs in a page of its own. */
  async function play(name, who = user) {
    const device = await Device.of(null);
    const tab = await device.tab({ open: false });
    return tab.ask("play", name, tab.settings.url, who);
  }

  test("propmods on a row that is not there stop nothing, and those on one that is there are done", async () => {
    const { id, rows, found } = await play("propmodsOnMissingRows", DEMO_USERS[2]);
    assert.deepEqual(rows.map(({ id, list }) => [id, list]), [[id, ["coffee", "tea"]]]);
    assert.deepEqual(found, rows);
  });

  test("rows that were shared, cleared and imported again are not taken away by the next sync", async () => {
    assert.deepEqual(await play("sharedClearedAndImported"), {
      exported: 2,
      cleared: 0,
      imported: 2,
      left: [{ name: "kept", realmId: user }, { name: "shared", realmId: "rlm~cleared-and-imported" }],
      end: 0,
    });
  });

  test("a frozen object is stored, sent and changed like any other", async () => {
    assert.equal(await play("frozenRows"), "melted");
  });

  const owned = ["1", "2"].map((guid) => ({ guid, name: `Name${guid}`, owner: user, realmId: user }));
  const without = ["1", "2"].map((guid) => ({ guid }));

  test("a database of an app without a cloud is taken along, version by version", async () => {
    const { before, userId, rows, found } = await play("stepByStep");
    assert.deepEqual(before, [without, ["1", "2"].map((guid) => ({ guid, name: `Name${guid}` }))]);
    assert.deepEqual([userId, rows, found], [user, owned, owned]);
  });

  test("and so is one that skipped a version, whose upgrade runs on the way", async () => {
    const { before, userId, rows, found } = await play("overOneVersion");
    assert.deepEqual(before, [without]);
    assert.deepEqual([userId, rows, found], [user, owned, owned]);
  });

  test("and one that begins with the cloud's version begins empty", async () => {
    assert.deepEqual(await play("fromNothing"), { before: [], userId: user, rows: [], found: [] });
  });
});
