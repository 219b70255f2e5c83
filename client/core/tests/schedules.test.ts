// Random schedules. A failure prints its seed and path, and a short list of steps: SEED=… PATH_OF=… replays it.

import { test } from "node:test";
import fc from "fast-check";
import { steps } from "./schedules.ts";
import { run } from "./world.ts";

const { RUNS = 300, SEED = Math.floor(Math.random() * 2 ** 31), PATH_OF } = process.env;

test("whatever the network does, nothing is lost, doubled or unseen, and all devices end in the state of the server", async (context) => {
  context.diagnostic(`SEED=${SEED} RUNS=${RUNS}`);
  const schedules = fc.asyncProperty(steps, async (list) => void (await run(list)));
  await fc.assert(schedules, { numRuns: Number(RUNS), seed: Number(SEED), ...(PATH_OF && { path: PATH_OF }) });
});
