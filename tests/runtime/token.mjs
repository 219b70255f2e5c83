// JSON Web Tokens for tests, made without the code under test.

import { createHmac } from "node:crypto";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A signed token. `alg` names the algorithm in the header, which need not be the one that signs. */
export function mintToken(claims, { secret = "", alg = "HS256", hash = "sha256", header = {} } = {}) {
  const signed = `${encode({ alg, typ: "JWT", ...header })}.${encode(claims)}`;
  const signature = alg === "none" ? "" : createHmac(hash, secret).update(signed).digest("base64url");
  return `${signed}.${signature}`;
}
