// An example app in Chromium before the real Worker: one address for both, as where it is deployed.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { createServer, request as forward } from "node:http";
import { connect } from "node:net";
import { extname, join } from "node:path";
import { pipeline } from "node:stream";
import { fileURLToPath } from "node:url";
import { startChromium } from "../runtime/chromium.mjs";
import { eventually, startRuntime } from "../runtime/harness.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Where the tests put what they have seen; a few of these stand in the README. */
const PICTURES = join(root, ".headwater/pictures");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json", ".map": "application/json" };

export class Stage {
  people = [];
  /** Claims of the tokens that are given from now on, by user. */
  claims = {};
  windows = [];
  /** The location of the runtime that is asked from now on. */
  location = "home";
  #hold = null;

  /** `app`: its folder, and the path below which it is served, unless it is the notes. */
  static async set({ app = "notes", ...options }) {
    const stage = new Stage();
    Object.assign(stage, { dist: join(root, "examples", app, "dist"), base: app === "notes" ? "/" : `/${app}/` });
    if (!existsSync(join(stage.dist, "index.html"))) throw new Error("The app is not built. Run `npm test`, or `npm start` once.");
    stage.runtime = await startRuntime(options);
    stage.browser = await startChromium();
    stage.server = createServer((asked, answer) => stage.#serve(asked, answer));
    stage.server.on("upgrade", (asked, socket, head) => stage.#upgrade(asked, socket, head));
    await new Promise((ready) => stage.server.listen(0, "127.0.0.1", ready));
    stage.url = `http://127.0.0.1:${stage.server.address().port}`;
    await mkdir(PICTURES, { recursive: true });
    return stage;
  }

  async strike() {
    await this.browser.stop();
    this.server.close();
    this.server.closeAllConnections();
    await this.runtime.stop();
    assert.deepEqual(this.windows.flatMap(({ complaints }) => complaints), [], "no window's script has failed");
  }

  /** From now on an answer to a pull stops behind about so many bytes until it is released: so a load can be looked at in its middle. */
  hold(bytes) {
    const { promise: released, resolve } = Promise.withResolvers();
    const release = () => {
      this.#hold = null;
      resolve();
    };
    this.#hold = { bytes, released, release, isReached: false, isLetGo: false };
    return this.#hold;
  }

  async #serve(asked, answer) {
    const path = new URL(asked.url, this.url).pathname;
    if (path === "/development-users.json") return answer.end(JSON.stringify({ users: this.#users() }));
    const file = path.startsWith(this.base) ? join(this.dist, path.slice(this.base.length) || "index.html") : "";
    if (file.startsWith(this.dist) && existsSync(file)) return answer.writeHead(200, { "content-type": TYPES[extname(file)] }).end(readFileSync(file));
    try {
      const hold = path === "/sync/pull" ? this.#hold : null;
      const headers = { ...asked.headers };
      // Bytes that are held are counted unpacked.
      if (hold) delete headers["accept-encoding"];
      const sent = forward((await this.runtime.url(this.location)) + asked.url, { method: asked.method, headers });
      sent.on("response", (got) => {
        answer.writeHead(got.statusCode, got.headers);
        pipeline(hold ? heldBack(got, hold) : got, answer, () => {});
        answer.on("close", () => {
          if (hold?.isReached && !answer.writableFinished) hold.isLetGo = true;
        });
      });
      sent.on("error", () => answer.destroy());
      asked.pipe(sent);
    } catch {
      answer.destroy();
    }
  }

  async #upgrade(asked, near, head) {
    try {
      const far = connect(Number(new URL(await this.runtime.url(this.location)).port), "127.0.0.1");
      const headers = Object.entries(asked.headers).map(([name, value]) => `${name}: ${value}\r\n`).join("");
      far.write(`GET ${asked.url} HTTP/1.1\r\n${headers}\r\n`);
      far.write(head);
      for (const [one, other] of [[near, far], [far, near]]) one.on("error", () => {}).on("close", () => other.destroy()).pipe(other);
    } catch {
      near.destroy();
    }
  }

  #users() {
    return this.people.map((sub) => ({ sub, token: this.runtime.token(sub, this.claims[sub]?.()) }));
  }

  /** Somebody new, with a browser of their own: its first page, signed in. */
  async person(name, { path = "/", context, prepare } = {}) {
    const sub = this.runtime.subject(name);
    this.people.push(sub);
    await prepare?.(sub);
    return this.page(sub, { path, context });
  }

  /** Another page of somebody: in the same browser if its context is given. */
  async page(sub, { path = "/", context } = {}) {
    const own = context ?? (await this.browser.context.browser().newContext({ viewport: { width: 1280, height: 800 } }));
    const page = await own.newPage();
    const window = new Window(this, page, sub, own);
    this.windows.push(window);
    await page.goto(`${this.url}${path}?as=${encodeURIComponent(sub)}`);
    return window;
  }
}

/** What comes; behind the bytes of `hold` only once it is released. */
async function* heldBack(coming, hold) {
  let passed = 0;
  for await (const chunk of coming) {
    yield chunk;
    passed += chunk.length;
    if (passed < hold.bytes) continue;
    hold.isReached = true;
    await hold.released;
  }
}

/** One window of the app, and what its person does in it. */
class Window {
  complaints = [];
  /** All that it has opened, the newest last. */
  sockets = [];

  constructor(stage, page, sub, context) {
    Object.assign(this, { stage, page, sub, context });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    page.on("websocket", (socket) => this.sockets.push(socket));
    page.setDefaultTimeout(20_000);
  }

  status = (text, options) => this.page.locator(".status", { hasText: text }).waitFor(options);
  /** Waits until the panel has told of such an exchange. */
  exchange = (text) => this.page.locator(".exchanges li", { hasText: text }).first().waitFor();
  note = (text) => this.page.getByLabel("Text of the note").and(this.page.locator("textarea")).filter({ hasText: text });
  /** The texts as they stand in the fields, newest first. */
  texts = () => this.page.getByLabel("Text of the note").evaluateAll((fields) => fields.map((field) => field.value));
  press = (name) => this.page.getByRole("button", { name, exact: true }).click();
  network = (isOn) => this.page.getByRole("switch", { name: "Network" }).setChecked(isOn);
  shows = (...texts) => eventually(async () => `${this.sub} sees ${texts}; there is ${await this.texts()}`, async () => String(await this.texts()) === String(texts));

  async addList(title) {
    await this.page.getByLabel("Title of a new list").fill(title);
    await this.page.keyboard.press("Enter");
    await this.page.getByLabel("Title of the list").and(this.page.locator("textarea")).waitFor();
  }

  async add(text) {
    await this.page.getByLabel("A new note").fill(text);
    await this.page.keyboard.press("Enter");
  }

  /** Writes into the note at that place, and waits until the app has kept it. */
  async write(at, text) {
    const field = this.page.getByLabel("Text of the note").nth(at);
    await field.fill(text);
    await field.blur();
  }

  /** Shares the list that is shown; gives the link of an invitation. */
  async share() {
    await this.press("Share");
    await this.press("Make a link");
    const link = await this.page.getByLabel("Link of the invitation").inputValue();
    await this.press("Close");
    return link;
  }

  async join(link) {
    await this.page.evaluate((hash) => (location.hash = hash), new URL(link).hash);
    await this.press("Join the list");
  }

  /** As it looks once nothing moves any more. */
  picture = (name) => this.page.screenshot({ path: join(PICTURES, `${name}.png`), animations: "disabled" });
}
