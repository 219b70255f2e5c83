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
const firstDay = (address, ...options) => interrupted("", address, ...options);

/** The same; it is interrupted once it has said `interruptAt`. */
async function interrupted(interruptAt, address, ...options) {
  const sub = runtime.subject("first-day");
  const token = runtime.token(sub);
  const child = spawn(process.execPath, [SCRIPT, address, "--burst", "400", ...options], { env: { ...process.env, HEADWATER_TOKEN: token } });
  let text = "";
  const heard = (chunk) => {
    text += chunk;
    if (!interruptAt || child.killed || !text.includes(interruptAt)) return;
    child.kill("SIGINT");
  };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", heard);
  const [code] = await once(child, "exit");
  const points = (mark) => text.split("\n").filter((line) => line.startsWith(mark)).map((line) => /^. ([^:]+)/.exec(line)[1]);
  return { sub, code, text, right: points("✓"), wrong: points("✗"), left: points("–") };
}

const PUT = '"op":"put"';

/** What is left of the script's records and spaces. */
async function leftOf(sub) {
  const device = await runtime.truth(sub);
  const { body } = await device.ask("/spaces");
  return [device.records.size, body.spaces.filter(({ id }) => id !== "~").map(({ id }) => id)];
}

/** A zone in front of the Worker whose protection answers instead, if `refuses` a request; after the Worker, if it `isLate`. */
async function zone(refuses, isLate = false) {
  const worker = await runtime.url("home");
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const isRefused = refuses(body.toString(), request);
    const refuse = () => response.writeHead(403, { "content-type": "text/html", server: "cloudflare" }).end(PAGE);
    if (isRefused && !isLate) return refuse();
    const { host: _, connection: __, "content-length": ___, ...headers } = request.headers;
    const init = { method: request.method, headers, body: body.length > 0 ? body : undefined, redirect: "manual" };
    const answer = await fetch(worker + request.url, init);
    if (isRefused) return refuse();
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

  for (const isLate of [false, true]) {
    test(`keeps what it has where the largest push ends with a page ${isLate ? "and was carried out" : "of the platform"}, and leaves nothing behind`, async () => {
      const { address, close } = await zone((body) => body.split(PUT).length > 1000, isLate);
      const { sub, code, text, right, wrong } = await firstDay(address);
      close();
      assert.equal(code, 1, text);
      assert.deepEqual(wrong, ["pushes"], text);
      assert.match(text, /500 changes \d+ ms .*; a push of 2000 changes: .* not Headwater's: 403/);
      for (const point of ["publication", "a burst", "emptying"]) assert.ok(right.includes(point), text);
      assert.deepEqual(await leftOf(sub), [0, []]);
    });
  }

  test("empties the space, and deletes the shared ones, also where it has stopped or failed half-way", async () => {
    let made = 0;
    const { address, close } = await zone((_, { method, url }) => method === "PUT" && url.startsWith("/spaces/") && (made += 1) > 3);
    const stopped = await zone((body) => body.includes(PUT));
    const [failed, early] = await Promise.all([firstDay(address, "--large"), firstDay(stopped.address)]);
    close();
    stopped.close();
    assert.deepEqual([failed.wrong, early.wrong], [["large pushes"], ["pushes"]], failed.text + early.text);
    for (const { sub, right, text } of [failed, early]) {
      assert.equal(right.at(-1), "emptying", text);
      assert.deepEqual(await leftOf(sub), [0, []]);
    }
    assert.ok(made > 3);
  });

  test("empties all the same when it is interrupted while shared spaces are filled", async () => {
    const { sub, code, text, right } = await interrupted("✓ nasty notes", await runtime.url("home"), "--large");
    assert.equal(code, 1, text);
    assert.equal(right.at(-1), "emptying", text);
    assert.match(text, /Stopped\./);
    assert.deepEqual(await leftOf(sub), [0, []]);
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
