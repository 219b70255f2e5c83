// The notes app as people use it: in Chromium, before the real Worker. Pictures go to .headwater/pictures.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { eventually } from "../runtime/harness.mjs";
import { sharedHash } from "../runtime/published.mjs";
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
    stage = await Stage.set({ locations: ["far"] });
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

  /** Waits until KV has what the list that somebody shows holds; gives the scope of its keys. */
  async function published({ sub, page }) {
    const space = await page.evaluate((sub) => localStorage.getItem(`list of ${sub}`), sub);
    const answer = await stage.runtime.fetch("home", `/spaces/${space}`, { headers: { authorization: `Bearer ${stage.runtime.token(sub)}` } });
    const { epoch, version } = await answer.json();
    const scope = `${sharedHash(space)}.${epoch}`;
    const namespace = await stage.runtime.namespace();
    await eventually("KV has the list", async () => (await namespace.getWithMetadata(`v1/${scope}/head`)).metadata?.v >= version);
    return scope;
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
    await alice.exchange("Sent edits");
    await alice.page.locator(".lag figcaption", { hasNotText: "not known" }).waitFor();
    await alice.picture("light");
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

  test("the switch cuts the network of all windows of its user, and of nobody else in that browser", async () => {
    const alice = await stage.person("alice");
    await alice.addList("Diary");
    const [tab, elsewhere, bob] = [await stage.page(alice.sub, { context: alice.context }), await stage.page(alice.sub), await stage.person("bob", { context: alice.context })];
    for (const one of [alice, tab, elsewhere, bob]) await one.status("In sync");
    // The first window talks to the server for both.
    await tab.network(false);
    await tab.add("Rain");
    await alice.shows("Rain");
    for (const one of [alice, tab]) await one.status("Offline · 1 edit waits");
    await bob.addList("Of Bob");
    await bob.status("In sync");
    await stage.runtime.waitForPublished(bob.sub, "0.1");
    assert.equal([...(await stage.runtime.truth(alice.sub)).records].filter(([key]) => key.startsWith("notes")).length, 0);
    await alice.network(true);
    await tab.status("In sync");
    await elsewhere.shows("Rain");
  });

  test("what was written offline is there after a reload, before any network, and is sent when there is one", async () => {
    const alice = await stage.person("alice");
    await alice.addList("Diary");
    await alice.status("In sync");
    await alice.network(false);
    await alice.add("Rain");
    await alice.shows("Rain");
    await alice.page.reload();
    await alice.shows("Rain");
    await alice.status("Offline · 1 edit waits");
    await alice.network(true);
    await alice.status("In sync");
    const elsewhere = await stage.page(alice.sub);
    await elsewhere.shows("Rain");
  });

  test("50,000 notes load with progress, a load that is cut goes on where it was after a reload, and edits made meanwhile arrive", async () => {
    const held = stage.hold(4_000_000);
    const alice = await stage.person("alice", {
      async prepare(sub) {
        const device = stage.runtime.device(sub);
        await device.load("lists", [["big", { title: "Everything" }]]);
        await device.load("notes", Array.from({ length: 50_000 }, (_, at) => [`n${at}`, { list: "big", text: `Note ${at}`, isDone: false, made: at }]));
      },
    });
    const loading = async () => Number(/Loading ([\d,]+)/.exec(await alice.page.locator(".status").innerText())?.[1]?.replaceAll(",", "") ?? 0);
    await eventually("the load shows its progress", async () => held.isReached && (await loading()) > 20_000, 120_000);
    await alice.network(false);
    await eventually("the cut ends the load", () => held.isLetGo);
    held.release();
    await alice.page.reload();
    await alice.status("Offline");
    const rest = stage.hold(100_000);
    const goesOn = alice.page.waitForRequest((request) => request.url().endsWith("/sync/pull") && JSON.parse(request.postData()).cursor, { timeout: 60_000 });
    await alice.network(true);
    await goesOn;
    await eventually("more of the load comes", () => rest.isReached);
    await alice.addList("Meanwhile");
    await alice.add("Written during the load");
    rest.release();
    await alice.status("In sync", { timeout: 120_000 });
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

  test("a token that is about to end is replaced, and the socket goes on", async () => {
    // The server takes a token for 60 s after its end: this one for 20 s from now.
    const ends = Date.now() + 20_000;
    const alice = await stage.person("alice", {
      prepare: (sub) => (stage.claims[sub] = () => ({ exp: Math.floor(ends / 1000) - 60 })),
    });
    await alice.addList("Diary");
    await alice.page.clock.install();
    await alice.page.reload();
    await alice.add("Before");
    await alice.status("In sync");
    delete stage.claims[alice.sub];
    // A client asks for the next token half a minute after the last one at the earliest.
    await alice.page.clock.fastForward(31_000);
    await alice.exchange("Renewed the token");
    const opened = alice.sockets.length;
    await new Promise((later) => setTimeout(later, ends + 2000 - Date.now()));
    await alice.add("After");
    await alice.status("In sync");
    assert.equal(alice.sockets.length, opened, "no other socket was opened");
    assert.equal(alice.sockets.at(-1).isClosed(), false);
    const elsewhere = await stage.page(alice.sub);
    await elsewhere.shows("After", "Before");
  });

  test("KV that lags and KV that is emptied change nothing of what is seen", async (t) => {
    const { alice, bob } = await pair("First");
    const scope = await published(alice);
    // Nobody has asked there yet, so whoever does is answered from KV.
    stage.location = "far";
    t.after(() => (stage.location = "home"));
    await stage.runtime.kv("far", "*", { set: { staleMs: 60_000 } });
    const early = await stage.page(alice.sub);
    await early.shows("First");
    const { counts } = await stage.runtime.kv("far", { scope });
    assert.ok(counts["edge.body.head"] > 0, `the list came from KV: ${JSON.stringify(counts)}`);
    // From here on KV shows there what it has just shown.
    await stage.runtime.kv("far", "*", { set: { objectLagMs: 60_000 } });
    await alice.add("Second");
    await alice.status("In sync");
    await published(alice);
    const carol = await stage.page(bob.sub);
    await carol.shows("Second", "First");
    await stage.runtime.kv("far", "*", { clear: true, empty: true });
    const fresh = await stage.page(alice.sub);
    await fresh.shows("Second", "First");
    await fresh.add("Third");
    for (const one of [alice, bob, early, carol]) await one.shows("Third", "Second", "First");
  });

  test("a member removed while typing is told, keeps what is on the device, and can take it away", async () => {
    const { alice, bob } = await pair("Ours");
    await alice.press("Members");
    const field = bob.page.getByLabel("Text of the note");
    await field.press("End");
    await field.pressSequentially(", and more");
    await alice.shows("Ours, and more");
    const typing = field.pressSequentially(" and more".repeat(10), { delay: 50, timeout: 120_000 });
    await alice.press("Remove");
    await alice.page.getByRole("listitem").filter({ hasText: /^Bob/ }).waitFor({ state: "detached" });
    await bob.page.getByText("You are not a member of this list any more.").waitFor();
    await typing;
    const [left] = await bob.texts();
    assert.match(left, /^Ours, and more and/);
    await bob.page.reload();
    await bob.page.getByText("You are not a member of this list any more.").waitFor();
    await bob.shows(left);
    await bob.press("Remove them from this device");
    await bob.page.getByText("Make a list, or open an invitation.").waitFor();
    await alice.press("Close");
    const [arrived] = await alice.texts();
    assert.ok(left.startsWith(arrived), `${arrived} is how ${left} begins`);
  });

  test("a member removed while offline is told, and what was not sent stays on the device", async () => {
    const { alice, bob } = await pair("Ours");
    await bob.network(false);
    await bob.add("Mine, unsent");
    await alice.press("Members");
    await alice.press("Remove");
    await alice.page.getByRole("listitem").filter({ hasText: /^Bob/ }).waitFor({ state: "detached" });
    await bob.network(true);
    await bob.page.getByText("You are not a member of this list any more. 1 of your edits did not arrive.").waitFor();
    await bob.shows("Mine, unsent", "Ours");
    await alice.press("Close");
    await alice.shows("Ours");
  });

  test("a page of another origin can use nothing of the server, also with a good token", async () => {
    const alice = await stage.person("alice");
    await alice.status("In sync");
    const ask = ({ page }) =>
      page.evaluate(async ({ url, token }) => {
        const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
        const pull = await fetch(`${url}/sync/pull`, { method: "POST", headers, body: "{}" }).then((answer) => answer.status, () => "kept back");
        const socket = new WebSocket(`${url.replace("http", "ws")}/sync/live`, ["headwater.v1", `bearer.${token}`]);
        const live = await new Promise((told) => {
          socket.onopen = () => told("open");
          socket.onerror = () => told("refused");
        });
        return { pull, live };
      }, { url: stage.url, token: stage.runtime.token(alice.sub) });
    assert.deepEqual(await ask(alice), { pull: 200, live: "open" });
    // The same server by another name, which is another origin.
    const page = await alice.context.newPage();
    await page.goto(stage.url.replace("127.0.0.1", "localhost"));
    assert.deepEqual(await ask({ page }), { pull: "kept back", live: "refused" });
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
    await alice.page.locator(".lag figcaption", { hasNotText: "not known" }).waitFor();
    await alice.picture("dark");
    await alice.page.getByLabel("A new note").focus();
    for (const key of ["Tab", "Space", "Tab", "End", "!"]) await alice.page.keyboard.press(key);
    await alice.page.locator('.note[data-done="true"]').waitFor();
    await alice.shows("Lemons!", "Bread from the corner bakery, the dark one");
    await alice.page.setViewportSize({ width: 390, height: 844 });
    await alice.page.getByRole("checkbox", { name: "Done: Lemons!" }).waitFor();
    await alice.status("In sync");
    await alice.picture("phone");
    await alice.press("Sync");
    // The notes are the page's main part, and not shown here.
    assert.deepEqual(await faults(alice.page, ["landmark-one-main"]), []);
    await alice.picture("phone-sync");
    const width = await alice.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 390, `nothing stands beside the screen, yet the page is ${width} wide`);
  });
});
