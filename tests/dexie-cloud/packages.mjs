// From where devices have the addon and Dexie: from ADDON_FOLDER, in which versions.mjs has installed others than those of package.json;
// and what older ones lack, which no server can give them.

import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const NAMES = /^(dexie|dexie-cloud-addon|y-dexie|yjs)(\/|$)/;
const folder = process.env.ADDON_FOLDER && resolve(process.env.ADDON_FOLDER);

/** Whether a package is of this version or a later one. */
function isSince(name, wanted) {
  const file = `${folder ?? fileURLToPath(new URL("../..", import.meta.url))}/node_modules/${name}/package.json`;
  const [has, wants] = [JSON.parse(readFileSync(file, "utf8")).version, wanted].map((version) => version.split(".").map(Number));
  const at = wants.findIndex((part, at) => part !== has[at]);
  return at < 0 || has[at] > wants[at];
}

export const knows = {
  /** A demo user of `requireAuth`. */
  demoUsers: isSince("dexie-cloud-addon", "4.0.12"),
  /** Before, whoever had not synced yet was nobody, whose edits are not kept one by one. */
  userFirst: isSince("dexie-cloud-addon", "4.2.0"),
  /** `add`, `remove`, `replacePrefix`. */
  propmods: isSince("dexie", "4.0.11"),
  upsert: isSince("dexie", "4.3.0"),
  /** Before, a `Set` came back as one of pairs. */
  sets: isSince("dexie-cloud-addon", "4.4.7"),
  /** In between, a pull that was asked for while another sync ended was forgotten. */
  everyPull: !isSince("dexie-cloud-addon", "4.2.0") || isSince("dexie-cloud-addon", "4.4.7"),
};

/** The options of a test that needs these. */
export const needs = (...names) => {
  const lacks = names.filter((name) => !knows[name]);
  return { skip: lacks.length > 0 && `this version lacks ${lacks}` };
};

/** From now on this process imports them from there. */
export function usePackages() {
  if (!folder) return;
  const parentURL = pathToFileURL(`${folder}/`).href;
  registerHooks({ resolve: (name, context, next) => next(name, NAMES.test(name) ? { ...context, parentURL } : context) });
}

/** What lets esbuild take them from there, for pages. */
export const plugins = [
  {
    name: "packages",
    setup(build) {
      const take = ({ path, kind, resolveDir }) => (resolveDir === folder ? undefined : build.resolve(path, { kind, resolveDir: folder }));
      if (folder) build.onResolve({ filter: NAMES }, take);
    },
  },
];
