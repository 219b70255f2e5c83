// The notes app as people use it: in Chromium, before the real Worker. Pictures go to .headwater/pictures.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { eventually } from "../runtime/harness.mjs";
import { Stage } from "./stage.mjs";

const AXE = readFileSync(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

/** What a checker of accessibility finds wrong with a page; `without`: rules that do not hold for it. */
async function faults(page, without = []) {
  await page.evaluate(AXE);
  const rules = Object.fromEntries(without.map((rule) => [rule, { enabled: false }]));
  const { violations } = await page.evaluate((rules) => globalThis.axe.run(document, { resultTypes: ["violations"], rules }), rules);
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
}

describe("the notes app", () => {
  let stage;
  before(async () => {
    stage = await Stage.set();
  });
  after(() => stage.strike());

  /** Two people in one shared list of these notes, the last on top. */
  async function pair(...texts) {
    const alice = await stage.person("alice");
    await alice.addList("Groceries");
    for (const text of texts) await alice.add(text);
    const bob = await stage.person("bob");
    await bob.join(await alice.share());
    for (const one of [alice, bob]) await one.shows(...texts.toReversed());
    return { alice, bob };
  }

  test("two people and two tabs see what each other writes", async () => {
    const { alice, bob } = await pair("Bread", "Lemons");
    const tab = await stage.page(alice.sub, { context: alice.context });
    await tab.shows("Lemons", "Bread");
    await bob.add("Oat milk");
    for (const one of [alice, tab]) await one.shows("Oat milk", "Lemons", "Bread");
    await tab.write(1, "Limes");
    for (const one of [alice, bob]) await one.shows("Oat milk", "Limes", "Bread");
    await alice.page.getByRole("checkbox", { name: "Done: Bread" }).click();
    await bob.page.locator('.note[data-done="true"]', { hasText: "Bread" }).waitFor();
    await alice.status("In sync");
    await alice.page.locator(".exchanges li", { hasText: "Sent edits" }).first().waitFor();
    await alice.picture("light");
    assert.deepEqual([alice, bob, tab].flatMap(({ complaints }) => complaints), []);
  });

  test("offline on both sides, edits of different fields merge, and of the same field a person decides", async () => {
    const { alice, bob } = await pair("Lemons");
    for (const one of [alice, bob]) await one.network(false);
    await bob.page.getByRole("checkbox", { name: "Done: Lemons" }).click();
    await alice.write(0, "Lemons, unwaxed");
    await alice.status("Offline · 1 edit waits");
    for (const one of [alice, bob]) await one.network(true);
    await bob.shows("Lemons, unwaxed");
    await alice.page.locator('.note[data-done="true"]').waitFor();

    await bob.network(false);
    await bob.write(0, "Limes, four of them");
    await alice.write(0, "Lemons, six of them");
    await alice.status("In sync");
    await bob.network(true);
    await bob.press("Look and decide");
    const dialog = bob.page.getByRole("dialog");
    for (const [side, text] of [["Before", "Lemons, unwaxed"], ["Yours", "Limes, four of them"], ["Theirs", "Lemons, six of them"]]) {
      assert.match(await dialog.locator(`td[data-side="${side}"]`).first().innerText(), new RegExp(text));
    }
    assert.deepEqual(await faults(bob.page), []);
    await bob.picture("conflict");
    await dialog.getByLabel("Text as it will be").fill("Lemons and limes");
    await bob.press("Save what I merged");
    for (const one of [alice, bob]) await one.shows("Lemons and limes");
    assert.equal(await bob.page.getByRole("button", { name: "Look and decide" }).count(), 0);
  });

  test("what was written offline is there after a reload, before any network, and is sent when there is one", async () => {
    const alice = await stage.person("alice");
    await alice.addList("Diary");
    await alice.status("In sync");
    await alice.network(false);
    await alice.add("Rain");
    await alice.page.reload();
    await alice.shows("Rain");
    await alice.status("Offline · 1 edit waits");
    await alice.network(true);
    await alice.status("In sync");
    const elsewhere = await stage.page(alice.sub);
    await elsewhere.shows("Rain");
  });

  test("50,000 notes load with progress, also when the page is reloaded in the middle, and edits made meanwhile arrive", async () => {
    const alice = await stage.person("alice", {
      async prepare(sub) {
        const device = stage.runtime.device(sub);
        await device.load("lists", [["big", { title: "Everything" }]]);
        await device.load("notes", Array.from({ length: 50_000 }, (_, at) => [`n${at}`, { list: "big", text: `Note ${at}`, isDone: false, made: at }]));
      },
    });
    const loading = async () => Number(/Loading ([\d,]+)/.exec(await alice.page.locator(".status").innerText())?.[1]?.replaceAll(",", "") ?? 0);
    await eventually("the load shows its progress", async () => (await loading()) > 2000);
    await alice.page.reload();
    await eventually("the load goes on", async () => (await loading()) > 0);
    await alice.addList("Meanwhile");
    await alice.add("Written during the load");
    await alice.status("In sync");
    await alice.press("Everything");
    await alice.page.getByText("100 of 50,000 notes").waitFor();
    assert.equal((await alice.texts())[0], "Note 49999");
    const { records } = await stage.runtime.truth(alice.sub);
    assert.equal([...records].filter(([key]) => key.startsWith("notes")).length, 50_001);
  });

  test("the server is killed while somebody types, and nothing is lost", async () => {
    const { alice, bob } = await pair("First");
    const killed = stage.runtime.kill();
    for (const text of ["Second", "Third"]) await alice.add(text);
    await killed;
    for (const text of ["Fourth", "Fifth"]) await alice.add(text);
    for (const one of [alice, bob]) await one.shows("Fifth", "Fourth", "Third", "Second", "First");
    await alice.status("In sync");
  });

  test("a token that ends is replaced, and the socket goes on", async () => {
    const alice = await stage.person("alice", {
      prepare: (sub) => (stage.claims[sub] = () => ({ exp: Math.floor(Date.now() / 1000) - 57 })), // 60 s of leeway
    });
    await alice.addList("Diary");
    await alice.add("Before");
    await new Promise((later) => setTimeout(later, 4000));
    delete stage.claims[alice.sub];
    await alice.add("After");
    await alice.status("In sync");
    const elsewhere = await stage.page(alice.sub);
    await elsewhere.shows("After", "Before");
  });

  test("KV that lags and KV that is emptied change nothing of what is seen", async () => {
    const { alice, bob } = await pair("First");
    await stage.runtime.kv("home", "*", { set: { staleMs: 30_000, objectLagMs: 30_000 } });
    await alice.add("Second");
    const carol = await stage.page(bob.sub);
    await carol.shows("Second", "First");
    await stage.runtime.kv("home", "*", { clear: true, empty: true });
    const fresh = await stage.page(alice.sub);
    await fresh.shows("Second", "First");
    await fresh.add("Third");
    for (const one of [alice, bob, carol]) await one.shows("Third", "Second", "First");
  });

  test("a member removed while typing is told, keeps what is on the device, and can take it away", async () => {
    const { alice, bob } = await pair("Ours");
    await bob.network(false);
    await bob.add("Mine, unsent");
    await alice.press("Members");
    await alice.press("Remove");
    await alice.page.getByRole("listitem").filter({ hasText: /^Bob/ }).waitFor({ state: "detached" });
    await bob.network(true);
    await bob.page.getByText("You are not a member of this list any more.").waitFor();
    await bob.shows("Mine, unsent", "Ours");
    await bob.press("Remove them from this device");
    await bob.page.getByText("Make a list, or open an invitation.").waitFor();
    await alice.press("Close");
    await alice.shows("Ours");
  });

  test("two accounts in one browser see their own lists only", async () => {
    const alice = await stage.person("alice");
    await alice.addList("Of Alice");
    await alice.status("In sync");
    const bob = await stage.person("bob", { context: alice.context });
    await bob.status("In sync");
    await bob.page.getByText("Make a list, or open an invitation.").waitFor();
    await bob.addList("Of Bob");
    await alice.page.reload();
    await alice.page.getByRole("button", { name: "Of Alice" }).waitFor();
    assert.equal(await alice.page.getByRole("button", { name: "Of Bob" }).count(), 0);
  });

  test("it works by keyboard, on a phone and in the dark, and a checker of accessibility finds nothing", async () => {
    const alice = await stage.person("alice");
    // What fades in has too little contrast on the way.
    await alice.page.emulateMedia({ reducedMotion: "reduce" });
    await alice.addList("Groceries");
    for (const text of ["Bread from the corner bakery, the dark one", "Lemons"]) await alice.add(text);
    await alice.status("In sync");
    assert.deepEqual(await faults(alice.page), []);
    await alice.page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
    assert.deepEqual(await faults(alice.page), []);
    await alice.picture("dark");
    await alice.page.getByLabel("A new note").focus();
    for (const key of ["Tab", "Space", "Tab", "End", "!"]) await alice.page.keyboard.press(key);
    await alice.page.locator('.note[data-done="true"]').waitFor();
    await alice.shows("Lemons!", "Bread from the corner bakery, the dark one");
    await alice.page.setViewportSize({ width: 390, height: 844 });
    await alice.picture("phone");
    await alice.press("Sync");
    // The notes are the page's main part, and not shown here.
    assert.deepEqual(await faults(alice.page, ["landmark-one-main"]), []);
    await alice.picture("phone-sync");
    const width = await alice.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 390, `nothing stands beside the screen, yet the page is ${width} wide`);
  });
});
