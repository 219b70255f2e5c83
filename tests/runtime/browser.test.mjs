// What a real browser makes of the answers: its cache, which two accounts of one device share, and CORS.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startChromium } from "./chromium.mjs";
import { startRuntime } from "./harness.mjs";

const JSON_TYPE = "application/json";
const NDJSON = "application/x-ndjson";
const FIRST = "only-the-first-account-wrote-this";
const SECOND = "only-the-second-account-wrote-this";

let [app, runtime, browser, server] = [];
before(async () => {
  app = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>app</title>"));
  await new Promise((ready) => app.listen(0, "127.0.0.1", ready));
  const { port } = app.address();
  const origins = `http://127.0.0.1:${port}/,http://*.localhost:${port}`;
  runtime = await startRuntime({ variables: { ALLOWED_ORIGINS: origins } });
  server = await runtime.url("home");
  browser = await startChromium();
});
after(async () => {
  await browser?.stop();
  await runtime?.stop();
  app?.close();
});

async function openPage(host = "127.0.0.1") {
  const page = await browser.context.newPage();
  await page.goto(`http://${host}:${app.address().port}`);
  return page;
}

/** What the page's `fetch` gives its own code. */
function ask(page, path, token, { accept = JSON_TYPE, headers = {}, ...init } = {}) {
  const request = { ...init, headers: { authorization: `Bearer ${token}`, accept, ...headers } };
  return page.evaluate(
    async ([url, init]) => {
      const answer = await fetch(url, init);
      return { status: answer.status, headers: Object.fromEntries(answer.headers), text: await answer.text() };
    },
    [server + path, request],
  );
}

/** An account whose space holds one record with this text, published. */
async function account(text) {
  const device = runtime.device(runtime.subject());
  await device.push([{ op: "put", collection: "diary", id: "d1", value: { text } }]);
  await runtime.waitForPublished(device.sub, device.min);
  await device.pull();
  return device;
}

describe("two accounts of one browser", () => {
  for (const accept of [JSON_TYPE, NDJSON]) {
    test(`the account that comes next is never shown the other one's records (${accept})`, async () => {
      const [first, second, none] = [await account(FIRST), await account(SECOND), runtime.device(runtime.subject())];
      const page = await openPage();
      const { sha256 } = (await runtime.head(first.sub)).base?.parts[0] ?? { sha256: "0".repeat(64) };
      const poll = `/sync/pull?${new URLSearchParams(first.query({ since: null }))}`;
      for (const path of ["/sync/pull", "/sync/pull?since=0", poll, "/sync/head", `/sync/objects/${sha256}`]) {
        for (const [{ token }, own] of [[first, FIRST], [second, SECOND], [none, null], [first, FIRST], [none, null]]) {
          for (const cache of ["default", "no-cache", "force-cache"]) {
            const { status, text } = await ask(page, path, token, { accept, cache });
            const what = `${path} (${cache}): ${status} ${text}`;
            if (path === "/sync/pull") assert.ok(status === 200 && (own === null || text.includes(own)), what);
            for (const foreign of [FIRST, SECOND]) if (foreign !== own) assert.ok(!text.includes(foreign), what);
          }
        }
      }
      const [mine, theirs] = [await ask(page, "/sync/head", first.token), await ask(page, "/sync/head", second.token)];
      assert.notEqual(JSON.parse(theirs.text).epoch, JSON.parse(mine.text).epoch);
      await page.close();
    });
  }

  test("a poll is answered in the form that it asks for, though the other form was asked for under the same URL", async () => {
    const { token, ...device } = await account(FIRST);
    const page = await openPage();
    const path = `/sync/pull?epoch=${device.epoch}&since=${device.version}`;
    for (const accept of [JSON_TYPE, NDJSON, JSON_TYPE, NDJSON]) {
      const { status, headers, text } = await ask(page, path, token, { accept });
      assert.deepEqual([status, headers["content-type"]], [200, accept]);
      assert.equal(text.includes('"end":true'), accept === NDJSON, text);
    }
    await page.close();
  });

  test("an If-None-Match of the page's own code gets 304, and the tag of the other form or account does not", async () => {
    const [first, second] = [await account(FIRST), await account(SECOND)];
    const page = await openPage();
    const path = `/sync/pull?epoch=${first.epoch}&since=${first.version}`;
    const tags = [];
    for (const accept of [JSON_TYPE, NDJSON]) {
      const { headers } = await ask(page, path, first.token, { accept });
      tags.push(headers.etag);
      const body = JSON.stringify({ epoch: first.epoch, since: first.version });
      const post = { method: "POST", body, headers: { "content-type": JSON_TYPE, "if-none-match": headers.etag } };
      for (const [where, how] of [[path, { headers: { "if-none-match": headers.etag } }], ["/sync/pull", post]]) {
        const held = await ask(page, where, first.token, { accept, ...how });
        assert.deepEqual([held.status, held.text], [304, ""]);
      }
      const other = await ask(page, "/sync/pull", second.token, { accept, headers: { "if-none-match": tags.join(", ") } });
      assert.ok(other.status === 200 && other.text.includes(SECOND), `${other.status} ${other.text}`);
    }
    const crossed = await ask(page, path, first.token, { accept: NDJSON, headers: { "if-none-match": tags[0] } });
    assert.equal(crossed.status, 200);
    await page.close();
  });
});

describe("pages of other origins", () => {
  test("a page below an allowed pattern syncs, with the headers that tracing adds to every request", async () => {
    const { token } = await account(FIRST);
    const page = await openPage("pr-12.localhost");
    const headers = {
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate: "a=b", baggage: "a=b",
      "sentry-trace": "1-2-1", b3: "0", "x-b3-traceid": "1", "x-datadog-trace-id": "1", "x-amzn-trace-id": "1",
    };
    const answer = await ask(page, "/sync/pull", token, { headers });
    assert.ok(answer.status === 200 && answer.text.includes(FIRST), `${answer.status} ${answer.text}`);
    for (const name of ["etag", "date", "headwater-version", "server-timing"]) assert.ok(answer.headers[name], name);
    assert.ok(Math.abs(Date.parse(answer.headers.date) - Date.now()) < 60_000, answer.headers.date);
    const refused = await ask(page, "/sync/pull", "no token");
    assert.equal(refused.status, 401);
    assert.match(refused.headers["www-authenticate"], /^Bearer .*error="invalid_token"/);
    await page.close();
  });

  test("a page of another origin reads nothing", async () => {
    const { token } = await account(FIRST);
    const page = await openPage("localhost");
    await assert.rejects(ask(page, "/sync/pull", token), /Failed to fetch/);
    await page.close();
  });
});

// After everything else of this file, because it ends the browser.
test("nothing of any record is left in the browser's profile", async () => {
  await browser.context.close();
  let [files, bytes] = [0, 0];
  for (const entry of await readdir(browser.profile, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const content = await readFile(join(entry.parentPath, entry.name));
    [files, bytes] = [files + 1, bytes + content.length];
    for (const text of [FIRST, SECOND]) assert.ok(!content.includes(text), `${entry.parentPath}/${entry.name}`);
  }
  assert.ok(files > 10 && bytes > 10_000, `a profile was looked through: ${files} files`);
});
