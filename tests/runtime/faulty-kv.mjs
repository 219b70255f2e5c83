// A KV namespace that behaves as badly as the real one may. The local simulation is strongly consistent and never
// fails, so it proves nothing about lag; this class stands between the Worker and it, and lies on command.
//
// The state is one per isolate. An isolate plays a location, so what one location sees says nothing about another;
// the values themselves lie in the real local namespace, which all of them share.

const HEAD = /^v1\/([^/]+)\/head$/;
const OBJECT = /^v1\/([^/]+)\/o\/([0-9a-f]{64})$/;
const DEFAULTS = {
  // KV refuses a second write to a key within a second. The slack is for clocks that stand still between I/O.
  writeSpacingMs: 900,
  // How long this location goes on showing what it read first, absence included.
  staleMs: 0,
  // How long after it was first asked this location pretends that an object has not arrived.
  objectLagMs: 0,
  // How long an object lives before KV loses it, whatever expiration it was given. 0: as given.
  objectLifeMs: 0,
};

// Taken before the entry changes the clock that the Worker sees: KV's own time goes on.
const realNow = Date.now;

const state = {
  settings: new Map(), // scope or "*" → settings
  rules: [], // {scope, op, key, role, fault, ms, answer, skip, times | rate}
  random: seeded(1),
  counts: new Map(), // scope → {"edge.get.head": n}
  puts: [], // what was put, in order, with its fate
  held: [], // puts that land when the test says so
  shown: new Map(), // what a stale location shows
  asked: new Map(), // when an object was first asked for
  written: new Map(), // when a key was last written
};

/** Mulberry32: small, seeded, good enough to choose faults. */
export function seeded(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function parseKey(key) {
  const head = HEAD.exec(key);
  if (head) return { scope: head[1], kind: "head", name: "head" };
  const object = OBJECT.exec(key);
  if (object) return { scope: object[1], kind: "object", name: object[2] };
  // Counted under a kind of its own, so that a test sees a key that kv-schema does not know.
  return { scope: "?", kind: "other", name: key };
}

function count(scope, name, by = 1) {
  if (!state.counts.has(scope)) state.counts.set(scope, {});
  const counts = state.counts.get(scope);
  counts[name] = (counts[name] ?? 0) + by;
}

const settingsOf = (scope) => ({ ...DEFAULTS, ...state.settings.get("*"), ...state.settings.get(scope) });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** The fault that the rules choose for this operation, or null. A counted rule is used up; a rate is not. */
function chooseFault(op, role, { scope, kind }) {
  for (const rule of state.rules) {
    if (rule.op !== op || (rule.scope ?? scope) !== scope) continue;
    if ((rule.key ?? kind) !== kind || (rule.role ?? role) !== role) continue;
    if (rule.rate !== undefined) {
      if (state.random() >= rule.rate) continue;
      return rule;
    }
    if (rule.times === 0) continue;
    if (rule.skip > 0) {
      rule.skip -= 1;
      continue;
    }
    rule.times = (rule.times ?? 1) - 1;
    return rule;
  }
  return null;
}

async function bytesOf(value) {
  if (typeof value === "string") return new TextEncoder().encode(value);
  return new Uint8Array(await new Response(value).arrayBuffer());
}

// A head's own words, so that the test can check what it names against what was put before.
async function describePut(kind, name, bytes) {
  if (kind === "object") return { hashes: hex(await crypto.subtle.digest("SHA-256", bytes)) === name };
  if (kind !== "head") return {};
  const line = JSON.parse(new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(10))));
  const parts = [line.delta, line.base].flatMap((run) => run?.parts ?? []);
  return { epoch: line.epoch, version: line.version, names: parts.map((part) => part.sha256) };
}

/** Stands where the binding `SNAPSHOTS` stands, for the Worker ("edge") or for its object ("object"). */
export class FaultyKv {
  #real;
  #role;

  constructor(real, role) {
    this.#real = real;
    this.#role = role;
  }

