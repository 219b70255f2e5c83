// The calculator in Chromium says what the reports say, to the cent, and keeps what is chosen in its address.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { copyCalculator } from "../../scripts/app.mjs";
import { startChromium } from "../../tests/runtime/chromium.mjs";
import { FOLDER, readData } from "../report.mjs";
import { DESIGNS } from "../model.mjs";
import { billsOf } from "../report/bills.mjs";
import { money } from "../report/words.mjs";

const TYPES = { ".html": "text/html", ".mjs": "text/javascript", ".css": "text/css", ".json": "application/json" };
/** Where what was seen is kept, as the tests of the app keep theirs. */
const PICTURES = fileURLToPath(new URL("../../.headwater/pictures", import.meta.url));
const data = readData();
const complaints = [];

let folder, server, browser, page;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "headwater-costs-"));
  copyCalculator(folder);
  server = createServer((asked, answer) => {
    const { pathname } = new URL(asked.url, "http://costs");
    const file = join(folder, pathname.endsWith("/") ? `${pathname}index.html` : pathname);
    if (!existsSync(file)) return answer.writeHead(404).end();
    return answer.writeHead(200, { "content-type": TYPES[extname(file)] }).end(readFileSync(file));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  browser = await startChromium();
  page = await browser.context.newPage();
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await mkdir(PICTURES, { recursive: true });
});

after(async () => {
  await browser.stop();
  server.close();
  rmSync(folder, { recursive: true });
  assert.deepEqual(complaints, [], "no script has failed");
});

async function open(query) {
  await page.goto(`http://127.0.0.1:${server.address().port}/costs/${query}`);
  await page.waitForSelector("#totals .total");
}

const totals = () => page.$$eval("#totals tr[data-design]", (rows) => Object.fromEntries(rows.map((row) => [row.dataset.design, row.querySelector(".total").textContent])));
const expected = (profile) => Object.fromEntries(billsOf(profile, data).map(({ design, total }) => [design, money(total)]));

/** The table at the top of the report on bills: titles of designs, and their totals by profile. */
function reported() {
  const rows = readFileSync(join(FOLDER, "bills.md"), "utf8").split("\n").filter((line) => line.startsWith("|"));
  return rows.slice(2, 2 + Object.keys(DESIGNS).length).map((row) => row.split("|").slice(2, -1).map((cell) => cell.trim()));
}

describe("the calculator", () => {
  for (const [at, [name, profile]] of Object.entries(data.profiles).entries()) {
    test(`${name}: every design's bill is that of the report`, async () => {
      await open(`?profile=${name}`);
      const shown = await totals();
      assert.deepEqual(shown, expected(profile));
      assert.deepEqual(Object.values(shown), reported().map((row) => row[at]));
    });
  }

  test("a rate that is moved changes bills and charts, and stands in the address, which brings it back", async () => {
    await open("?profile=teams");
    const [before, chart] = [await totals(), await page.innerHTML("#bills")];
    await page.fill("#poll_s", "10");
    const moved = await totals();
    assert.notDeepEqual(moved, before);
    assert.notEqual(await page.innerHTML("#bills"), chart);
    assert.deepEqual(moved, expected({ ...data.profiles.teams, poll_s: 10 }));
    assert.equal(new URL(page.url()).search, "?profile=teams&poll_s=10");
    await page.reload();
    await page.waitForSelector("#totals .total");
    assert.deepEqual([await totals(), await page.inputValue("#poll_s")], [moved, "10"]);
  });

  test("a slider moves its rate, and another profile begins anew", async () => {
    await open("?profile=private_spaces&spaces=5");
    const slider = page.locator(".rate", { has: page.locator("#spaces") }).locator("input[type=range]");
    await slider.focus();
    await slider.press("End");
    assert.equal(await page.inputValue("#spaces"), "100000");
    assert.deepEqual(await totals(), expected({ ...data.profiles.private_spaces, spaces: 100_000 }));
    await page.selectOption("select", "hot_space");
    assert.deepEqual([await totals(), new URL(page.url()).search], [expected(data.profiles.hot_space), "?profile=hot_space"]);
  });

  test("nobody has to write, and a space with more devices than it has sockets is said to be none", async () => {
    await open("?profile=hot_space");
    assert.doesNotMatch(await page.innerText("#totals"), /at most/);
    await page.fill("#edits", "0");
    await page.fill("#users", "10001");
    assert.deepEqual(await totals(), expected({ ...data.profiles.hot_space, edits: 0, users: 10_001 }));
    assert.match(await page.innerText("#totals"), /sockets: a space has 10,000 at most/);
    assert.match(await page.innerHTML("#bills"), /Your rates/);
  });

  test("nonsense in the address is passed over", async () => {
    await open("?profile=nobody&users=-3&poll_s=soon&kib=NaN");
    assert.deepEqual(await totals(), expected(Object.values(data.profiles)[0]));
  });

  for (const [size, width] of [["phone", 375], ["desk", 1280]]) {
    for (const scheme of ["light", "dark"]) {
      test(`${size}, ${scheme}: nothing is wider than the window`, async () => {
        await page.setViewportSize({ width, height: 800 });
        await page.emulateMedia({ colorScheme: scheme });
        await open("?profile=hot_space");
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
        await page.screenshot({ path: join(PICTURES, `costs-${size}-${scheme}.png`), fullPage: true });
      });
    }
  }
});
