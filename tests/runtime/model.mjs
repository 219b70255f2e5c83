// What docs/PROTOCOL.md says of one space, on plain values and in the plainest way: every record keeps the whole list of
// who changed it. It shares no code with the coordinator, so an error would have to be made twice to go unseen. Names of
// fields that look like numbers are not for it, because JavaScript gives them a place of their own.

const keyOf = ({ collection, id }) => `${collection} ${id}`;
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const copy = (value) => (value === undefined ? undefined : JSON.parse(JSON.stringify(value)));
const ALL = "all";
const NAMES_MAX = 100; // records that an announcement names

/** A change that the contract does not define on the value that stands there. */
class Rejected extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

/** The object in which the last name of a path lies; objects on the way are made. */
function parentOf(value, names) {
  let here = value;
  for (const name of names.slice(0, -1)) {
    if (Array.isArray(here[name])) throw new Rejected("invalid_value");
    if (!isObject(here[name])) here[name] = {};
    here = here[name];
  }
  return here;
}

function update(value, path, change) {
  const names = path.split(".");
  const parent = parentOf(value, names);
  parent[names.at(-1)] = change(parent[names.at(-1)]);
}

function unset(value, path) {
  const names = path.split(".");
  let here = value;
  for (const name of names.slice(0, -1)) {
    if (!isObject(here[name])) return;
    here = here[name];
  }
  delete here[names.at(-1)];
}

const listOf = (value) => (Array.isArray(value) ? value : []);
const with_ = (list, values) => values.reduce((all, one) => (all.includes(one) ? all : [...all, one]), list);

const OPS = {
  put: (_, change) => copy(change.value),
  delete: () => undefined,
  patch(value, change) {
    for (const [path, field] of Object.entries(change.set ?? {})) update(value, path, () => copy(field));
    for (const path of change.unset ?? []) unset(value, path);
    return value;
  },
  add(value, { path, by }) {
    update(value, path, (number) => (typeof number === "number" ? number : 0) + by);
    return value;
  },
  include(value, { path, values }) {
    update(value, path, (list) => with_(listOf(list), values));
    return value;
  },
  exclude(value, { path, values }) {
    const list = path.split(".").reduce((here, name) => (isObject(here) ? here[name] : undefined), value);
    if (Array.isArray(list)) update(value, path, () => list.filter((one) => !values.includes(one)));
    return value;
  },
};
const CHANGES_WHAT_IS_ABSENT = ["put", "delete"];
const COMBINES = ["add", "include", "exclude"];

function valueAfter(change, value) {
  if (value === undefined && !CHANGES_WHAT_IS_ABSENT.includes(change.op)) return copy(change.orPut);
  return OPS[change.op](value, change);
}

/** The top-level fields whose text differs between two objects. */
function touched(before, after) {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return new Set([...names].filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name])));
}

/** One space: its records, and for each who changed what of it and when; and what is parked. */
export class Model {
  version = 0;
  records = new Map(); // key → {value or undefined, text, version, steps: [{version, client, fields}]}
  // conflict id → {client, numbers of its mutations, their changes, touched: key → {collection, id}, waits: for older ones}
  parked = new Map();

  copy() {
    const other = new Model();
    const records = [...this.records].map(([key, record]) => [key, { ...record, steps: record.steps.map((step) => ({ ...step })) }]);
    const parked = [...this.parked].map(([id, { numbers, changes, touched, ...rest }]) => {
      return [id, { numbers: [...numbers], changes: [...changes], touched: new Map(touched), ...rest }];
    });
    return Object.assign(other, { version: this.version, records: new Map(records), parked: new Map(parked) });
  }

