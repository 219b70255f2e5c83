// What a space has used: what each answer, message and alarm says of itself, and the ledger that adds it up by days.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { usedBy } from "./device.mjs";
import { eventually, startRuntime } from "./harness.mjs";
import { Member, spaceId } from "./member.mjs";
import { sharedHash } from "./published.mjs";
import { listen } from "./socket.mjs";

const put = (id, value = {}) => ({ op: "put", collection: "c", id, value });

/** Lines of the log of an event. */
const linesOf = (runtime, event) =>
  runtime.logs.join("").split("\n").filter((line) => line.startsWith("{") && line.endsWith("}"))
    .map((line) => JSON.parse(line)).filter((line) => line.event === event);

/** All days of a ledger in one. */
function total(days) {
  const sum = {};
  for (const { day, ...used } of days) {
    assert.match(day, /^\d{4}-\d\d-\d\d$/);
    for (const [meter, number] of Object.entries(used)) sum[meter] = (sum[meter] ?? 0) + number;
  }
  return sum;
}

describe("usage", () => {
  let runtime;
  before(async () => {
    // No alarm rings while a test counts.
    const variables = { ANALYTICS: "log", PUBLISH_AFTER_PULLS: "1000", PUBLISH_INTERVAL_MS: "60000", PUBLISH_MAX_DELAY_MS: "600000" };
    runtime = await startRuntime({ variables });
  });
  after(() => runtime.stop());

  const usageOf = async (who, id) => {
    const answer = await who.ask("GET", `/spaces/${id}/usage`);
    assert.equal(answer.status, 200, answer.text);
    const used = usedBy(answer.response);
    assert.deepEqual([used.object, used.rows_written], [1, 0], "it asks once and writes nothing");
    return total(answer.body.days);
  };
  const points = (index) => linesOf(runtime, "point").filter(({ indexes }) => indexes[0] === index);

  test("a private space's ledger is what the answers said, with the Worker requests that never reached the object", async () => {
    const writer = new Member(runtime, "alice");
    const said = { rowsWritten: 0, alarmsSet: 0, objectRequests: 0, workerRequests: 0 };
    const count = ({ response }) => {
      const used = usedBy(response);
      said.workerRequests += 1;
      said.objectRequests += used.object ?? 0;
      said.rowsWritten += used.rows_written ?? 0;
      said.alarmsSet += used.alarms_set ?? 0;
      return used;
    };
    count(await writer.ask("GET", "/sync/pull"));
    const opened = await usageOf(writer, "~");
    for (let n = 1; n <= 5; n += 1) {
      const body = { client: writer.client, mutations: [{ id: n, changes: [put("a", { n })] }] };
      const used = count(await writer.ask("POST", "/sync/push", { body }));
      if (n > 1) assert.equal(used.rows_written, 3, "two for the record and one for the client, with what was used in it");
    }
    for (let n = 0; n < 10; n += 1) count(await writer.ask("GET", "/sync/pull?consistency=eventual"));
    const used = await usageOf(writer, "~");
    assert.equal(used.workerRequests, said.workerRequests + 2, "with the two that have asked for this");
    assert.equal(used.objectRequests, said.objectRequests + 2);
    assert.equal(used.rowsWritten - opened.rowsWritten, said.rowsWritten, "opening a space writes rows that no answer tells of");
    assert.equal(used.alarmsSet, said.alarmsSet);
    assert.ok(said.objectRequests < said.workerRequests, "memory has answered");
  });

  test("owners see it, nobody else", async () => {
    const [owner, writer, stranger] = ["owner", "writer", "stranger"].map((name) => new Member(runtime, name));
    const id = await owner.create(spaceId("usage"));
    await owner.set(id, writer, "writer");
    assert.ok((await usageOf(owner, id)).rowsWritten > 0);
    for (const who of [writer, stranger]) assert.equal((await who.ask("GET", `/spaces/${id}/usage`)).status, 403);
    assert.equal((await owner.ask("POST", `/spaces/${id}/usage`)).status, 405);
    await owner.ask("DELETE", `/spaces/${id}`);
    assert.equal((await owner.ask("GET", `/spaces/${id}/usage`)).status, 410);
  });

  test("what was written down with a push outlives the instance, to the row", async () => {
    const writer = new Member(runtime, "alice");
    for (let n = 1; n <= 3; n += 1) {
      await writer.ask("POST", "/sync/push", { body: { client: writer.client, mutations: [{ id: n, changes: [put("a", { n })] }] } });
    }
    const before = await usageOf(writer, "~");
    await runtime.restart();
    const after = await usageOf(writer, "~");
    assert.equal(after.rowsWritten, before.rowsWritten, "all rows were written down, and the alarm that was set behind them");
    assert.deepEqual([after.alarmsSet, after.objectRequests], [before.alarmsSet, before.objectRequests]);
  });

  test("a socket that has asked for it is told what each message has used, and messages are in the ledger", async () => {
    const writer = new Member(runtime, "alice");
    const [plain, asked] = [await listen(runtime, writer.token), await listen(runtime, writer.token, { usage: "1" })];
    assert.equal((await plain.push("c_plain-000", 1, [put("a")])).used, undefined);
    assert.equal((await asked.push("c_asked-000", 1, [put("b")])).status, 200);
    const { used } = await asked.push("c_asked-000", 2, [put("b", { n: 1 })]);
    assert.deepEqual([used.messages, used.rowsWritten, used.objectRequests], [1, 3, undefined]);
    assert.equal((await usageOf(writer, "~")).messages, 3);
    await Promise.all([plain.close(), asked.close()]);
  });

  test("each of several pulls has a line of its own that says `part`, and the line of the request has the sum", async () => {
    const member = new Member(runtime, "member");
    const id = await member.create(spaceId("parts"));
    await member.put(id, "a");
    const list = [{ consistency: "strong" }, { space: id, grant: await member.grant(id), consistency: "strong" }, { space: "~", sinse: 1 }];
    const answer = await member.ask("POST", "/sync/pulls", { body: { pulls: list } });
    const request = answer.response.headers.get("headwater-request");
    const of = () => linesOf(runtime, "request").filter((line) => line.request === request);
    const lines = await eventually("the request is in the log", () => of().some(({ part }) => !part) && of());
    const whole = lines.at(-1);
    const parts = lines.slice(0, -1);
    assert.deepEqual([whole.route, whole.part, whole.workerRequests], ["pulls", undefined, 1]);
    assert.deepEqual(parts.map(({ route, part }) => [route, part]), list.map(() => ["pull", true]));
    assert.deepEqual(parts.map(({ status, code }) => code ?? status).sort(), [200, 200, "malformed"]);
    assert.equal(whole.objectRequests, 2);
    for (const meter of ["objectRequests", "rowsRead"]) assert.equal(parts.reduce((sum, line) => sum + (line[meter] ?? 0), 0), whole[meter], meter);
  });

  test("each alarm and each message has a line and a point, and so has each request, with what its object has used", async () => {
    const owner = new Member(runtime, "owner");
    const id = await owner.create(spaceId("points"));
    const pushed = await owner.put(id, "a");
    const line = await eventually("the push is in the log", () =>
      linesOf(runtime, "request").find(({ request }) => request === pushed.response.headers.get("headwater-request")));
    assert.equal(line.rowsWritten, usedBy(pushed.response).rows_written);
    const [point] = await eventually("the push is a point", () => {
      const found = points(sharedHash(id)).filter(({ blobs }) => blobs[1] === "push");
      return found.length > 0 && found;
    });
    assert.deepEqual(point.blobs, ["request", "push", "200"]);
    assert.equal(point.doubles.length, 13);
    assert.deepEqual([point.doubles[0], point.doubles[5], point.doubles[8]], [1, 1, line.rowsWritten]);
  });
});

