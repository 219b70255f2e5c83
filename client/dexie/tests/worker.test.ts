// The package as an app uses it, in Chromium, against the real Worker on the real runtime. Needs `npm run build`.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type * as InPage from "./app-page.ts";
import { Device, runtime, until, useDevices } from "./devices.ts";

declare const hw: typeof InPage;

useDevices();

/** Two devices of one user, with their sockets, which both have a row. */
async function withRow(row: object): Promise<[Device, Device]> {
  const sub = runtime.subject();
  const [one, other] = [await (await Device.of(sub)).begun(), await (await Device.of(sub)).begun()];
  await one.add(row);
  await until("both have it", () => other.sees(row));
  return [one, other];
}

/** Both edit the title of the row, and the edit of `late` arrives second. */
async function contest(late: Device, early: Device): Promise<void> {
  await late.context.setOffline(true);
  await early.update("a", { title: "oat milk" });
  await early.now();
  await late.update("a", { title: "soy milk" });
  await late.context.setOffline(false);
  await until("the conflict is shown", async () => (await late.conflicts()).length === 1);
}

describe("two browsers of one user", () => {
  test("a todo of one comes up in the other's query, through the socket", async () => {
    const sub = runtime.subject();
    const [one, other] = [await (await Device.of(sub)).begun(), await (await Device.of(sub)).begun()];
    await one.add({ id: "a", title: "milk" });
    await until("the other shows it", () => other.sees({ id: "a", title: "milk" }));
    assert.ok(other.heard.some((text) => text.includes('"type":"changes"') && text.includes("milk")), other.heard.join("\n"));
    await other.update("a", { done: true });
    await until("the first shows what became of it", () => one.sees({ id: "a", title: "milk", done: true }));
    await until("both are done", async () => (await one.status()).phase === "idle" && (await other.status()).phase === "idle");
    assert.deepEqual([...one.complaints, ...other.complaints], []);
  });

  test("edits that both make offline merge, of one row too", async () => {
    const sub = runtime.subject();
    const [one, other] = [await Device.of(sub), await Device.of(sub)];
    await one.add({ id: "a", title: "milk", amount: 1 });
    await until("both have it", () => other.sees({ id: "a", title: "milk", amount: 1 }));
    for (const { context } of [one, other]) await context.setOffline(true);
    await one.update("a", { title: "oat milk" });
    await one.add({ id: "b", title: "bread" });
    await other.update("a", { amount: 2 });
    await other.add({ id: "c", title: "rice" });
    assert.equal(await other.sees({ id: "a", title: "milk", amount: 2 }, { id: "c", title: "rice" }), true);
    for (const { context } of [one, other]) await context.setOffline(false);
    const merged = [{ id: "a", title: "oat milk", amount: 2 }, { id: "b", title: "bread" }, { id: "c", title: "rice" }];
    for (const device of [one, other]) {
      await until("both show all edits", () => device.sees(...merged));
      await until("nothing is left to send", async () => (await device.status()).pending === 0);
      assert.deepEqual(await device.conflicts(), []);
    }
  });

  for (const choice of ["mine", "theirs"] as const) {
    test(`two edits of one field are a conflict, shown to whoever came second, which "${choice}" ends on both`, async () => {
      const sub = runtime.subject();
      const [one, other] = [await Device.of(sub), await Device.of(sub)];
      await one.add({ id: "a", title: "milk" });
      await until("both have it", () => other.sees({ id: "a", title: "milk" }));
      other.proxy.cut();
      await one.update("a", { title: "oat milk" });
      await one.now();
      await other.update("a", { title: "soy milk" });
      await until("it has tried to send it", async () => (await other.status()).phase === "unsure");
      other.proxy.mend();
      await until("it is shown", async () => (await other.conflicts()).length === 1);
      const row = (title: string) => ({ id: "a", title });
      const record = { table: "todos", key: "a", base: row("milk"), mine: row("soy milk"), theirs: row("oat milk") };
      assert.deepEqual(await other.conflicts(), [{ space: "~", records: [record] }]);
      await other.page.evaluate((choice) => hw.resolve(choice), choice);
      for (const device of [one, other]) {
        await until("both show the decision", () => device.sees(record[choice]));
        await until("no conflict is left", async () => (await device.conflicts()).length === 0);
      }
      await other.now();
      assert.equal(await other.sees(record[choice]), true);
    });
  }

  test("the phone shows a conflict of the laptop, by name until its contents can be fetched, and ends it for both", async () => {
    const [laptop, phone] = await withRow({ id: "a", title: "milk", amount: 1 });
    await phone.context.route(/sync\/conflict/, (route) => (route.request().method() === "GET" ? route.abort() : route.continue()));
    await contest(laptop, phone);
    await until("the phone shows it too", async () => (await phone.conflicts()).length === 1);
    const howItIs = (device: Device) => device.page.evaluate(() => hw.synced().conflicts.value.map(({ isElsewhere, isFetched }) => ({ isElsewhere, isFetched })));
    assert.deepEqual([await howItIs(laptop), await howItIs(phone)], [[{ isElsewhere: false, isFetched: true }], [{ isElsewhere: true, isFetched: false }]]);
    assert.deepEqual((await phone.conflicts())[0]?.records.map(({ table, key, mine }) => [table, key, mine]), [["todos", "a", undefined]]);
    await phone.context.unroute(/sync\/conflict/);
    await until("the contents have come", async () => (await howItIs(phone))[0]?.isFetched === true);
    const row = (title: string) => ({ id: "a", title, amount: 1 });
    const [conflict] = await phone.conflicts();
    assert.deepEqual(conflict?.records.map(({ base, mine, theirs }) => [base, mine, theirs]), [[undefined, row("soy milk"), row("oat milk")]]);
    await phone.page.evaluate(() => hw.resolve("mine"));
    for (const device of [laptop, phone]) {
      await until("both show the decision", () => device.sees(row("soy milk")));
      await until("no conflict is left", async () => (await device.conflicts()).length === 0);
      assert.deepEqual(await device.page.evaluate(() => hw.rejected()), []);
    }
  });

  test("a conflict shows what the edit was made on, where the other's comes before it is sent", async () => {
    const [one, other] = await withRow({ id: "a", title: "milk" });
    await contest(other, one);
    const [conflict] = await other.conflicts();
    assert.deepEqual(conflict?.records.map(({ base, mine, theirs }) => [base, mine, theirs].map((row) => row?.["title"])), [["milk", "soy milk", "oat milk"]]);
  });
});

