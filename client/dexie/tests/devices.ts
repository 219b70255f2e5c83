// Apps in Chromium, each in a browser of its own, against the real Worker on the real runtime. Needs `npm run build`.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, afterEach, before } from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { BrowserContext, Page } from "playwright-core";
import type * as InPage from "./app-page.ts";
import { type Browser, startBrowser } from "./browser.ts";
import { Proxy } from "./proxy.ts";

declare const hw: typeof InPage;

assert.ok(existsSync(new URL("../../../build/index_bg.wasm", import.meta.url)), "the Worker is not built: run `npm run build`");

/** A client of the runtime's tests. */
export interface Writer {
  load(collection: string, entries: [string, object][]): Promise<void>;
  push(changes: object[]): Promise<{ status: string }>;
  records: Map<string, { value: unknown }>;
  /** The position of its last push. */
  min: string;
}
export interface Runtime {
  url(location: string): Promise<string>;
  subject(name?: string): string;
  token(sub: string, claims?: object, options?: object): string;
  device(sub: string): Writer;
  truth(sub: string): Promise<Writer>;
  /** Tells its storage, or its KV, to misbehave for the space of a user. */
  object(sub: string, command?: object): Promise<{ held: number }>;
  kv(location: string, sub: string, command?: object): Promise<{ counts: Record<string, number>; held: number }>;
  setClock(location: string, offset: number): Promise<void>;
  waitForPublished(sub: string, position: string): Promise<unknown>;
  kill(): Promise<void>;
  stop(): Promise<void>;
}
export let browser: Browser;
export let runtime: Runtime;
let devices: Device[] = [];

/** The runtime and a browser for all tests of a file. Pages of `hosts`, names of this machine, may call the Worker. */
export function useDevices({ hosts = ["127.0.0.1"] }: { hosts?: string[] } = {}): void {
  before(async () => {
    browser = await startBrowser("app-page.ts");
    const harness = await import(new URL("../../../tests/runtime/harness.mjs", import.meta.url).href);
    runtime = await harness.startRuntime({ variables: { ALLOWED_ORIGINS: hosts.map((host) => browser.originOf(host)).join() } });
  });
  after(async () => {
    await browser?.stop();
    await runtime?.stop();
  });
  afterEach(async () => {
    for (const device of devices) await device.stop();
    devices = [];
  });
}

/** Numbers in [0, 1) that a seed chooses. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export async function until(what: string, holds: () => Promise<boolean> | boolean, ms = 20_000): Promise<void> {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it did not come to this: ${what}`);
}

type Settings = Parameters<typeof InPage.start>[2];

/** The app of one user in a browser of its own. */
export class Device {
  readonly sub: string;
  readonly context: BrowserContext;
  readonly page: Page;
  readonly proxy: Proxy;
  /** What has come by sockets, and what has gone. */
  readonly heard: string[] = [];
  readonly said: string[] = [];
  /** What the page has complained about. */
  readonly complaints: string[] = [];
  /** Why tokens were asked for. */
  readonly asked: string[] = [];
  /** Claims of the tokens that it is given. */
  claims: () => object = () => ({});
  /** The token that a user is given; null: signed out. */
  token: (user: string) => string | null = (user) => runtime.token(user, this.claims());

  private constructor(sub: string, context: BrowserContext, page: Page, proxy: Proxy) {
    [this.sub, this.context, this.page, this.proxy] = [sub, context, page, proxy];
    page.on("websocket", (socket) => {
      socket.on("framereceived", ({ payload }) => this.heard.push(String(payload)));
      socket.on("framesent", ({ payload }) => this.said.push(String(payload)));
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("console", (message) => /headwater/.test(message.text()) && this.complaints.push(message.text()));
  }

  /** `host`: the name of this machine from which its pages come. */
  static async of(sub: string, prepare: (device: Device) => unknown = () => {}, { host, ...settings }: Settings & { host?: string } = {}): Promise<Device> {
    const context = await browser.another();
    const device = new Device(sub, context, await context.newPage(), await new Proxy(await runtime.url("home")).start());
    devices.push(device);
    await prepare(device);
    await context.exposeFunction("askToken", (user: string, reason: string) => {
      device.asked.push(reason);
      return device.token(user);
    });
    await device.page.goto(browser.originOf(host));
    await device.start(settings);
    return device;
  }

  /** Starts the app in a page, which has none. */
  async start(settings: Settings & { user?: string } = {}, page = this.page): Promise<Page> {
    const { user = this.sub, ...rest } = settings;
    await page.evaluate(([url, user, settings]) => hw.start(url, user, settings), [this.proxy.url, user, rest] as const);
    return page;
  }

  /** One more tab of the app. */
  async tab(settings: Settings = {}): Promise<Page> {
    const page = await this.context.newPage();
    await page.goto(this.page.url());
    return this.start(settings, page);
  }

  async reload(settings: Settings & { user?: string } = {}): Promise<void> {
    await this.page.reload();
    await this.start(settings);
  }

  rows = () => this.page.evaluate(() => hw.rows());
  add = (row: object) => this.page.evaluate((row) => hw.add(row), row);
  update = (id: string, changes: object) => this.page.evaluate(([id, changes]) => hw.update(id, changes), [id, changes] as const);
  status = () => this.page.evaluate(() => hw.status());
  now = () => this.page.evaluate(() => hw.synced().now());
  conflicts = () => this.page.evaluate(() => hw.conflicts());
  sees = async (...rows: object[]) => isDeepStrictEqual(await this.rows(), rows);
  holds = async () => (await this.status()).reason?.why;
  /** Everything is here, and the socket is greeted. */
  async begun(): Promise<this> {
    await this.now();
    await until("a socket is greeted", () => this.greetings > 0);
    return this;
  }
  get greetings(): number {
    return this.heard.filter((text) => text.startsWith('{"type":"version"')).length;
  }

  async stop(): Promise<void> {
    await this.context.close();
    this.proxy.stop();
  }
}
