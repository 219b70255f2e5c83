// Requests that nobody wants any more: their space was closed, the leader has stopped, or there is no connection.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { put } from "./bench.ts";
import { jwt, PageOfApp, settle, write } from "./page.ts";

let page: PageOfApp;
async function started(options: ConstructorParameters<typeof PageOfApp>[0] = {}): Promise<void> {
  page = new PageOfApp(options);
  page.device.open("~");
  await page.pass(100);
}
afterEach(() => page.device.stop());

test("a token is slow while its space is closed, forgotten and opened again: what was asked for before is not asked, nor taken", async () => {
  await started();
  write(page.server, "first", { n: 1 });
  await page.device.now();
  page.device.close("~");
  write(page.server, "second", { n: 2 });
  const token = page.slowToken();
  void page.device.signedIn();
  page.device.open("~");
  await settle();
  page.device.close("~");
  await page.store.commit(1, { wake: "rows" }, async (tx) => {
    for (const store of [tx.rows, tx.base, tx.extra]) await store.delete("~", await store.keys("~"));
    await tx.spaces.delete("~");
  });
  page.device.open("~");
  await settle();
  page.requests = [];
  token.resolve(jwt("alice", 2));
  await page.pass(1000);
  assert.deepEqual(page.requests.map(({ body }) => body), [{}]);
  assert.deepEqual(page.store.state("~"), page.server.state());
});

test("a token that comes after `stop` is used for nothing: no request, no timer", async () => {
  await started();
  const token = page.slowToken();
  page.requests = [];
  void page.device.signedIn();
  await page.edit(put("a"));
  await page.pass(500);
  page.device.stop();
  token.resolve(jwt("alice", 2, 1_800_000_000));
  await page.pass(1000);
  assert.deepEqual([page.requests, page.timers.size], [[], 0]);
});

test("a body that cannot be packed goes as it is, and one whose packing never ends is a request without an answer", async () => {
  for (const pack of [() => { throw new TypeError("unknown format"); }, async () => Promise.reject(new Error("no memory"))]) {
    await started({ pack });
    await page.edit(put("long", { text: "x".repeat(100_000) }));
    await page.pass(1000);
    assert.deepEqual(page.pushes.map(({ headers }) => headers["content-encoding"]), [undefined]);
    page.device.stop();
  }
  await started({ pack: () => new Promise(() => {}) });
  await page.edit(put("long", { text: "x".repeat(100_000) }));
  await page.pass(31_000);
  assert.deepEqual([page.phase, page.pushes.length], ["unsure", 0]);
});

test("pulls that nobody wants any more do not go out, and their one request ends when none of them is wanted", async () => {
  page = new PageOfApp();
  write(page.server, "a", { x: 1 });
  for (const space of ["~", "s1"]) page.device.open(space);
  await page.pass(100);
  page.requests = [];
  page.device.online();
  await settle();
  page.device.offline();
  await page.pass(0);
  assert.deepEqual(page.requests, []);
  page.instead = ["open"];
  page.device.online();
  await page.pass(0);
  assert.deepEqual(page.requests.map(({ path }) => path), ["/sync/pulls"]);
  page.device.close("s1");
  assert.equal(page.aborted, 0);
  page.device.offline();
  assert.equal(page.aborted, 1);
});
