// A page in Chromium with our code in it, for the tests that need a real IndexedDB.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";
import type { BrowserContext, Page } from "playwright-core";
// @ts-expect-error: a script without types, shared with the tests of the server.
import { startChromium } from "../../../tests/runtime/chromium.mjs";

const FOLDER = fileURLToPath(new URL(".", import.meta.url));

export interface Served {
  /** Where the pages of a host are from. All pages of one host share their databases; "localhost" is another one. */
  originOf(host?: string): string;
  stop(): void;
}

/** What pages may have besides: a service worker, which is served as `/worker.js`, and what helps esbuild to find modules. */
export interface Options {
  worker?: string;
  plugins?: Plugin[];
}

async function bundle(entry: string, plugins: Plugin[]): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [FOLDER + entry], bundle: true, write: false, format: "iife", globalName: "hw", target: "es2022", conditions: ["browser"],
    sourcemap: "inline", logLevel: "error", plugins,
  });
  return (outputFiles[0] as { text: string }).text;
}

/** Bundles an entry of this folder, whose exports are `window.hw` in each page, and serves it, with the Content-Security-Policy of `?policy=…`. */
export async function servePages(entry: string, { worker, plugins = [] }: Options = {}): Promise<Served> {
  const scripts = new Map([["/hw.js", await bundle(entry, plugins)]]);
  if (worker) scripts.set("/worker.js", await bundle(worker, plugins));
  const server: Server = createServer((request, answer) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
    const policy = searchParams.get("policy");
    if (policy) answer.setHeader("content-security-policy", policy);
    const script = scripts.get(pathname);
    if (script !== undefined) answer.setHeader("content-type", "text/javascript; charset=utf-8").end(script);
    else answer.setHeader("content-type", "text/html").end('<!doctype html><meta charset="utf-8"><title>app</title><script src="/hw.js"></script>');
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address() as AddressInfo;
  return { originOf: (host = "127.0.0.1") => `http://${host}:${port}`, stop: () => void server.close() };
}

export interface Browser {
  context: BrowserContext;
  originOf: Served["originOf"];
  /** A page. */
  open(host?: string): Promise<Page>;
  /** Another browser, as far as a page can tell: with databases and a connection of its own. */
  another(): Promise<BrowserContext>;
  stop(): Promise<void>;
}

export async function startBrowser(entry: string, options?: Options): Promise<Browser> {
  const { originOf, stop } = await servePages(entry, options);
  const chromium = await startChromium();
  const context = chromium.context as BrowserContext;
  return {
    context, originOf,
    async open(host) {
      const page = await context.newPage();
      await page.goto(originOf(host));
      return page;
    },
    another: () => (context.browser() as NonNullable<ReturnType<BrowserContext["browser"]>>).newContext(),
    async stop() {
      await chromium.stop();
      stop();
    },
  };
}
