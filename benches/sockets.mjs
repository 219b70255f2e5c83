// One-record pushes over sockets, beside the same by HTTP, and beside a minimal object in JavaScript that does a push's work. All
// clients are in one space, so each socket of Headwater also hears what the others write; those of the minimal object do not.
import { load, median, once } from "./client.mjs";
import { timed } from "./compare.mjs";
import { Space } from "./space.mjs";

const change = (prefix, index, id) => ({ op: "put", collection: "c", id: `${prefix}${index}-${id % 100}`, value: { visits: id, text: "x".repeat(200) } });

/** A socket with one push under way at a time. `heard` is called with every message. */
export class Pusher {
  constructor(url, token, space = "~") {
    this.socket = new WebSocket(`${url.replace("http", "ws")}/sync/live?space=${space}`, ["headwater.v1", `bearer.${token}`]);
    this.opened = new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onerror = reject;
    });
    this.heard = () => {};
    this.socket.onmessage = ({ data }) => {
      this.heard(data);
      if (!data.startsWith('{"type":"answer"')) return;
      if (!data.includes('"status":"applied"')) throw new Error(`a push was answered ${data}`);
      this.answered();
    };
    this.n = 0;
  }

  push(body) {
    this.n += 1;
    const answer = new Promise((resolve) => (this.answered = resolve));
    this.socket.send(`{"type":"push","n":${this.n},"body":${JSON.stringify(body)}}`);
    return answer;
  }
}

export function pushing(prefix, count, epoch) {
  const sent = Array(count).fill(0);
  const next = (index) => {
    const id = ++sent[index];
    return { client: `c_${prefix}_${index + 10}`, epoch, acked: id - 1, mutations: [{ id, changes: [change(prefix, index, id)] }] };
  };
  return { next, total: () => sent.reduce((sum, one) => sum + one, 0) };
}

/** As many pushers at full speed for so long. */
async function over(pushers, next, ms) {
  const times = [];
  const end = performance.now() + ms;
  await Promise.all(
    pushers.map(async (pusher, index) => {
      while (performance.now() < end) {
        const began = performance.now();
        await pusher.push(next(index));
        times.push(performance.now() - began);
      }
    }),
  );
  times.sort((one, other) => one - other);
  const at = (share) => times[Math.floor((times.length - 1) * share)];
  return { requests: times.length, perSecond: (times.length * 1000) / ms, p50: at(0.5), p99: at(0.99) };
}

async function sockets(url, count, token) {
  const pushers = Array.from({ length: count }, () => new Pusher(url, token));
  await Promise.all(pushers.map(({ opened }) => opened));
  return pushers;
}

export async function socketPushes(runtime, { clients, rounds, ms }) {
  const space = new Space(runtime, `sockets-${clients}`);
  await space.fill([{ id: "first", value: {} }]);
  const token = space.authorization.slice("Bearer ".length);
  const [bySocket, byHttp, minimal] = ["socket", "http", "floor"].map((name) => pushing(name, clients, space.epoch));
  const ours = await sockets(runtime.headwater, clients, token);
  const theirs = await sockets(runtime.floor, clients, token);
  const sides = {
    socket: (time) => timed(() => over(ours, bySocket.next, time)),
    http: (time) => timed(() => load(runtime.headwater, { next: (index) => space.push(byHttp.next(index)), expect: { status: 200 }, count: clients, ms: time })),
    minimal: (time) => timed(() => over(theirs, minimal.next, time)),
  };
  for (const side of Object.values(sides)) await side(ms / 2);
  const all = [];
  for (let round = 0; round < rounds; round += 1) {
    const one = {};
    for (const [name, side] of Object.entries(sides)) one[name] = await side(ms);
    all.push(one);
    process.stderr.write(".");
  }
  for (const { socket } of [...ours, ...theirs]) socket.close();
  const pushed = 1 + bySocket.total() + byHttp.total();
  const { body } = await once(runtime.headwater, space.get(`/sync/pull?epoch=${space.epoch}&since=${pushed}&consistency=strong`));
  const { version } = JSON.parse(body);
  if (version !== pushed) throw new Error(`${pushed} versions were pushed, the space is at ${version}`);
  const ratios = (other) => all.map((one) => one.socket.perSecond / one[other].perSecond);
  const side = (name) => Object.fromEntries(["perSecond", "p50", "p99", "cpu"].map((figure) => [figure, median(all.map((one) => one[name][figure]))]));
  const range = (list) => ({ ratio: median(list), lowest: Math.min(...list), highest: Math.max(...list) });
  return { clients, socket: side("socket"), http: side("http"), minimal: side("minimal"), vs_http: range(ratios("http")), vs_minimal: range(ratios("minimal")) };
}
