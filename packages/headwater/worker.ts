// headwater/worker: the server, to be exported from a Worker of one's own.
//
//     export { default, Coordinator } from "headwater/worker";
//
// or, beside routes of one's own, `createHeadwater`.

// @ts-ignore: made by the build, in the packed package.
import Entry, { Coordinator as CoordinatorClass } from "./headwater.js";
import { objectOf, type OnCommit } from "./commits.ts";

export type { Commit, OnCommit } from "./commits.ts";

export type ObjectClass = new (state: unknown, env: unknown) => object;

/** Somebody has given an `onCommit`, which only the class of `createHeadwater` calls. */
let wantsCommits = false;

/** The Durable Object class, one object per space: `new_sqlite_classes = ["Coordinator"]`, bound as COORDINATOR. */
export const Coordinator: ObjectClass = class Coordinator extends (CoordinatorClass as ObjectClass) {
  constructor(state: unknown, env: unknown) {
    super(state, env);
    if (wantsCommits) console.error("onCommit is never called: export the Coordinator that createHeadwater gives, and not that of headwater/worker");
  }
};

/** What a handler of `fetch` is given beside request and environment. */
export interface Context {
  waitUntil(promise: Promise<unknown>): void;
  passThroughOnException(): void;
}
export interface Handler {
  fetch(request: Request, env: object, context: Context): Promise<Response>;
}

const entry: Handler = {
  fetch: (request, env, context) => new (Entry as new (context: Context, env: object) => { fetch(request: Request): Promise<Response> })(context, env).fetch(request),
};
/** Answers every request: a Worker that is nothing but Headwater. */
export default entry;

/** Who asks. */
export interface User {
  /** The user's name for ever: it names the private space. 1 to 1,024 bytes. */
  sub: string;
  /** Who says so. The first of JWT_ISSUER where that is set; users of different issuers are different users. */
  iss?: string;
}

export interface HeadwaterOptions<Env> {
  /** Below which path the routes stand, `/api`: then `/api/sync/push` and so on. Nothing: at the root. */
  prefix?: string;
  /**
   * Who asks, by the app's own session: a cookie, a header. Null: nobody is signed in. With it, `POST {prefix}/token` answers with
   * a token for that user, signed with JWT_SECRET, which the client sends with everything else; so it is asked once in `tokenSeconds`
   * and not for each request.
   */
  authenticate?: (request: Request, env: Env) => User | null | Promise<User | null>;
  /** How long a token lasts: a user who signs out elsewhere is heard for as long. 3600 if not given. */
  tokenSeconds?: number;
  /**
   * Called by a space's object once what was written is durable: with what each record has come to, at least once, in the order of
   * versions, and again until it does not throw. Then `Coordinator` has to be the one that `createHeadwater` gives. It costs two
   * rows read for each request that reaches an object, the read of what was written, and a row written for each call.
   */
  onCommit?: OnCommit<Env>;
}

/** The `scope` of the commits to a user's private space. `iss` is that of the user's tokens. */
export async function scopeOf({ sub, iss = "" }: User): Promise<string> {
  const bytes: number[] = [];
  for (const part of ["private space", iss, sub].map((text) => new TextEncoder().encode(text))) {
    const length = new DataView(new ArrayBuffer(8));
    length.setBigUint64(0, BigInt(part.length));
    bytes.push(...new Uint8Array(length.buffer), ...part);
  }
  const hash = await crypto.subtle.digest("SHA-256", new Uint8Array(bytes));
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What answers the requests below a prefix, and the class of its objects. */
export interface Headwater<Env> {
  /** `export const { Coordinator } = headwater;` */
  Coordinator: ObjectClass;
  /** The answer, or null where the request is not below the prefix. */
  fetch(request: Request, env: Env, context: Context): Promise<Response | null>;
}

export function createHeadwater<Env extends object>({ prefix = "", authenticate, tokenSeconds = 3600, onCommit }: HeadwaterOptions<Env> = {}): Headwater<Env> {
  const root = prefix.replace(/\/+$/, "");
  if (root !== "" && !root.startsWith("/")) throw new TypeError(`the prefix ${JSON.stringify(prefix)} must begin with "/"`);
  wantsCommits ||= onCommit !== undefined;
  return {
    Coordinator: onCommit ? objectOf(onCommit) : Coordinator,
    async fetch(request, env, context) {
      const url = new URL(request.url);
      if (url.pathname !== root && !url.pathname.startsWith(`${root}/`)) return null;
      url.pathname = url.pathname.slice(root.length) || "/";
      if (authenticate && url.pathname === "/token") return tokenFor(request, env, authenticate, tokenSeconds);
      return entry.fetch(root === "" ? request : new Request(url, request), env, context);
    },
  };
}

const problem = (status: number, title: string, code: string, detail: string): Response =>
  Response.json({ type: "about:blank", title, status, code, detail }, { status, headers: { "content-type": "application/problem+json", "cache-control": "no-store" } });

/** No CORS headers: a page of another origin is not told the token of whoever is signed in here. */
async function tokenFor<Env extends object>(request: Request, env: Env, authenticate: NonNullable<HeadwaterOptions<Env>["authenticate"]>, seconds: number): Promise<Response> {
  if (request.method !== "POST") return problem(405, "Method not allowed", "method_not_allowed", "A token is asked for by POST.");
  const user = await authenticate(request, env);
  if (!user) return problem(401, "Unauthenticated", "unauthenticated", "Nobody is signed in.");
  const { JWT_SECRET: secret, JWT_ISSUER: issuers, JWT_AUDIENCE: audiences } = env as Record<string, string | undefined>;
  if (!secret || secret.length < 32) {
    console.error("JWT_SECRET is missing, or shorter than 32 characters: npx wrangler secret put JWT_SECRET, or in .dev.vars for the local server");
    return problem(500, "Internal", "internal", "The server cannot sign tokens.");
  }
  const now = Math.floor(Date.now() / 1000);
  const first = (list: string | undefined) => list?.split(",")[0]?.trim() || undefined;
  const claims = { sub: user.sub, iss: user.iss ?? first(issuers), aud: first(audiences), iat: now, exp: now + seconds };
  return new Response(await sign(claims, secret), { headers: { "content-type": "text/plain", "cache-control": "no-store" } });
}

/** A JSON Web Token signed with HMAC and SHA-256 (RFC 7515). */
async function sign(claims: object, secret: string): Promise<string> {
  const encoder = new TextEncoder();
  const base64url = (bytes: Uint8Array) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const encode = (part: object) => base64url(encoder.encode(JSON.stringify(part)));
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return `${signed}.${base64url(new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(signed))))}`;
}
