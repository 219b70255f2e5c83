// What a run says of the client, as tables and as two lines below them.
import { mean, number, verdict } from "./report-numbers.mjs";

const range = ({ ratio, lowest, highest }) => [ratio.toFixed(2), `${lowest.toFixed(2)}–${highest.toFixed(2)}`];
const target = (ratio, most) => [`≤ ${most}`, verdict(ratio <= most)];

// In the browser: with Headwater, and with Dexie alone.
function inBrowser({ first_load, capture, live }) {
  const table = [["in Chromium, ms", "Headwater", "floor", "ratio", "range", "target", ""]];
  for (const one of Object.values(first_load)) {
    table.push([`first load of ${one.count}`, number(one.ms), number(one.floor_ms), ...range(one), ...target(one.ratio, 1.05)]);
  }
  for (const one of Object.values(capture)) table.push([one.name, number(one.ms), number(one.floor_ms), ...range(one), ...target(one.ratio, one.budget)]);
  for (const figure of ["p50", "p99"]) {
    const ratio = live[`${figure}_ratio`];
    const goal = figure === "p99" ? target(ratio, 1.2) : ["", ""];
    table.push([`a change is seen elsewhere, ${figure}`, number(live.headwater[figure]), number(live.broadcast[figure]), ratio.toFixed(2), "", ...goal]);
    table.push(["… beside a floor that calls `update` too", "", number(live.updated[figure]), live[`${figure}_ratio_updated`].toFixed(2), "", "", ""]);
  }
  return table;
}

// Pushes over sockets, by HTTP, and over sockets to an object that does no more than it must.
function pushes({ eight, many }) {
  const table = [["one-record pushes", "clients", "pushes/s", "p50", "p99", "CPU", "sockets against it", "range"]];
  for (const row of [eight, many]) {
    const against = { socket: undefined, http: row.vs_http, minimal: row.vs_minimal };
    for (const [name, of] of Object.entries(against)) {
      const figures = ["perSecond", "p50", "p99", "cpu"].map((figure) => number(row[name][figure]));
      table.push([{ socket: "over sockets", http: "by HTTP", minimal: "a minimal object, over sockets" }[name], String(row.clients), ...figures, ...(of ? range(of) : ["", ""])]);
    }
  }
  return table;
}

function bytes({ wire }) {
  const names = ["pushed", "answered", "asked", "told", "all"];
  return [["bytes of one change", ...names], ...["socket", "http"].map((way) => [way, ...names.map((name) => String(wire[way][name]))])];
}

function dollars({ costs }) {
  const names = ["worker_requests", "object_requests", "socket_messages", "rows_written", "rows_read", "alarms_set", "alarms", "kv_writes"];
  const head = ["per push", "Worker requests", "object requests", "messages", "rows written", "rows read", "alarms set", "alarms rung", "KV writes", "$ per million"];
  return [head, ...["socket", "http"].map((way) => [way, ...names.map((name) => mean(costs[way][name])), costs[way].dollars_per_million.toFixed(2)])];
}

export const clientTables = (client) => [inBrowser(client), pushes(client), bytes(client), dollars(client)];

export function clientNotes({ idle, gzip_bytes }) {
  const { sockets, seconds, pings, runs, ms, slept, told_ms } = idle;
  return `${sockets} idle sockets, ${pings} pings in ${seconds} s: the object ran ${runs} times for ${number(ms)} ms, ${slept ? "had fallen asleep" : "did not sleep"}, and told all of a change after ${number(told_ms)} ms
the client: ${gzip_bytes} bytes, minified and gzipped`;
}

/** Ours beside other libraries. */
export function libraryTable({ count, rounds: _, ...all }) {
  const table = [[`first load of ${count} into IndexedDB`, "version", "ms", "against the floor", "range", "bytes, gzip, with Dexie where it is needed"]];
  for (const [name, { version = "", ms, vs_floor, lowest, highest, gzip_bytes }] of Object.entries(all)) {
    table.push([name, version, number(ms), ...range({ ratio: vs_floor, lowest, highest }), String(gzip_bytes)]);
  }
  return table;
}
