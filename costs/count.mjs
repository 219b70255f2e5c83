// Counts the operations that the platform bills, on the real runtime, for each way that a request can take: costs/counts.json.

import { readFileSync, writeFileSync } from "node:fs";
import { Stage } from "./stage.mjs";
import { alternatives } from "./scenarios/alternatives.mjs";
import { firstPublications, publications } from "./scenarios/publications.mjs";
import { publishedPulls } from "./scenarios/published-pulls.mjs";
import { pulls } from "./scenarios/pulls.mjs";
import { pushes } from "./scenarios/pushes.mjs";

const FILE = new URL("counts.json", import.meta.url);
/** As a deployment has it by default: nothing is published while the scripts run. */
const BY_DEFAULT = { PUBLISH_AFTER_PULLS: "50", PUBLISH_MAX_DELAY_MS: "900000", PUBLISH_INTERVAL_MS: "30000" };
/** The same, but a change is published after a second. */
const SOON = { ...BY_DEFAULT, PUBLISH_MAX_DELAY_MS: "1000", PUBLISH_INTERVAL_MS: "1000" };
/** A turn that takes longer than the interval sets another alarm, and one that puts megabytes may take seconds on a busy machine. */
const SOON_ONCE = { ...SOON, PUBLISH_INTERVAL_MS: BY_DEFAULT.PUBLISH_INTERVAL_MS };
const EAGER = { eager: { variables: { PUBLISH_AFTER_PULLS: "0" } } };
/** What was published before a script reads it is older than a location takes for new, and younger than it has confirmed. */
const AHEAD_MS = 120_000;

const ATTEMPTS = 3;

/** What scripts count on a stage of their own. */
async function on(options, ...scripts) {
  for (let attempt = 1; ; attempt += 1) {
    const stage = await Stage.set(options);
    try {
      for (const script of scripts) await script(stage);
      return await stage.strike();
    } catch (error) {
      await stage.runtime.stop({ mayPanic: true });
      // A runtime that the machine has held for 5 s closes its connections; then nobody knows what was done, and it all begins again.
      if (error.cause?.code !== "UND_ERR_SOCKET" || attempt === ATTEMPTS) throw error;
    }
  }
}

/** Counts by path, in the order of their names; each is `{n, used}`: what was used for doing it n times. */
export async function count() {
  const all = await Promise.all([
    on({ locations: ["a"], variables: BY_DEFAULT }, pulls, pushes),
    on({ locations: ["a"], variables: SOON, ahead: AHEAD_MS }, publications),
    on({ locations: ["a"], variables: SOON_ONCE, ahead: AHEAD_MS }, firstPublications),
    on({ locations: ["eager", "shared"], variables: SOON, differing: EAGER, ahead: AHEAD_MS }, publishedPulls),
    alternatives(),
  ]);
  return Object.fromEntries(Object.entries(Object.assign({}, ...all)).sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** A path on each line. */
export function written(counts) {
  const lines = Object.entries(counts).map(([path, one]) => `  ${JSON.stringify(path)}: ${JSON.stringify(one)}`);
  return `{\n${lines.join(",\n")}\n}\n`;
}

export const kept = () => JSON.parse(readFileSync(FILE, "utf8"));

export const keep = (counts) => writeFileSync(FILE, written(counts));
