// One-record pushes against a Durable Object that stores and selects. Both sides get the same bodies; the clients write
// records of their own, so nothing conflicts.
import { check, once, request } from "./client.mjs";
import { compare } from "./compare.mjs";
import { places } from "./dataset.mjs";
import { Space } from "./space.mjs";

const RECORDS_PER_CLIENT = 100;

export async function pushes(runtime, name, { clients, since, ...options }) {
  const space = new Space(runtime, name);
  const values = places(RECORDS_PER_CLIENT);
  await space.fill(values);
  const base = space.version;
  const sent = Array(clients).fill(0);
  const bodies = (prefix, counters) => (index) => {
    const id = ++counters[index];
    const { id: key, value } = values[id % RECORDS_PER_CLIENT];
    const change = { op: "put", collection: "places", id: `${key}-${index}`, value: { ...value, visits: id } };
    const mutations = [{ id, at: 1795341182362 + id, base, changes: [change] }];
    return { client: `c_${prefix}_${index + 10}`, since: since ? sinceOf(index) : undefined, acked: id - 1, mutations };
  };
  // A client that says `since` is told what the others wrote; it then asks from where that answer ended.
  const reached = Array(clients).fill(base);
  const sinceOf = (index) => reached[index];
  const remember = (index, answer) => (reached[index] = Number(/"version":(\d+)/.exec(answer.body)[1]));
  const ours = bodies("bench", sent);
  const theirs = bodies("bench", Array(clients).fill(0));
  const row = await compare(
    name,
    {
      url: runtime.headwater,
      next: (index) => space.push(ours(index)),
      expect: { status: 200, keep: since },
      onAnswer: since ? remember : undefined,
    },
    {
      url: runtime.floor,
      next: (index) => request("POST", "/", { "content-type": "application/json" }, JSON.stringify(theirs(index))),
      expect: { status: 200, keep: since },
    },
    { ...options, clients },
  );
  await verify(space, base + sent.reduce((sum, count) => sum + count, 0));
  return row;
}

// Every push took exactly one version: none was lost, refused or applied twice.
async function verify(space, expected) {
  const path = `/sync/pull?epoch=${space.epoch}&since=${expected}&consistency=strong`;
  const answer = await once(space.runtime.headwater, space.get(path));
  check(answer, { status: 200 });
  const { version } = JSON.parse(answer.body);
  if (version !== expected) throw new Error(`${expected} versions were pushed, the space is at ${version}`);
}
