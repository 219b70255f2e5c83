// Pushes by HTTP and over sockets, without the publication that follows them, and what sockets hear.

import assert from "node:assert/strict";
import { put, records } from "../stage.mjs";
import { listen } from "../../tests/runtime/socket.mjs";

const N = 6;
/** How long sockets are left alone. That an object with a thousand of them sleeps meanwhile is shown by `npm run bench -- --only client`. */
const IDLE_MS = 2_000;

/** A user with records and a device that has pushed before, while the alarm of the next publication is set. */
async function space(stage) {
  const sub = stage.user("pushes");
  const device = stage.device(sub, { at: "here" });
  await device.load("c", records(20, 200));
  await device.push([put("r1")]);
  return { sub, device };
}

const three = (at) => ["r1", "r2", "r3"].map((id) => ({ changes: [put(id, { at })] }));

async function byHttp(stage) {
  const { sub, device } = await space(stage);
  const repeat = (id, work) => stage.each(id, N, () => {}, (_, at) => work(at));
  const edit = (at) => put("r1", { at });
  await repeat("push", (at) => device.push([edit(at)]));
  await repeat("push.new_record", (at) => device.push([put(`new-${at}`)]));
  await device.pull();
  await repeat("push.with_since", async (at) => {
    const { body } = await device.pushMutations([{ changes: [edit(`since ${at}`)] }], { since: device.version });
    device.applyPushAnswer(body);
  });
  await repeat("push.deletion", (at) => device.push([{ op: "delete", collection: "c", id: `new-${at}` }]));
  await repeat("push.of_three_edits", (at) => device.pushMutations(three(at)));
  await repeat("push.first_of_client", (at) => stage.device(sub, { at: "here" }).push([put("r4", { at })]));
  await device.push([edit("repeated")]);
  await repeat("push.repeated", async () => {
    device.next -= 1;
    assert.ok((await device.push([edit("repeated")])).duplicate);
  });
}

async function bySocket(stage) {
  const { sub, device } = await space(stage);
  const token = stage.token(sub);
  const sockets = [];
  await stage.count("socket.open", N, async () => {
    for (let at = 0; at < N; at += 1) sockets.push(await listen(stage.runtime, token, { at: "here" }));
  });
  await stage.count("socket.ping", N, () => Promise.all(sockets.map((socket) => socket.ping())));
  const [pusher, ...listeners] = sockets;
  let id = 0;
  const epoch = pusher.greeting.epoch;
  const push = async (ids, envelope = {}) => {
    const heard = listeners.map(({ told }) => told.length);
    const mutations = ids.map((record) => ({ id: (id += 1), changes: [put(record, { id })] }));
    const { body, status } = await pusher.ask("push", { client: "c_costs_socket", epoch, ...envelope, mutations });
    assert.deepEqual([status, body.results.every((result) => result.status === "applied")], [200, true]);
    await Promise.all(listeners.map((socket, at) => socket.hears("changes", { skip: heard[at], where: ({ version }) => version === body.version })));
  };
  await push(["r1"]);
  await stage.count("push.socket", N, async () => {
    for (let at = 0; at < N; at += 1) await push(["r1"]);
  });
  await stage.count("push.socket.of_three_edits", N, async () => {
    for (let at = 0; at < N; at += 1) await push(["r1", "r2", "r3"]);
  });
  // What they hear is written by somebody without a socket, so what is used beside a push is for those who hear it.
  await stage.each("push.heard_by_six_sockets", N, () => {}, async (_, at) => {
    const heard = sockets.map(({ told }) => told.length);
    const { version } = await device.push([put("r1", { heard: at })]);
    await Promise.all(sockets.map((socket, of) => socket.hears("changes", { skip: heard[of], where: (message) => message.version === version })));
  });
  await stage.count("socket.token", N, () => Promise.all(sockets.map((socket) => socket.ask("token", token))));
  await stage.count("socket.pull", N, () => Promise.all(sockets.map((socket) => socket.ask("pull", { epoch, since: 0 }))));
  await stage.count("socket.idle", N, () => new Promise((later) => setTimeout(later, IDLE_MS)));
  for (const socket of sockets) await socket.close();
}

/** Needs a stage that does not publish within its run. */
export async function pushes(stage) {
  await byHttp(stage);
  await bySocket(stage);
}