test("an alarm writes down what it has used, and what clients' rows have no more is in no sum twice", async () => {
  const runtime = await startRuntime({ variables: { ANALYTICS: "log" } });
  try {
    const owner = new Member(runtime, "owner");
    const id = await owner.create(spaceId("alarm"));
    for (let n = 0; n < 3; n += 1) {
      await owner.put(id, "a", { n });
      await eventually("it is published", () => linesOf(runtime, "published").length > n);
    }
    const alarms = await eventually("each alarm has a line", () => {
      const lines = linesOf(runtime, "alarm");
      return lines.length >= 3 && lines;
    });
    assert.ok(alarms.every(({ outcome, objectRequests }) => outcome === "done" && objectRequests === 1));
    assert.equal(linesOf(runtime, "point").filter(({ blobs }) => blobs[0] === "alarm").length, alarms.length);
    const { body } = await owner.ask("GET", `/spaces/${id}/usage`);
    const used = total(body.days);
    assert.equal(used.kvWrites, alarms.reduce((sum, { kvWrites = 0 }) => sum + kvWrites, 0));
    await runtime.restart();
    const again = total((await owner.ask("GET", `/spaces/${id}/usage`)).body.days);
    assert.equal(again.kvWrites, used.kvWrites, "what a publication put was written down with it");
  } finally {
    await runtime.stop();
  }
});
