// What the real platform does and the local runtime does not: its clock stands still between I/O, its commits take a while, it
// answers with pages of its own, and it places an object where its first request comes from. Besides, what a request uses is
// counted. The binding PLATFORM says what of it is on.

import { env } from "cloudflare:workers";

const { frozenClock = false } = env.PLATFORM ?? {};
let { commitMs = 0 } = env.PLATFORM ?? {};

// Taken before the entry changes the clock that the Worker sees, and its timers.
const runningNow = Date.now;
const pause = scheduler.wait.bind(scheduler);

let shown = runningNow();
/** The time as the platform shows it: that of the last I/O, if its clock stands still in between. */
export const platformNow = frozenClock ? () => shown : runningNow;

/** Something has come from outside: an event, or the end of what was waited for. */
export function comes() {
  shown = runningNow();
}

/** These calls of an object wait for what is outside. */
export function waits(owner, ...names) {
  if (!frozenClock) return owner;
  for (const name of names) {
    const real = owner[name];
    owner[name] = function timed(...args) {
      return real.apply(this, args).finally(comes);
    };
  }
  return owner;
}

waits(Cache.prototype, "match", "put");
waits(CacheStorage.prototype, "open");
waits(ReadableStreamDefaultReader.prototype, "read");
waits(ReadableStreamBYOBReader.prototype, "read");
waits(WritableStreamDefaultWriter.prototype, "write", "close");
for (const body of [Request.prototype, Response.prototype]) waits(body, "text", "arrayBuffer");
waits(globalThis, "fetch");

/** The commits of one object: nothing that it says is heard before all that it has written is durable. */
export class Commits {
  #until = 0;

  /** Does what the object asks of its storage. */
  run(call, work) {
    if (["transactionSync", "setAlarm", "deleteAlarm"].includes(call)) this.#until = runningNow() + commitMs;
    if (call === "transactionSync") return work();
    const done = call === "sync" ? work().then(() => this.over()) : work();
    return frozenClock ? done.finally(comes) : done;
  }

  async over() {
    const left = this.#until - runningNow();
    if (commitMs > 0 && left > 0) await pause(left);
  }
}

const NAMES = { 403: "Attention Required!", 429: "Access denied", 500: "Worker threw exception", 503: "Worker exceeded resource limits" };

/** A page of the platform's own, which knows neither the contract nor who may read answers. */
function page({ status, error = status }) {
  const title = `${NAMES[status] ?? "Web server is returning an unknown error"} | Cloudflare`;
  const html = `<!DOCTYPE html>\n<html lang="en-US">\n<head><title>${title}</title></head>\n<body><h1>Error ${error}</h1><p>Ray ID: 0123456789abcdef</p></body>\n</html>\n`;
  const headers = { "content-type": "text/html; charset=UTF-8", "cache-control": "private, no-store", server: "cloudflare", "cf-ray": "0123456789abcdef-FRA" };
  return new Response(html, { status, headers: { ...headers, ...(status === 429 && { "retry-after": "10" }) } });
}

// {path, method, status, error, isAfter, times}: whether the request has been answered when the page is shown, and how often.
let pages = [];

/** What is heard of a request: the answer, or a page of the platform's own instead of it. */
export async function behindFront({ url, method }, answer) {
  const { pathname } = new URL(url);
  const rule = pages.find((rule) => rule.times !== 0 && pathname.startsWith(rule.path ?? "/") && (rule.method ?? method) === method);
  if (rule) rule.times = (rule.times ?? 1) - 1;
  if (rule && !rule.isAfter) return page(rule);
  const response = await answer();
  if (!rule) return response;
  await response.body?.cancel();
  return page(rule);
}

/** What this isolate has used of the platform so far, and how much of it goes on after the answers. */
export const used = { match: 0, put: 0, object: 0, fetch: 0, after: 0 };

const realFetch = globalThis.fetch;
globalThis.fetch = (...args) => {
  used.fetch += 1;
  return realFetch(...args);
};

/** The binding of the objects, as the Worker has it. */
export function counted(objects) {
  const get = (id) => {
    const stub = waits({ fetch: (...args) => objects.get(id).fetch(...args) }, "fetch");
    return {
      fetch(...args) {
        used.object += 1;
        return stub.fetch(...args);
      },
    };
  };
  const jurisdiction = (name) => counted(objects.jurisdiction(name));
  return { idFromName: (name) => objects.idFromName(name), get, jurisdiction };
}

/** The context of a request whose work after the answer is counted while it goes on. */
export function watched(context) {
  const real = context.waitUntil.bind(context);
  context.waitUntil = (promise) => {
    used.after += 1;
    const over = () => (used.after -= 1);
    promise.then(over, over);
    real(promise);
  };
  return context;
}

// By the id of an object: who was the first to reach it with what, and how often it was asked. An object that the platform
// ends for idling begins with nothing of its own.
const placed = new Map();
const misplaced = [];

/** A request comes to an object. Its first decides for good where it lives, so only its user may reach a private space. */
export function reaches(id, objects, request) {
  const call = new URL(request.url).pathname.slice(1);
  const { user, for: kind, scope } = JSON.parse(request.headers.get("headwater-caller"));
  const found = placed.get(id) ?? { user, kind, call, calls: 0 };
  placed.set(id, { ...found, calls: found.calls + 1 });
  const isOwn = kind !== "private" || String(objects.idFromName(scope)) === id;
  const isAlike = kind === found.kind && (kind !== "private" || user === found.user);
  if (!isOwn || !isAlike) misplaced.push({ id, first: found, then: { user, kind, call } });
}

export const placeOf = (id) => placed.get(id) ?? { calls: 0 };

/** What the Worker's clock shows while it computes for so long, and after it has waited for a moment. */
async function spin(ms) {
  const begun = runningNow();
  const seen = [Date.now()];
  while (runningNow() < begun + ms) seen.push(Date.now());
  await scheduler.wait(1);
  return { during: seen.at(-1) - seen[0], after: Date.now() - seen[0] };
}

/**
 * Carries out one control request: `{pages, commitMs, spin}`, all optional, and says what was seen. `pages` replaces those that there
 * were.
 */
export async function controlPlatform(command) {
  pages = command.pages ?? pages;
  commitMs = command.commitMs ?? commitMs;
  const clock = command.spin && (await spin(command.spin));
  return { used, misplaced, clock };
}
