// Calls to objects, from both ends.

import { collect, withBody } from "./body.js";

// Where objects are made and live: a jurisdiction, or "" for anywhere. None while no setting that can be used has said so.
let jurisdiction;
export function configureCalls(where) {
  jurisdiction = where;
}

// A name means another object in each jurisdiction.
function objectsIn({ COORDINATOR }) {
  if (jurisdiction === undefined) throw new Error("JURISDICTION is not right");
  return jurisdiction === "" ? COORDINATOR : COORDINATOR.jurisdiction(jurisdiction);
}

// After `timeoutMs` nobody waits for the answer any more.
function ask(env, name, call, caller, body, timeoutMs) {
  const objects = objectsIn(env);
  const stub = objects.get(objects.idFromName(name));
  const headers = { "headwater-caller": caller, "content-type": "application/json" };
  const signal = AbortSignal.timeout(timeoutMs);
  return stub.fetch(`https://coordinator/${call}`, { method: "POST", headers, body, signal });
}

// Resolves to [status, server-timing, body, position after a write, what is not for the client].
export async function callObject(env, name, call, caller, body, timeoutMs) {
  const response = await ask(env, name, call, caller, body, timeoutMs);
  const { status, headers } = response;
  const [timing, aside] = [headers.get("server-timing") ?? "", headers.get("headwater-aside") ?? ""];
  return [status, timing, await response.text(), positionOf(response), aside];
}

// The same as a request for a socket, whose call is a header: such a request has no body. A signal would end the socket too.
export async function askForSocket(env, name, call, caller, body, timeoutMs) {
  const objects = objectsIn(env);
  const stub = objects.get(objects.idFromName(name));
  const headers = { upgrade: "websocket", "headwater-caller": caller, "headwater-body": body };
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("timeout")), timeoutMs);
  });
  const asked = stub.fetch(`https://coordinator/${call}`, { headers });
  return Promise.race([asked, late]).finally(() => clearTimeout(timer));
}

// Passes a text on and resolves to [response, retry-after of a refusal, position after a write, what is not for the client,
// server-timing]. The response is without what is not for the client. What is asked is a "call", or an "upgrade".
export async function passOn(env, name, call, caller, body, timeoutMs, how = "call") {
  return passed(await (how === "upgrade" ? askForSocket : ask)(env, name, call, caller, body, timeoutMs));
}

export function passed(response) {
  const { headers } = response;
  const aside = headers.get("headwater-aside") ?? "";
  const refusal = response.status === 429 ? Number(headers.get("retry-after")) : 0;
  const timing = headers.get("server-timing") ?? "";
  return [aside === "" ? response : withoutAside(response), refusal, positionOf(response), aside, timing];
}

// The same with the body of a request. Resolves to what `withBody` says instead of a body, or to "expired" if the caller's
// token has ended at `expires`, while the body came: then the object was not asked.
export async function passBodyOn(env, name, call, caller, request, user, isGzip, limit, expires, timeoutMs) {
  const send = (body) => (Date.now() < expires ? passOn(env, name, call, caller, body, timeoutMs) : "expired");
  return withBody(request, user, isGzip, limit, send);
}

// Where the space stands after a write; empty where nothing was written.
function positionOf(response) {
  return response.headers.get("headwater-position") ?? "";
}

function withoutAside(response) {
  const { status, headers, webSocket } = response;
  const rest = new Response(response.body, { status, headers, webSocket });
  rest.headers.delete("headwater-aside");
  return rest;
}

// Why an object was not reached, for `unreached` in edge/visit/call.rs: "overloaded", or the platform's own words.
export function whyUnreached(error) {
  return error?.overloaded === true ? "overloaded" : String(error?.message ?? error);
}

// What the object reads of a call.
export function readCall(request) {
  return `${request.url}\n${request.headers.get("headwater-caller") ?? ""}`;
}

export function callLength(request) {
  return Number(request.headers.get("content-length") ?? Number.MAX_SAFE_INTEGER);
}

// The bytes of a call's body, which the Worker sends whole, or null when it has more than `limit`.
export async function bodyOfCall(request, limit) {
  if (request.body === null) return new TextEncoder().encode(request.headers.get("headwater-body") ?? "");
  if (Number(request.headers.get("content-length") ?? limit + 1) <= limit) {
    return new Uint8Array(await request.arrayBuffer());
  }
  return collect(request.body, limit);
}
