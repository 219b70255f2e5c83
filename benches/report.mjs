// Prints the result of a bench run as two aligned tables: how fast, and what it used.
import { median } from "./client.mjs";
import { clientNotes, clientTables, libraryTable } from "./report-client.mjs";
import { mean, number, verdict } from "./report-numbers.mjs";

const CONDITIONS = `Both sides of a comparison are Workers of one Miniflare, asked in turns by raw keep-alive sockets (8 connections;
first loads 1) from a generator that shares the machine, so only ratios mean anything. A ratio is the median of the
rounds' ratios of requests per second. Medians of the rounds: p50 and p99 in ms, CPU in µs of the runtime's processor
time per request, the local simulation of KV and storage included.
Headwater verifies a token on every request, the floors ask for none. Reads run with eager publication
(PUBLISH_AFTER_PULLS=0, PUBLISH_MAX_DELAY_MS=1000, PUBLISH_INTERVAL_MS=1000), pushes with the default settings.
Headwater keeps a head in memory for 1 s and in the Cache API for 30 s: that is its design, the floors read KV each
time; the row with many spaces shows it where the memory layer cannot help. Floors of polls and small pulls stream a
value of the size of Headwater's answer; the floor of a first load streams the keys that publication wrote, and with
gzip both sides are compressed by the runtime.`;

// A browser asks first for every new URL, because of the Authorization header; an answer holds for two hours.
const SAME_URL = "none new";
const NEW_URL = "GET 1, POST 0";

function rowsOf({ kv, memory, object }) {
  const rows = [];
  const add = (row, target, preflights) => row && rows.push({ ...row, target, preflights });
  for (const [reads, target] of [[kv, 0.85], [memory, 0.7]]) {
    add(reads?.poll304, target, SAME_URL);
    add(reads?.poll200, target, SAME_URL);
    add(reads?.tail, target, NEW_URL);
    add(reads?.wideTail, undefined, NEW_URL);
  }
  add(kv?.cold, undefined, SAME_URL);
  add(kv?.firstLoad.plain, 0.85, NEW_URL);
  add(kv?.firstLoad.gzip, 0.85, NEW_URL);
  add(object?.eight, 1.3, SAME_URL);
  add(object?.since, undefined, SAME_URL);
  add(object?.many, undefined, SAME_URL);
  return rows;
}

function speeds(rows) {
  const table = [["", "Headwater/s", "floor/s", "ratio", "range", "target", "", "p50", "floor p50", "p99", "floor p99", "CPU", "floor CPU"]];
  for (const { name, headwater, floor, ratio, lowest, highest, target } of rows) {
    table.push([
      name,
      number(headwater.perSecond),
      number(floor.perSecond),
      ratio.toFixed(2),
      `${lowest.toFixed(2)}–${highest.toFixed(2)}`,
      target === undefined ? "" : `≥ ${target}`,
      target === undefined ? "" : verdict(ratio >= target),
      ...[headwater.p50, floor.p50, headwater.p99, floor.p99, headwater.cpu, floor.cpu].map(number),
    ]);
  }
  return table;
}

function uses(rows) {
  const table = [["per request", "answered by", "Cache API", "KV reads", "object", "rows read", "written", "preflights"]];
  for (const { name, used, preflights } of rows) {
    const sources = Object.entries(used.sources).map(([source, count]) => `${source} ${mean(count / used.answers)}`);
    const counts = [used.cache, used.kv, used.object, used.rows_read, used.rows_written].map(mean);
    table.push([name, sources.join(", "), ...counts, preflights]);
  }
  return table;
}

function align(table) {
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  const numeric = table[0].map((_, column) => table.slice(1).every((row) => /^[<\d.]+$/.test(row[column])));
  const cell = (text, column) => (numeric[column] ? text.padStart(widths[column]) : text.padEnd(widths[column]));
  return table.map((row) => row.map(cell).join("  ").trimEnd()).join("\n");
}

// What a poll costs whose token is new or remembered; /health asks for none and answers from nothing.
function verifying(tokens) {
  const table = [["token", "requests/s", "CPU", "CPU against /health"]];
  for (const [name, { perSecond, cpu, vs_health }] of Object.entries(tokens)) {
    table.push([name, number(perSecond), number(cpu), vs_health.toFixed(2)]);
  }
  return table;
}

