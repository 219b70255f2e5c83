// The script for the first day with an account: it finds everything right where everything is, and says what is not where
// something else answers. What only Cloudflare does is beyond it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { startRuntime } from "./harness.mjs";

const SCRIPT = fileURLToPath(new URL("../../scripts/first-day.mjs", import.meta.url));
const PAGE = "<html><title>Attention Required! | Cloudflare</title></html>";

let runtime;
before(async () => (runtime = await startRuntime({ variables: { RATE_USER_PER_S: "15" } })));
after(() => runtime.stop());

/** Runs the script to its end. */
async function firstDay(address, ...options) {
  const token = runtime.token(runtime.subject("first-day"));
  const child = spawn(process.execPath, [SCRIPT, address, "--burst", "400", ...options], { env: { ...process.env, HEADWATER_TOKEN: token } });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (text += chunk));
  const [code] = await once(child, "exit");
  const points = (mark) => text.split("\n").filter((line) => line.startsWith(mark)).map((line) => /^. ([^:]+)/.exec(line)[1]);
  return { code, text, right: points("✓"), wrong: points("✗"), left: points("–") };
}

/** A zone in front of the Worker whose protection answers instead, if `refuses` a body. */
async function zone(refuses) {
  const worker = await runtime.url("home");
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    if (refuses(body.toString())) return response.writeHead(403, { "content-type": "text/html", server: "cloudflare" }).end(PAGE);
    const { host: _, connection: __, "content-length": ___, ...headers } = request.headers;
    const init = { method: request.method, headers, body: body.length > 0 ? body : undefined, redirect: "manual" };
    const answer = await fetch(worker + request.url, init);
    const { "content-encoding": ____, "content-length": _____, ...rest } = Object.fromEntries(answer.headers);
    response.writeHead(answer.status, rest).end(Buffer.from(await answer.arrayBuffer()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { address: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

describe("the script for the first day", { concurrency: 3 }, () => {
  test("finds everything right on a server that is as it should be, and leaves nothing behind", async () => {
    const { code, text, right, wrong, left } = await firstDay(await runtime.url("home"), "--origin", "https://app.test");
    assert.equal(code, 0, text);
    assert.deepEqual([wrong, left], [[], ["large pushes"]], text);
    assert.equal(right.length, 10, text);
    assert.match(text, /429 rate_limited/);
    assert.match(text, /By hand/);
  });

  test("says so, with what came, where pages of something else come instead of answers", async () => {
    const { address, close } = await zone(() => true);
    const { code, text, wrong } = await firstDay(address);
    close();
    assert.equal(code, 1);
    assert.deepEqual(wrong, ["health"]);
    assert.match(text, /not Headwater's: 403 text\/html from server cloudflare: <html><title>Attention/);
  });

  test("names the notes that the zone's protection refuses, and looks at everything else", async () => {
    const { address, close } = await zone((body) => body.includes("<script>"));
    const { code, text, wrong } = await firstDay(address);
    close();
    assert.equal(code, 1, text);
    assert.deepEqual(wrong, ["nasty notes"], text);
    assert.match(text, /1 of 20 notes are refused/);
  });

  test("stops before it touches a space that holds anything else", async () => {
    const device = runtime.device(runtime.subject());
    await device.push([{ op: "put", collection: "todos", id: "t1", value: {} }]);
    const child = spawn(process.execPath, [SCRIPT, await runtime.url("home"), "--token", device.token], { stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (text += chunk));
    const [code] = await once(child, "exit");
    assert.equal(code, 1);
    assert.match(text, /holds records \(todos\)/);
    assert.equal((await runtime.truth(device.sub)).records.size, 1);
  });
});
