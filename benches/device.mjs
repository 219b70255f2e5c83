// Everything about the client: what it adds to an app's writes, its first load, how soon another device sees a change, what goes over the
// wire, and what pushes and idle sockets use. The browser is one Chromium, the server the real Worker on the local runtime.
import { weigh } from "../client/build.mjs";
import { captures } from "../client/dexie/benches/capture.mjs";
import { firstLoad } from "../client/dexie/benches/first-load.mjs";
import { live } from "../client/dexie/benches/live.mjs";
import { wire } from "../client/dexie/benches/wire.mjs";
import { startBrowser } from "../client/dexie/tests/browser.ts";
import { costs } from "./costs.mjs";
import { idleSockets } from "./idle.mjs";
import { startCounted, startSockets } from "./runtime.mjs";
import { socketPushes } from "./sockets.mjs";

const FULL = { rounds: 7, ms: 1000, captures: 15, loads: { "1k": [1000, 15], "10k": [10_000, 7], "100k": [100_000, 3] }, changes: 200, idleSeconds: 16, pushes: 500 };
const QUICK = { rounds: 5, ms: 500, captures: 5, loads: { "1k": [1000, 5], "10k": [10_000, 3] }, changes: 50, idleSeconds: 14, pushes: 200 };

async function inBrowser(options) {
  const browser = await startBrowser("../benches/page.ts");
  const runtime = await startSockets({ ALLOWED_ORIGINS: browser.originOf() });
  try {
    const loads = {};
    for (const [name, [count, rounds]] of Object.entries(options.loads)) loads[name] = await firstLoad(browser, runtime, { count, rounds, warmUp: count < 100_000 });
    return {
      first_load: loads,
      capture: await captures(browser, { rounds: options.captures }),
      live: await live(browser, runtime, { changes: options.changes }),
      wire: await wire(browser, runtime, { changes: 15 }),
    };
  } finally {
    await runtime.stop();
    await browser.stop();
  }
}

async function withSockets({ rounds, ms }) {
  const runtime = await startSockets();
  try {
    return { eight: await socketPushes(runtime, { rounds, ms, clients: 8 }), many: await socketPushes(runtime, { rounds, ms, clients: 32 }) };
  } finally {
    await runtime.stop();
  }
}

async function counted({ idleSeconds, pushes }) {
  const runtime = await startCounted();
  try {
    return { idle: await idleSockets(runtime, { seconds: idleSeconds }), costs: await costs(runtime, { pushes }) };
  } finally {
    await runtime.stop();
  }
}

export async function device({ quick }) {
  process.stderr.write("client\n");
  const options = quick ? QUICK : FULL;
  return { ...(await inBrowser(options)), ...(await withSockets(options)), ...(await counted(options)), gzip_bytes: (await weigh()).dexie };
}

/** The figures by the names under which they are asked for. */
export const namedFigures = (client) =>
  client && {
    first_load_vs_floor_1k: client.first_load["1k"].ratio,
    first_load_vs_floor_10k: client.first_load["10k"].ratio,
    first_load_vs_floor_100k: client.first_load["100k"]?.ratio,
    capture_put_vs_dexie: client.capture.put.ratio,
    capture_update_vs_dexie: client.capture.update.ratio,
    capture_ten_vs_dexie: client.capture.ten.ratio,
    capture_bulk_vs_dexie: client.capture.bulk.ratio,
    live_p99_vs_broadcast: client.live.p99_ratio,
    live_p50_vs_broadcast: client.live.p50_ratio,
    live_p99_vs_broadcast_update: client.live.p99_ratio_updated,
    live_p50_vs_broadcast_update: client.live.p50_ratio_updated,
    socket_push_vs_http_8: client.eight.vs_http.ratio,
    socket_push_vs_http_32: client.many.vs_http.ratio,
    socket_push_vs_minimal_8: client.eight.vs_minimal.ratio,
    socket_push_vs_minimal_32: client.many.vs_minimal.ratio,
    client_gzip_bytes: client.gzip_bytes,
  };