  async get(key, options) {
    const { value } = await this.getWithMetadata(key, options);
    return value;
  }

  async getWithMetadata(key, options = {}) {
    if (Array.isArray(key)) throw new TypeError("bulk get is not part of this double");
    const { type = "text", ...rest } = typeof options === "string" ? { type: options } : options;
    const parsed = parseKey(key);
    count(parsed.scope, `${this.#role}.get.${parsed.kind}`);
    const fault = chooseFault("get", this.#role, parsed);
    if (fault) count(parsed.scope, `${this.#role}.get.${parsed.kind}.${fault.fault}`);
    if (fault?.ms) await pause(fault.ms);
    if (fault?.fault === "error") throw new Error("KV GET failed: 500 Internal Server Error");
    if (fault?.fault === "timeout") throw new Error("KV GET failed: 504 Gateway Timeout");
    const entry = fault?.fault === "miss" ? null : await this.#look(key, parsed, rest);
    if (!entry) return { value: null, metadata: null, cacheStatus: null };
    return { value: this.#body(entry.bytes, type, parsed, fault), metadata: entry.metadata, cacheStatus: null };
  }

  // What this location believes to stand under the key.
  async #look(key, { scope, kind }, options) {
    const { staleMs, objectLagMs } = settingsOf(scope);
    const now = realNow();
    if (kind === "object" && objectLagMs > 0) {
      if (!state.asked.has(key)) state.asked.set(key, now);
      if (now < state.asked.get(key) + objectLagMs) return null;
    }
    const place = `${this.#role} ${key}`;
    const shown = state.shown.get(place);
    if (staleMs > 0 && shown && now < shown.at + staleMs) return shown.entry;
    const { value, metadata } = await this.#real.getWithMetadata(key, { ...options, type: "arrayBuffer" });
    const entry = value === null ? null : { bytes: new Uint8Array(value), metadata };
    if (staleMs > 0) state.shown.set(place, { at: now, entry });
    return entry;
  }

  // A stream is filled only when somebody reads it: that is how a test knows whether a poll read a body.
  #body(bytes, type, { scope, kind }, fault) {
    const read = () => count(scope, `${this.#role}.body.${kind}`);
    if (type === "stream") {
      let at = 0;
      return new ReadableStream({
        type: "bytes",
        async pull(controller) {
          if (at === 0) read();
          if (fault?.fault === "trickle") await pause(fault.ms);
          if (at >= bytes.length) {
            controller.close();
            controller.byobRequest?.respond(0);
            return;
          }
          if (fault?.fault === "broken" && at > 0) return controller.error(new Error("the connection to KV broke"));
          controller.enqueue(bytes.slice(at, at + 65536));
          at += 65536;
        },
      });
    }
    read();
    if (type === "arrayBuffer") return bytes.slice().buffer;
    const text = new TextDecoder().decode(bytes);
    return type === "json" ? JSON.parse(text) : text;
  }

