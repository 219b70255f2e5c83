// Pages in WebKitGTK's MiniBrowser, driven by its WebDriver (Debian: webkit2gtk-driver). It needs a display: `xvfb-run` gives one.

import { type ChildProcess, spawn } from "node:child_process";
import { type AddressInfo, createServer } from "node:net";

const NO_PORT = 0;
const SCRIPT_MS = 60_000;

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((ready) => probe.listen(NO_PORT, "127.0.0.1", ready));
  const { port } = probe.address() as AddressInfo;
  await new Promise((closed) => probe.close(closed));
  return port;
}

export class WebKit {
  readonly #process: ChildProcess;
  readonly #url: string;
  #session = "";

  private constructor(process: ChildProcess, url: string) {
    [this.#process, this.#url] = [process, url];
  }

  /** `program`: MiniBrowser. */
  static async start(program: string): Promise<WebKit> {
    const port = await freePort();
    const env = { ...process.env, WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1", WEBKIT_DISABLE_COMPOSITING_MODE: "1" };
    const driver = spawn("WebKitWebDriver", [`--port=${port}`], { stdio: "ignore", env });
    const webkit = new WebKit(driver, `http://127.0.0.1:${port}/session`);
    const options = { binary: program, args: ["--automation"] };
    for (let tries = 0; webkit.#session === ""; tries++) {
      try {
        const { sessionId } = await webkit.#ask<{ sessionId: string }>("POST", "", { capabilities: { alwaysMatch: { "webkitgtk:browserOptions": options } } });
        webkit.#session = `/${sessionId}`;
      } catch (error) {
        // It may not listen yet.
        if (tries > 50) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    await webkit.#ask("POST", "/timeouts", { script: SCRIPT_MS });
    return webkit;
  }

  async #ask<Value>(method: string, path: string, body?: object): Promise<Value> {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(this.#url + this.#session + path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    const { value } = (await answer.json()) as { value: Value & { error?: string; message?: string } };
    if (value?.error) throw new Error(`${value.error}: ${value.message}`);
    return value;
  }

  /** A page: what evaluates an expression in it, to a text or null. */
  async open(url: string): Promise<(expression: string) => Promise<string | null>> {
    const { handle } = await this.#ask<{ handle: string }>("POST", "/window/new", { type: "tab" });
    await this.#ask("POST", "/window", { handle });
    await this.#ask("POST", "/url", { url });
    return async (expression) => {
      await this.#ask("POST", "/window", { handle });
      const script = `const done = arguments[0]; Promise.resolve(${expression}).then((value) => done(value ?? null), (error) => done(String(error)))`;
      return this.#ask("POST", "/execute/async", { script, args: [] });
    };
  }

  async stop(): Promise<void> {
    await this.#ask("DELETE", "");
    this.#process.kill();
  }
}
