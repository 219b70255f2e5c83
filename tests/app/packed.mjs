// The packages as `npm run pack` makes them, in folders of somebody without this repository: installed, served, opened.

import { execFile, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { eventually } from "../runtime/harness.mjs";

export const root = fileURLToPath(new URL("../..", import.meta.url));
const packed = (name) => join(root, "build/packages", `${name}-${JSON.parse(readFileSync(join(root, "package.json"), "utf8")).version}.tgz`);
export const [headwater, create] = [packed("headwater"), packed("create-headwater")];

export const run = (program, args, cwd) => promisify(execFile)(program, args, { cwd, maxBuffer: 1e8 });
const viteOf = (app) => join(app, "node_modules/vite/bin/vite.js");

/** Vite with app and Worker, until the work is done. `preview` serves what was built; what a browser keeps belongs to one port. */
export async function serving(app, work, { command = "dev", port = 0 } = {}) {
  const vite = spawn(process.execPath, [viteOf(app), command, "--host", "127.0.0.1", "--port", String(port)], {
    cwd: app,
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined }, // its address is read, and where `CI` is set Vite colours it
  });
  let said = "";
  for (const stream of [vite.stdout, vite.stderr]) stream.on("data", (chunk) => (said += chunk));
  const stop = async () => {
    if (vite.exitCode !== null || !vite.kill()) return;
    await new Promise((ended) => vite.once("exit", ended));
  };
  try {
    const url = await eventually(() => `Vite serves; it said ${said}`, () => /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0], 90_000);
    return await work(url, stop);
  } finally {
    await stop();
  }
}

export const build = (app) => run(process.execPath, [viteOf(app), "build"], app);

/** A page in a browser of its own. */
export async function page(browser, url) {
  const context = await browser.context.browser().newContext();
  const opened = await context.newPage();
  await opened.goto(url);
  return opened;
}

/** The blocks of a page of the documentation that are files: they begin with their names. */
export function blocksOf(name) {
  const text = readFileSync(join(root, "docs", name), "utf8");
  const blocks = [...text.matchAll(/^```\w+\n((?:\/\/|#|<!--) ([\w./-]+\.\w+)\b[^]*?)^```$/gm)];
  return blocks.map(([, content, path]) => ({ path, content }));
}

/** Runs what pages of the documentation have npm do: what they install at once, with the packed package instead of npm's; then the rest. */
export async function install(app, ...pages) {
  const blocks = pages.flatMap((name) => [...readFileSync(join(root, "docs", name), "utf8").matchAll(/^```sh\n(npm [^]*?)^```$/gm)]);
  const commands = blocks.flatMap(([, block]) => block.trim().split("\n")).map((line) => line.replace(/ +#.*/, "").split(" ").slice(1));
  const isInstall = ([name]) => name === "install";
  const names = commands.filter(isInstall).flatMap((args) => args.slice(1)).filter((name) => name !== "-D");
  await run("npm", ["install", "--no-audit", "--no-fund", ...names.map((name) => (name === "headwater" ? headwater : name))], app);
  for (const args of commands.filter((args) => !isInstall(args))) await run("npm", args, app);
}

export function put(app, { path, content }) {
  mkdirSync(dirname(join(app, path)), { recursive: true });
  writeFileSync(join(app, path), content);
}