  /**
   * What a mutation would come to here: `{status}` with `code`, `changed`, `records`, or `joins`: the conflict behind
   * which it is parked; `announces`: whether that names new records. Changes nothing.
   */
  judge(client, mutation, onConflict = "reject") {
    if (mutation.changes.some((change) => !(change.op in OPS))) return { status: "rejected", code: "unsupported_op" };
    const joined = this.#joined(client, mutation);
    if (joined) {
      const code = this.#refusal(joined, mutation.changes);
      return code ? { status: "rejected", code } : { status: "conflict", joins: joined.joins, announces: joined.announces };
    }
    const conflicting = mutation.changes.filter((change) => this.#conflicts(client, change, mutation.base, onConflict));
    if (conflicting.length > 0) return { status: "conflict", records: this.#standing(conflicting) };
    try {
      return { status: "applied", changed: this.#draft(mutation.changes) };
    } catch (error) {
      if (error instanceof Rejected) return { status: "rejected", code: error.code };
      throw error;
    }
  }

  /** Takes the next version for what `judge` said would change. */
  step(client, changed) {
    this.version += 1;
    for (const [key, { value, text, wasAbsent }] of changed) {
      const { steps = [], value: before } = this.records.get(key) ?? {};
      const fields = wasAbsent || value === undefined ? ALL : touched(before, value);
      // Who had changed which field is not kept of what was deleted: it then counts as changed as a whole.
      if (fields === ALL) for (const step of steps) step.fields = ALL;
      steps.push({ version: this.version, client, fields });
      this.records.set(key, { value, text, version: this.version, steps });
    }
  }

  /**
   * Parks a mutation under a conflict, its own or one that it joins. Where the announcement of the conflict changes, that
   * takes the next version. (Of a user and of times the model knows nothing, so an announcement here is without them.)
   */
  park(client, mutation, conflict) {
    const { id, changes } = mutation;
    const parked = this.parked.get(conflict) ?? { client, numbers: [], changes: [], touched: new Map(), waits: false };
    parked.waits ||= this.#joined(client, mutation)?.waits ?? false;
    this.parked.set(conflict, parked);
    parked.numbers.push(id);
    parked.changes.push(...changes);
    const known = parked.touched.size;
    for (const change of changes) parked.touched.set(keyOf(change), { collection: change.collection, id: change.id });
    if (parked.touched.size === known) return;
    this.version += 1;
    const records = [...parked.touched].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, record]) => record);
    const value = { client: parked.client, records: records.slice(0, NAMES_MAX), count: records.length };
    const text = JSON.stringify(value);
    this.records.set(`$conflicts ${conflict}`, { value, text, version: this.version, steps: [] });
  }

  /** The newest conflict of this client, of which it did not know, that touches a record of the mutation. */
  #joined(client, { acked = 0, changes }) {
    const keys = changes.map(keyOf);
    const isJoined = ([, { client: whose, numbers, touched }]) =>
      whose === client && numbers.some((number) => number > acked) && keys.some((key) => touched.has(key));
    const all = [...this.parked].filter(isJoined);
    if (all.length === 0) return undefined;
    const [joins, { touched, waits }] = all.at(-1);
    return { joins, announces: keys.some((key) => !touched.has(key)), waits: waits || all.length > 1 };
  }

  /** Why these changes cannot join: behind what is parked, which could be applied, they cannot. */
  #refusal({ joins, waits }, changes) {
    const parked = this.parked.get(joins).changes;
    const codeOf = (all) => {
      try {
        this.#draft(all);
        return undefined;
      } catch (error) {
        if (error instanceof Rejected) return error.code;
        throw error;
      }
    };
    return waits || codeOf(parked) ? undefined : codeOf([...parked, ...changes]);
  }

  #draft(changes) {
    const drafts = new Map();
    for (const change of changes) {
      const key = keyOf(change);
      const before = this.records.get(key)?.value;
      const draft = drafts.get(key) ?? { value: copy(before), wasAbsent: before === undefined };
      draft.value = valueAfter(change, draft.value);
      draft.wasAbsent ||= draft.value === undefined;
      drafts.set(key, draft);
    }
    for (const [key, draft] of drafts) {
      draft.text = JSON.stringify(draft.value);
      if (draft.text === this.records.get(key)?.text) drafts.delete(key);
    }
    return drafts;
  }

  /** Whether somebody else changed what this change rests on after the base. */
  #conflicts(client, change, mutationBase, onConflict) {
    const base = change.base ?? mutationBase;
    if (base === undefined || onConflict === "overwrite" || COMBINES.includes(change.op)) return false;
    const { value, steps = [] } = this.records.get(keyOf(change)) ?? {};
    const foreign = (step) => step.client !== client && step.version > base;
    if (value === undefined) return change.op !== "delete" && base !== 0 && steps.some(foreign);
    if (change.op !== "patch" || onConflict !== "merge") return steps.some(foreign);
    const tops = [...Object.keys(change.set ?? {}), ...(change.unset ?? [])].map((path) => path.split(".")[0]);
    return steps.some((step) => foreign(step) && (step.fields === ALL || tops.some((top) => step.fields.has(top))));
  }

  /** What stands where changes conflict, as a result of a push tells it. */
  #standing(changes) {
    const byKey = new Map(changes.map((change) => [keyOf(change), change]));
    return [...byKey].map(([key, { collection, id }]) => {
      const { version, value } = this.records.get(key);
      return { collection, id, version, ...(value === undefined ? { deleted: true } : { theirs: value }) };
    });
  }
}
