// README, "In your app": its lines, as they stand there, in an empty project with the settings of Vite's template "vanilla-ts", into
// which the client is installed as README says. It compiles, and two browsers show what either writes.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { ConsoleMessage, Page } from "playwright-core";
// @ts-expect-error: scripts without types, shared with the tests of the server.
import { startChromium } from "../../../tests/runtime/chromium.mjs";
import { until } from "./devices.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const app = mkdtempSync(join(tmpdir(), "headwater-app-"));
const COMPILER = {
  target: "es2023", module: "esnext", lib: ["ES2023", "DOM"], types: [], skipLibCheck: false, moduleResolution: "bundler", verbatimModuleSyntax: true,
  moduleDetection: "force", noEmit: true, strict: true, noUnusedLocals: true, noUnusedParameters: true, erasableSyntaxOnly: true,
};
let [server, chromium, runtime]: [Server?, Awaited<ReturnType<typeof startChromium>>?, { stop(): Promise<void> }?] = [];
after(async () => {
  await chromium?.stop();
  await runtime?.stop();
  server?.close();
  rmSync(app, { recursive: true, force: true });
});

const run = (program: string, ...args: string[]) => execFileSync(program, args, { cwd: app, stdio: "pipe", encoding: "utf8" });

/** Serves the page at an origin of its own. */
async function serve(script: () => string): Promise<string> {
  server = createServer((request, answer) => {
    if (request.url === "/main.js") answer.setHeader("content-type", "text/javascript; charset=utf-8").end(script());
    else answer.setHeader("content-type", "text/html").end('<!doctype html><title>app</title><script type="module" src="/main.js"></script>');
  });
  await new Promise<void>((ready) => server?.listen(0, "127.0.0.1", ready));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("the lines of README make an empty project sync two browsers", async () => {
  const [, lines = ""] = /## In your app[\s\S]*?```ts\n([\s\S]*?)```/.exec(readFileSync(`${root}/README.md`, "utf8")) ?? [];
  writeFileSync(join(app, "package.json"), '{"name":"app","private":true,"type":"module"}');
  writeFileSync(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions: COMPILER, include: ["main.ts"] }));
  run(process.execPath, `${root}/client/build.mjs`);
  run("npm", "install", "--offline", "--no-audit", "--no-fund", "--install-links", `${root}/client`, `${root}/node_modules/dexie`);
  writeFileSync(join(app, "main.ts"), lines);
  run(process.execPath, `${root}/node_modules/typescript/bin/tsc`);

  let script = "";
  const origin = await serve(() => script);
  const harness = await import(new URL("../../../tests/runtime/harness.mjs", import.meta.url).href);
  const started = (runtime = await harness.startRuntime({ variables: { ALLOWED_ORIGINS: origin } }));
  const url = "http://127.0.0.1:8787";
  assert.ok(lines.includes(url));
  writeFileSync(join(app, "main.ts"), lines.replace(url, await started.url("home")));
  const { outputFiles } = await build({ entryPoints: [join(app, "main.ts")], bundle: true, write: false, format: "esm", target: "es2022", logLevel: "error" });
  script = outputFiles[0]?.text ?? "";
  chromium = await startChromium();
  const token = started.token(started.subject());
  /** How many rows the query of each page has shown last. */
  const counts = new Map<Page, unknown>();
  const open = async (): Promise<void> => {
    const context = await chromium.context.browser().newContext();
    await context.addInitScript((token: string) => localStorage.setItem("token", token), token);
    const page = await context.newPage();
    page.on("console", async (message: ConsoleMessage) => {
      const count = await message.args()[0]?.evaluate((all: unknown) => (Array.isArray(all) ? all.length : null));
      if (typeof count === "number") counts.set(page, count);
    });
    await page.goto(origin);
  };
  await open();
  await open();
  await until("both show what each of them has written", () => [...counts.values()].filter((count) => count === 2).length === 2);
});
