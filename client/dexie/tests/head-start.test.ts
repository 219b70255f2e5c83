// The first load of a new database, begun before there is a leader.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Device } from "../../core/src/device.ts";
import type { FetchInit, Ports } from "../../core/src/ports.ts";
import { portsOf } from "../src/environment.ts";
import { HeadStart } from "../src/head-start.ts";
import { createApp, fetchFrom, newId, TOKEN } from "./app.ts";
import { Server } from "./server.ts";

function appOf(name: string, server: Server, prepare = (_: ReturnType<typeof createApp>["hw"]) => {}) {
  const asked: { url: string; init: FetchInit }[] = [];
  let [tokens, begun] = [0, 0];
  const fetch = (url: string, init: FetchInit) => {
    asked.push({ url, init });
    return fetchFrom((what) => server.ask(what), url, init);
  };
  const ports = { ...portsOf({ socket: false }), newId, fetch, log: () => {} };
  const start = new HeadStart("", ports, async () => (tokens++, TOKEN));
  const app = createApp(name, (what) => server.ask(what), {
    schema: { todos: "id" },
    environment: {
      headStart: () => (begun++, void start.begin()),
      startDriver: (lead) => new Device({ ...lead, url: "", ports: { ...ports, fetch: start.fetch }, token: start.token }),
    },
  });
  prepare(app.hw);
  return { ...app, start, asked, counts: () => ({ asked: asked.length, tokens, begun }) };
}
const opened = (db: { open(): PromiseLike<unknown> }) => new Promise<void>((resolve, reject) => db.open().then(() => resolve(), reject));

test("a database that is being made asks once for a token and for its first load, and one that is there does not begin early", async () => {
  const server = new Server();
  server.write("todos", "a", { n: 1 });
  const name = `head-start-${newId()}`;
  const app = appOf(name, server);
  await opened(app.db);
  await app.hw.ready;
  assert.deepEqual(await app.db.table("todos").toArray(), [{ id: "a", n: 1 }]);
  assert.deepEqual(app.counts(), { asked: 1, tokens: 1, begun: 1 });
  await app.hw.close();
  app.db.close();
  const again = appOf(name, server);
  await opened(again.db);
  await again.hw.now();
  assert.equal(again.counts().begun, 0);
  await again.hw.close();
  again.db.close();
});

test("an app that is paused asks for nothing while its database is made", async () => {
  const app = appOf(`head-start-${newId()}`, new Server(), (hw) => hw.pause());
  await opened(app.db);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual([app.counts().begun, app.counts().asked], [0, 0]);
  await app.hw.close();
  app.db.close();
});

test("what was begun for another token is given up, and asked for again", async () => {
  const { start, asked } = appOf(`head-start-${newId()}`, new Server());
  await start.begin();
  const [begun] = asked;
  assert.ok(begun);
  await start.fetch(begun.url, { ...begun.init, headers: { ...begun.init.headers, authorization: "Bearer other" } });
  assert.deepEqual([asked.length, begun.init.signal?.aborted], [2, true]);
});

test("a start that was given up asks for nothing when its token comes at last, and a second one gives up the first", async () => {
  const asked: FetchInit[] = [];
  const timers: (() => void)[] = [];
  const tokens: PromiseWithResolvers<string>[] = [];
  const ports: Ports = {
    ...portsOf({ socket: false }), setTimeout: (fn) => timers.push(fn), clearTimeout: () => {},
    fetch: (_, init) => (asked.push(init), new Promise(() => {})),
  };
  const start = new HeadStart("", ports, () => {
    const token = Promise.withResolvers<string>();
    tokens.push(token);
    return token.promise;
  });
  const begun = [start.begin()];
  timers[0]?.();
  begun.push(start.begin(), start.begin());
  for (const token of tokens) token.resolve(TOKEN);
  await Promise.all(begun);
  assert.deepEqual([tokens.length, asked.length, asked[0]?.signal?.aborted], [3, 1, false]);
  void start.begin();
  assert.equal(asked[0]?.signal?.aborted, true);
});
