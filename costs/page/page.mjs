// The calculator: the model of the reports, run in the browser over the same prices, counts and profiles, with rates that can be moved.

import { bars, lines, steps } from "../chart.mjs";
import { DESIGNS, SOCKETS_MAX } from "../model.mjs";
import { RATES, billBars, billsOf } from "../report/bills.mjs";
import { money, percent, whole } from "../report/words.mjs";

const BASE = new URL("..", import.meta.url);
const read = async (name) => (await fetch(new URL(`${name}.json`, BASE))).json();
const [prices, counts, profiles] = await Promise.all(["prices", "counts", "profiles"].map(read));

/** The ends of the sliders. A slider moves by factors, so that one user and ten thousand are both easy to hit. */
const RANGES = {
  spaces: [1, 100_000], users: [1, 10_000], devices: [1, 10], hours: [0.25, 24], days: [1, 30], poll_s: [1, 3600], edits: [0.01, 10_000],
  edits_per_push: [1, 50], opens: [1, 50], loads: [0.1, 30], kib: [20, 65_536], locations: [1, 300], publish_s: [30, 21_600],
};
const WHOLE = ["spaces", "users", "locations", "kib", "publish_s"];
/** Rates that may be nothing. */
const MAY_BE_ZERO = ["edits"];
const STEPS = 1000;
/** The least and the greatest width that a chart is drawn for, in pixels. */
const WIDTHS = [330, 720];
const GROWTH = [0.1, 0.25, 0.5, 1, 1.5, 2];

const form = document.querySelector("#rates");
const byId = (id) => document.querySelector(`#${id}`);

/** What a chart is called whose rates are no profile's. */
const YOURS = "Your rates";
const isRate = (rate, value) => Number.isFinite(value) && (value > 0 || (value === 0 && MAY_BE_ZERO.includes(rate)));

/** The profile that the address names, and its rates with what the address changes of them. */
function fromAddress() {
  const query = new URLSearchParams(location.search);
  const name = query.get("profile") in profiles ? query.get("profile") : Object.keys(profiles)[0];
  const rates = { ...profiles[name] };
  for (const [rate] of RATES) {
    const given = query.get(rate);
    if (given === null) continue;
    if (typeof rates[rate] === "boolean") rates[rate] = given === "true";
    else if (isRate(rate, Number(given))) rates[rate] = Number(given);
    if (rates[rate] !== profiles[name][rate]) rates.title = YOURS;
  }
  return { name, rates };
}

let { name, rates } = fromAddress();

function toAddress() {
  const query = new URLSearchParams({ profile: name });
  for (const [rate] of RATES) if (rates[rate] !== profiles[name][rate]) query.set(rate, rates[rate]);
  history.replaceState(null, "", `?${query}`);
}

const toStep = ([low, high], value) => Math.round((STEPS * Math.log(Math.max(low, value) / low)) / Math.log(high / low));

function toValue(rate, step) {
  const [low, high] = RANGES[rate];
  const value = low * (high / low) ** (step / STEPS);
  return WHOLE.includes(rate) ? Math.round(value) : Number(value.toPrecision(2));
}

const input = (type, more) => Object.assign(document.createElement("input"), { type, ...more });

/** A rate's label with what moves it. */
function control([rate, words]) {
  const row = document.createElement("div");
  const label = Object.assign(document.createElement("label"), { textContent: words, htmlFor: rate });
  if (typeof rates[rate] === "boolean") {
    row.className = "rate check";
    const box = input("checkbox", { id: rate, name: rate, checked: rates[rate] });
    box.addEventListener("change", () => change(rate, box.checked));
    row.append(label, box);
    return row;
  }
  row.className = "rate";
  const exact = input("number", { id: rate, name: rate, value: rates[rate], min: 0, step: "any", inputMode: "decimal" });
  const slider = input("range", { min: 0, max: STEPS, value: toStep(RANGES[rate], rates[rate]), ariaLabel: words });
  exact.addEventListener("input", () => {
    if (!isRate(rate, exact.valueAsNumber)) return;
    slider.value = toStep(RANGES[rate], exact.valueAsNumber);
    change(rate, exact.valueAsNumber);
  });
  slider.addEventListener("input", () => {
    exact.value = toValue(rate, Number(slider.value));
    change(rate, Number(exact.value));
  });
  row.append(label, exact, slider);
  return row;
}