describe("two users", () => {
  /** An owner and a writer of one space, which is open on both devices. */
  async function share(): Promise<[Device, Device, string]> {
    const [owner, guest] = [await Device.of(runtime.subject("owner")), await Device.of(runtime.subject("guest"))];
    const list = await owner.page.evaluate(() => hw.synced().spaces.create());
    await invite(owner, guest, list);
    return [owner, guest, list];
  }
  async function invite(owner: Device, guest: Device, list: string): Promise<void> {
    const code = await owner.page.evaluate((list) => hw.synced().spaces.invite(list, { role: "writer" }), list);
    assert.equal(await guest.page.evaluate((link) => hw.synced().spaces.accept(link), `https://app.test/join#${code}`), list);
  }

  test("who accepts an invitation shares the rows of the space, and no others", async () => {
    const [owner, guest, list] = await share();
    await owner.add({ id: "secret", title: "diary" });
    await owner.add({ id: "a", list, title: "milk" });
    await until("the guest shows it", () => guest.sees({ id: "a", list, title: "milk" }));
    await guest.update("a", { done: true });
    await until("the owner shows the edit", () => owner.sees({ id: "a", list, title: "milk", done: true }, { id: "secret", title: "diary" }));
    const members = await owner.page.evaluate((list) => hw.synced().spaces.members(list), list);
    assert.deepEqual(Object.fromEntries(members.map(({ sub, role }) => [sub, role])), { [owner.sub]: "owner", [guest.sub]: "writer" });
    assert.deepEqual(await guest.page.evaluate(() => hw.synced().spaces.list()), { spaces: [{ space: list, role: "writer" }], invitations: [] });
    assert.deepEqual([...owner.complaints, ...guest.complaints], []);
  });

  test("the app of a removed member says so at once, and the rest of it goes on", async () => {
    const [owner, guest, list] = await share();
    await owner.add({ id: "a", list, title: "milk" });
    await until("the guest shows it", () => guest.sees({ id: "a", list, title: "milk" }));
    await owner.page.evaluate(([list, sub]) => hw.synced().spaces.removeMember(list, sub), [list, guest.sub] as const);
    await until("the guest's app says so", async () => (await guest.status()).reason?.why === "forbidden");
    assert.equal((await guest.status()).reason?.space, list);
    await guest.add({ id: "own", title: "bread" });
    await guest.update("a", { title: "unsent" });
    await until("what is private is sent", async () => (await guest.status()).spaces.find(({ space }) => space === "~")?.pending === 0);
    assert.equal(await guest.sees({ id: "a", list, title: "unsent" }, { id: "own", title: "bread" }), true);
    assert.equal((await runtime.truth(guest.sub)).records.size, 1);
    await owner.now();
    assert.equal(await owner.sees({ id: "a", list, title: "milk" }), true);
    // Invited again, the guest goes on where it was stopped.
    await invite(owner, guest, list);
    await until("what was kept is sent", () => owner.sees({ id: "a", list, title: "unsent" }));
    assert.equal((await guest.status()).reason, null);
  });

  test("who leaves a space has no rows of it, and the others keep theirs", async () => {
    const [owner, guest, list] = await share();
    await guest.add({ id: "a", list, title: "milk" });
    await guest.add({ id: "own", title: "bread" });
    await until("the owner shows it", () => owner.sees({ id: "a", list, title: "milk" }));
    await guest.now();
    await guest.page.evaluate((list) => hw.synced().spaces.leave(list), list);
    await until("the rows are gone", () => guest.sees({ id: "own", title: "bread" }));
    await owner.update("a", { done: true });
    await owner.now();
    await guest.now();
    assert.equal(await guest.sees({ id: "own", title: "bread" }), true);
    assert.deepEqual(await owner.page.evaluate((list) => hw.synced().spaces.members(list).then((all) => all.map(({ role }) => role)), list), ["owner"]);
    assert.deepEqual([(await guest.status()).reason, ...guest.complaints], [null]);
  });
});

