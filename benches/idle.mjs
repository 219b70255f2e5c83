// An object with a thousand sockets that say nothing but pings: how often its code runs, and that it sleeps.
import { once, request } from "./client.mjs";
import { Space } from "./space.mjs";
import { Pusher } from "./sockets.mjs";

const USERS = 10;
const SOCKETS_OF_USER = 100;
/** What runs the code of an object. */
const EVENTS = ["object_requests", "socket_messages", "alarms", "socket_closes"];
const PING = '{"type":"ping"}';
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What has been used so far. */
export async function countsOf(runtime) {
  const { body } = await once(runtime.headwater, request("GET", "/__counts"));
  const { counts, seen } = JSON.parse(body);
  return { ...counts, ...seen };
}

export const between = (before, after) => Object.fromEntries(Object.keys(after).map((name) => [name, after[name] - before[name]]));

/** Waits until objects have had nothing to do for so long. */
export async function rested(runtime, ms) {
  let [counts, since] = [await countsOf(runtime), performance.now()];
  while (performance.now() - since < ms) {
    await pause(200);
    const now = await countsOf(runtime);
    if (EVENTS.some((name) => now[name] !== counts[name])) since = performance.now();
    counts = now;
  }
}

async function opened(runtime, users, id) {
  const sockets = [];
  for (const { authorization } of users) {
    const token = authorization.slice("Bearer ".length);
    for (let one = 0; one < SOCKETS_OF_USER; one += 1) {
      const socket = new Pusher(runtime.headwater, token, id);
      // One after the other: the local runtime keeps an object awake whose sockets were opened at once, also one of ten lines.
      await socket.opened;
      sockets.push(socket);
    }
  }
  return sockets;
}

/** Resolves when each socket has heard a message of this type. */
const hear = (sockets, type) =>
  Promise.all(sockets.map((socket) => new Promise((resolve) => (socket.heard = (text) => text.startsWith(`{"type":"${type}"`) && resolve()))));

/**
 * `runs`: how often the object was called while its sockets pinged once in so many seconds, and for how many milliseconds; `slept`:
 * whether it was not in memory any more when it was woken; `told_ms`: until all sockets knew of the change that woke it.
 */
export async function idleSockets(runtime, { seconds }) {
  process.stderr.write("  idle sockets ");
  const id = "idle";
  const users = await Space.shared(runtime, id, Array.from({ length: USERS }, (_, user) => `idle-${user}`));
  const sockets = await opened(runtime, users, id);
  await rested(runtime, 3000);
  const before = await countsOf(runtime);
  await pause((seconds * 1000) / 4);
  const pongs = hear(sockets, "pong");
  for (const { socket } of sockets) socket.send(PING);
  await pongs;
  await pause((seconds * 1000 * 3) / 4);
  const used = between(before, await countsOf(runtime));
  const runs = EVENTS.reduce((sum, name) => sum + used[name], 0);
  const told = hear(sockets, "changes");
  const woken = performance.now();
  const { body } = await once(runtime.headwater, users[0].push({ client: "c_idle_one", mutations: [{ id: 1, changes: [{ op: "put", collection: "c", id: "a", value: {} }] }] }));
  if (!String(body).includes('"applied"')) throw new Error(`the push was answered ${body}`);
  await told;
  const toldMs = performance.now() - woken;
  const slept = between(before, await countsOf(runtime)).instances > used.instances;
  for (const { socket } of sockets) socket.close();
  process.stderr.write("\n");
  return { sockets: sockets.length, seconds, pings: sockets.length, runs, ms: used.object_ms, slept, told_ms: toldMs };
}
