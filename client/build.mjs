// `npm run build` in client/: both packages with source maps and types into client/dist, and what they weigh.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { minify } from "terser";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Properties that get short names, beside those that end in `_`: nothing stored, sent, public, or of the platform or Dexie. A test looks. */
export const INTERNAL = [
  "askAgain", "carryOut", "clearAll", "drafts", "halve", "hasRestarted", "hasTried", "hurry", "idOrNull", "isBegun", "isClosed", "isPending",
  "isProbing", "isStream", "isTaken", "isTokenNew", "isWhole", "keyProperty", "loadId", "mutationsMax", "newClient", "newTransaction", "noted", "onFollow",
  "onLead", "onPage", "onSpace", "probed", "refined", "rowKey", "spaceOrNone", "spaceProperty", "startDriver", "storing", "toRow", "toValue", "tokenEnds",
  "touched", "unsynced", "waitsUntil", "wishes", "writing",
];

/** How both packages are put together. Planted mistakes are erased. */
const OPTIONS = {
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: "external",
  mangleProps: new RegExp(`[^_]_$|^(${INTERNAL.join("|")})$`),
  define: { "globalThis.__PLANTED__": '""' },
  external: ["dexie"],
  logLevel: "warning",
  write: false,
};
/** What esbuild leaves is 4 in 100 shorter, gzipped, after a minifier that looks across statements. */
const COMPRESS = { passes: 2, pure_getters: true, hoist_funs: true };

/** The entry points that there are, and where they go. `parts`: what is only weighed. */
const ENTRIES = { core: "core/src/index.ts", dexie: "dexie/src/index.ts" };
const PARTS = { codec: "core/src/codec.ts", ops: "core/src/ops.ts", machine: "core/src/space.ts", device: "core/src/device.ts" };

/** The code of an entry, and its source map, with the sources in it. */
export async function built(name, path = ENTRIES[name]) {
  const { outputFiles } = await build({ ...OPTIONS, entryPoints: [here(path)], outfile: here(`dist/${name}.js`) });
  const [map, code] = outputFiles.map(({ text }) => text);
  return minify(code, { module: true, ecma: 2022, compress: COMPRESS, sourceMap: { content: map, includeSources: true } });
}

/** Bytes of each entry and part, minified and gzipped. */
export async function weigh() {
  const weights = {};
  for (const [name, path] of Object.entries({ ...ENTRIES, ...PARTS })) {
    if (!existsSync(here(path))) continue;
    const { code } = await built(name, path);
    weights[name] = gzipSync(code, { level: 9 }).length;
  }
  return weights;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(here("dist"), { recursive: true, force: true });
  mkdirSync(here("dist"));
  for (const [name, path] of Object.entries(ENTRIES)) {
    const { code, map } = await built(name, path);
    writeFileSync(here(`dist/${name}.js`), `${code}\n//# sourceMappingURL=${name}.js.map\n`);
    writeFileSync(here(`dist/${name}.js.map`), map);
  }
  const tsc = here("../node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--project", here("tsconfig.build.json")], { stdio: "inherit" });
  console.log("bytes, minified and gzipped:", await weigh());
}
