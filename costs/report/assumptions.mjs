// The pages of what the reports rest on: prices and assumptions, and what hosted peers ask.

import { FIXED, SOCKETS_MAX } from "../model.mjs";
import { amount, money, table, whole } from "./words.mjs";

const LACKS = [
  ["KV-naive", "Two that push at once lose one of the two edits. KV takes one write a second to a key. Every push leaves a whole snapshot behind for a day, whose storage is not in its bills."],
  ["Object only", "Every poll reaches the one object, which Cloudflare's documentation puts at a few hundred requests a second with writes. Nothing is known of repeated pushes."],
  ["Object with sockets", "Counted with Headwater's own object, which does all that the others lack. It answers every first load, one after the other."],
  ["Object + cache", "The same; a reader may be shown its own write late."],
  ["D1", "One database for all spaces: 10 GB at most, and all writes pass one place. Nothing is known of repeated pushes."],
  ["R2 behind a CDN", "Whoever knows the address can read. Every push writes the whole space anew, and those that meet try again. A reader loads all of a space whenever anything has changed."],
];

const plan = (value) => (value === null ? "no limit" : amount(value));

export function assumptionsReport({ prices }) {
  const meters = Object.values(prices.meters).map(({ title, price, unit, included, rounding, source, is_stored }) => [
    title, `$${price}`, whole(unit), plan(included.paid), plan(included.free) + (is_stored || included.free === null ? "" : " a day"), rounding, `[${source}](${prices.sources[source].url})`,
  ]);
  const operations = Object.entries(prices.operations).filter(([, shown]) => Object.keys(shown).length > 0);
  const page = [
    "# What the reports rest on",
    "",
    "## Prices",
    "",
    `List prices of Cloudflare's paid plan, which costs $${money(prices.plans.paid.base)} a month, read in ${[...new Set(Object.values(prices.sources).map(({ date }) => date))].join(", ")}. They stand in`,
    "[costs/prices.json](../../costs/prices.json); a test recomputes the examples that the platform publishes to the cent.",
    "",
    ...table(["meter", "price", "for", "included a month, paid", "included, free", "rounding", "source"], meters),
    "",
    ...Object.entries(prices.rounding).map(([name, words]) => `- *${name}*: ${words}`),
    ...prices.notes.map((note) => `- ${note}`),
    "",
    "What is counted is shown by meters so:",
    "",
    ...table(["one", "shows as"], operations.map(([name, shown]) => [`\`${name}\``, Object.entries(shown).map(([meter, by]) => `${by} of ${prices.meters[meter].title}`).join(", ")]), { numbers: false }),
    "",
    "## Assumptions",
    "",
    "Operations are counted. These are not:",
    "",
    ...table(["", "value", "why"], Object.entries(prices.assumptions).map(([name, { value, why }]) => [`\`${name}\``, typeof value === "number" ? String(value) : Object.entries(value).map(([what, of]) => `${what} ${of}`).join(", "), why]), { numbers: false }),
    "",
    "These are settings, or stand in the contract:",
    "",
    ...table(["", "value", "what it is"], Object.entries(FIXED).map(([name, [value, words]]) => [`\`${name}\``, String(value), words]), { numbers: false }),
    "",
    "A ping is taken for a message of a socket. The platform answers it by itself, and its documentation does not say whether it is billed.",
    "On `*.workers.dev` there is no cache: a poll that a cache answers here goes on to KV or to the object there.",
    "",
    `A space has at most ${whole(SOCKETS_MAX)} sockets, and a user 100 of them. Devices of a space are open at the same time, and poll and write independently of each other. What is written into parts anew when a space is folded, and the deletion of those that it replaces, is not in the bills: it`,
    "happens once for every mebibyte of edits, or for an eighth of the space.",
    "",
    "## What the other designs lack",
    "",
    "Each is a small real implementation in [benches/alternatives](../../benches/alternatives), counted by the same scripts on the same runtime. None of them numbers mutations,",
    "keeps conflicts, has roles, or remembers deletions, so each is cheaper than it would be with all of that.",
    "",
    ...table(["design", "what it lacks besides"], LACKS, { numbers: false }),
  ];
  return { "assumptions.md": page };
}

export function peersReport({ peers }) {
  const page = [
    "# What hosted peers ask",
    "",
    peers.note,
    "",
    ...table(["", "plan", "list price", "source, as of"], peers.peers.map(({ name, plan: of, prices, source, date }) => [name, of, prices, `[${new URL(source).host}](${source}), ${date}`]), { numbers: false }),
  ];
  return { "peers.md": page };
}
