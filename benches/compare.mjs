// Measures two sides in turns, A B A B …, and takes the ratio of each pair: what slows the machine for a while slows
// both halves of a pair, and the median drops the pairs that it did not.
import { load, median } from "./client.mjs";
import { runtimeSeconds } from "./machine.mjs";
import { Used } from "./space.mjs";

// A side is { url, next, expect }: where, what to send, and what every answer has to be like.
export async function compare(name, headwater, floor, { clients, rounds, ms }) {
  process.stderr.write(`  ${name} `);
  const run = (side, time) => timed(() => load(side.url, { ...side, count: clients, ms: time }));
  await run(headwater, ms / 2);
  await run(floor, ms / 2);
  const pairs = [];
  for (let round = 0; round < rounds; round++) {
    pairs.push({ headwater: await run(headwater, ms), floor: await run(floor, ms) });
    process.stderr.write(".");
  }
  const row = summary(name, clients, pairs);
  row.used = await count(headwater, clients);
  process.stderr.write(` ${row.ratio.toFixed(2)}\n`);
  return row;
}

// Adds the processor time of the runtime per request, in microseconds.
export async function timed(work) {
  const before = runtimeSeconds();
  const figures = await work();
  const after = runtimeSeconds();
  const cpu = before === null || after === null ? NaN : ((after - before) * 1e6) / figures.requests;
  return { ...figures, cpu };
}

export function summary(name, clients, pairs) {
  const side = (which) => {
    const of = (figure) => median(pairs.map((pair) => pair[which][figure]));
    return { perSecond: of("perSecond"), p50: of("p50"), p99: of("p99"), cpu: of("cpu") };
  };
  const ratios = pairs.map((pair) => pair.headwater.perSecond / pair.floor.perSecond);
  return {
    name,
    clients,
    headwater: side("headwater"),
    floor: side("floor"),
    ratio: median(ratios),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
  };
}

// What the answers say they used, outside of the measured time because reading headers costs the generator.
async function count(side, clients) {
  const used = new Used();
  const onAnswer = (index, answer) => {
    side.onAnswer?.(index, answer);
    used.add(answer);
  };
  await load(side.url, { ...side, count: clients, ms: 500, onAnswer });
  return used.means();
}
