// The report on what moves a bill: how much caches answer, how much is written at once, how far KV lags, and how large a space is.

import { lines, steps } from "../chart.mjs";
import { DESIGNS, PUBLICATION, each, load, perMillion, push } from "../model.mjs";
import { billsOf } from "./bills.mjs";
import { money, percent, table } from "./words.mjs";

const HITS = [0, 0.25, 0.5, 0.75, 0.9, 0.99];
const EDITS = [1, 2, 3, 5, 10, 20];
const LAGS = [0, 0.01, 0.05, 0.1, 0.25, 0.5];
const AWAKE_MS = [1, 5, 20, 100, 500];
const KIB = [20, 256, 1024, 2048, 4096, 8192];

const dollars = (words) => `$${money(words)}`;
const cost = (path, { counts, prices }) => perMillion(each(path, counts), prices);
const shares = (list, data) => list.reduce((sum, [path, share]) => sum + share * cost(path, data), 0);

/** What one costs of which a share takes one path and the rest another. */
const mix = (some, rest, data) => (share) => share * cost(some, data) + (1 - share) * cost(rest, data);

function table_(first, xs, series, words) {
  return table([first, ...series.map(({ label }) => label)], xs.map((x, at) => [words(x), ...series.map(({ points }) => money(points[at][1]))]));
}

/** A table and a chart of the same numbers. */
function part(name, { title, text, first, x, xs, words, series }) {
  const greatest = Math.max(...series.flatMap(({ points }) => points.map(([, value]) => value)));
  const ticks = { x: xs.map((value) => [value, words(value)]), y: steps(greatest, dollars) };
  // Of steps that grow the first few stand too close for words.
  const spread = ticks.x.filter(([value], at) => at === 0 || value > xs.at(-1) / 12);
  const chart = lines(title, { series, ticks: { ...ticks, x: spread }, x, y: "$ per million" });
  return {
    page: [`## ${title}`, "", text, "", `![Lines: ${title}](${name}.svg)`, "", ...table_(first, xs, series, words), ""],
    file: { [`${name}.svg`]: chart },
  };
}

const over = (xs, label, of) => ({ label, points: xs.map((x) => [x, of(x)]) });

function hitRatio(data) {
  const mixed = (hit, miss) => mix(hit, miss, data);
  const flat = (path) => () => cost(path, data);
  return part("hit-ratio", {
    title: "Polls, by how many of them a cache answers",
    text: "The hit ratio is that of the location: readers of one space at one location within 30 s share one look beyond it.",
    first: "hit ratio", x: "share of polls that a cache answers", xs: HITS, words: percent,
    series: [
      over(HITS, "private space", mixed("pull.nothing.cache", "pull.nothing.coordinator")),
      over(HITS, "shared space (KV)", mixed("pull.shared.cache", "pull.shared.kv")),
      over(HITS, "object + cache", mixed("object_cache.pull.cache", "object_cache.pull.nothing")),
      over(HITS, "object only", flat("object_only.pull.nothing")),
      over(HITS, "D1", flat("d1.pull.nothing")),
      over(HITS, "KV-naive", flat("kv_naive.pull.nothing")),
    ],
  });
}

function coalescing(data) {
  const pushed = (prefix, publication) => (edits) => (shares(push(edits, prefix), data) + publication) / edits;
  return part("coalescing", {
    title: "Edits, by how many go in one push that is then published",
    text: "The worst case for publication is one after every push. A publication costs the same however many edits it contains, up to 256 KiB.",
    first: "edits in a push", x: "edits in a push", xs: EDITS, words: String,
    series: [
      over(EDITS, "by HTTP", pushed("push", cost(PUBLICATION, data))),
      over(EDITS, "over a socket", pushed("push.socket", cost(PUBLICATION, data))),
      over(EDITS, "KV-naive", pushed("kv_naive.push", 0)),
      over(EDITS, "object only", pushed("object_only.push", 0)),
      over(EDITS, "D1", pushed("d1.push", 0)),
      over(EDITS, "R2", pushed("r2_cdn.push", 0)),
    ],
  });
}

function lag(data) {
  return part("lag", {
    title: "Looks into KV, by how many find it too old",
    text: "A reader that knows of something newer than KV shows is answered by the coordinator, so a lag costs money and never correctness.",
    first: "share that finds KV too old", x: "share of looks that find KV too old", xs: LAGS, words: percent,
    series: [
      over(LAGS, "KV, else coordinator", mix("pull.fallback.lag", "pull.nothing.kv", data)),
      over(LAGS, "coordinator at once", () => cost("pull.nothing.coordinator", data)),
    ],
  });
}

function size(data) {
  const loaded = (prefix) => (kib) => shares(load(kib, prefix), data);
  return part("size", {
    title: "First loads, by the size of the space",
    text: "Headwater reads a KV key for each part of 1 to 1.5 MiB. The alternatives send a space in one answer, which an object's memory and a Worker's CPU bound.",
    first: "size", x: "size of the space", xs: KIB, words: (kib) => (kib < 1024 ? `${kib} KiB` : `${kib / 1024} MiB`),
    series: [
      over(KIB, "KV-first", loaded("")),
      ...["kv_naive", "object_only", "d1", "r2_cdn"].map((name) => over(KIB, DESIGNS[name].title, loaded(`${name}.`))),
    ],
  });
}

/** The bills of teams, by how long an object is awake for each request and message. */
function awake(data) {
  const { assumptions } = data.prices;
  const bills = AWAKE_MS.map((ms) => {
    const object_ms = { ...assumptions.object_ms, value: { ...assumptions.object_ms.value, object_requests: ms, socket_messages: ms } };
    return billsOf(data.profiles.teams, { ...data, prices: { ...data.prices, assumptions: { ...assumptions, object_ms } } });
  });
  const rows = Object.values(DESIGNS).map(({ title }, at) => [title, ...bills.map((all) => money(all[at].total))]);
  return [
    "## A month's bill, by how long an object is awake",
    "",
    `${data.profiles.teams.title}, in dollars a month. The bills assume ${assumptions.object_ms.value.object_requests} ms for each request and message, which nobody has measured on Cloudflare.`,
    "By Cloudflare's page on the lifecycle of objects, an idle object that can hibernate is not billed.",
    "",
    ...table(["", ...AWAKE_MS.map((ms) => `${ms} ms`)], rows),
  ];
}

export function sensitivityReport(data) {
  const all = [hitRatio, coalescing, lag, size].map((of) => of(data));
  const page = ["# What moves the bill", "", "Dollars per million beyond what a plan includes, with CPU and duration as [assumed](assumptions.md). Pushes of one and three edits and spaces of 20 KiB, 1 MiB and 4 MiB are counted; what lies between and beyond is drawn from those.", "", ...all.flatMap((one) => one.page), ...awake(data)];
  return Object.assign({ "sensitivity.md": page }, ...all.map(({ file }) => file));
}
