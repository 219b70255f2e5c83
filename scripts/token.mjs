// `npm run token -- --sub alice [--ttl 3600]`: prints a token that the local server accepts, and nothing else, so
// that `$(npm run -s token -- --sub alice)` can stand in a command.

import { createHmac } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Stop, isMain, main, root } from "./setup.mjs";

// One `NAME = "value"` per line is all that either file holds of interest here.
function variablesIn(text) {
  const lines = text.matchAll(/^[ \t]*([A-Z_]+)[ \t]*=[ \t]*(?:"([^"]*)"|'([^']*)'|([^#\s]*))/gm);
  return Object.fromEntries([...lines].map(([, name, ...values]) => [name, values.find((value) => value !== undefined)]));
}

/** What the local server is told: the top level's `[vars]`, not those of an environment, and the secrets. */
export function localVariables(config, secrets) {
  const vars = config.split(/^\[vars\].*$/m)[1] ?? "";
  return { ...variablesIn(vars.split(/^\[/m)[0]), ...variablesIn(secrets) };
}

function read(file) {
  const path = join(root, file);
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A token for the local server, signed with the secret of .dev.vars. */
export function token(sub, ttl = 3600) {
  const variables = localVariables(read("wrangler.toml"), read(".dev.vars"));
  if (!variables.JWT_SECRET) throw new Stop("JWT_SECRET is not in .dev.vars. `npm start` makes it.");
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub, iat: now, exp: now + ttl };
  // Either may be a list, of which one will do.
  const one = (list) => list.split(",")[0].trim();
  if (variables.JWT_ISSUER) claims.iss = one(variables.JWT_ISSUER);
  if (variables.JWT_AUDIENCE) claims.aud = one(variables.JWT_AUDIENCE);
  const signed = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", variables.JWT_SECRET).update(signed).digest("base64url")}`;
}

if (isMain(import.meta)) {
  await main(() => {
    const options = { sub: { type: "string" }, ttl: { type: "string", default: "3600" } };
    const { values } = parseArgs({ options });
    const ttl = Number(values.ttl);
    if (!values.sub || !(ttl > 0)) throw new Stop("usage: npm run token -- --sub alice [--ttl 3600]");
    console.log(token(values.sub, ttl));
  });
}
