// One space of the server, small enough to read: numbering, sameness, epochs, horizon and paging around the model that the
// tests of the real Worker use for what a mutation does (tests/runtime/model.mjs).

import { canonical } from "./canonical.ts";

interface Judged {
  status: "applied" | "conflict" | "rejected";
  code?: string;
  changed?: Map<string, unknown>;
  records?: unknown[];
  joins?: string;
}
interface Kept {
  value?: Record<string, unknown>;
  text?: string;
  version: number;
  steps: { version: number; client: string }[];
}
interface Model {
  version: number;
  records: Map<string, Kept>;
  parked: Map<string, { client: string; numbers: number[]; changes: unknown[]; touched: Map<string, { collection: string; id: string }> }>;
  copy(): Model;
  judge(client: string, mutation: unknown, onConflict?: string): Judged;
  step(client: string, changed: Map<string, unknown>): void;
  park(client: string, mutation: unknown, conflict: string): void;
}
const { Model } = (await import(new URL("../../../tests/runtime/model.mjs", import.meta.url).href)) as { Model: new () => Model };

export interface Mutation {
  id: number;
  at?: number;
  base?: number;
  epoch?: string;
  after?: string[];
  changes: { op: string; collection: string; id: string; base?: number; [field: string]: unknown }[];
}
export interface Push {
  client: string;
  epoch?: string;
  since?: number;
  acked?: number;
  onConflict?: string;
  mutations: Mutation[];
}
type Body = Record<string, unknown>;
export interface Reply {
  status: number;
  body: Body | null;
}
export interface Logged {
  client: string;
  id: number;
  text: string;
  status: string;
  conflict?: string;
  /** What stood under the records of the mutation before it. */
  before: [key: string, value: Record<string, unknown> | undefined][];
  /** It conflicted because of a deletion that has been forgotten, and for nothing else. */
  isForgotten: boolean;
}
interface Client {
  settled: { text: string; result: Body }[];
  acked: number;
}

const problem = (status: number, code: string, fields: Body = {}): Reply => ({ status, body: { code, status, detail: code, ...fields } });

export class Server {
  epoch: string;
  model = new Model();
  clients = new Map<string, Client>();
  horizon = 0;
  /** Lines of a page, and of a push answer. */
  pageMax = 3;
  /** Settled mutations of all epochs, for the checks. */
  log: Logged[] = [];
  onCommit: (from: number) => void = () => {};

  constructor(epoch: string) {
    this.epoch = epoch;
  }

  get position(): string {
    return `${this.epoch}.${this.model.version}`;
  }

  /** A backup: what a restore brings back, under a new epoch. */
  backup(): () => void {
    const { horizon } = this;
    const model = this.model.copy();
    const clients = structuredClone(this.clients);
    return () => {
      Object.assign(this, { model: model.copy(), clients: structuredClone(clients), horizon });
      this.epoch = `${this.epoch}z`;
      this.onCommit(this.model.version);
    };
  }

  /** Forgets deletions: who is further back gets a full state. */
  forget(): void {
    for (const [key, { value, version }] of this.model.records) {
      if (value !== undefined) continue;
      this.model.records.delete(key);
      this.horizon = Math.max(this.horizon, version);
    }
  }

  /** Another writer, who pushes without a base. */
  write(changes: Mutation["changes"]): void {
    const from = this.model.version;
    const judged = this.model.judge("other", { id: 0, changes });
    if (judged.status === "applied" && judged.changed && judged.changed.size > 0) this.model.step("other", judged.changed);
    if (this.model.version > from) this.onCommit(from);
  }

