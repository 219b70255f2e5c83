// The to-do lists of an app with dexie-cloud-addon, as people use them: in Chromium, before the real Worker.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { eventually } from "../runtime/harness.mjs";
import { Stage } from "./stage.mjs";

const DEMO_USER = "alice@demo.local";

describe("the to-do lists", () => {
  let stage;
  const complaints = [];
  before(async () => {
    stage = await Stage.set({ app: "dexie-cloud-todo", variables: { DEXIE_DEMO_USERS: DEMO_USER } });
  });
  after(async () => {
    await stage.strike();
    assert.deepEqual(complaints, [], "no page's script has failed");
  });

  /** Somebody of the identity service. */
  function person(name) {
    const sub = stage.runtime.subject(name);
    stage.people.push(sub);
    return sub;
  }

  /** A browser of its own in which somebody has signed in. */
  async function open(user) {
    const context = await stage.browser.context.browser().newContext();
    const page = await context.newPage();
    page.setDefaultTimeout(40_000);
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(`${stage.url}/dexie-cloud-todo/`);
    await page.getByRole("button", { name: user, exact: true }).click();
    return page;
  }

  async function add(page, title) {
    await page.getByLabel("A new to-do").fill(title);
    await page.keyboard.press("Enter");
  }

  const press = (page, name) => page.getByRole("button", { name, exact: true }).click();
  const box = (page, title) => page.getByRole("checkbox", { name: title });
  const titles = (page) => page.locator("#todos label").allInnerTexts();
  const shows = (page, ...all) =>
    eventually(async () => `the page shows ${all}, not ${await titles(page)}; ${await page.locator("#status").innerText()}; ${await page.locator("#refusal").innerText()}`,
      async () => String((await titles(page)).toSorted()) === String(all.toSorted()));
  const inSync = (page) => page.getByRole("status").filter({ hasText: "in-sync, connected" }).waitFor();

  for (const kind of ["of the identity service", "of the demo login"]) {
    test(`two browsers of a user ${kind} have one list, offline and back`, async () => {
      const user = kind === "of the demo login" ? DEMO_USER : person("alice");
      const [laptop, phone] = [await open(user), await open(user)];
      for (const page of [laptop, phone]) await inSync(page);
      await add(laptop, "Milk");
      await shows(phone, "Milk");
      await box(phone, "Milk").click();
      await eventually("it is done on the laptop too", () => box(laptop, "Milk").isChecked());

      await phone.context().setOffline(true);
      await add(phone, "Bread");
      await add(laptop, "Eggs");
      await shows(phone, "Milk", "Bread");
      assert.deepEqual(await titles(laptop).then((all) => all.includes("Bread")), false);
      await phone.context().setOffline(false);
      for (const page of [laptop, phone]) await shows(page, "Milk", "Bread", "Eggs");
      await press(laptop, "Delete Milk");
      await shows(phone, "Bread", "Eggs");
    });
  }

  test("a list that two people share comes by a link, and both have lists of their own besides", async () => {
    const [alice, bob] = [await open(person("alice")), await open(person("bob"))];
    await add(alice, "Mine");
    await press(alice, "New shared list");
    // Until then she still sees her own.
    await alice.getByRole("button", { name: "Shared list 1" }).waitFor();
    await inSync(alice);
    await add(alice, "Ours");
    await press(alice, "Invite by a link");
    const link = await eventually("there is a link", () => alice.getByLabel("Link of the invitation").inputValue());
    await bob.goto(`${bob.url()}${new URL(link).hash}`);
    await bob.reload();
    await shows(bob, "Ours");
    await inSync(bob);
    await add(bob, "Bob's");
    await shows(alice, "Ours", "Bob's");
    await press(bob, "My list");
    await shows(bob);
    await press(alice, "My list");
    await shows(alice, "Mine");
    // On another device of Alice the list is found by the server's word.
    const user = await alice.locator("#who").innerText();
    const phone = await open(user);
    await press(phone, "Shared list 1");
    await shows(phone, "Ours", "Bob's");
  });
});
