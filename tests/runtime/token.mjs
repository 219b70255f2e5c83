// JSON Web Tokens for tests, made without the code under test.

import { createHmac, generateKeyPairSync, sign } from "node:crypto";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A signed token. `alg` names the algorithm in the header, which need not be the one that signs. */
export function mintToken(claims, { secret = "", alg = "HS256", hash = "sha256", header = {} } = {}) {
  const signed = `${encode({ alg, typ: "JWT", ...header })}.${encode(claims)}`;
  const signature = alg === "none" ? "" : createHmac(hash, secret).update(signed).digest("base64url");
  return `${signed}.${signature}`;
}

const KINDS = {
  ES256: ["ec", { namedCurve: "P-256" }, "sha256"],
  ES384: ["ec", { namedCurve: "P-384" }, "sha384"],
  EdDSA: ["ed25519", {}, null],
  RS256: ["rsa", { modulusLength: 2048 }, "sha256"],
};

/** A key pair that signs tokens, with its public half as an issuer publishes it. */
export function makeSigner(alg, kid, options = {}) {
  const [type, parameters, hash] = KINDS[alg];
  const { publicKey, privateKey } = generateKeyPairSync(type, { ...parameters, ...options });
  const jwk = { ...publicKey.export({ format: "jwk" }), kid, alg, use: "sig" };
  const mint = (claims, { header = {}, dsaEncoding = "ieee-p1363" } = {}) => {
    const signed = `${encode({ alg, kid, typ: "JWT", ...header })}.${encode(claims)}`;
    return `${signed}.${sign(hash, Buffer.from(signed), { key: privateKey, dsaEncoding }).toString("base64url")}`;
  };
  return { alg, kid, jwk, publicKey, mint };
}
