// `npm run build` in client/: both packages with source maps and types into client/dist, and what they weigh.

import { execFileSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** How both packages are built. Planted mistakes are erased; names that end in `_` are internal, and get short ones. */
export const OPTIONS = {
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  sourcemap: true,
  mangleProps: /[^_]_$/,
  define: { "globalThis.__PLANTED__": '""' },
  external: ["dexie"],
  logLevel: "warning",
};

/** The entry points that there are, and where they go. `parts`: what is only weighed. */
const ENTRIES = { core: "core/src/index.ts", dexie: "dexie/src/index.ts" };
const PARTS = { codec: "core/src/codec.ts", ops: "core/src/ops.ts", machine: "core/src/space.ts", device: "core/src/device.ts" };

const gzipped = (bytes) => gzipSync(bytes, { level: 9 }).length;

/** Bytes of each entry and part, minified and gzipped. */
export async function weigh() {
  const weights = {};
  for (const [name, path] of Object.entries({ ...ENTRIES, ...PARTS })) {
    if (!existsSync(here(path))) continue;
    const { outputFiles } = await build({ ...OPTIONS, entryPoints: [here(path)], write: false, sourcemap: false, outdir: "out" });
    weights[name] = gzipped(outputFiles[0].contents);
  }
  return weights;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(here("dist"), { recursive: true, force: true });
  const entries = Object.entries(ENTRIES).filter(([, path]) => existsSync(here(path)));
  const entryPoints = entries.map(([out, path]) => ({ in: here(path), out }));
  await build({ ...OPTIONS, entryPoints, outdir: here("dist") });
  const tsc = here("../node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--project", here("tsconfig.build.json")], { stdio: "inherit" });
  console.log("bytes, minified and gzipped:", await weigh());
}