  push(push: Push, breakAfter = Number.POSITIVE_INFINITY): Reply {
    const client = this.clients.get(push.client) ?? { settled: [], acked: 0 };
    this.clients.set(push.client, client);
    const { mutations } = push;
    const known = () => client.settled.length;
    const first = mutations[0]?.id ?? known() + 1;
    const isSame = ({ id, ...mutation }: Mutation) => client.settled[id - 1]?.text === canonical(mutation);
    const repeated = (id: number) => ({ ...client.settled[id - 1]?.result, duplicate: true });
    const from = this.model.version;
    let last = mutations.length > 0 ? first - 1 : Math.min(push.acked ?? 0, known());
    const same: Body[] = [];
    for (const mutation of mutations) {
      if (mutation.id !== last + 1 || !isSame(mutation)) break;
      last = mutation.id;
      same.push(repeated(last));
    }
    if (push.epoch !== this.epoch) {
      return problem(409, "epoch_mismatch", { position: this.position, last, results: same, more: known() > last });
    }
    if (first > known() + 1) return problem(409, "out_of_order", { expected: known() + 1 });
    const results: Body[] = [];
    const isOvertaken = mutations.length > 0 && first <= client.acked;
    for (const [at, mutation] of mutations.entries()) {
      if (at >= breakAfter) return { status: 0, body: null };
      const { id, ...rest } = mutation;
      if (id <= known()) {
        if (!isSame(mutation)) return problem(409, "client_forked", { last: id - 1, results });
        results.push(repeated(id));
      } else if (!isOvertaken) {
        const keys = new Set(mutation.changes.map((change) => `${change.collection} ${change.id}`));
        const before: Logged["before"] = [...keys].map((key) => [key, structuredClone(this.model.records.get(key)?.value)]);
        const { isForgotten = false, ...told } = this.#settle(push, mutation) as Body & { isForgotten?: boolean };
        const result = { id, ...told };
        client.settled.push({ text: canonical(rest), result });
        const { status, conflict } = result as unknown as { status: string; conflict?: string };
        const text = JSON.stringify(mutation);
        this.log.push({ client: push.client, id, text, status, before, isForgotten, ...(conflict && { conflict }) });
        results.push(result);
      }
    }
    client.acked = Math.max(client.acked, Math.min(push.acked ?? 0, known()));
    if (this.model.version > from) this.onCommit(from);
    const lines = push.since === undefined ? null : this.#lines(push.since);
    const fits = lines !== null && lines.length <= this.pageMax && (push.since as number) >= this.horizon;
    const brought = { reset: false, more: lines !== null && !fits, changes: fits ? lines : [] };
    return { status: 200, body: { epoch: this.epoch, version: this.model.version, results, ...brought } };
  }

