// Rows of SPEC.md about pulls of several spaces in one request.

import assert from "node:assert/strict";
import { json, jwt, PageOfApp, settle, write } from "./page.ts";
import { row } from "./rows.ts";

const SPACES = ["~", "s1", "s2", "s3", "s4", "s5", "s6"];

/** A page that has loaded so many spaces, all of which are the same on the server. */
async function loaded(count: number): Promise<PageOfApp> {
  const page = new PageOfApp();
  write(page.server, "first", { n: 1 });
  for (const space of SPACES.slice(0, count)) page.device.open(space);
  await page.pass(1000);
  page.requests = [];
  return page;
}

const paths = (page: PageOfApp) => page.requests.map(({ path }) => path);
const phases = (page: PageOfApp, count: number) => SPACES.slice(0, count).map((space) => page.device.status(space)?.phase);
const idle = (count: number) => Array.from({ length: count }, () => "idle");

function upToDate(page: PageOfApp, ...spaces: string[]): void {
  for (const space of spaces) assert.deepEqual(page.store.state(space), page.server.state(), space);
}

row("poll: several spaces", async () => {
  const page = await loaded(7);
  write(page.server, "second", { n: 2 });
  // Once a minute, with a grant that is good for ten.
  await page.pass(61_000);
  assert.deepEqual(paths(page), ["/sync/pulls", "/sync/pulls"]);
  const asked = page.requests.map(({ body }) => body["pulls"] as Record<string, unknown>[]);
  assert.deepEqual(asked.map((pulls) => pulls.map(({ space }) => space)), [SPACES.slice(0, 5), SPACES.slice(5)]);
  assert.deepEqual(asked.flat().map(({ grant }) => grant), [undefined, ...Array.from({ length: 6 }, () => "g1")]);
  upToDate(page, ...SPACES);
  assert.deepEqual(phases(page, 7), idle(7));
  page.device.stop();
});

row("poll: one of several is refused", async () => {
  const page = await loaded(3);
  page.isForbidden = true;
  write(page.server, "second", { n: 2 });
  page.device.online();
  await page.pass(100);
  assert.deepEqual(paths(page), ["/sync/pulls"]);
  assert.deepEqual([page.device.status("s1")?.held?.why, page.device.status("s2")?.phase], ["forbidden", "idle"]);
  upToDate(page, "~", "s2");
  page.device.stop();
});

row("poll: one of several alone", async () => {
  const page = await loaded(3);
  page.alone = ["s1"];
  write(page.server, "second", { n: 2 });
  page.device.online();
  await page.pass(100);
  assert.deepEqual(paths(page), ["/sync/pulls", "/sync/pull?space=s1"]);
  assert.equal(page.requests[1]?.headers["headwater-grant"], "g1");
  upToDate(page, "~", "s1", "s2");
  page.device.stop();
});

row("poll: several are refused", async () => {
  for (const refusal of [null, json({ status: 503, body: { code: "overloaded" } }, { "retry-after": "2" }), json({ status: 429, body: { code: "rate_limited", retryAfter: 2 } })]) {
    const page = await loaded(3);
    page.instead = [refusal];
    page.device.online();
    await page.pass(10);
    assert.deepEqual(phases(page, 3), ["waiting", "waiting", "waiting"]);
    assert.deepEqual(paths(page), ["/sync/pulls"]);
    await page.pass(10_000);
    assert.deepEqual(phases(page, 3), idle(3));
    page.device.stop();
  }
  const page = await loaded(3);
  page.tokens = [jwt("alice", 2)];
  page.instead = [json({ status: 401, body: { code: "token_expired" } })];
  page.device.online();
  await page.pass(100);
  assert.deepEqual(page.asked, ["start", "refused"], "one token for all of them");
  assert.deepEqual(phases(page, 3), idle(3));
  page.device.stop();
});

row("poll: several do not go together", async () => {
  const page = await loaded(3);
  page.instead = [json({ status: 413, body: { code: "too_large" } })];
  write(page.server, "second", { n: 2 });
  page.device.online();
  await page.pass(100);
  assert.deepEqual(paths(page), ["/sync/pulls", "/sync/pull", "/sync/pull?space=s1", "/sync/pull?space=s2"]);
  upToDate(page, "~", "s1", "s2");
  page.device.stop();
});

row("poll: one of several is closed", async () => {
  const page = await loaded(3);
  page.instead = ["open"];
  page.device.online();
  await page.pass(1);
  page.device.close("s1");
  await page.pass(1);
  assert.deepEqual([page.device.status("~")?.phase, page.device.status("s2")?.phase], ["pulling", "pulling"]);
  for (const space of ["~", "s2"]) page.device.close(space);
  await settle();
  assert.deepEqual(paths(page), ["/sync/pulls"]);
  // All of them are opened anew, and nothing of what was asked for before is taken for an answer.
  for (const space of ["~", "s1", "s2"]) page.device.open(space);
  await page.pass(1000);
  upToDate(page, "~", "s1", "s2");
  page.device.stop();
});

row("poll: another token comes", async () => {
  const page = await loaded(2);
  page.device.close("s1");
  page.device.online();
  await settle();
  page.tokens = [jwt("alice", 2)];
  await page.device.signedIn();
  page.device.open("s1");
  await page.pass(1000);
  const pulls = page.requests.filter(({ path }) => path.startsWith("/sync"));
  assert.deepEqual(pulls.map(({ path, headers }) => [path, headers["authorization"]]), [
    ["/sync/pull", `Bearer ${jwt("alice")}`],
    ["/sync/pull?space=s1", `Bearer ${jwt("alice", 2)}`],
  ]);
  assert.deepEqual(phases(page, 2), idle(2));
  page.device.stop();
});

row("poll: requests run low", async () => {
  // It is said of a load, of a pull alone, and of several together.
  for (const [count, isLoad] of [[1, true], [1, false], [2, false]] as const) {
    const page = new PageOfApp();
    const low = () => (page.pullHeaders = { "headwater-budget": "object-requests=low, ends=1200" });
    write(page.server, "first", { n: 1 });
    if (isLoad) low();
    for (const space of SPACES.slice(0, count)) page.device.open(space);
    await page.pass(1000);
    low();
    if (!isLoad) await page.pass(60_000);
    page.requests = [];
    // The poll that was set before is not made either.
    await page.pass(298_000);
    assert.equal(page.requests.length, 0);
    await page.pass(2000);
    assert.deepEqual(paths(page), [count === 1 ? "/sync/pull" : "/sync/pulls"]);
    // It has ended, and the next day has enough.
    page.pullHeaders = {};
    await page.pass(900_000);
    page.requests = [];
    await page.pass(300_000);
    assert.equal(page.requests.filter(({ path }) => path.startsWith("/sync/")).length, 5);
    page.device.stop();
  }
});
