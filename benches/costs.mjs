// What a million one-record pushes cost over a socket and by HTTP: every operation that is billed is counted for some of them, and
// multiplied by the list prices (costs/prices.json).
import { readFileSync } from "node:fs";
import { perMillion } from "../costs/model.mjs";
import { Connection } from "./client.mjs";
import { between, countsOf, rested } from "./idle.mjs";
import { Space } from "./space.mjs";
import { Pusher, pushing } from "./sockets.mjs";

const prices = JSON.parse(readFileSync(new URL("../costs/prices.json", import.meta.url), "utf8"));

/** Billed operations for each push, and dollars for a million of them. Processor time and duration are not in it. */
function bill(used, pushes) {
  const each = Object.fromEntries(Object.entries(used).map(([name, count]) => [name, count / pushes]));
  const billed = Object.fromEntries(Object.entries(each).filter(([name]) => name in prices.operations));
  return { ...each, dollars_per_million: perMillion(billed, prices, { time: false }) };
}

/** One client that pushes one record after the other, while another device of its user listens. */
export async function costs(runtime, { pushes }) {
  process.stderr.write("  costs ");
  const space = new Space(runtime, "costs");
  await space.fill([{ id: "first", value: {} }]);
  const token = space.authorization.slice("Bearer ".length);
  const listening = new Pusher(runtime.headwater, token);
  await listening.opened;
  const socket = new Pusher(runtime.headwater, token);
  await socket.opened;
  const connection = await Connection.open(runtime.headwater);
  const ways = {
    socket: async (body) => void (await socket.push(body)),
    http: async (body) => {
      const { status, body: answer } = await connection.send(space.push(body), true);
      if (status !== 200 || !String(answer).includes('"applied"')) throw new Error(`a push was answered ${status} ${answer}`);
    },
  };
  const bills = {};
  for (const [name, push] of Object.entries(ways)) {
    const { next } = pushing(`costs_${name}`, 1, space.epoch);
    // Until each record is there and the client is known: what follows is the steady state.
    for (let one = 0; one < 100; one += 1) await push(next(0));
    await rested(runtime, 3000);
    const before = await countsOf(runtime);
    for (let one = 0; one < pushes; one += 1) await push(next(0));
    await rested(runtime, 3000);
    bills[name] = bill(between(before, await countsOf(runtime)), pushes);
  }
  for (const one of [listening, socket]) one.socket.close();
  connection.close();
  process.stderr.write(` ${Object.values(bills).map((one) => one.dollars_per_million.toFixed(2)).join(", ")}\n`);
  return { pushes, ...bills };
}