  #settle(push: Push, mutation: Mutation): Body {
    const { model } = this;
    const { acked = 0, client, onConflict } = push;
    // To follow a conflict by name is to follow it as one whose result is not acknowledged.
    const followed = (mutation.after ?? []).flatMap((conflict) => Math.max(0, ...(model.parked.get(conflict)?.numbers ?? [])) - 1);
    const isOld = mutation.epoch !== undefined && mutation.epoch !== this.epoch;
    const changes = mutation.changes.map((change) => ({ ...change, ...(isOld && change.base !== 0 && { base: 0.5 }) }));
    const asked = { ...mutation, changes, acked: Math.min(acked, ...followed.filter((number) => number >= 0)) };
    let judged = model.judge(client, asked, onConflict);
    const missing = changes.some(({ op, collection, id }) => op !== "put" && !model.records.get(`${collection} ${id}`)?.value);
    const isBelowHorizon = changes.some(({ op, collection, id, base = mutation.base }) => {
      const isAbsent = !model.records.has(`${collection} ${id}`);
      return isAbsent && (op === "put" || op === "patch") && base !== undefined && 0 < base && base < this.horizon;
    });
    const isForgotten = judged.status === "applied" && isBelowHorizon;
    if (isForgotten) judged = { status: "conflict", records: [] };
    if (judged.status === "rejected") return { status: "rejected", code: judged.code };
    if (judged.status === "conflict") {
      const conflict = judged.joins ?? `x_${this.epoch}_${model.version + 1}`;
      model.park(client, mutation, conflict);
      return { status: "conflict", conflict, records: judged.joins ? [] : (judged.records ?? []), isForgotten };
    }
    if (judged.changed && judged.changed.size > 0) model.step(client, judged.changed);
    return { status: "applied", version: model.version, ...(missing && judged.changed?.size === 0 && { missing: true }) };
  }

  /** What has changed above a version, in order; deletions from `deletedAbove` on. */
  #lines(since: number, deletedAbove = since): Body[] {
    const changed = [...this.model.records].filter(([, { value, version }]) => version > (value === undefined ? deletedAbove : since) && version > since);
    const order = changed.sort(([a, { version: v }], [b, { version: w }]) => v - w || (a < b ? -1 : 1));
    return order.map(([key, { value, version }]) => {
      const [collection, id] = key.split(" ");
      return { version, collection, id, ...(value === undefined ? { deleted: true } : { value }) };
    });
  }

  live(from: number): Body {
    const changes = this.#lines(from);
    const { epoch } = this;
    const { version } = this.model;
    return changes.length <= 2 ? { type: "changes", epoch, from, version, changes } : { type: "version", epoch, version };
  }

  pull(asked: Body, cursorExpired = false): Reply {
    const { epoch, since = 0, cursor } = asked as { epoch?: string; since?: number; cursor?: string };
    const { version } = this.model;
    let reset = (epoch !== undefined && epoch !== this.epoch) || (since > 0 && since < this.horizon);
    let [above, key, begun] = [reset ? 0 : since, "", version];
    let isFull = above === 0;
    if (cursor) {
      if (cursorExpired) return problem(410, "cursor_expired");
      const [cursorEpoch, at, atKey, first, full] = cursor.split("|") as [string, string, string, string, string];
      // Deletions that were forgotten meanwhile would be missing: it starts over.
      if (cursorEpoch === this.epoch && (full ? Number(first) : since) >= this.horizon) {
        reset = false;
        [above, key, begun, isFull] = [Number(at), atKey, Number(first), full !== ""];
      } else [reset, above, isFull] = [true, 0, true];
    }
    const nameOf = ({ collection, id }: Body) => `${collection} ${id}`;
    const all = this.#lines(key ? above - 1 : above, isFull ? begun : above - (key ? 1 : 0));
    const rest = all.filter((line) => (line["version"] as number) > above || nameOf(line) > key);
    const changes = rest.slice(0, this.pageMax);
    const lastLine = changes.at(-1);
    const more = rest.length > changes.length;
    const next = more && lastLine ? `${this.epoch}|${lastLine["version"]}|${nameOf(lastLine)}|${begun}|${isFull ? "full" : ""}` : null;
    return { status: 200, body: { epoch: this.epoch, version, reset, more, cursor: next, changes } };
  }

  /** The open conflicts, a few a page: all devices are the same user's. */
  list(cursor?: string): Reply {
    const all = [...this.model.parked];
    const from = Number(cursor ?? 0);
    const conflicts = all.slice(from, from + this.pageMax).map(([conflict, { client, changes, touched }]) => {
      const records = [...touched].map(([key, named]) => {
        const { value, version = 0 } = this.model.records.get(key) ?? {};
        return { ...named, version, ...(value === undefined ? { deleted: true } : { theirs: value }) };
      });
      return { conflict, client, mutations: [{ id: 1, changes }], records };
    });
    const more = all.length > from + this.pageMax;
    return { status: 200, body: { epoch: this.epoch, version: this.model.version, conflicts, more, cursor: more ? String(from + this.pageMax) : null } };
  }

  /** What stands here, as a device that has synced shows it. */
  state(): [string, unknown][] {
    const there = [...this.model.records].filter(([, { value }]) => value !== undefined);
    return there.map(([key, { value }]) => [key, value] as [string, unknown]).sort(([a], [b]) => (a < b ? -1 : 1));
  }
}
