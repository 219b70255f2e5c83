// Data that comes from Dexie Cloud: what its command line exports, brought into a space by scripts/import-dexie-cloud.mjs.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Member } from "../runtime/member.mjs";
import { useCloud } from "./cloud.mjs";

const SCRIPT = fileURLToPath(new URL("../../scripts/import-dexie-cloud.mjs", import.meta.url));
const ALICE = "alice@example.com";
const SHARED = "rlm0abcdef";
const cloud = useCloud();

let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "headwater-import-"));
});
after(() => rm(folder, { recursive: true, force: true }));

const owned = { realmId: ALICE, owner: ALICE };
/** As `npx dexie-cloud export --legacy` writes it. */
const DATA = {
  [ALICE]: {
    notes: {
      n: { id: "n", title: "old", at: { $t: "Date", v: "1970-01-01T00:00:00.007Z" }, $$dollar: 1, ...owned },
      [`#me:${ALICE}`]: { id: `#me:${ALICE}`, title: "private", ...owned },
    },
    pairs: { '["x",1]': { a: "x", b: 1, n: 5, ...owned } },
    members: { mmb0: { realmId: ALICE, email: ALICE } },
  },
  [SHARED]: { notes: { s: { id: "s", title: "shared", realmId: SHARED, owner: ALICE } }, realms: { [SHARED]: { realmId: SHARED, name: "Team" } } },
};
const legacy = (data) => JSON.stringify({ schema: { notes: "" }, sealed: false, demoUsers: {}, roles: {}, data }, null, 2);
/** As `data.ndjson` in its ZIP. */
const lines = (data) => {
  const rows = Object.entries(data).flatMap(([realm, tables]) =>
    Object.entries(tables).flatMap(([table, values]) => Object.entries(values).map(([id, value]) => ({ realm, table, id, data: value }))));
  return [{ type: "schema", tables: { notes: "" }, sealed: false }, { type: "roles", roles: {} }, ...rows].map((line) => `${JSON.stringify(line)}\n`).join("");
};

/** Runs the script on a file of this content; gives {code, said}. */
async function imports(content, args = [], token = "") {
  const file = join(folder, "export");
  await writeFile(file, content);
  const env = { ...process.env, HEADWATER_URL: cloud.origin, HEADWATER_TOKEN: token };
  return new Promise((done) => {
    execFile(process.execPath, [SCRIPT, file, ...args], { env }, (error, out, wrong) => done({ code: error?.code ?? 0, said: out + wrong }));
  });
}

describe("an export of Dexie Cloud", () => {
  for (const [form, write] of [["one JSON", legacy], ["lines", lines]]) {
    test(`as ${form} says which realms it has, and the user's own comes into the private space as it was`, async () => {
      const user = cloud.user();
      const listed = await imports(write(DATA));
      assert.match(listed.said, /alice@example\.com: notes 2, pairs 1, members 1\nrlm0abcdef: notes 1, realms 1\nRealms: 2\./);
      const { code, said } = await imports(write(DATA), ["--realm", ALICE], cloud.runtime.token(user));
      assert.deepEqual([code, said], [0, "Rows imported: 3. There already, and left as they were: 0.\nLeft out, of realms, members and roles: 1. See docs/DEXIE-CLOUD.md.\n"]);
      const device = await cloud.device(user);
      const mine = { realmId: user, owner: user };
      assert.deepEqual(await device.row("notes", "n"), { id: "n", title: "old", at: new Date(7), $dollar: 1, ...mine });
      assert.deepEqual(await device.row("notes", "#me"), { id: "#me", title: "private", ...mine });
      assert.deepEqual(await device.rows("pairs"), [{ a: "x", b: 1, n: 5, ...mine }]);
    });
  }

  test("that is imported again leaves what was edited since as it is", async () => {
    const user = cloud.user();
    const again = () => imports(legacy(DATA), ["--realm", ALICE], cloud.runtime.token(user));
    await again();
    const device = await cloud.device(user);
    await device.run((db) => db.notes.update("n", { title: "new" }));
    await device.sync();
    assert.match((await again()).said, /^Rows imported: 0\. There already, and left as they were: 3/);
    await device.sync();
    assert.equal((await device.row("notes", "n")).title, "new");
  });

  test("of a shared realm comes into a shared space, whose members have its rows", async () => {
    const [owner, writer] = ["owner", "writer"].map((role) => new Member(cloud.runtime, role));
    const space = await owner.create();
    assert.equal((await owner.set(space, writer, "writer")).status, 200);
    const { code, said } = await imports(legacy(DATA), ["--realm", SHARED, "--space", space], owner.token);
    assert.equal(code, 0, said);
    const device = await cloud.device(writer.sub, { space });
    assert.deepEqual(await device.rows("notes"), [{ id: "s", title: "shared", realmId: writer.sub, owner: ALICE }]);
  });

  test("of many rows comes whole, and rows that cannot be kept are named", async () => {
    const user = cloud.user();
    const notes = Object.fromEntries(Array.from({ length: 700 }, (_, n) => [`n${n}`, { n, text: "x".repeat(4_000), ...owned }]));
    Object.assign(notes, { large: { text: "x".repeat(300_000) }, file: { photo: { _bt: "Blob", ref: "1:abc", size: 5_000 } }, "line\nend": { n: 1 } });
    const { code, said } = await imports(lines({ [ALICE]: { notes } }), ["--realm", ALICE], cloud.runtime.token(user));
    assert.equal(code, 1);
    assert.match(said, /^Rows imported: 700\./);
    assert.deepEqual([...said.matchAll(/^not imported: notes (\w+)/gm)].map(([, id]) => id), ["file", "large", "line"]);
    assert.equal((await cloud.runtime.truth(user)).records.size, 700);
  });

  test("with a realm that is not in it, or without a good token, says so and changes nothing", async () => {
    const user = cloud.user();
    const token = cloud.runtime.token(user);
    assert.match((await imports(legacy(DATA), ["--realm", "bob@example.com"], token)).said, /has no realm bob@example\.com/);
    const forged = await imports(legacy(DATA), ["--realm", ALICE], cloud.runtime.token(user, {}, { secret: "x".repeat(32) }));
    assert.deepEqual([forged.code, /401 unauthenticated/.test(forged.said)], [1, true], forged.said);
    assert.match((await imports("no export")).said, /Line 1 is no JSON/);
    assert.equal((await cloud.runtime.truth(user)).records.size, 0);
  });
});
