/** Requests by `fetch`: JSON answers, and loads as lines that are handed on while they come. */

import type { Page } from "./load.ts";
import type { FetchAnswer, Ports } from "./ports.ts";
import type { Line } from "./records.ts";
import type { Answer, Request } from "./requests.ts";

/** Nothing came for so long: the request counts as unanswered. */
const TIMEOUT_MS = 30_000;
/**
 * What one transaction of a load stores: about so many lines, or so many characters. Each takes some 15 requests of its own, which
 * take as long as 100 rows; the page stands still while one is handed to the database, about 0.2 s on a slow device.
 */
const CHUNK_LINES = 4000;
const CHUNK_LENGTH = 1 << 20;

const NONE: Answer = { status: 0, body: null };
const LINES = "application/x-ndjson";

const pathOf = ({ kind, space }: Request): string => {
  if (kind === "grant") return `/spaces/${space}/grant`;
  return `/sync/${kind}${space === "~" ? "" : `?space=${space}`}`;
};

/** Makes one request. `page` takes the parts of a stream, and the next one is not read before it has. */
export async function ask(ports: Ports, url: string, token: string, request: Request, abort: AbortController, page: (page: Page, length: number) => Promise<void>): Promise<Answer> {
  let timer: unknown;
  const alive = () => {
    ports.clearTimeout(timer);
    timer = ports.setTimeout(() => abort.abort(), TIMEOUT_MS);
  };
  const headers: Record<string, string> = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  if (request.grant) headers["headwater-grant"] = request.grant;
  headers["accept"] = request.isStream ? LINES : "application/json";
  const how = { redirect: "manual", credentials: "omit" } as const;
  alive();
  try {
    const init = { ...how, method: "POST", headers, ...(request.body && { body: request.body }), signal: abort.signal };
    const answer = await ports.fetch(url + pathOf(request), init);
    const type = answer.headers.get("content-type")?.split(";")[0];
    if (answer.status === 200 && type === LINES) {
      await readLines(answer, alive, page);
      return { status: 200, body: { isStream: true } };
    }
    return answerOf(answer.status, type, await answer.text(), answer.headers);
  } catch {
    return NONE;
  } finally {
    ports.clearTimeout(timer);
  }
}

function answerOf(status: number, type: string | undefined, text: string, headers: FetchAnswer["headers"]): Answer {
  let body = null;
  try {
    // A page of a proxy is no answer of the protocol, whatever its status.
    if (type === "application/json" || type === "application/problem+json") body = JSON.parse(text);
  } catch {}
  if (typeof body !== "object") body = null;
  const seconds = Number(body?.retryAfter ?? headers.get("retry-after") ?? Number.NaN);
  return { status, body, position: headers.get("headwater-position"), ...(seconds >= 0 && { retryAfter: seconds * 1000 }) };
}

type StreamLine = Partial<Line> & { epoch?: string; reset?: boolean; cursor?: string; end?: boolean };

/** Gathers lines to pages. Lines behind the last page are not handed on: the stream broke off before their cursor. */
async function readLines(answer: FetchAnswer, alive: () => void, page: (page: Page, length: number) => Promise<void>): Promise<void> {
  let head = { epoch: "", version: 0, reset: false };
  let lines: Line[] = [];
  let length = 0;
  const flush = async (end: boolean, cursor: string | null) => {
    await page({ ...head, lines, cursor, end }, length);
    head = { ...head, reset: false };
    lines = [];
    length = 0;
  };
  const take = async (text: string) => {
    const line: StreamLine = JSON.parse(text);
    length += text.length + 1;
    if (line.collection !== undefined) {
      lines.push(line as Line);
      if (lines.length >= CHUNK_LINES || length >= CHUNK_LENGTH) await flush(false, null);
    } else if (line.end) {
      head = { ...head, epoch: line.epoch ?? head.epoch, version: line.version ?? head.version };
      await flush(true, null);
    } else if (line.cursor !== undefined) await flush(false, line.cursor);
    else if (line.epoch !== undefined) head = { epoch: line.epoch, version: line.version ?? 0, reset: line.reset === true };
  };
  let rest = "";
  const takeText = async (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() as string;
    for (const part of parts) if (part) await take(part);
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
