// The report on what each way of a request uses, and what a million of them costs.

import { bars } from "../chart.mjs";
import { PUBLICATION, each, perMillion } from "../model.mjs";
import { amount, money, table } from "./words.mjs";

const SIZES = [["20_kib", "20 KiB"], ["1_mib", "1 MiB"], ["4_mib", "4 MiB"]];

const GROUPS = [
  ["Polls and pulls of a private space", [
    ["pull.nothing.memory", "nothing new (304), from the isolate's memory"],
    ["pull.nothing.cache", "nothing new (304), from the location's cache"],
    ["pull.nothing.coordinator", "nothing new (304), the location's copy is older than 30 s"],
    ["pull.nothing.strong", "nothing new (304), `consistency=strong`"],
    ["pull.change.memory", "one change, from the isolate's memory"],
    ["pull.change.cache", "one change, from the location's cache"],
    ["pull.change.coordinator", "one change, from the coordinator"],
    ["pull.change.after_write", "the first pull at a location where a write has passed"],
  ]],
  ["Polls of a shared space, and of all spaces where publication is eager", [
    ["pull.shared.memory", "nothing new, from the isolate's memory"],
    ["pull.shared.cache", "nothing new, from the location's cache"],
    ["pull.shared.kv", "nothing new, from KV"],
    ["pull.nothing.kv", "eager: nothing new (304), from KV"],
    ["pull.change.kv", "eager: one change, from KV's head"],
    ["grant", "a grant, good for 10 minutes"],
    ["preflight", "a preflight, good for 2 hours"],
  ]],
  ["First loads", [
    ...SIZES.map(([size, words]) => [`load.${size}`, `${words}, streamed from KV, and what is newer from the coordinator`]),
    ["load.1_mib.coordinator", "1 MiB as JSON in pages, all from the coordinator"],
  ]],
  ["Pushes, without the publication that follows", [
    ["push", "one edit by HTTP"],
    ["push.of_three_edits", "three edits by HTTP in one push"],
    ["push.socket", "one edit over a socket"],
    ["push.socket.of_three_edits", "three edits over a socket in one push"],
    ["push.with_since", "one edit by HTTP that also brings what is new"],
    ["push.deletion", "one deletion by HTTP"],
    ["push.first_of_client", "the first push of a client"],
    ["push.repeated", "a push that was settled before"],
  ]],
  ["Sockets", [
    ["socket.open", "a socket is opened"],
    ["push.heard_by_six_sockets - push", "six sockets hear of a change"],
    ["socket.ping", "a ping"],
    ["socket.idle", "a socket that says nothing"],
    ["socket.token", "a new token"],
    ["socket.pull", "a small pull over a socket"],
  ]],
];

const PUBLICATIONS = [
  [PUBLICATION, "after a quiet time: one change, by an instance that has just begun"],
  ["pull.nothing.strong.and_publication - pull.nothing.strong", "by demand: the fiftieth pull that the coordinator answered"],
  ...SIZES.map(([size, words]) => [`publication.first.${size}`, `of all that is new: ${words}`]),
  ["push.and_refused_publication - push", "KV has refused it once"],
  ["push.and_unanswered_publication - push", "KV did not say whether it was written: it is written again, and once more later"],
  ["load.and_repair - load.20_kib", "KV has lost the head, and a first load says so"],
];

const FALLBACKS = [
  ["pull.fallback.lag", "KV is older than what the reader knows of"],
  ["pull.fallback.no_head", "KV shows no head"],
  ["pull.fallback.kv_failed", "KV fails"],
  ["load.fallback.missing_part", "a part of a first load is missing in KV"],
];

const COLUMNS = [
  ["Worker", "worker_requests"], ["Object", "object_requests"], ["Alarm", "alarms"], ["Messages", "socket_messages"], ["KV read", "kv_reads"],
  ["KV written", "kv_writes"], ["Rows written", "rows_written"], ["Rows read", "rows_read"], ["Cache", "cache_lookups"],
];

