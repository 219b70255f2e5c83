// `npm run crash -- --rounds 100 [--seed 7]`: kills the runtime with SIGKILL again and again while clients push and pull,
// and looks at what is left; see tests/runtime/crash.mjs. The last line has the figures. Ends with 1 when anything was
// lost, repeated or read back in time. A seed makes the same choices again; when a kill hits is the machine's.

import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "./build.mjs";
import { Stop, main, run, setup, tools } from "./setup.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "100" },
    seed: { type: "string", default: String(Date.now() % 2 ** 31) },
    inside: { type: "boolean", default: false },
  },
});
const [rounds, seed] = [Number(values.rounds), Number(values.seed)];

async function play() {
  const { crashRounds } = await import("../tests/runtime/crash.mjs");
  const [start, figures] = [performance.now(), {}];
  const line = () => {
    const seconds = Math.round((performance.now() - start) / 1000);
    return Object.entries({ ...figures, seconds, seed }).map(([name, value]) => `${name} ${value}`).join(" · ");
  };
  console.log(`crash: ${rounds} rounds, --seed ${seed}`);
  try {
    await crashRounds({ rounds, seed, figures, onLife: () => console.log(`  ${line()}`) });
  } catch (error) {
    console.error(`\n${error.stack}\n\nfailed: ${line()}`);
    process.exit(1);
  }
  console.log(`done: ${line()}`);
}

await main(async () => {
  if (!(rounds > 0 && seed >= 0)) throw new Stop("--rounds and --seed are numbers.");
  // Miniflare wants the Node that set-up installs, whatever Node runs this one.
  if (values.inside) return play();
  setup();
  build();
  const args = [fileURLToPath(import.meta.url), "--inside", "--rounds", values.rounds, "--seed", values.seed];
  run(tools.node, args, "What was lost stands above.");
});
