// A client that does literally what the table of errors in docs/PROTOCOL.md says, and nothing that it does not say.

import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";

const JSON_TYPE = { "content-type": "application/json" };
const REQUESTS_MAX = 120;
// What the contract calls an answer that is not of the protocol, and how often one mutation alone gets one before it is blocked.
const FOREIGN = "foreign";
const BLOCKED_AFTER = 3;

/** A client has stopped: why, in the code of the error. */
class Stopped extends Error {}

/** How requests travel to a location: what comes back is `{status, body, retryAfter}`; without a connection the status is 0. */
export function over(runtime, at = "home") {
  return async (method, path, init) => {
    try {
      const response = await runtime.fetch(at, path, { method, ...init });
      return answerOf(response.status, Object.fromEntries(response.headers), await response.text());
    } catch (error) {
      if (error instanceof TypeError) return { status: 0, body: null };
      throw error;
    }
  };
}

/** An answer as a client takes it; what is not JSON has no body for it. */
export function answerOf(status, headers, text) {
  const isJson = /json\b/.test(headers["content-type"] ?? "");
  return { status, body: isJson && text ? JSON.parse(text) : null, retryAfter: Number(headers["retry-after"] ?? 0) };
}

export class Obedient {
  outbox = []; // {id, at, epoch, base, changes}, oldest first
  records = new Map(); // `collection id` → {version, value}, as the last pull brought them
  told = []; // what the application was told: {why, changes}; without changes, why the client has stopped
  position = null; // {epoch, version}
  min = null;
  acked = 0;
  next = 1;
  grant = null;
  grantEnds = 0; // by this client's clock
  requests = 0;
  pushMax = Infinity; // how many mutations the next push may hold
  packs = false; // whether a push goes as gzip
  isBlocked = false; // whether something on the way refuses pushes for what they hold
  refusedAlone = 0; // how often it has refused the oldest mutation alone

  /**
   * `send(method, path, {headers, body})` makes a request; see `over`. `newToken()` asks the issuer, whose tokens last
   * `tokenMs`. `now()` is the clock of the device. `onTold(why, changes)` hears what `told` keeps.
   */
  constructor({ send, newToken, tokenMs = 3_600_000, space = "~", now = Date.now, onTold = () => {}, wait = sleep }) {
    Object.assign(this, { send, newToken, tokenMs, space, now, onTold, wait, client: newClientId() });
    this.getToken();
  }

  /** The application edits. */
  edit(changes) {
    const { epoch, version } = this.position ?? {};
    this.outbox.push({ id: this.next, at: this.now(), epoch, base: version ?? 0, changes });
    this.next += 1;
  }

  /** Everything that a copy of the database holds. */
  backup() {
    const { outbox, records, position, min, acked, next, client, told } = this;
    return structuredClone({ outbox, records, position, min, acked, next, client, told });
  }

  restore(backup) {
    Object.assign(this, structuredClone(backup), { grant: null });
  }

  /** Syncs until there is nothing left to do: "settled", or the code for which it has stopped. */
  async rest() {
    Object.assign(this, { requests: 0, pushMax: Infinity, packs: false, isBlocked: false, refusedAlone: 0 });
    try {
      // A client that has no epoch yet pulls before its first push.
      if (!this.position) await this.pull();
      while (this.outbox.length > 0) await this.push();
      await this.pull();
      return "settled";
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      this.tell(error.message);
      return error.message;
    }
  }

  tell(why, changes) {
    this.told.push({ why, changes });
    this.onTold(why, changes);
  }

