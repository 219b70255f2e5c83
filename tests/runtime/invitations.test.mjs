// Invitations by link, over HTTP: an owner makes one, whoever has its code becomes a member, and nobody else does.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startRuntime } from "./harness.mjs";

const JSON_TYPE = { "content-type": "application/json" };
let runtime;
before(async () => (runtime = await startRuntime()));
after(() => runtime.stop());

/** A space of a user of its own, and how others ask. */
async function staged() {
  const [owner, guest, other] = Array.from({ length: 3 }, () => runtime.device(runtime.subject()));
  const space = `s_${crypto.randomUUID().replaceAll("-", "")}`;
  assert.equal((await owner.ask(`/spaces/${space}`, { method: "PUT" })).status, 200);
  const invite = async (body) => owner.ask(`/spaces/${space}/invitations`, { method: "POST", headers: JSON_TYPE, body: JSON.stringify(body) });
  const accept = (device, code) => device.ask(`/invitations/${code}`, { method: "POST" });
  return { owner, guest, other, space, invite, accept };
}

describe("invitations", () => {
  test("whoever has the link becomes a member without being named, and finds the space in their list", async () => {
    const { owner, guest, other, space, invite, accept } = await staged();
    const invited = await invite({ role: "writer" });
    assert.equal(invited.status, 200, JSON.stringify(invited.body));
    const { code, invitation, uses, expiresIn } = invited.body;
    assert.match(code, new RegExp(`^${space}\\.[0-9a-z]+\\.${invitation}\\.[\\w-]{43}$`));
    assert.deepEqual([uses, expiresIn], [1, 7 * 24 * 3600 * 1000]);
    const accepted = await accept(guest, code);
    assert.deepEqual([accepted.status, accepted.body.space, accepted.body.role], [200, space, "writer"]);
    assert.equal((await accept(guest, code)).body.role, "writer", "an answer that was lost is given again");
    assert.equal((await accept(other, code)).status, 404, "it has been used up");
    const granted = await guest.ask(`/spaces/${space}/grant`, { method: "POST" });
    assert.equal(granted.body.role, "writer");
    const { body: members } = await owner.ask(`/spaces/${space}/members`);
    assert.ok(members.members.some(({ sub, role }) => sub === guest.sub && role === "writer"));
    const { body: list } = await guest.ask("/spaces");
    assert.ok(list.spaces.some((one) => one.space === space), JSON.stringify(list));
  });

  test("only owners make, see and take back invitations, and one that is taken back invites nobody", async () => {
    const { owner, guest, other, space, invite, accept } = await staged();
    const { body } = await invite({ role: "reader", uses: 5, expiresIn: 60_000 });
    assert.equal((await accept(guest, body.code)).body.role, "reader");
    for (const [path, method, asked] of [["", "POST", { role: "owner" }], ["", "GET"], [`/${body.invitation}`, "DELETE"]]) {
      const { status } = await guest.ask(`/spaces/${space}/invitations${path}`, { method, headers: JSON_TYPE, body: asked && JSON.stringify(asked) });
      assert.equal(status, 403, `${method} ${path}`);
    }
    const { body: list } = await owner.ask(`/spaces/${space}/invitations`);
    assert.deepEqual(list.invitations.map(({ invitation, role, uses }) => [invitation, role, uses]), [[body.invitation, "reader", 4]]);
    assert.equal((await owner.ask(`/spaces/${space}/invitations/${body.invitation}`, { method: "DELETE" })).status, 204);
    assert.equal((await accept(other, body.code)).status, 404);
  });

  test("a code that nobody has signed reaches no object", async () => {
    const { guest, invite, accept } = await staged();
    const { body } = await invite({ role: "owner" });
    for (const code of [body.code.slice(0, -2), body.code.replace(/^s_/, "t_"), "x", "a.b.1.c", `~.${body.code}`]) {
      const answer = await accept(guest, code);
      assert.ok([400, 404].includes(answer.status), `${code}: ${answer.status}`);
      assert.equal(answer.used.object ?? 0, 0, "the space was not asked");
    }
  });
});
