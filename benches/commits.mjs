// One-record pushes where commits take as long as on the platform: there a commit is durable when other machines have it, here
// when the disk has. An object makes one commit at a time, so what counts is how many pushes share one.
import { load, once } from "./client.mjs";
import { timed } from "./compare.mjs";
import { Space } from "./space.mjs";

const CLIENTS = [1, 8, 32];

/** Pushes a second, their times in ms, and µs of processor time for each; then that none was lost and none applied twice. */
export async function commits(runtime, commitMs, { ms }) {
  const rows = [];
  for (const clients of CLIENTS) {
    const space = new Space(runtime, `commits-${clients}`);
    const sent = Array(clients).fill(0);
    const next = (index) => {
      const id = ++sent[index];
      const change = { op: "put", collection: "c", id: `r${index}-${id % 100}`, value: { visits: id, text: "x".repeat(200) } };
      return space.push({ client: `c_commits_${index + 10}`, acked: id - 1, mutations: [{ id, changes: [change] }] });
    };
    const run = (time) => timed(() => load(runtime.headwater, { next, expect: { status: 200 }, count: clients, ms: time }));
    await run(ms / 4);
    const { perSecond, p50, p99, cpu } = await run(ms);
    const { body } = await once(runtime.headwater, space.get("/sync/pull?consistency=strong&since=0"));
    const pushed = sent.reduce((sum, count) => sum + count, 0);
    const { version } = JSON.parse(body);
    if (version !== pushed) throw new Error(`${pushed} versions were pushed, the space is at ${version}`);
    rows.push({ commitMs, clients, perSecond, p50, p99, cpu });
    process.stderr.write(".");
  }
  return rows;
}
