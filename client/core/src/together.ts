/** Pulls that are asked for in the same moment go in one request (PROTOCOL.md, POST /sync/pulls), each with an answer of its own. */

import { ask } from "./http.ts";
import type { Ports } from "./ports.ts";
import { type Answer, answerOf, type Body, NO_ANSWER, type Request } from "./requests.ts";
import { verdictOf } from "./verdict.ts";

/** As many as the server takes. */
const PULLS_MAX = 5;

type Waiting = [request: Request, token: string, resolve: (answer: Answer | null) => void, signal: AbortSignal];
type Told = { alone?: true; status: number; body?: Body };

const textOf = ([{ space, grant, body }]: Waiting): string =>
  `{"space":"${space}"${grant ? `,"grant":"${grant}"` : ""}${body === "{}" ? "" : ","}${body.slice(1)}`;

export class Together {
  #ports: Ports;
  #url: string;
  #waiting: Waiting[] = [];

  constructor(ports: Ports, url: string) {
    this.#ports = ports;
    this.#url = url;
  }

  /** null: it has to be asked for alone. */
  ask(request: Request, token: string, { signal }: AbortController): Promise<Answer | null> {
    const { promise, resolve } = Promise.withResolvers<Answer | null>();
    // Of the others an answer is still wanted.
    signal.addEventListener("abort", () => resolve(NO_ANSWER));
    if (this.#waiting.push([request, token, resolve, signal]) === 1) this.#ports.setTimeout(this.#go, 0);
    return promise;
  }

  #go = (): void => {
    const wanted = this.#waiting.splice(0).filter(([, , , { aborted }]) => !aborted);
    while (wanted[0]) void this.#several(wanted.splice(0, PULLS_MAX));
  };

  async #several(all: Waiting[]): Promise<void> {
    const token = (all[0] as Waiting)[1];
    // One is enough for a request of its own. Another token, which has come meanwhile, may be another user's.
    const isSeveral = all.length > 1 && all.every((one) => one[1] === token);
    const request: Request = { kind: "pulls", space: "~", body: `{"pulls":[${all.map(textOf)}]}`, isStream: false };
    const abort = new AbortController();
    for (const [, , , signal] of all) signal.addEventListener("abort", () => all.every((one) => one[3].aborted) && abort.abort());
    const answer = isSeveral ? await ask(this.#ports, this.#url, token, request, abort) : null;
    const told = answer?.body?.["pulls"] as Told[] | undefined;
    // What is said of the request as a whole holds for each of them, unless it is that they do not go together.
    const ofEach = answer && !/told|bug/.test(verdictOf(answer)) ? answer : null;
    all.forEach(([, , resolve], at) => {
      const one = told?.[at];
      resolve(one && !one.alone ? { ...answerOf(one.status, one.body), lowFor: answer?.lowFor } : ofEach);
    });
  }
}
