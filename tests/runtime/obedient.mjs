// A client that does literally what the table of errors in docs/PROTOCOL.md says, and nothing that it does not say.

import { randomBytes } from "node:crypto";

const JSON_TYPE = { "content-type": "application/json" };
const REQUESTS_MAX = 80;

/** A client has stopped: why, in the code of the error. */
class Stopped extends Error {}

export class Obedient {
  outbox = []; // {id, at, epoch, base, changes}, oldest first
  told = []; // what the application was told: results that are not "applied", and codes
  position = null; // {epoch, version}
  min = null;
  acked = 0;
  next = 1;
  grant = null;
  requests = 0;
  pushMax = Infinity; // how many mutations the next push may hold

  /** `send(method, path, {body, headers})` makes a request and gives `{status, body}`; body null where it is not JSON. */
  constructor({ send, newToken, space = "~", wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms)) }) {
    Object.assign(this, { send, newToken, space, wait, client: newClientId() });
    this.token = newToken();
  }

  /** The application edits. */
  edit(changes) {
    const { epoch, version } = this.position ?? {};
    this.outbox.push({ id: this.next, at: Date.now(), epoch, base: version ?? 0, changes });
    this.next += 1;
  }

  /** Everything that a copy of the database holds. */
  backup() {
    const { outbox, position, min, acked, next, client, told } = this;
    return structuredClone({ outbox, position, min, acked, next, client, told });
  }

  restore(backup) {
    Object.assign(this, structuredClone(backup), { grant: null, pushMax: Infinity });
  }

  /** Syncs until there is nothing left to do: "settled", or the code for which it has stopped. */
  async rest() {
    this.requests = 0;
    try {
      // A client that has no epoch yet pulls before its first push.
      if (!this.position) await this.pull();
      while (this.outbox.length > 0) await this.push();
      await this.pull();
      return "settled";
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      this.told.push(error.message);
      return error.message;
    }
  }

  async push() {
    const epoch = this.position?.epoch ?? this.min?.split(".")[0];
    const mutations = this.outbox.slice(0, this.pushMax).map(({ epoch: read, ...mutation }) => ({
      ...mutation,
      ...(read && read !== epoch && { epoch: read }),
    }));
    const body = { client: this.client, ...(epoch && { epoch }), acked: this.acked, mutations };
    const answer = await this.ask("POST", "/sync/push", { body });
    if (answer.status === 200) {
      this.take(answer.body.results);
      this.min = `${answer.body.epoch}.${answer.body.version}`;
      this.pushMax = Infinity;
      return;
    }
    const { code, expected, last, results, more, position } = answer.body;
    switch (code) {
      case "out_of_order":
        if (!this.outbox.some(({ id }) => id === expected)) this.takeNewClientId();
        return;
      case "epoch_mismatch":
        this.take(results);
        this.drop(last);
        // The next ones, under the same name and epoch: the history may contain them too.
        if (more && this.outbox.length > 0) return;
        this.min = position;
        await this.pull();
        this.takeNewClientId();
        return;
      case "client_forked":
        this.take(results);
        this.drop(last);
        this.takeNewClientId();
        return;
      case "timeout":
      case "too_large":
        return this.sendHalf(mutations.length, code);
      default:
        throw new Stopped(code);
    }
  }

  sendHalf(sent, code) {
    if (sent > 1) {
      this.pushMax = Math.ceil(sent / 2);
    } else if (code === "too_large") {
      this.told.push(code);
      this.outbox[0].changes = [];
    }
  }

  take(results) {
    for (const { id, status, code } of results) {
      if (this.outbox[0]?.id !== id) continue;
      this.outbox.shift();
      this.acked = id;
      if (status !== "applied") this.told.push(code ?? status);
    }
  }

  drop(last) {
    this.outbox = this.outbox.filter(({ id }) => id > last);
  }

  takeNewClientId() {
    this.client = newClientId();
    this.outbox.forEach((mutation, at) => (mutation.id = at + 1));
    this.next = this.outbox.length + 1;
    this.acked = 0;
    this.pushMax = Infinity;
  }

  async pull() {
    const [own, min] = [this.position, this.min];
    let fields = { ...(own && { epoch: own.epoch, since: own.version }), ...(min && { min }) };
    for (;;) {
      const answer = await this.ask("GET", `/sync/pull?${new URLSearchParams(fields)}`);
      const { body } = answer;
      if (answer.status === 200 && body.more) fields = { ...fields, cursor: body.cursor };
      else if (answer.status === 200) {
        this.position = { epoch: body.epoch, version: body.version };
        this.min = null;
        return;
      } else if (body.code === "cursor_expired") {
        delete fields.cursor;
        fields.consistency = "strong";
      } else if (body.code === "epoch_mismatch") fields = { min: body.position };
      else if (body.code === "grant_required") await this.getGrant();
      else if (body.code !== "timeout") throw new Stopped(body.code);
    }
  }

  async getGrant() {
    const answer = await this.ask("POST", `/spaces/${this.space}/grant`);
    if (answer.status !== 200) throw new Stopped(answer.body.code);
    this.grant = answer.body.grant;
  }

  /** One request, repeated while waiting or a new token is all that the answer asks for. */
  async ask(method, path, { body } = {}) {
    const joint = path.includes("?") ? "&" : "?";
    const inSpace = path.startsWith("/sync") && this.space !== "~" ? `${path}${joint}space=${this.space}` : path;
    for (let pause = 1000, fresh = false; ; ) {
      this.requests += 1;
      if (this.requests > REQUESTS_MAX) throw new Error(`no rest after ${REQUESTS_MAX} requests; the last was ${method} ${inSpace}`);
      const headers = { authorization: `Bearer ${this.token}`, ...(body && JSON_TYPE), ...(this.grant && { "headwater-grant": this.grant }) };
      const answer = await this.send(method, inSpace, { headers, ...(body && { body: JSON.stringify(body) }) });
      const code = answer.status < 300 ? null : (answer.body?.code ?? "upstream");
      switch (code) {
        case "unauthenticated":
        case "token_expired":
          if (fresh) throw new Stopped(code);
          this.token = this.newToken();
          fresh = true;
          break;
        case "rate_limited":
        case "overloaded":
        case "upstream":
        case "internal":
          await this.wait(answer.retryAfter ? answer.retryAfter * 1000 : pause);
          pause = Math.min(2 * pause, 60_000);
          break;
        default:
          return answer;
      }
    }
  }
}

const newClientId = () => `c_${randomBytes(6).toString("hex")}`;
