// The report on monthly bills: four named profiles under all designs, on the paid and on the free plan.

import { bars } from "../chart.mjs";
import { DESIGNS, bill, freePlan, month, parts, traffic } from "../model.mjs";
import { money, percent, table, whole } from "./words.mjs";

/** Rates of a profile, with what they mean. */
export const RATES = [
  ["spaces", "spaces"], ["users", "users in a space"], ["devices", "devices of a user"], ["hours", "hours a day that a device is open"],
  ["days", "days a month"], ["poll_s", "seconds between polls"], ["edits", "edits of a user a day"], ["edits_per_push", "edits in a push"],
  ["opens", "times a day that a device is opened"], ["loads", "first loads of a device a month"], ["kib", "KiB in a space"],
  ["locations", "locations at which a space is read"], ["shared", "shared space"], ["publish_s", "seconds until a change is published"],
  ["cross_origin", "the page has another origin"],
];

const yes = (value) => (typeof value === "boolean" ? (value ? "yes" : "no") : Number.isInteger(value) ? whole(value) : String(value));

/** Each design's bill of a profile, with its share of the free plan. */
export function billsOf(profile, data) {
  return Object.entries(DESIGNS).map(([design, { title, ours }]) => {
    const meters = month(design, profile, data);
    return { design, title, isOurs: Boolean(ours), ...bill(meters, data.prices), free: freePlan(meters, data.prices) };
  });
}

/** Groups of bars, one for each profile. */
export const billBars = (profiles, data) =>
  Object.values(profiles).map((profile) => ({
    title: profile.title,
    bars: billsOf(profile, data).map(({ title, total, isOurs }) => ({ label: title, value: total, figure: `$${money(total)}`, isOurs })),
  }));

export function overview(data) {
  const bills = Object.values(data.profiles).map((profile) => billsOf(profile, data));
  const rows = Object.values(DESIGNS).map(({ title, ours }, at) => [ours ? `**${title}**` : title, ...bills.map((all) => money(all[at].total))]);
  return table(["$ a month, paid plan", ...Object.values(data.profiles).map(({ title }) => title)], rows);
}

function detail([name, profile], data) {
  const bills = billsOf(profile, data);
  const happens = traffic(profile);
  const shown = Object.keys(data.prices.meters).filter((meter) => bills.some(({ lines }) => lines.find((line) => line.meter === meter).dollars > 0));
  const lines = bills.map(({ title, base, lines: all, total }) => [title, money(base), ...shown.map((meter) => money(all.find((line) => line.meter === meter).dollars)), money(total)]);
  const free = bills.map(({ title, free: { fits, shares } }) => [title, fits ? "yes" : "no", data.prices.meters[shares[0].meter].title, percent(shares[0].share)]);
  return [
    `## ${profile.title}`,
    "",
    `In a month ${whole(happens.pulls)} polls if devices poll, ${whole(happens.pushes)} pushes, ${whole(happens.loads)} first loads.`,
    "",
    ...table(["$ a month", "base", ...shown.map((meter) => data.prices.meters[meter].title), "total"], lines),
    "",
    "Does a day fit the free plan, and which of its amounts is used up first?",
    "",
    ...table(["", "fits", "first used up", "of a day's amount"], free),
    "",
    `<details><summary>What each design does in that month</summary>`,
    "",
    ...Object.entries(DESIGNS).flatMap(([design, { title }]) => {
      const does = parts(design, data.profiles[name], data.prices).filter(([, times]) => times > 0);
      return [`- ${title}: ${does.map(([path, times]) => `\`${path}\` ${whole(times)}`).join(", ")}`];
    }),
    "",
    "</details>",
    "",
  ];
}

export function billsReport(data) {
  const profiles = Object.values(data.profiles);
  const page = [
    "# Monthly bills of four profiles",
    "",
    ...overview(data),
    "",
    "The base of the plan is in every bill, once: an account that has it already pays only what is above it.",
    "",
    "![Bars: monthly bills of four profiles under eight designs](bills.svg)",
    "",
    "## The rates of the profiles",
    "",
    ...table(["", ...profiles.map(({ title }) => title)], RATES.map(([rate, words]) => [words, ...profiles.map((profile) => yes(profile[rate]))])),
    "",
    ...Object.entries(data.profiles).flatMap((entry) => detail(entry, data)),
  ];
  return { "bills.md": page, "bills.svg": bars("A month's bill on the paid plan, in US dollars (each group has its own scale)", billBars(data.profiles, data)) };
}
