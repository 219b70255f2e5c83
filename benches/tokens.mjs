// What verifying a token costs: CPU of the runtime per request of a poll that memory answers, with tokens that were never
// seen before and with one that is remembered, and against /health, which asks for none.
import { createHmac, generateKeyPairSync, sign } from "node:crypto";
import { Connection, check, median, request } from "./client.mjs";
import { timed } from "./compare.mjs";
import { places } from "./dataset.mjs";
import { secret, startKv } from "./runtime.mjs";
import { Space } from "./space.mjs";

const ISSUER = "https://issuer.example";
const KINDS = {
  HS256: null,
  ES256: ["ec", { namedCurve: "P-256" }, "sha256"],
  EdDSA: ["ed25519", {}, null],
  RS256: ["rsa", { modulusLength: 2048 }, "sha256"],
};

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function signerOf(alg) {
  if (alg === "HS256") {
    return { sign: (signed) => createHmac("sha256", secret).update(signed).digest("base64url") };
  }
  const [type, options, hash] = KINDS[alg];
  const { publicKey, privateKey } = generateKeyPairSync(type, options);
  const key = { key: privateKey, dsaEncoding: "ieee-p1363" };
  const jwk = { ...publicKey.export({ format: "jwk" }), kid: alg, alg };
  return { jwk, sign: (signed) => sign(hash, Buffer.from(signed), key).toString("base64url") };
}

export async function tokens({ rounds, quick }) {
  const count = quick ? 2000 : 4000;
  const signers = Object.fromEntries(Object.keys(KINDS).map((alg) => [alg, signerOf(alg)]));
  const keys = Object.values(signers).flatMap(({ jwk }) => jwk ?? []);
  const runtime = await startKv({ JWT_KEYS: JSON.stringify({ keys }), JWT_ISSUER: ISSUER });
  const now = Math.floor(Date.now() / 1000);
  let minted = 0;
  const mint = (alg) => {
    const claims = { iss: ISSUER, sub: "bench", jti: minted++, iat: now, exp: now + 86_400 };
    const signed = `${encode({ alg, kid: alg === "HS256" ? undefined : alg, typ: "JWT" })}.${encode(claims)}`;
    return `Bearer ${signed}.${signers[alg].sign(signed)}`;
  };
  try {
    const space = new Space(runtime, "bench");
    await space.fill(places(20));
    await space.published();
    const path = `/sync/pull?epoch=${space.epoch}&since=${space.version}`;
    const poll = (authorization) => request("GET", path, { authorization });
    const runs = { health: () => Array(count).fill(request("GET", "/health")) };
    for (const alg of Object.keys(KINDS)) {
      const one = poll(mint(alg));
      runs[`${alg} first`] = () => Array.from({ length: count }, () => poll(mint(alg)));
      runs[`${alg} remembered`] = () => Array(count).fill(one);
    }
    return summarize(await measure(runtime, runs, rounds));
  } finally {
    await runtime.stop();
  }
}

// All kinds in turns, round after round: what slows the machine for a while slows each of them.
async function measure(runtime, runs, rounds) {
  const figures = Object.fromEntries(Object.keys(runs).map((name) => [name, []]));
  process.stderr.write("  tokens ");
  for (let round = 0; round <= rounds; round++) {
    for (const [name, make] of Object.entries(runs)) {
      // Made before the clock starts: to sign costs more than to verify.
      const { cpu, perSecond } = await send(runtime.headwater, make());
      if (round > 0) figures[name].push({ cpu, perSecond });
    }
    process.stderr.write(".");
  }
  process.stderr.write("\n");
  return figures;
}

async function send(url, requests) {
  const connections = await Promise.all(Array.from({ length: 8 }, () => Connection.open(url)));
  let next = 0;
  const figures = await timed(async () => {
    const start = performance.now();
    await Promise.all(
      connections.map(async (connection) => {
        while (next < requests.length) check(await connection.send(requests[next++], true), { status: 200 });
      }),
    );
    return { requests: requests.length, perSecond: (requests.length * 1000) / (performance.now() - start) };
  });
  for (const connection of connections) connection.close();
  return figures;
}

function summarize(figures) {
  const rows = {};
  for (const [name, all] of Object.entries(figures)) {
    const ratios = all.map(({ cpu }, round) => cpu / figures.health[round].cpu);
    rows[name] = { cpu: median(all.map(({ cpu }) => cpu)), perSecond: median(all.map((one) => one.perSecond)), vs_health: median(ratios) };
  }
  return rows;
}
