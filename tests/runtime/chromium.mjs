// A real browser for tests. There is no way around one: what a browser's cache stores, sends along and hands out again is
// written down in nobody's code but its own.

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const ADVICE =
  "Install it (`apt-get install chromium` on Debian, `npx playwright-core install chromium` anywhere), or set CHROMIUM=/path/of/its/program.";
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

function program() {
  const { CHROMIUM } = process.env;
  if (CHROMIUM) {
    if (existsSync(CHROMIUM)) return CHROMIUM;
    throw new Error(`There is no program at CHROMIUM=${CHROMIUM}. ${ADVICE}`);
  }
  const found = [...PLACES, chromium.executablePath()].find((place) => existsSync(place));
  if (!found) throw new Error(`This test needs Chromium or Chrome, and none was found. ${ADVICE}`);
  return found;
}

/** A browser with an empty profile of its own: its context, the profile's folder, and what ends both. */
export async function startChromium() {
  const profile = await mkdtemp(join(tmpdir(), "headwater-chromium-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath: program(), args: FLAGS });
  return { context, profile, stop: () => context.close().finally(() => rm(profile, { recursive: true, force: true })) };
}
