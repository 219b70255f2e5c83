// The first page: the answer, one chart, and when not to use it. Every sentence with a figure in it is made of the figures.

import { PUBLICATION, each, month, parts, perMillion, traffic } from "../model.mjs";
import { billsOf, overview } from "./bills.mjs";
import { breakEven } from "./paths.mjs";
import { listed, money, percent, table } from "./words.mjs";

/** Designs whose readers have to show who they are, and that poll. */
const OTHERS = ["object_cache", "d1", "object_only"];
const SOON_S = 30;

const cost = (path, { counts, prices }) => perMillion(each(path, counts), prices);
const all = (data) => Object.entries(data.profiles).map(([name, profile]) => ({ name, profile, bills: billsOf(profile, data) }));
const totalOf = (bills, design) => bills.find((one) => one.design === design);

/** Dollars of a month beyond the plan's base and without what it includes: what one more such month costs a large account. */
export function marginal(design, profile, { prices, counts }) {
  const meters = month(design, profile, { prices, counts });
  return Object.entries(meters).reduce((sum, [meter, used]) => sum + (used * prices.meters[meter].price) / prices.meters[meter].unit, 0);
}

/** What README says too: the most common case, of a size at which there is a bill. */
export function thousandUsers(data) {
  const bills = billsOf({ ...data.profiles.private_spaces, spaces: 1000 }, data);
  const dollars = (design) => `$${money(totalOf(bills, design).total)}`;
  return `- **1,000 users in private spaces**, two devices each: ${dollars("sockets")} a month with sockets, ${dollars("kv_first")} by polling. An object with sockets and no KV: ${dollars("object_sockets")}. D1, by polling: ${dollars("d1")}.`;
}

/** What somebody in a hurry takes away. */
function answer(data) {
  const lines = all(data).map(({ profile, bills }) => {
    const cheapest = Math.min(...bills.map(({ total }) => total));
    const best = bills.filter(({ total }) => total === cheapest).map(({ title }) => title);
    const who = best.length > 3 ? best.length === bills.length ? "all are the same" : `${best.length} of ${bills.length} designs` : listed(best);
    const [polling, sockets] = ["kv_first", "sockets"].map((design) => money(totalOf(bills, design).total));
    return `- **${profile.title}**: $${sockets} a month with sockets, $${polling} by polling. Cheapest: ${who}, $${money(cheapest)}.`;
  });
  return ["The bills contain the plan's base of $5, which an account pays once.", "", thousandUsers(data), ...lines];
}

/** A sentence for each reason not to poll KV-first that the figures give. */
function against(data) {
  const profiles = all(data);
  const dearer = profiles.flatMap(({ profile, bills }) => {
    const mine = totalOf(bills, "kv_first").total;
    const cheaper = OTHERS.map((design) => totalOf(bills, design)).filter(({ total }) => total < mine);
    if (cheaper.length === 0) return [];
    return [`  - ${profile.title}: $${money(mine)}, but ${listed(cheaper.map(({ title, total }) => `$${money(total)} with ${title}`))}`];
  });
  const soon = profiles.filter(({ profile }) => profile.shared && profile.publish_s > SOON_S).map(({ profile }) => {
    const [now, then] = [profile, { ...profile, publish_s: SOON_S }].map((one) => totalOf(billsOf(one, data), "kv_first").total);
    return { title: profile.title, now, then };
  });
  const dearest = soon.reduce((one, other) => (other.then - other.now > one.then - one.now ? other : one));
  const bursting = profiles.filter(({ bills }) => !totalOf(bills, "kv_first").free.fits && OTHERS.some((design) => totalOf(bills, design).free.fits));
  const free = bursting.map(({ profile, bills }) => {
    const { shares } = totalOf(bills, "kv_first").free;
    return `${profile.title.toLowerCase()} would use ${percent(shares[0].share)} of a day's ${data.prices.meters[shares[0].meter].title}`;
  });
  const teams = data.profiles.teams;
  const small = billsOf({ ...teams, users: 3 }, data);
  const [listening, alone] = ["sockets", "object_sockets"].map((design) => money(totalOf(profiles.find(({ name }) => name === "teams").bills, design).total));
  const published = parts("sockets", teams, data.prices).find(([path]) => path === PUBLICATION)[1];
  const { byCache, byLoad, publication } = breakEven(data);
  const [read, object] = ["kv_reads", "object_requests"].map((meter) => data.prices.meters[meter].price);
  return [
    "- **If you only poll, and only the bill counts.** These are cheaper than polling KV-first:",
    ...dearer,
    `  - 1,000 teams of three: $${money(totalOf(small, "kv_first").total)}, but ${listed(OTHERS.map((design) => totalOf(small, design)).map(({ title, total }) => `$${money(total)} with ${title}`))}`,
    `- **If you only poll, and others have to see a change within a minute or so.** Polls of a shared space show what is published, and ask the object itself when nothing has been confirmed for ten minutes, so by default they are up to ten minutes old. Published every ${SOON_S} s, ${dearest.title.toLowerCase()} cost $${money(dearest.then)} by polling instead of $${money(dearest.now)}. Over sockets changes are seen at once, however late they are published.`,
    ...(free.length > 0 ? [`- **On the free plan, with many spaces that write.** ${listed(free)}; a design without KV would fit.`] : []),
    `- **Where hardly anybody reads what is written.** A publication costs $${money(publication)} per million, and pays if before the next change ${Math.ceil(byCache)} polls are answered from a cache because of it, or ${Math.ceil(byLoad)} new devices load a mebibyte. For that reason the defaults wait for 50 pulls, at most 15 minutes in a shared space and 6 hours in a private one.`,
    `- **If you take sockets for a merit of KV.** An object without KV can have them: ${teams.title.toLowerCase()} cost $${alone} with it, and $${listening} with KV-first. Of what they use in a month with KV-first, $${money(marginal("sockets", teams, data))} before anything is included, $${money((published * publication) / 1_000_000)} is for publications. An object alone saves that, and answers every first load itself.`,
    `- **For the price of a read.** A KV read costs ${money(read / object)} times an object request. What KV buys is the bytes of first loads, reads close to the user, and reads that go on while an object is slow or down.`,
    "- **Where the content is public.** R2 behind a CDN answers polls for next to nothing, if anybody who knows the address may read.",
  ];
}

