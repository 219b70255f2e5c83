// Random schedules. A failure prints its seed and the shortest list of steps: SEED=… PATH_OF=… replays it.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { run, type Step } from "./world.ts";

const RUNS = Number(process.env["RUNS"] ?? 300);
export const steps = fc.array(fc.tuple(fc.nat(99), fc.nat(60), fc.nat(60)) as fc.Arbitrary<Step>, { minLength: 20, maxLength: 160, size: "max" });

test("whatever the network does, nothing is lost, doubled or unseen, and all devices end in the state of the server", async () => {
  const seed = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  const path = process.env["PATH_OF"];
  await fc.assert(
    fc.asyncProperty(steps, async (list) => {
      await run(list);
    }),
    { numRuns: RUNS, seed, ...(path && { path }), interruptAfterTimeLimit: 240_000 },
  );
  assert.ok(true, `seed ${seed}`);
});
