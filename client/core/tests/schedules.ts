// Lists of steps for world.ts, as fast-check makes and shortens them.

import fc from "fast-check";
import type { Step } from "./world.ts";

const step = fc.tuple(fc.nat(99), fc.nat(60), fc.nat(60)) as fc.Arbitrary<Step>;
export const steps: fc.Arbitrary<Step[]> = fc.array(step, { minLength: 20, maxLength: 160, size: "max" });
