// All faults at once, at random rates, from a seed that is printed (SEED=… plays it again): devices roam between
// locations, push and pull; when the faults end, everything has to come together.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { seeded } from "./faulty-kv.mjs";
import { eventually, startRuntime } from "./harness.mjs";

const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);
const LOCATIONS = ["home", "a", "b", "c"];
const SPACES = 6;
const DEVICES = 3;
const STEPS = 30;

let runtime;
before(async () => (runtime = await startRuntime({ locations: [...LOCATIONS.slice(1), "later"] })));
after(() => runtime.stop());

async function setFaults(sub, random) {
  for (const [at, location] of LOCATIONS.entries()) {
    const get = (fault, rate, ms) => ({ op: "get", role: "edge", fault, rate, ms });
    const put = (fault, rate, more) => ({ op: "put", fault, rate, ...more });
    const rules = [get("error", 0.15), get("miss", 0.2), get("timeout", 0.1, 300)];
    if (at === 0) {
      const late = (rate, answer) => put("late", rate, { ms: 500 + Math.floor(random() * 3000), answer, key: "head" });
      rules.push(put("error", 0.1), put("done-but-error", 0.1), put("timeout", 0.1, { ms: 400 }), put("limit", 0.1));
      rules.push(late(0.15, "error"), late(0.15));
    }
    const set = { staleMs: at === 0 ? 0 : [500, 4000, 9000][at - 1], objectLagMs: Math.floor(random() * 3000) };
    await runtime.kv(location, sub, { seed: seed + at, rules, set });
  }
}

/** What one device does for a while. It knows nothing of the others. */
async function live(device, random) {
  const below = (n) => Math.floor(random() * n);
  const pick = (list) => list[below(list.length)];
  for (let step = 0; step < STEPS; step += 1) {
    device.at = pick(LOCATIONS);
    if (below(3) === 0) await write(device, below, pick);
    else if (below(4) === 0) await device.stream({ cutAt: pick([1, 2, Infinity]) });
    else await device.pull({ consistency: pick(["session", "session", "eventual", "strong"]), method: pick(["GET", "POST"]) });
    if (device.resetsAt === step) await device.ask("/spaces/~/reset-epoch", { method: "POST" });
    await new Promise((resolve) => setTimeout(resolve, below(250)));
  }
}

async function write(device, below, pick) {
  const id = `r${below(700)}`;
  const at = { collection: "c", id };
  const changes = pick([
    [{ op: "put", ...at, value: { by: device.id, n: below(1000), s: "x".repeat(below(900)) } }],
    [{ op: "delete", ...at }],
    [{ op: "patch", ...at, set: { patched: below(1000) } }],
    [{ op: "add", ...at, path: "count", by: 1, orPut: { count: 1 } }, { op: "include", ...at, path: "tags", values: [device.id] }],
  ]);
  const since = device.epoch && below(2) ? { since: device.version, epoch: device.epoch } : {};
  const answer = await device.pushMutations([{ changes }], since);
  if (answer.status === 200) {
    assert.equal(answer.body.results[0].status, "applied");
    if (since.since !== undefined && !answer.body.more) device.applyPushAnswer(answer.body);
    return;
  }
  // The only refusal there may be: somebody has begun a new epoch.
  assert.deepEqual([answer.status, answer.body.code], [409, "epoch_mismatch"]);
  await device.pull({ min: answer.body.position });
  Object.assign(device, { id: `c_${device.id.length}_${below(1e9)}`.padEnd(14, "0"), next: 1, min: answer.body.position });
}

/** One space from its first record to the end of its faults and beyond; returns which faults it met. */
async function liveThrough(space) {
  const random = seeded(seed + space);
  const sub = runtime.subject();
  const first = runtime.device(sub);
  await first.load("c", Array.from({ length: 700 }, (_, at) => [`r${at}`, { at, s: "y".repeat(900) }]));
  await setFaults(sub, random);
  const devices = Array.from({ length: DEVICES }, () => runtime.device(sub));
  // Every other space begins a new epoch in the middle of it.
  if (space % 2) devices[0].resetsAt = 20;
  await Promise.all(devices.map((device, who) => live(device, seeded(seed + 100 * space + who))));

  for (const location of LOCATIONS) await runtime.kv(location, sub, { clear: true });
  const truth = await runtime.truth(sub);
  for (const device of devices) {
    await device.pull({ min: truth.position });
    assert.deepEqual([device.position, device.state()], [truth.position, truth.state()], `SEED=${seed}`);
  }
  let puts = -1;
  await eventually("no publication is left", async () => {
    const before = puts;
    puts = (await runtime.kv("home", sub)).puts.length;
    await new Promise((resolve) => setTimeout(resolve, 5000));
    return before === puts;
  });
  // A put that KV acknowledged and let land late is noticed by readers alone, so somebody reads now and then.
  await eventually(`KV's head reaches ${truth.position}`, async () => {
    await runtime.device(sub, { at: "later" }).pull({ min: truth.position });
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return (await runtime.head(sub))?.position === truth.position;
  });
  const { records } = await runtime.publishedState(sub);
  const wanted = truth.state().map(([key, value]) => [key, JSON.stringify(value)]);
  const got = [...records].map(([key, { value }]) => [key, JSON.stringify(value)]);
  assert.deepEqual(got.toSorted(([a], [b]) => (a < b ? -1 : 1)), wanted, `SEED=${seed}`);
  await runtime.checkPuts(sub);
  return LOCATIONS.map((location) => runtime.counts(location, sub));
}

test(`devices that roam among faulty locations never go back, and come together (SEED=${seed})`, async () => {
  // At one location half a minute passes every half second: what it keeps is old at once, and it looks into KV again.
  let ahead = 0;
  const later = setInterval(() => runtime.setClock("later", (ahead += 31_000)).catch(() => {}), 500);
  const met = {};
  try {
    const spaces = await Promise.all(Array.from({ length: SPACES }, (_, space) => liveThrough(space)));
    for (const counts of await Promise.all(spaces.flat())) {
      for (const [name, number] of Object.entries(counts)) {
        if (name.split(".").length === 4) met[name] = (met[name] ?? 0) + number;
      }
    }
  } finally {
    clearInterval(later);
    console.log(`soak: SEED=${seed}, faults met: ${JSON.stringify(met)}`);
  }
  assert.ok(Object.keys(met).length >= 6, "faults of many kinds were met");
});