describe("rows that an old build has written past capture", () => {
  test("are adopted by two tabs at once, each row once, and reach the other device; what they are not about stays", async () => {
    const sub = runtime.subject();
    const [one, other] = [await (await Device.of(sub)).begun(), await (await Device.of(sub)).begun()];
    const list = await one.page.evaluate(() => hw.synced().spaces.create());
    await other.page.evaluate((list) => hw.synced().spaces.open(list), list);
    await one.add({ id: "a", title: "milk", amount: 1 });
    await one.add({ id: "b", list, title: "bread", amount: 1 });
    await one.add({ id: "c", title: "rice" });
    for (const device of [one, other]) await device.now();
    const tab = await one.tab();
    await one.page.evaluate((list) => hw.past([{ id: "a", title: "milk", amount: 2 }, { id: "b", list, title: "bread", done: true }, { id: "d", list, title: "new" }, { id: "e", list: "not-open" }], ["c"]), list);
    await other.update("a", { title: "oat milk" });
    const told = await Promise.all([one.page, tab].map((page) => page.evaluate(() => hw.adopt())));
    const sum = (of: (one: (typeof told)[number]) => number) => told.reduce((all, one) => all + of(one), 0);
    assert.deepEqual([told.map(({ refused }) => refused), sum(({ created }) => created)], [[["e"], ["e"]], 1]);
    // What the other device has written meanwhile has replaced the row that was changed past capture, or is merged with it.
    assert.ok([1, 2].includes(sum(({ changed }) => changed)), JSON.stringify(told));
    for (const device of [one, other]) await device.now();
    const rows = Object.fromEntries((await other.rows()).map((row) => [row["id"], row]));
    const isOver = sum(({ changed }) => changed) === 1;
    assert.deepEqual(rows, {
      a: { id: "a", title: "oat milk", amount: isOver ? 1 : 2 }, b: { id: "b", list, title: "bread", done: true }, c: { id: "c", title: "rice" }, d: { id: "d", list, title: "new" },
    });
    assert.deepEqual(await tab.evaluate(() => hw.adopt()), { created: 0, changed: 0, refused: ["e"] });
    assert.deepEqual([await one.conflicts(), ...one.complaints, ...other.complaints], [[]]);
  });
});