  async put(key, value, options = {}) {
    const parsed = parseKey(key);
    const bytes = await bytesOf(value);
    count(parsed.scope, `${this.#role}.put.${parsed.kind}`);
    const now = realNow();
    const entry = {
      ...parsed,
      at: now,
      bytes: bytes.length,
      expiration: options.expiration ?? (options.expirationTtl ? Math.floor(now / 1000) + options.expirationTtl : null),
      ...(await describePut(parsed.kind, parsed.name, bytes)),
      outcome: "ok",
      landed: false,
    };
    state.puts.push(entry);
    const land = async (real = this.#real) => {
      await real.put(key, bytes, options);
      entry.landed = true;
      const { objectLifeMs } = settingsOf(parsed.scope);
      if (parsed.kind === "object" && objectLifeMs > 0) setTimeout(() => real.delete(key), objectLifeMs);
    };
    const fail = (outcome, message) => {
      entry.outcome = outcome;
      throw new Error(`KV PUT failed: ${message}`);
    };
    const { writeSpacingMs } = settingsOf(parsed.scope);
    const limited = now < (state.written.get(key) ?? 0) + writeSpacingMs;
    const fault = chooseFault("put", this.#role, parsed);
    if (fault) count(parsed.scope, `${this.#role}.put.${parsed.kind}.${fault.fault}`);
    if (fault?.fault === "limit" || limited) fail("limited", "429 Too Many Requests");
    if (fault?.fault === "error") fail("failed", "500 Internal Server Error");
    state.written.set(key, now);
    switch (fault?.fault) {
      case "done-but-error":
        await land();
        return fail("failed", "500 Internal Server Error");
      case "timeout":
        await pause(fault.ms);
        return fail("failed", "504 Gateway Timeout");
      case "slow":
        await pause(fault.ms);
        await land();
        break;
      case "slow-answer":
        await land();
        await pause(fault.ms);
        break;
      case "late":
        setTimeout(land, fault.ms);
        break;
      case "held":
        state.held.push({ scope: parsed.scope, land });
        break;
      case "open": // Nothing is heard of it until the test releases it, or fails it and lets it land after that.
        await new Promise((resolve, reject) => {
          const lose = () => {
            entry.outcome = "failed";
            reject(new Error("KV PUT failed: 504 Gateway Timeout"));
          };
          state.held.push({ scope: parsed.scope, land: async (real) => resolve(await land(real)), fail: lose });
        });
        break;
      default:
        await land();
    }
    // A late put may be answered or not: the caller is told, and the value arrives when it arrives.
    if (fault && fault.answer === "error") fail("failed", "504 Gateway Timeout");
  }

  async delete(key) {
    const parsed = parseKey(key);
    count(parsed.scope, `${this.#role}.delete.${parsed.kind}`);
    if (chooseFault("delete", this.#role, parsed)) throw new Error("KV DELETE failed: 500 Internal Server Error");
    await this.#real.delete(key);
  }

  async list(options) {
    count("?", `${this.#role}.list`);
    if (chooseFault("list", this.#role, { scope: "?", kind: "other" })) throw new Error("KV GET failed: 500");
    return this.#real.list(options);
  }
}

/** Carries out one control request: `{scope, set, rules, seed, clear, release, empty}`, all optional.
 * `release` lands the puts that are held; "fail" fails those that are open, which can land later, "lose" for ever. */
export async function control(command, real) {
  const scope = command.scope ?? "*";
  const ours = (thing) => scope === "*" || thing.scope === scope;
  if (command.seed !== undefined) state.random = seeded(command.seed);
  if (command.clear) {
    if (scope === "*") state.settings.clear();
    else state.settings.delete(scope);
    state.rules = state.rules.filter((rule) => !ours(rule));
    for (const place of state.shown.keys()) if (scope === "*" || place.includes(scope)) state.shown.delete(place);
  }
  if (command.set) state.settings.set(scope, { ...state.settings.get(scope), ...command.set });
  for (const rule of command.rules ?? []) state.rules.push(scope === "*" ? { ...rule } : { scope, ...rule });
  if (command.release) {
    const landing = state.held.filter(ours);
    state.held = state.held.filter((put) => !ours(put));
    // Through this request's own binding, because the one that was asked belongs to another event.
    if (command.release === true) for (const put of landing) await put.land(real);
    else for (const put of landing) put.fail?.();
    if (command.release === "fail") state.held.push(...landing);
  }
  if (command.empty) {
    for (let cursor; ; ) {
      const page = await real.list({ prefix: scope === "*" ? "" : `v1/${scope}/`, cursor });
      await Promise.all(page.keys.map(({ name }) => real.delete(name)));
      if (page.list_complete) break;
      cursor = page.cursor;
    }
  }
  return {
    counts: scope === "*" ? Object.fromEntries(state.counts) : { ...state.counts.get(scope) },
    puts: state.puts.filter(ours),
    held: state.held.filter(ours).length,
    rules: state.rules.filter(ours).filter((rule) => rule.times !== 0).length,
  };
}