// Users at a person's pace, quiet and beside another who asks for all they can get.
const NEIGHBOURS = `Four users at a person's pace beside one who sends all that is taken, in its own space or in theirs; all objects and the Worker
share one thread here. p99 in ms of the four, quiet and beside the fifth, whose ten seconds' worth are used
up; in the first seconds they are not. "busy" is the part of a core that the runtime used, quiet and so.`;

function neighbours(rows) {
  const each = (of) => [`${of} p99`, "quiet", "ratio", "≤ 2", "first 3 s"];
  const table = [["beside one who sends", "in", "refusals", "taken/s", "refused/s", ...each("push"), ...each("pull"), "busy", "quiet", "samples"]];
  for (const { where, name, heeds, taken, refused, pushes, pulls, busy, quiet_busy } of rows) {
    const times = [pushes, pulls].flatMap(({ p99, quiet_p99, ratio, first_p99 }) => [
      number(p99), number(quiet_p99), ratio.toFixed(2), verdict(ratio <= 2), number(first_p99),
    ]);
    const use = [busy, quiet_busy].map((part) => part.toFixed(2));
    table.push([name, where, heeds ? "waited for" : "ignored", number(taken), number(refused), ...times, ...use, String(pushes.samples)]);
  }
  return table;
}

// What an object does whose commits take as long as on the platform.
function durations(rows) {
  const table = [["commits of", "clients", "pushes/s", "p50", "p99", "CPU"]];
  for (const { commitMs, clients, ...figures } of rows) {
    table.push([`${commitMs} ms`, String(clients), ...["perSecond", "p50", "p99", "cpu"].map((of) => number(figures[of]))]);
  }
  return table;
}

// From the process of a runtime to its first answer.
function starts({ nothing, hello, alone, headwater, ratio, cpu_ratio, to_alone, cpu_to_alone }) {
  const row = (name, { ms, cpu_ms, bytes, gzip }) => [name, number(ms), number(cpu_ms), String(bytes ?? ""), String(gzip ?? "")];
  const table = [
    ["start-up", "ms", "CPU ms", "wasm bytes", "gzip"],
    row("the runtime alone", nothing),
    row("workers-rs hello world with one object", hello),
    row("Headwater without the other front", alone),
    row("Headwater", headwater),
  ];
  const shown = (ratios) => `${median(ratios).toFixed(2)} (${ratios[0].toFixed(2)}–${ratios.at(-1).toFixed(2)})`;
  const front = `against itself without the other front: ${shown(to_alone)}, CPU ${shown(cpu_to_alone)}`;
  const target = `target ≤ 1.5: ${verdict(ratio <= 1.5)}`;
  return `${align(table)}\nbeyond the runtime, against the hello world: ${ratio.toFixed(2)} (${target}), CPU ${cpu_ratio.toFixed(2)}\n${front}`;
}

export function print(result) {
  const rows = rowsOf(result);
  const { cores, node, load_before, fdatasync_ms } = result.machine;
  const durable = `a write is durable here after ${number(fdatasync_ms)} ms`;
  console.log(`${CONDITIONS}
${result.rounds} rounds of ${result.round_ms} ms, ${cores} cores, Node ${node}; load average before the run ${number(load_before)}; ${durable},
which decides how much pushes gain by sharing a transaction.\n`);
  // Each wait for the disk then also waits for a processor, and the floor waits for each push by itself.
  if (load_before > 1) console.log("The machine was busy before the run: that makes the ratios of pushes too high.\n");
  if (rows.length > 0) console.log(`${align(speeds(rows))}\n\n${align(uses(rows))}`);
  if (result.tokens) console.log(`\n${align(verifying(result.tokens))}`);
  if (result.commits.length > 0) console.log(`\n${align(durations(result.commits))}`);
  if (result.client) console.log(`\n${clientTables(result.client).map(align).join("\n\n")}\n${clientNotes(result.client)}`);
  if (result.libraries) console.log(`\n${align(libraryTable(result.libraries))}`);
  if (result.noisy) console.log(`\n${NEIGHBOURS}\n${align(neighbours(result.noisy))}`);
  if (result.startup) console.log(`\n${starts(result.startup)}`);
  const loads = result.kv?.firstLoad;
  if (loads) {
    const line = ({ bytes, floorBytes, keys }) => `${bytes} bytes (floor ${floorBytes}) from ${keys} keys`;
    console.log(`\nfirst load: plain ${line(loads.plain)}; gzip ${line(loads.gzip)}`);
  }
  const size = result.wasm_gzip_bytes;
  console.log(`wasm: ${result.wasm_bytes} bytes, ${size} gzip`);
}