describe("one browser", () => {
  test("a connection that breaks in the middle of writes loses nothing and doubles nothing", async () => {
    const sub = runtime.subject();
    const device = await (await Device.of(sub)).begun();
    await device.add({ id: "count", n: 0 });
    const { proxy, page } = device;
    const writes = page.evaluate(async () => {
      for (let i = 0; i < 150; i++) {
        await hw.add({ id: `r${i}`, n: i });
        await hw.increment("count");
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    });
    for (let i = 0; i < 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 300));
      proxy.cut();
      await new Promise((resolve) => setTimeout(resolve, 150));
      proxy.mend();
    }
    await writes;
    await device.now();
    const { records } = await runtime.truth(sub);
    assert.equal(records.size, 151);
    assert.equal((await device.rows()).length, 151);
    assert.deepEqual((await device.rows()).find(({ id }) => id === "count"), { id: "count", n: 150 });
    assert.equal((await device.status()).pending, 0);
  });

  test("what is too long for a message goes packed, from a page of another origin too, and arrives as it was", async () => {
    const sub = runtime.subject();
    const device = await (await Device.of(sub)).begun();
    const pushes: [string | undefined, number][] = [];
    device.page.on("request", (request) => {
      if (!request.url().endsWith("/sync/push") || request.method() !== "POST") return;
      pushes.push([request.headers()["content-encoding"], request.postDataBuffer()?.length ?? 0]);
    });
    const long = "milk, eggs — and é😀 ".repeat(8_000);
    // The first one goes at once, and alone; those that follow it go together.
    await device.page.evaluate(async (long) => {
      for (const id of ["a", "b", "c"]) await hw.add({ id, title: long });
    }, long);
    await device.now();
    const { records } = await runtime.truth(sub);
    assert.deepEqual(records.get("todos b")?.value, { title: long });
    assert.ok(pushes.length > 0 && pushes.every(([coding]) => coding === "gzip"), JSON.stringify(pushes));
    assert.deepEqual(device.complaints, []);
  });

  test("a token that will end is replaced over the open socket, which stays", async () => {
    const sub = runtime.subject();
    const device = await Device.of(sub, async (device) => {
      await device.page.clock.install();
      device.claims = () => (device.asked.length === 1 ? { exp: Math.floor(Date.now() / 1000) + 90 } : {});
    });
    await device.begun();
    const greetings = () => device.heard.filter((text) => text.startsWith('{"type":"version"')).length;
    // The server counts 60 seconds more, and the next token is asked for a minute before that ends.
    await device.page.clock.fastForward(95_000);
    await until("the next token is taken", () => device.heard.some((text) => text.includes('"tokenExpiresIn":36')));
    assert.ok(device.asked.includes("expiring"), device.asked.join());
    assert.equal(greetings(), 1);
    await device.add({ id: "a", title: "milk" });
    await device.now();
    assert.equal((await runtime.truth(sub)).records.size, 1);
  });
});
