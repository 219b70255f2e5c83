// `node scripts/reference.mjs`: writes docs/API.md from the types of the packed package, so after `npm run pack`.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { Stop, isMain, main, root } from "./setup.mjs";

const PACKAGE = join(root, "build/packages/headwater");
const PAGE = join(root, "docs/API.md");
const PARTS = [
  ["headwater/worker", "The server, in a Worker of your own.", "worker/index.d.ts"],
  ["headwater/dexie", "The client for Dexie.", "client/types/dexie/src/index.d.ts"],
];
const OPENING = `# API

What the packages export, made from their types by \`node scripts/reference.mjs\`. How they are used: [GETTING-STARTED.md](GETTING-STARTED.md). What goes over the wire:
[PROTOCOL.md](PROTOCOL.md). \`headwater/client\`, the core for other stores than Dexie, has its types only: [SPEC.md](../client/SPEC.md) says what it does.
`;

const DECLARATION = /^export (?:declare )?(?:default )?(?:abstract )?(?:class|interface|type|function|const) (\w+)/;

/** Each exported declaration of a file with the comment before it, by name. Types are indented by four spaces, so a line that begins otherwise ends one. */
function declarationsOf(text) {
  const found = new Map();
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at += 1) {
    const name = DECLARATION.exec(lines[at])?.[1];
    if (!name) continue;
    let from = at;
    if (lines[at - 1]?.endsWith("*/")) for (from -= 1; !lines[from].startsWith("/**"); ) from -= 1;
    let to = at;
    while (!/[;}]$/.test(lines[to]) || /^ /.test(lines[to])) to += 1;
    found.set(name, lines.slice(from, to + 1));
  }
  return found;
}

/** The files that a declaration's file takes exported names from. */
const sourcesOf = (text) => [...text.matchAll(/from "(\.[^"]+)"/g)].map(([, path]) => path.replace(/\.[jt]s$/, ".d.ts"));

function exportsOf(path) {
  const text = readFileSync(path, "utf8");
  const all = new Map(declarationsOf(text));
  for (const source of sourcesOf(text)) {
    const file = resolve(dirname(path), source);
    for (const [name, lines] of declarationsOf(readFileSync(file, "utf8"))) if (new RegExp(`export [^;]*\\b${name}\\b[^;]* from`).test(text)) all.set(name, lines);
  }
  return all;
}

/** What an app does not make by itself has no constructor that concerns it. */
function shown(lines) {
  const text = lines.join("\n").replace(/^export (declare )?/gm, "");
  return text.replace(/^ {4}(?:#private|constructor\(.*\));\n/gm, "").replaceAll("    ", "  ");
}

/** The page as it is to be. */
export function reference() {
  if (!existsSync(PACKAGE)) throw new Stop("The packages are not there. Run `npm run pack`.");
  const part = ([name, what, path]) => {
    const entries = [...exportsOf(join(PACKAGE, path))].sort(([a], [b]) => (a < b ? -1 : 1));
    return `\n## ${name}\n\n${what}\n${entries.map(([entry, lines]) => `\n### ${entry}\n\n\`\`\`ts\n${shown(lines)}\n\`\`\`\n`).join("")}`;
  };
  return OPENING + PARTS.map(part).join("");
}

if (isMain(import.meta)) await main(() => writeFileSync(PAGE, reference()));