/** Edits between two publications of a private space, whose delay is six hours: eight bursts of three. */
const EDITS_PUBLISHED = 24;

/** Dollars per million edits, of which a push of `path` takes so many. */
function published(path, edits, { counts, prices }) {
  const dollars = (path) => perMillion(each(path, counts), prices, { time: false });
  return dollars(path) / edits + dollars(PUBLICATION) / EDITS_PUBLISHED;
}

const TARGETS = [
  ["a poll in the hot shared space, per million, without grants, preflights and what is written", 0.31, (data) => {
    const { prices, counts, profiles } = data;
    const polls = parts("kv_first", profiles.hot_space, prices).filter(([path]) => path.startsWith("pull."));
    return polls.reduce((sum, [path, times]) => sum + times * perMillion(each(path, counts), prices, { time: false }), 0) / traffic(profiles.hot_space).pulls;
  }],
  ["10,000 readers of that space for a month with sockets, without the base and what is included", 2, (data) => marginal("sockets", data.profiles.hot_space, data)],
  ["an edit in bursts of three, one push each over a socket, per million, with a publication for each eight bursts", 3.1, (data) => published("push.socket", 1, data)],
  ["the same by HTTP", 3.1, (data) => published("push", 1, data)],
  ["the same, the three of a burst in one push over a socket", 3.1, (data) => published("push.socket.of_three_edits", 3, data)],
  ["a month of an active user (1,000 pulls, 900 pushes by HTTP), who is published once a day", 0.004, (data) => {
    const dollars = (path, times) => (perMillion(each(path, data.counts), data.prices, { time: false }) * times) / 1_000_000;
    return dollars("pull.nothing.coordinator", 1000) + dollars("push", 900) + dollars(PUBLICATION, 30);
  }],
  ["a socket that says nothing: operations", 0, ({ counts }) => Object.values(counts["socket.idle"].used).reduce((sum, count) => sum + count, 0)],
];

const targets = (data) =>
  table(["", "target", "now", ""], TARGETS.map(([words, target, of]) => {
    const now = of(data);
    return [words, money(target), now > 0 && now < 0.01 ? now.toFixed(4) : money(now), now <= target ? "met" : "**missed**"];
  }));

/** The page that stands in docs/costs/README.md. */
export function answerReport(data) {
  const page = [
    "# What it costs",
    "",
    ...answer(data),
    "",
    "![Bars: monthly bills of four profiles under eight designs](bills.svg)",
    "",
    ...overview(data),
    "",
    "*KV-first* is Headwater. *KV-naive* keeps each space's snapshot in KV, *object only* has one Durable Object answer everything, *object with sockets* tells devices so, *object + cache* has the location's cache",
    "before it, and *D1* and *R2* hold the records in KV's place.",
    "",
    `With sockets a device hears of changes for nothing, since what an object sends is not billed, and a push costs $${money(cost("push.socket", data))} per million instead of $${money(cost("push", data))}. By polling, each poll is a Worker request,`,
    "whatever stands behind it. The SDK uses sockets where an app does not switch them off. What the profiles do is in [bills](bills.md), and what the other designs lack in [assumptions](assumptions.md#what-the-other-designs-lack).",
    "",
    "## When not to use KV-first",
    "",
    ...against(data),
    "",
    "## Targets",
    "",
    "Operations at list prices, without CPU and duration where it is per million.",
    "",
    ...targets(data),
    "",
    "## More",
    "",
    ...table(["", ""], [
      ["[paths](paths.md)", `what each request uses: a poll from a cache $${money(cost("pull.nothing.cache", data))} per million, a push $${money(cost("push", data))}, over a socket $${money(cost("push.socket", data))}; publications and fallbacks by cause`],
      ["[bills](bills.md)", "the four profiles in numbers, each meter of each bill, and the free plan"],
      ["[sensitivity](sensitivity.md)", "hit ratio, edits in a push, lag of KV, size of a space"],
      ["[assumptions](assumptions.md)", "prices with their sources, what is assumed and not counted, what the other designs lack"],
      ["[peers](peers.md)", "list prices of hosted services"],
    ], { numbers: false }),
    "",
    "`npm run costs` counts every operation anew on the local runtime and writes these pages; no bill in them is typed by hand, and a second run writes the same bytes. A test in",
    "`npm test` fails when a path uses more or less than [costs/counts.json](../../costs/counts.json) has, and says what that is in a year of the hot shared space. To try",
    "your own rates: `npm start`, then `/costs`.",
  ];
  return { "README.md": page };
}
