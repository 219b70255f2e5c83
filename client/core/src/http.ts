/** Requests by `fetch`: JSON answers, and loads as lines that are handed on while they come. */

import type { Page } from "./load.ts";
import { attempt } from "./attempt.ts";
import type { FetchAnswer, FetchInit, Ports } from "./ports.ts";
import type { Line } from "./records.ts";
import { type Answer, answerOf, NO_ANSWER, pathOf, type Request } from "./requests.ts";
import { Timers } from "./timers.ts";

/** Nothing came for so long: the request counts as unanswered. */
const TIMEOUT_MS = 30_000;
/**
 * What one transaction of a load stores: about so many lines, or so many characters. Each takes 8 requests of its own, and a
 * commit; the page stands still while one is handed to the database, about 0.2 s on a slow device.
 */
const CHUNK_LINES = 4000;
const CHUNK_LENGTH = 1 << 20;

/**
 * Characters of a body from which on it is packed, to a fifth: that takes some 2 ms here and less than 1 ms of the Worker, and saves 20 ms of a
 * connection that sends 10 Mbit/s (docs/decisions/0032-client.md).
 */
const PACKED_FROM = 32 * 1024;

const JSON_TYPE = "application/json";
const LINES = "application/x-ndjson";

/** What every request has. */
export const initOf = (method: string, token: string, body: string): FetchInit => ({
  method, redirect: "manual", credentials: "omit",
  headers: { authorization: `Bearer ${token}`, "content-type": JSON_TYPE },
  ...(body && { body }),
});

/** A request of the protocol as `fetch` takes it. */
export function fetchable(url: string, token: string, { kind, space, body, grant, cursor, isStream }: Request): [url: string, init: FetchInit] {
  const init = initOf(kind === "conflict" ? "GET" : "POST", token, body);
  if (grant) init.headers["headwater-grant"] = grant;
  init.headers["accept"] = isStream ? LINES : JSON_TYPE;
  return [url + pathOf(kind, space, cursor), init];
}

type TakePage = (page: Page, length: number) => Promise<void>;

/** Makes one request. `page` takes the parts of a stream, and the next one is not read before it has. */
export async function ask(ports: Ports, url: string, token: string, request: Request, abort: AbortController, page?: TakePage): Promise<Answer> {
  const timers = new Timers<string>(ports);
  const alive = () => timers.set("", TIMEOUT_MS, () => abort.abort());
  const { signal } = abort;
  const [target, init] = fetchable(url, token, request);
  alive();
  try {
    if (request.body.length >= PACKED_FROM) {
      const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
      // What cannot be packed goes as it is.
      const packed = await Promise.race([aborted, (async () => ports.pack?.(request.body))().catch(() => {})]);
      if (packed) {
        init.body = packed;
        init.headers["content-encoding"] = "gzip";
      }
    }
    // Whatever was waited for: nothing goes out that is not wanted any more.
    signal.throwIfAborted();
    const answer = await ports.fetch(target, { ...init, signal });
    const { status, headers } = answer;
    const type = headers.get("content-type")?.split(";")[0] ?? "";
    const lowFor = Number(/ends=(\d+)/.exec(headers.get("headwater-budget") ?? "")?.[1]) * 1000;
    if (page && status === 200 && type === LINES) {
      await readLines(answer, alive, page);
      return { status, body: {}, lowFor };
    }
    const text = await answer.text();
    // A page of a proxy is no answer of the protocol, whatever its status.
    const body = /^application\/(problem\+)?json$/.test(type) ? attempt(() => JSON.parse(text)) : null;
    return { ...answerOf(status, typeof body === "object" ? body : null, headers.get("retry-after")), position: headers.get("headwater-position"), lowFor };
  } catch {
    return NO_ANSWER;
  } finally {
    timers.clear("");
  }
}

type StreamLine = Partial<Line> & { epoch?: string; reset?: boolean; cursor?: string; end?: boolean };

/** Gathers lines to pages. Lines behind the last page are not handed on: the stream broke off before their cursor. */
async function readLines(answer: FetchAnswer, alive: () => void, page: TakePage): Promise<void> {
  let head = { epoch: "", version: 0, reset: false };
  let lines: Line[] = [];
  let length = 0;
  let cursor: string | null = null;
  const flush = async (end: boolean) => {
    await page({ ...head, lines, cursor: end ? null : cursor, end }, length);
    head = { ...head, reset: false };
    lines = [];
    length = 0;
    cursor = null;
  };
  const take = async (text: string) => {
    const line: StreamLine = JSON.parse(text);
    // The end belongs to the page before it, where it has come with it: it would take a transaction of its own.
    if (cursor !== null && !line.end) await flush(false);
    length += text.length + 1;
    if (line.collection !== undefined) {
      lines.push(line as Line);
      if (lines.length >= CHUNK_LINES || length >= CHUNK_LENGTH) await flush(false);
    } else if (line.end) {
      head = { ...head, epoch: line.epoch ?? head.epoch, version: line.version ?? head.version };
      await flush(true);
    } else if (line.cursor !== undefined) cursor = line.cursor;
    else if (line.epoch !== undefined) head = { epoch: line.epoch, version: line.version ?? 0, reset: line.reset === true };
  };
  let rest = "";
  const takeText = async (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() as string;
    for (const part of parts) if (part) await take(part);
    if (cursor !== null) await flush(false);
  };
  const reader = answer.body?.getReader();
  if (!reader) return takeText(await answer.text());
  const decoder = new TextDecoder();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    await takeText(decoder.decode(value, { stream: true }));
  }
}
