// A budget for the day, in its own object: what is above it is not put into KV, pulls end before pushes do, and both say so.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, startRuntime } from "./harness.mjs";

const variables = { BUDGET_KV_WRITES_PER_DAY: "1", BUDGET_OBJECT_REQUESTS_PER_DAY: "50" };

let runtime;
before(async () => (runtime = await startRuntime({ variables })));
after(() => runtime.stop());

test("one value is put on a day that has one, all pushes are taken, and a pull that ends names the budget", async () => {
  // Each time somebody else: one user with most of the requests would have to pause.
  const pushes = async () => {
    const device = runtime.device(runtime.subject());
    await device.load("c", [["r", { n: 1 }]]);
    return device;
  };
  const health = async () => (await (await runtime.fetch("home", "/health")).json()).budget;
  const first = await pushes();
  await runtime.waitForPublished(first.sub, first.min);
  const second = await pushes();
  await eventually("the reserve", async () => {
    await pushes();
    return ["reserve", "nothing"].includes((await health()).objectRequests);
  });
  assert.equal((await health()).kvWrites, "nothing");
  const puts = async ({ sub }) => (await runtime.kv("home", sub)).puts.length;
  assert.deepEqual([await puts(first), await puts(second)], [1, 0]);
  const last = await pushes();
  const pull = await last.askPull({ consistency: "strong" });
  const { code, budget, retryAfter } = pull.body;
  const told = [pull.status, code, budget, pull.response.headers.get("retry-after")];
  assert.deepEqual(told, [503, "overloaded", "object_requests", `${retryAfter}`]);
  const headers = { "content-type": "application/json" };
  const several = await last.ask("/sync/pulls", { method: "POST", headers, body: JSON.stringify({ pulls: [{ consistency: "strong" }] }) });
  assert.deepEqual([several.status, several.body.pulls[0].status, several.body.pulls[0].body.budget], [200, 503, "object_requests"]);
  const [, left, ends] = /^object-requests=(\w+), ends=(\d+)$/.exec(several.response.headers.get("headwater-budget"));
  assert.ok(["reserve", "nothing"].includes(left) && Math.abs(ends - several.body.pulls[0].body.retryAfter) <= 1);
});