  async push() {
    const epoch = this.epoch();
    const mutations = this.outbox.slice(0, this.pushMax).map(({ epoch: read, isWithdrawn: _, ...mutation }) => ({
      ...mutation,
      ...(read && read !== epoch && { epoch: read }),
    }));
    const answer = await this.ask("POST", "/sync/push", { body: this.pushOf(mutations), packs: this.packs });
    if (answer.status === 200 && answer.body) {
      this.take(answer.body.results);
      this.min = `${answer.body.epoch}.${answer.body.version}`;
      if (!this.packs) this.pushMax = this.isBlocked ? 2 * mutations.length : Infinity;
      this.refusedAlone = 0;
      return;
    }
    const { code, expected, last, results, more, position } = answer.body ?? { code: FOREIGN };
    switch (code) {
      case "out_of_order":
        if (!this.outbox.some(({ id }) => id === expected)) this.takeNewClientId();
        return;
      case "epoch_mismatch":
        this.take(results);
        this.drop(mutations, last);
        // The next ones, under the same name and epoch: the history may contain them too.
        if (more && this.outbox.length > 0) return;
        this.min = position;
        await this.pull();
        this.takeNewClientId();
        return;
      case "client_forked":
        this.take(results);
        this.drop(mutations, last);
        // It was settled as it had been, and only its answers never came through: what follows keeps its numbers.
        if (this.outbox[0]?.isWithdrawn && this.outbox[0].id === last + 1) {
          this.acked = this.outbox.shift().id;
          return;
        }
        this.takeNewClientId();
        return;
      case "timeout":
        if (this.packs && mutations.length === 1) throw new Stopped(code);
        if (this.packs) this.pushMax = Math.ceil(mutations.length / 2);
        this.packs = true;
        return;
      case "too_large":
        if (mutations.length > 1) {
          this.pushMax = Math.ceil(mutations.length / 2);
        } else {
          this.tell(code, this.outbox[0].changes);
          this.outbox[0].changes = [];
        }
        return;
      case FOREIGN:
        return this.findWhatIsBlocked(mutations, answer.status);
      default:
        throw new Stopped(code);
    }
  }

  epoch() {
    return this.position?.epoch ?? this.min?.split(".")[0];
  }

  pushOf(mutations) {
    const epoch = this.epoch();
    return { client: this.client, ...(epoch && { epoch }), acked: this.acked, mutations };
  }

  /** Something that is not the server has refused a push twice: for what it holds, if it lets one pass that holds nothing. */
  async findWhatIsBlocked(mutations, status) {
    // Waits for as long as that one does not pass either.
    await this.ask("POST", "/sync/push", { body: this.pushOf([]) });
    this.isBlocked = true;
    this.pushMax = Math.ceil(mutations.length / 2);
    if (mutations.length > 1) return;
    this.refusedAlone += 1;
    if (this.refusedAlone < BLOCKED_AFTER) return;
    // Without any answer it may be the connection, which is better another time.
    if (status === 0) throw new Stopped("blocked");
    this.withdraw();
  }

  /** Uses up the number of the oldest mutation without it, so that those behind it go on. */
  withdraw() {
    this.tell("blocked", this.outbox[0].changes);
    Object.assign(this.outbox[0], { changes: [], isWithdrawn: true });
    this.refusedAlone = 0;
  }

  take(results) {
    for (const { id, status, code } of results) {
      if (this.outbox[0]?.id !== id) continue;
      const { changes } = this.outbox.shift();
      this.acked = id;
      if (status !== "applied") this.tell(code ?? status, changes);
    }
  }

  /** Of the mutations that were sent, those up to `last`. */
  drop(sent, last) {
    const dropped = sent.map(({ id }) => id).filter((id) => id <= last);
    this.outbox = this.outbox.filter(({ id }) => !dropped.includes(id));
  }

  takeNewClientId() {
    this.client = newClientId();
    this.outbox.forEach((mutation, at) => (mutation.id = at + 1));
    this.next = this.outbox.length + 1;
    this.acked = 0;
  }

  async pull(consistency) {
    const asked = consistency && { consistency };
    let fields = { ...(this.position && { epoch: this.position.epoch, since: this.position.version }), ...(this.min && { min: this.min }), ...asked };
    let [cursor, brought] = [null, null];
    const refused = new Set();
    for (;;) {
      const { status, body } = await this.ask("GET", `/sync/pull?${new URLSearchParams({ ...fields, ...(cursor && { cursor }) })}`);
      if (status === 200) {
        if (!brought || body.reset) brought = { isWhole: body.reset || !fields.since, changes: [] };
        brought.changes.push(...body.changes);
        cursor = body.cursor;
        if (body.more) continue;
        this.apply(brought);
        this.position = { epoch: body.epoch, version: body.version };
        this.min = null;
        return;
      }
      // What the table says is done once.
      if (refused.has(body.code)) throw new Stopped(body.code);
      refused.add(body.code);
      [cursor, brought] = [null, null];
      if (body.code === "cursor_expired") fields.consistency = "strong";
      else if (body.code === "epoch_mismatch") fields = { min: body.position, ...asked };
      else throw new Stopped(body.code);
    }
  }

