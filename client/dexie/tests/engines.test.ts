// Capture, store and sync in other engines than Chromium's, and an app of two tabs there against the real Worker. FIREFOX=/usr/bin/firefox and
// WEBKIT=/…/MiniBrowser say where they are: no other test needs them, and these take a minute each. Needs `npm run build`.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Served, servePages } from "./browser.ts";
import { captureCases } from "./capture-cases.ts";
import { type Runtime, until } from "./devices.ts";
import { Firefox } from "./firefox.ts";
import { storeCases } from "./store-cases.ts";
import { syncCases } from "./sync-cases.ts";
import { WebKit } from "./webkit.ts";

for (const [name, engine, start] of [["FIREFOX", "Firefox", Firefox.start], ["WEBKIT", "WebKit", WebKit.start]] as const) {
  const program = process.env[name];
  const skip = program ? false : `NOT CHECKED: ${name}=/path/of/its/program has them run`;
  describe(`in ${engine}`, { skip }, () => tests(() => start(program as string)));
}

function tests(startEngine: () => Promise<Firefox | WebKit>): void {
  let engine: Firefox | WebKit;
  const served: Served[] = [];
  const serve = async (entry: string) => {
    const pages = await servePages(entry);
    served.push(pages);
    return pages.originOf();
  };
  let page: (expression: string) => Promise<string | null>;
  before(async () => {
    engine = await startEngine();
    page = await engine.open(await serve("page.ts"));
  });
  after(async () => {
    await engine?.stop();
    for (const { stop } of served) stop();
  });

  for (const name of Object.keys({ ...captureCases, ...storeCases, ...syncCases })) {
    test(name, async () => {
      assert.equal(await page(`hw.run(${JSON.stringify(name)}).then(() => null, (error) => error + "\\n" + error.stack)`), null);
    });
  }

  test("two tabs sync with the real Worker: either's edit is sent, and what others write comes by the socket to both", async () => {
    const origin = await serve("app-page.ts");
    const harness = await import(new URL("../../../tests/runtime/harness.mjs", import.meta.url).href);
    const runtime: Runtime = await harness.startRuntime({ variables: { ALLOWED_ORIGINS: origin } });
    const sub = runtime.subject();
    const start = async () => {
      const tab = await engine.open(origin);
      await tab(`globalThis.askToken = async () => ${JSON.stringify(runtime.token(sub))}, hw.start(${JSON.stringify(await runtime.url("home"))}, "")`);
      return tab;
    };
    const tabs = [await start(), await start()];
    for (const [at, tab] of tabs.entries()) await tab(`hw.add({ id: "t${at}", title: "milk" })`);
    await until("both are sent", async () => (await runtime.truth(sub)).records.size === 2);
    await runtime.device(sub).push([{ op: "put", collection: "todos", id: "x", value: { title: "bread" } }]);
    for (const tab of tabs) await until("both show all", async () => (await tab("hw.rows().map(({ id }) => id).join()")) === "t0,t1,x");
    await runtime.stop();
  });
}
