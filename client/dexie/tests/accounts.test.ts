// Tokens that end or are refused, and users who change, in Chromium against the real Worker.

import assert from "node:assert/strict";
import { afterEach, describe, test } from "node:test";
import type * as InPage from "./app-page.ts";
import { Device, runtime, until, useDevices } from "./devices.ts";

declare const hw: typeof InPage;

useDevices();

const HOUR_S = 3600;
const titles = async (sub: string) => [...(await runtime.truth(sub)).records.values()].map(({ value }) => (value as { title: string }).title).sort();
const signedIn = ({ page }: Device) => page.evaluate(() => hw.synced().signedIn());
/** A token that somebody else has signed. */
const forged = (user: string) => runtime.token(user, {}, { secret: "x".repeat(64) });

describe("a token", () => {
  afterEach(() => runtime.setClock("home", 0));

  test("that ends while a socket is open is replaced when the server says so, and the edit that met its end is sent once", async () => {
    const device = await (await Device.of(runtime.subject())).begun();
    await device.add({ id: "count", n: 0 });
    await device.now();
    device.claims = () => ({ exp: Math.floor(Date.now() / 1000) + 48 * HOUR_S });
    // By the server's clock it has ended; the app's clock says that it has not.
    await runtime.setClock("home", 24 * HOUR_S * 1000);
    await device.page.evaluate(() => hw.increment("count"));
    await until("the server says so", () => device.heard.includes('{"type":"expired"}'));
    await device.now();
    await runtime.setClock("home", 0);
    assert.ok(device.asked.includes("expiring"), device.asked.join());
    assert.deepEqual((await runtime.truth(device.sub)).records.get("todos count")?.value, { n: 1 });
    await until("another socket is greeted", () => device.greetings > 1, 40_000);
    assert.deepEqual(device.complaints, []);
  });

  test("that ends while a socket is open, of a user who is signed out, holds the space; signed in again it goes on", async () => {
    const device = await (await Device.of(runtime.subject())).begun();
    device.token = () => null;
    await signedIn(device);
    await device.add({ id: "a", title: "offline" });
    await until("the app is told", async () => (await device.holds()) === "signed-out");
    assert.deepEqual([await titles(device.sub), (await device.status()).pending], [[], 1]);
    device.token = (user) => runtime.token(user);
    await signedIn(device);
    await device.now();
    assert.deepEqual([await titles(device.sub), (await device.status()).reason], [["offline"], null]);
  });

  test("that is refused is asked for once more; refused again it holds the space until a good one is given", async () => {
    const device = await Device.of(runtime.subject(), (device) => (device.token = forged));
    await device.add({ id: "a", title: "milk" });
    await until("the app is told", async () => (await device.holds()) === "signed-out");
    assert.deepEqual(device.asked, ["start", "refused"]);
    await assert.rejects(device.page.evaluate(() => hw.synced().ready), /HeldError.*signed-out/);
    device.token = (user) => runtime.token(user);
    await signedIn(device);
    await device.page.evaluate(() => hw.synced().ready);
    await device.now();
    assert.deepEqual([await titles(device.sub), (await device.status()).reason], [["milk"], null]);
  });

  test("that is refused in the middle, and then given anew by the app's backend, costs one more request and nothing else", async () => {
    const device = await (await Device.of(runtime.subject())).begun();
    device.token = (user) => (device.asked.at(-1) === "refused" ? runtime.token(user) : forged(user));
    // Over the open socket the old one stays in force; without it the new one is refused.
    await signedIn(device);
    device.proxy.mend();
    await device.add({ id: "a", title: "milk" });
    await device.now();
    assert.deepEqual(await titles(device.sub), ["milk"]);
    assert.equal(device.asked.filter((reason) => reason === "refused").length, 1);
  });
});

describe("two users of one browser", () => {
  test("another user's token on a database holds it: nothing of either goes to the other, and the first one goes on", async () => {
    const [alice, bob] = [runtime.subject("alice"), runtime.subject("bob")];
    const device = await (await Device.of(alice)).begun();
    await device.add({ id: "a", title: "sent" });
    await device.now();
    device.proxy.cut();
    await device.add({ id: "b", title: "unsent" });
    device.token = () => runtime.token(bob);
    await signedIn(device);
    device.proxy.mend();
    await until("the app is told", async () => (await device.holds()) === "other-user");
    // Also by a start of the app, and whatever is asked of it.
    await device.reload();
    await until("the app is told again", async () => (await device.holds()) === "other-user");
    await assert.rejects(device.now(), /HeldError/);
    await device.add({ id: "c", title: "written meanwhile" });
    assert.deepEqual([await titles(alice), await titles(bob)], [["sent"], []]);
    device.token = () => runtime.token(alice);
    await signedIn(device);
    await device.now();
    assert.deepEqual([await titles(alice), await titles(bob)], [["sent", "unsent", "written meanwhile"], []]);
  });

  test("with a database each, both sync: one signs out, the other in, and back", async () => {
    const [alice, bob] = [runtime.subject("alice"), runtime.subject("bob")];
    const device = await Device.of(alice, undefined, { name: `app ${alice}` });
    await device.add({ id: "a", title: "of alice" });
    await device.now();
    await device.reload({ user: bob, name: `app ${bob}` });
    await device.now();
    assert.deepEqual(await device.rows(), []);
    await device.add({ id: "a", title: "of bob" });
    await device.now();
    await device.reload({ user: alice, name: `app ${alice}` });
    await device.now();
    assert.equal(await device.sees({ id: "a", title: "of alice" }), true);
    assert.deepEqual([await titles(alice), await titles(bob)], [["of alice"], ["of bob"]]);
  });
});