  apply({ isWhole, changes }) {
    if (isWhole) this.records = new Map();
    for (const { version, collection, id, value, deleted } of changes) {
      if (!isWhole && version <= this.position.version) continue;
      if (deleted) this.records.delete(`${collection} ${id}`);
      else this.records.set(`${collection} ${id}`, { version, value });
    }
  }

  getToken() {
    this.token = this.newToken();
    this.tokenEnds = this.now() + this.tokenMs;
  }

  async getGrant() {
    const { status, body } = await this.ask("POST", `/spaces/${this.space}/grant`);
    if (status !== 200) throw new Stopped(body.code);
    this.grant = body.grant;
    this.grantEnds = this.now() + body.expiresIn;
  }

  /** One request, repeated while waiting, a new token, a grant, or the same again is all that the answer asks for. */
  async ask(method, path, { body, packs = false } = {}) {
    const joint = path.includes("?") ? "&" : "?";
    const inSpace = path.startsWith("/sync") && this.space !== "~" ? `${path}${joint}space=${this.space}` : path;
    const text = body && JSON.stringify(body);
    const bytes = packs ? gzipSync(text) : text;
    // What was new when the request was last made.
    let [isTokenNew, isGrantNew, isLate, isForeign] = [false, false, false, false];
    // For how long fresh grants have been refused.
    let refusedMs = 0;
    for (let pause = 1000; ; ) {
      this.requests += 1;
      if (this.requests > REQUESTS_MAX) throw new Error(`no rest after ${REQUESTS_MAX} requests; the last was ${method} ${inSpace}`);
      if (this.now() >= this.tokenEnds) this.getToken();
      if (inSpace.startsWith("/sync/pull") && this.grant && this.now() >= this.grantEnds) await this.getGrant();
      const headers = {
        authorization: `Bearer ${this.token}`,
        ...(body && JSON_TYPE),
        ...(packs && { "content-encoding": "gzip" }),
        ...(this.grant && { "headwater-grant": this.grant }),
      };
      const answer = await this.send(method, inSpace, { headers, ...(body && { body: bytes }) });
      const isTaken = answer.status === 204 || (answer.status === 200 && answer.body);
      const code = isTaken ? null : (answer.body?.code ?? FOREIGN);
      switch (code) {
        case "unauthenticated":
        case "token_expired":
          if (isTokenNew) throw new Stopped(code);
          this.getToken();
          isTokenNew = true;
          break;
        case "grant_required":
          if (isGrantNew) {
            if (refusedMs >= 10 * 60_000) throw new Stopped(code);
            await this.wait(pause);
            refusedMs += pause;
            pause = Math.min(2 * pause, 60_000);
          }
          await this.getGrant();
          isGrantNew = true;
          break;
        case "timeout":
          if (isLate) {
            if (path !== "/sync/push") throw new Stopped(code);
            return answer;
          }
          isLate = true;
          break;
        case FOREIGN:
          // Twice in a row may be for what the push holds; nothing else can be sent otherwise.
          if (isForeign && body?.mutations?.length > 0) return { status: answer.status, body: null };
        // falls through
        case "rate_limited":
        case "overloaded":
        case "upstream":
        case "internal":
          isForeign = code === FOREIGN;
          await this.wait(withJitter(answer.retryAfter ? answer.retryAfter * 1000 : pause));
          pause = Math.min(2 * pause, 60_000);
          [isTokenNew, isGrantNew] = [false, false];
          break;
        default:
          return answer;
      }
    }
  }
}

const newClientId = () => `c_${randomBytes(6).toString("hex")}`;
// Longer by at most half, and by at most a minute: so that those who were refused together do not come back together.
const withJitter = (ms) => ms + Math.random() * Math.min(ms / 2, 60_000);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
