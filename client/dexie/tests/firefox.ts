// Pages in Firefox, driven by WebDriver BiDi: Playwright drives only builds of its own, which not everybody can load.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Its address, which Firefox says when it listens. */
function addressOf({ stderr }: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    stderr?.on("data", (chunk) => {
      said += chunk;
      const [, url] = /WebDriver BiDi listening on (ws:\S+)/.exec(said) ?? [];
      if (url) resolve(url);
    });
    stderr?.on("end", () => reject(new Error(`Firefox does not listen: ${said}`)));
  });
}

export class Firefox {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #waits = new Map<number, (answer: { type: string; message?: string; result: never }) => void>();
  #sent = 0;

  private constructor(process: ChildProcess, profile: string, socket: WebSocket) {
    [this.#process, this.#profile, this.#socket] = [process, profile, socket];
    socket.onmessage = ({ data }) => {
      const answer = JSON.parse(String(data));
      this.#waits.get(answer.id)?.(answer);
    };
  }

  static async start(program: string): Promise<Firefox> {
    const profile = await mkdtemp(join(tmpdir(), "headwater-firefox-"));
    const process = spawn(program, ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", profile], { stdio: ["ignore", "ignore", "pipe"] });
    const socket = new WebSocket(`${await addressOf(process)}/session`);
    await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
    const firefox = new Firefox(process, profile, socket);
    await firefox.#send("session.new", { capabilities: {} });
    return firefox;
  }

  #send<Result>(method: string, params: object): Promise<Result> {
    const id = ++this.#sent;
    return new Promise((resolve, reject) => {
      this.#waits.set(id, ({ type, message, result }) => (type === "error" ? reject(new Error(message)) : resolve(result)));
      this.#socket.send(JSON.stringify({ id, method, params }));
    });
  }

  /** A page: what evaluates an expression in it, to a text or null. */
  async open(url: string): Promise<(expression: string) => Promise<string | null>> {
    const { context } = await this.#send<{ context: string }>("browsingContext.create", { type: "tab" });
    await this.#send("browsingContext.navigate", { context, url, wait: "complete" });
    return async (expression) => {
      const asked = { expression, target: { context }, awaitPromise: true };
      const { result, exceptionDetails } = await this.#send<{ result: { value?: string }; exceptionDetails?: { text: string } }>("script.evaluate", asked);
      if (exceptionDetails) throw new Error(exceptionDetails.text);
      return result.value ?? null;
    };
  }

  async stop(): Promise<void> {
    const isOver = new Promise((over) => this.#process.once("exit", over));
    this.#process.kill();
    await isOver;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}
