// Random edits on three devices, with breaks and restarts, against the server in memory: in the end all are the same. A failure prints
// the seed; SEED=… replays it, ROUNDS=… runs more of them.

import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { test } from "node:test";
import { add, remove } from "dexie";
import { decode } from "../../core/src/codec.ts";
import { createApp, newId } from "./app.ts";
import { Server } from "./server.ts";

const ROUNDS = Number(process.env["ROUNDS"] ?? 4);
const STEPS = 60;

function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

type Device = ReturnType<typeof createApp> & { name: string };
const native = <T>(promise: PromiseLike<T>) => new Promise<T>((resolve, reject) => promise.then(resolve, reject));

async function open(server: Server, name: string): Promise<Device> {
  const app = createApp(name, (asked) => server.ask(asked), { schema: { todos: "id, done" }, onConflict: () => "theirs" });
  await native(app.db.open());
  return { ...app, name };
}

async function edit({ db }: Device, random: (below: number) => number): Promise<unknown> {
  const todos = db.table("todos");
  const id = `t${random(6)}`;
  switch (random(9)) {
    case 0: return todos.put({ id, n: random(5), tags: ["a"], deep: { x: random(3), y: random(3) } });
    case 1: return todos.update(id, { n: random(9) });
    case 2: return todos.update(id, { n: add(1) } as never);
    case 3: return todos.update(id, { tags: add([`g${random(4)}`]) } as never);
    case 4: return todos.update(id, { tags: remove([`g${random(4)}`]), "deep.x": random(9) } as never);
    case 5: return todos.delete(id);
    case 6: return todos.toCollection().modify({ done: random(2) });
    case 7: return todos.bulkPut([{ id, when: new Date(random(9)) }, { id: `t${random(6)}`, n: 1 }]);
    default:
      return db.transaction("rw", todos, async () => {
        await todos.upsert(id, { n: random(9) });
        await todos.put({ id: `u${random(3)}`, n: random(9) });
        if (random(4) === 0) throw new Error("on purpose");
      }).catch(() => {});
  }
}

/** Syncs, or says how things stand. */
async function sync({ hw, warnings }: Device): Promise<void> {
  await hw.now().catch(async (error) => {
    throw new Error(`${error} ${JSON.stringify(hw.status.value)} ${warnings}`);
  });
}

async function world(seed: number): Promise<void> {
  const random = randomOf(seed);
  const server = new Server();
  server.pageSize = 3;
  const devices: Device[] = [];
  for (let i = 0; i < 3; i++) devices.push(await open(server, `random-${seed}-${i}-${newId()}`));
  for (let step = 0; step < STEPS; step++) {
    const at = random(3);
    const device = devices[at] as Device;
    const what = random(12);
    if (what < 8) await native(Promise.resolve(edit(device, random)));
    else if (what === 8) device.hw.pause();
    else if (what === 9) device.hw.resume();
    else if (what === 10) server.isDown = random(2) === 0;
    else {
      await device.hw.close();
      device.db.close();
      devices[at] = await open(server, device.name);
    }
    if (random(3) === 0) await new Promise((resolve) => setTimeout(resolve, random(40)));
  }
  server.isDown = false;
  // Decisions on conflicts are edits too, so it takes some rounds until nobody has any.
  for (let round = 0; round < 4; round++) {
    for (const device of devices) {
      device.hw.resume();
      await sync(device);
      // About a record that was asked for too often, a person is asked.
      for (const conflict of device.hw.conflicts.value) await conflict.resolve("theirs");
      await sync(device);
    }
  }
  const expected = new Map([...server.records].filter(([, { value }]) => value).map(([key, { value }]) => [key.slice(6), decode(JSON.stringify(value))]));
  for (const { db, hw, warnings } of devices) {
    const state = JSON.stringify([await db.table("_hw_spaces").toArray(), [...server.records].map(([key, { version, value }]) => [key, version, value])]);
    const all = (await db.table("todos").toArray()) as { id: string }[];
    assert.deepEqual(new Map(all.map(({ id, ...value }) => [id, value])), expected, `SEED=${seed} ${warnings} ${state}`);
    for (const store of ["_hw_outbox", "_hw_sent", "_hw_base", "_hw_marks", "_hw_notes"]) assert.equal(await db.table(store).count(), 0, `${store}, SEED=${seed}`);
    await hw.close();
    db.close();
  }
}

const first = Number(process.env["SEED"] ?? Math.floor(Math.random() * 1e9));
for (let round = 0; round < (process.env["SEED"] ? 1 : ROUNDS); round++) {
  test(`three devices with random edits come to the same (SEED=${first + round})`, () => world(first + round));
}