function rows(list, { counts, prices }) {
  return list.map(([path, words]) => {
    const used = each(path, counts);
    const cells = COLUMNS.map(([, name]) => amount((used[name] ?? 0) + (name === "rows_written" ? (used.alarms_set ?? 0) : 0)));
    return [words, ...cells, money(perMillion(used, prices, { time: false })), money(perMillion(used, prices))];
  });
}

const counted = (title, list, data) => table([title, ...COLUMNS.map(([name]) => name), "$ per million", "with time"], rows(list, data));

/** For how many pulls of a publication it is worth what it costs, if they are then answered from KV or a cache and not by the object. */
export function breakEven({ counts, prices }) {
  const cost = (path) => perMillion(each(path, counts), prices);
  const publication = cost(PUBLICATION);
  const saved = (without, with_) => publication / (cost(without) - cost(with_));
  return {
    publication,
    byCache: saved("pull.nothing.coordinator", "pull.nothing.cache"),
    byKv: cost("pull.nothing.coordinator") - cost("pull.nothing.kv"),
    byLoad: saved("load.1_mib.coordinator", "load.1_mib"),
  };
}

function chart({ counts, prices }) {
  const bar = (path, label, isOurs = true) => {
    const value = perMillion(each(path, counts), prices);
    return { label, value, figure: `$${money(value)}`, isOurs };
  };
  return bars("What a million cost, in US dollars (each group has its own scale)", [
    { title: "Pulls", bars: [
      bar("pull.nothing.memory", "memory"), bar("pull.nothing.cache", "location's cache"), bar("pull.nothing.coordinator", "coordinator"),
      bar("pull.shared.kv", "KV"), bar("pull.fallback.lag", "KV, then coordinator"), bar("load.1_mib", "first load, 1 MiB"),
    ] },
    { title: "Pushes of one edit, and a publication", bars: [
      bar("push", "by HTTP"), bar("push.socket", "over a socket"), bar(PUBLICATION, "publication"),
    ] },
  ]);
}

function breakEvenWords(data) {
  const { publication, byCache, byKv, byLoad } = breakEven(data);
  const kv = byKv >= 0 ? `saves $${money(byKv)} per million` : `costs $${money(-byKv)} per million more, so no number of them pays for a publication`;
  return [
    `A publication of one change costs $${money(publication)} per million, ${money(publication / perMillion({ worker_requests: 1 }, data.prices))} times a Worker request.`,
    "",
    `- Where it lets the location's cache answer what the coordinator would have been asked, it pays from **${Math.ceil(byCache)} hits** on.`,
    `- A poll that KV answers instead of the coordinator ${kv}.`,
    `- First loads of 1 MiB from KV instead of JSON pages by the coordinator: it pays from **${Math.ceil(byLoad)} loads** on.`,
  ];
}

/** The page, and its pictures, by their names in docs/costs. */
export function pathsReport(data) {
  const page = [
    "# What each request uses, and what a million cost",
    "",
    "Counted on the local runtime, the mean of one to six of each; *rows written* contain alarms that are set, and *with time* adds the CPU and the duration that",
    "[assumptions](assumptions.md) have. Prices are those beyond what a plan includes, so this is what one more costs.",
    "",
    "![Bars: what a million pulls and pushes cost by the way they take](paths.svg)",
    "",
    ...GROUPS.flatMap(([title, list]) => [`## ${title}`, "", ...counted("", list, data), ""]),
    "## Publications, by what causes them",
    "",
    ...counted("", PUBLICATIONS, data),
    "",
    "## Pulls that fall back on the coordinator, by what causes it",
    "",
    ...counted("", FALLBACKS, data),
    "",
    "## From how many hits a publication pays",
    "",
    ...breakEvenWords(data),
  ];
  return { "paths.md": page, "paths.svg": chart(data) };
}
