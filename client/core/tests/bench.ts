// One machine over a store in memory: transactions are carried out at once, everything else when a test says so.

import assert from "node:assert/strict";
import { capture } from "../src/capture.ts";
import type { Effect, Event, Options, TimerName } from "../src/events.ts";
import { SpaceMachine } from "../src/space.ts";
import type { Change } from "../src/ops.ts";
import type { Answer, Request } from "../src/requests.ts";
import type { Tell } from "../src/status.ts";
import type { NoteRow, SentRow, SpaceRow } from "../src/store.ts";
import { MemoryStore } from "./store.ts";

export const EPOCH = "0aaaaaaaaaaa";
export const LATER = "0bbbbbbbbbbb";
export const line = (version: number, id: string, value: unknown = { v: version }) => ({ version, collection: "c", id, ...(value === null ? { deleted: true } : { value }) });
export const put = (id: string, value: object = { mine: 1 }): Change => ({ op: "put", collection: "c", id, value: value as never });
export const patch = (id: string, set: object): Change => ({ op: "patch", collection: "c", id, set: set as never });
/** The record of an open conflict of the user `h1`, and the conflict as it is listed. */
export const announcement = (version: number, conflict: string, ...ids: string[]) =>
  ({ version, collection: "$conflicts", id: conflict, value: { user: "h1", client: "other", at: 1, records: ids.map((id) => ({ collection: "c", id })), count: ids.length } });
export const listed = (conflict: string, changes: unknown[], records: unknown[]) => ({ conflict, user: "h1", client: "other", at: 1, mutations: [{ id: 1, changes }], records });

export class Bench {
  store = new MemoryStore();
  machine: SpaceMachine;
  space: string;
  sends: { id: number; request: Request }[] = [];
  timers = new Map<TimerName, { ms: number; spread: number }>();
  tells: Tell[] = [];
  tokens = 0;
  now = 1_000_000;
  ids = 0;
  term = 1;
  options: Options;

  constructor(space = "~", options: Partial<Options> = {}) {
    this.space = space;
    this.options = { space, newId: () => `id_${String((this.ids += 1)).padStart(6, "0")}`, ...options };
    this.machine = new SpaceMachine(this.options);
  }

  get phase() {
    return this.machine.status.phase;
  }
  get held() {
    return this.machine.status.held?.why;
  }
  get row(): SpaceRow {
    return this.store.spaces.rows.get(this.space) as SpaceRow;
  }
  get sent(): SentRow[] {
    return [...this.store.sent.rows.values()];
  }
  get notes(): NoteRow[] {
    return [...this.store.notes.rows.values()];
  }
  get logs() {
    return this.tells.filter(({ type }) => type === "log");
  }
  /** The body of the request under way. */
  get body() {
    return JSON.parse(this.request.body || "null");
  }
  get request(): Request {
    const last = this.sends.at(-1);
    assert.ok(last, "a request is under way");
    return last.request;
  }
  value(id: string): unknown {
    const row = this.store.rows.rows.get(`c ${id}`);
    return row ? JSON.parse(row.value) : null;
  }

  async on(event: Event): Promise<void> {
    for (const effect of this.machine.on(event, this.now)) await this.#carryOut(effect);
  }

  async #carryOut(effect: Effect): Promise<void> {
    if (effect.type === "commit") {
      const event: Event = await this.store.commit(this.term, effect.scope, effect.body).then(
        (result) => ({ type: "committed" as const, id: effect.id, result }),
        (error) => ({ type: "failed" as const, id: effect.id, error }),
      );
      await this.on(event);
    } else if (effect.type === "send") this.sends.push(effect);
    else if (effect.type === "timer") this.timers.set(effect.name, effect);
    else if (effect.type === "cancel") this.timers.delete(effect.name);
    else if (effect.type === "token") this.tokens += 1;
    else if (effect.type === "tell") this.tells.push(effect.tell);
  }

  async answer(status: number, body: Answer["body"] = null, more: Partial<Answer> = {}): Promise<void> {
    const last = this.sends.pop();
    assert.ok(last, "a request is under way");
    await this.on({ type: "answer", id: last.id, answer: { status, body, ...more } });
  }
  refuse(status: number, code: string, fields: object = {}): Promise<void> {
    return this.answer(status, { code, detail: code, ...fields });
  }
  async page(fields: object): Promise<void> {
    const page = { epoch: EPOCH, version: 0, reset: false, lines: [], cursor: null, end: false, ...fields };
    await this.on({ type: "page", id: this.sends.at(-1)?.id as number, page, bytes: 10 });
  }
  pulled(version: number, changes: unknown[] = [], fields: object = {}): Promise<void> {
    return this.answer(200, { epoch: EPOCH, version, reset: false, more: false, cursor: null, changes, ...fields });
  }
  pushed(version: number, results: unknown[], changes: unknown[] = [], fields: object = {}): Promise<void> {
    return this.answer(200, { epoch: EPOCH, version, results, reset: false, more: false, changes, ...fields });
  }
  async fire(name: TimerName): Promise<void> {
    assert.ok(this.timers.delete(name), `the timer ${name} runs`);
    await this.on({ type: "timer", name });
  }
  async edit(...changes: Change[]): Promise<void> {
    const tx = this.options.newId();
    await this.store.commit(this.term, { wake: "rows" }, (store) => capture(store, { space: this.space, tx, at: 5, changes }));
    await this.on({ type: "captured", seq: this.store.seq });
  }

  /** Writes down what may be sent before it is numbered, and tells the machine of it unless it is `silent`. */
  async editEarly(change: Change, silent = false): Promise<void> {
    const ahead = this.machine.ahead(this.now);
    assert.ok(ahead, "an edit that is made now may be sent early");
    const fresh = this.store.rows.rows.has(`c ${change.id}`) ? [] : [`c ${change.id}`];
    const tx = this.options.newId();
    const rows = await this.store.commit(this.term, { wake: "rows" }, async (store) => {
      await capture(store, { space: this.space, tx, at: 5, changes: [change], early: true });
      return store.outbox.list();
    });
    if (!silent) await this.on({ type: "captured", seq: this.store.seq, early: { rows, fresh, row: structuredClone(ahead) } });
  }

  /** A new leader over the same store, as after a reload. */
  async reopen(user = "user", stolen = false): Promise<void> {
    this.machine = new SpaceMachine(this.options);
    this.sends = [];
    this.timers.clear();
    await this.on({ type: "open", user, stolen });
  }
  /** A space at a version, with nothing under way. */
  static async at(version: number, lines: unknown[] = [], space = "~", options: Partial<Options> = {}): Promise<Bench> {
    const bench = new Bench(space, options);
    await bench.on({ type: "open", user: "user" });
    if (space !== "~") await bench.answer(200, { grant: "g1", expiresIn: 600_000 });
    await bench.page({ version, lines, end: true });
    await bench.answer(200, { isStream: true });
    // The wish of the opening.
    bench.sends = [];
    assert.equal(bench.phase, "idle");
    return bench;
  }
  /** With edits that are being pushed. */
  async pushing(...edits: Change[][]): Promise<this> {
    for (const changes of edits) await this.edit(...changes);
    await this.fire("push");
    assert.equal(this.request.kind, "push");
    return this;
  }
}
