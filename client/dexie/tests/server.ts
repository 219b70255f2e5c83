// A server in memory, for tests of capture and applying. It knows one space of one user, pushes and pulls, and the policy "merge" for
// patches of other fields. It is not the product's: tests against the real Worker stand elsewhere.

import { applied, type Change } from "../../core/src/ops.ts";
import type { TreeObject } from "../../core/src/codec.ts";

interface Stored {
  value: TreeObject | undefined;
  version: number;
  /** The version at which each client changed the record last. */
  by: Map<string, number>;
}
interface Mutation {
  id: number;
  base?: number;
  changes: (Change | { op: "resolve"; collection: string; id: string; base?: number; conflict: string; take?: string; records?: unknown[] })[];
}
export interface Asked {
  kind: string;
  body: string;
}
export interface Answered {
  status: number;
  body: Record<string, unknown> | null;
}

const EPOCH = "0mwrnsa6yk3v9q2";

export class Server {
  version = 0;
  readonly records = new Map<string, Stored>();
  readonly #clients = new Map<string, { last: number; results: Map<number, object> }>();
  /** Every push that came, parsed. */
  readonly pushes: { client: string; mutations: Mutation[] }[] = [];
  /** Refuses mutations with these values at `title`. */
  readonly rejected = new Set<unknown>();
  isDown = false;
  /** How many records a page of a pull has. */
  pageSize = 10_000;

  async ask({ kind, body }: Asked): Promise<Answered> {
    if (this.isDown) return { status: 0, body: null };
    return kind === "push" ? this.#push(JSON.parse(body)) : this.#pull(JSON.parse(body));
  }

  /** What another device writes. */
  write(collection: string, id: string, value: TreeObject | null): void {
    this.version++;
    this.#store(`${collection} ${id}`, value ?? undefined, "other");
  }

  value(key: string): TreeObject | undefined {
    return this.records.get(key)?.value;
  }

  #store(key: string, value: TreeObject | undefined, client: string): void {
    const by = this.records.get(key)?.by ?? new Map<string, number>();
    by.set(client, this.version);
    this.records.set(key, { value, version: this.version, by });
  }

  #push({ client, since, mutations }: { client: string; since?: number; mutations: Mutation[] }): Answered {
    this.pushes.push({ client, mutations });
    const known = this.#clients.get(client) ?? { last: 0, results: new Map<number, object>() };
    this.#clients.set(client, known);
    const results: object[] = [];
    for (const mutation of mutations) {
      const { id } = mutation;
      if (id > known.last + 1) return { status: 409, body: { code: "out_of_order", expected: known.last + 1 } };
      if (id <= known.last) {
        results.push({ ...known.results.get(id), duplicate: true });
        continue;
      }
      const result = { id, ...this.#settle(client, mutation) };
      known.last = id;
      known.results.set(id, result);
      results.push(result);
    }
    const changes = since === undefined ? [] : this.#changes(since);
    return { status: 200, body: { epoch: EPOCH, version: this.version, results, reset: false, more: false, changes } };
  }

  #settle(client: string, { base, changes }: Mutation): object {
    const conflicting = changes.filter((change) => this.#conflicts(client, change, change.base ?? base));
    if (conflicting.length > 0) {
      this.version++;
      const records = conflicting.map(({ collection, id }) => {
        const { value, version } = this.records.get(`${collection} ${id}`) as Stored;
        return { collection, id, version, ...(value ? { theirs: value } : { deleted: true }) };
      });
      return { status: "conflict", conflict: `x_${EPOCH}_${this.version}`, records };
    }
    const refused = changes.some((change) => this.rejected.has((change as { value?: TreeObject }).value?.["title"]));
    if (refused) return { status: "rejected", code: "invalid_value", detail: "refused by the test" };
    const real = changes.filter((change): change is Change => change.op !== "resolve");
    if (real.length > 0) this.version++;
    for (const change of real) {
      const key = `${change.collection} ${change.id}`;
      const value = this.records.get(key)?.value;
      this.#store(key, applied(value && structuredClone(value), change), client);
    }
    return { status: "applied", version: this.version };
  }

  #conflicts(client: string, change: Mutation["changes"][number], base: number | undefined): boolean {
    const record = this.records.get(`${change.collection} ${change.id}`);
    if (!record || base === undefined || !["put", "patch", "delete"].includes(change.op)) return false;
    return [...record.by].some(([by, version]) => by !== client && version > base);
  }

  /** A cursor names the last record that was sent: one that changes meanwhile comes again, and none is passed over. */
  #pull({ since = 0, cursor }: { since?: number; cursor?: string }): Answered {
    const all = this.#changes(since).filter((line) => !cursor || placeOf(line) > cursor);
    const changes = all.slice(0, this.pageSize);
    const more = changes.length < all.length;
    const next = more ? placeOf(changes.at(-1) as Line) : null;
    return { status: 200, body: { epoch: EPOCH, version: this.version, reset: false, more, cursor: next, changes } };
  }

  #changes(since: number): Line[] {
    const lines = [...this.records].filter(([, { version }]) => version > since).map(([key, { value, version }]): Line => {
      const at = key.indexOf(" ");
      const named = { version, collection: key.slice(0, at), id: key.slice(at + 1) };
      return value ? { ...named, value } : { ...named, deleted: true };
    });
    return lines.sort((left, right) => (placeOf(left) < placeOf(right) ? -1 : 1));
  }
}

type Line = { version: number; collection: string; id: string; value?: TreeObject; deleted?: true };
const placeOf = ({ version, collection, id }: Line): string => `${String(version).padStart(9, "0")} ${collection} ${id}`;
