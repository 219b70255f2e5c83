#!/usr/bin/env node
// `npm create headwater@latest my-app`: an app that syncs, with its server, in a new folder.

import { randomBytes } from "node:crypto";
import { cpSync, existsSync, readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { parseArgs } from "node:util";

const TEMPLATES = { vanilla: "TypeScript without a framework", react: "React", svelte: "Svelte" };
const USAGE = `usage: npm create headwater@latest my-app [-- --template ${Object.keys(TEMPLATES).join("|")}]`;
const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;

function stop(message) {
  console.error(`${message}\n${USAGE}`);
  process.exit(1);
}

async function choose() {
  if (!process.stdin.isTTY) return "vanilla";
  const names = Object.keys(TEMPLATES);
  for (const [at, name] of names.entries()) console.log(`  ${at + 1}  ${name}: ${TEMPLATES[name]}`);
  const asking = createInterface({ input: process.stdin, output: process.stdout });
  const said = (await asking.question("Which template? [1] ")).trim() || "1";
  asking.close();
  return names[Number(said) - 1] ?? said;
}

let parsed;
try {
  parsed = parseArgs({ allowPositionals: true, options: { template: { type: "string", short: "t" } } });
} catch (error) {
  stop(error.message);
}
const { values, positionals } = parsed;
if (positionals.length !== 1) stop("Say in which folder.");
const folder = resolve(positionals[0]);
if (existsSync(folder) && readdirSync(folder).length > 0) stop(`${folder} is there already, and not empty.`);
const template = values.template ?? (await choose());
if (!Object.hasOwn(TEMPLATES, template)) stop(`There is no template "${template}".`);

cpSync(join(here, "templates/shared"), folder, { recursive: true });
cpSync(join(here, "templates", template), folder, { recursive: true });
// npm leaves out files of this name when it packs.
renameSync(join(folder, "gitignore"), join(folder, ".gitignore"));
// Names of Workers are lower case letters, digits and dashes.
const name = basename(folder).toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "app";
for (const file of ["package.json", "wrangler.jsonc", "index.html", "README.md"]) {
  const path = join(folder, file);
  writeFileSync(path, readFileSync(path, "utf8").replaceAll("{{name}}", name));
}
const secret = () => randomBytes(32).toString("hex");
writeFileSync(join(folder, ".dev.vars"), `# Secrets of the local server. Never commit them.\nJWT_SECRET="${secret()}"\nGRANT_SECRET="${secret()}"\n`, { mode: 0o600 });

const manager = /^(\w+)/.exec(process.env.npm_config_user_agent ?? "")?.[1] ?? "npm";
console.log(`\nMade ${name} in ${folder}.\n\n  cd ${relative(process.cwd(), folder) || "."}\n  ${manager} install\n  ${manager} run dev\n\nHow to deploy it, and the two secrets it needs then, stands in its README.md.\n`);