function change(rate, value) {
  rates = { ...rates, [rate]: value, title: YOURS };
  toAddress();
  draw();
}

const width = () => Math.max(WIDTHS[0], Math.min(WIDTHS[1], byId("bills").clientWidth));

/** How the bills grow with the number of users, or of spaces where each has one. */
function growth(data) {
  const grows = rates.users > 1 ? "users" : "spaces";
  const sizes = [...new Set(GROWTH.map((factor) => Math.max(1, Math.round(rates[grows] * factor))))];
  const all = sizes.map((size) => billsOf({ ...rates, [grows]: size }, data));
  const series = Object.values(DESIGNS).map(({ title }, at) => ({ label: title, points: sizes.map((size, of) => [size, all[of][at].total]) }));
  if (sizes.length < 2) return "";
  const most = Math.max(...series.flatMap(({ points }) => points.map(([, total]) => total)));
  // In a narrow chart every other number has room.
  const sparse = (all) => (width() < 500 ? all.filter((_, at) => at % 2 === 0) : all);
  const dollars = (count) => `$${Number.isInteger(count) ? whole(count) : money(count)}`;
  const ticks = { x: sparse(steps(sizes.at(-1), whole, { isWhole: true })), y: steps(most, dollars) };
  return lines(grows === "users" ? "By the users of a space" : "By the number of spaces", { series, ticks, x: grows, y: "$ a month", width: width() });
}

function cell(kind, words, more = {}) {
  return Object.assign(document.createElement(kind), { textContent: words, ...more });
}

function totals(bills) {
  const head = document.createElement("tr");
  head.append(cell("th", ""), ...["$ a month", "largest line", "free plan", "of a day's amount"].map((words) => cell("th", words)));
  const rows = bills.map(({ design, title, isOurs, total, lines: all, free }) => {
    const row = Object.assign(document.createElement("tr"), { className: isOurs ? "ours" : "" });
    row.dataset.design = design;
    const largest = all.reduce((one, other) => (other.dollars > one.dollars ? other : one));
    const most = prices.meters[free.shares[0].meter].title;
    row.append(
      cell("th", DESIGNS[design].listens && rates.users * rates.devices > SOCKETS_MAX ? `${title}: a space has ${whole(SOCKETS_MAX)} at most` : title), cell("td", money(total), { className: "total" }),
      cell("td", largest.dollars > 0 ? `${prices.meters[largest.meter].title}, $${money(largest.dollars)}` : "–"),
      cell("td", free.fits ? "fits" : "does not fit"), cell("td", `${most}, ${percent(free.shares[0].share)}`),
    );
    return row;
  });
  byId("totals").replaceChildren(head, ...rows);
}

function draw() {
  const data = { prices, counts };
  byId("bills").innerHTML = bars("A month's bill on the paid plan", billBars({ rates }, data), { width: width() });
  byId("growth").innerHTML = growth(data);
  totals(billsOf(rates, data));
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
}

function begin() {
  byId("sliders").replaceChildren(...RATES.map(control));
  form.profile.value = name;
  draw();
}

form.profile.append(...Object.entries(profiles).map(([value, { title }]) => Object.assign(document.createElement("option"), { value, textContent: title })));
form.profile.addEventListener("change", () => {
  name = form.profile.value;
  rates = { ...profiles[name] };
  toAddress();
  begin();
});
addEventListener("resize", draw);
form.addEventListener("submit", (event) => event.preventDefault());
begin();
