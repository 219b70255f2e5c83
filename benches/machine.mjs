// What the figures depend on besides the programs: how long the disk takes to make a write durable, what else runs, and
// how much processor time the runtime itself used, which other load on the machine changes far less than speed.
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeSync } from "node:fs";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { quantile } from "./client.mjs";

// The unit of the times in /proc, on every Linux that Node runs on.
const TICKS_PER_SECOND = 100;

export function machine() {
  return {
    cores: availableParallelism(),
    node: process.versions.node,
    load_before: loadavg()[0],
    fdatasync_ms: fdatasyncMs(),
  };
}

function fdatasyncMs() {
  const folder = mkdtempSync(join(tmpdir(), "headwater-bench-"));
  const file = openSync(join(folder, "probe"), "w");
  const times = Array.from({ length: 100 }, () => {
    const start = performance.now();
    writeSync(file, Buffer.alloc(4096));
    fdatasyncSync(file);
    return performance.now() - start;
  });
  closeSync(file);
  rmSync(folder, { recursive: true });
  return quantile(times.sort((a, b) => a - b), 0.5);
}

// Processor seconds of the workerd that this process started; null where there is no /proc.
export function runtimeSeconds() {
  try {
    const pid = (runtimePid ??= findRuntime());
    return secondsOf(fieldsOf(pid));
  } catch {
    runtimePid = undefined;
    return null;
  }
}

let runtimePid;

export function forgetRuntime() {
  runtimePid = undefined;
}

function findRuntime() {
  const ours = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && isOurs(name));
  if (ours.length !== 1) throw new Error("there is not one runtime");
  return ours[0];
}

function isOurs(pid) {
  try {
    const fields = fieldsOf(pid);
    return fields.name === "workerd" && fields.parent === process.pid;
  } catch {
    return false; // it has ended meanwhile
  }
}

function fieldsOf(pid) {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name stands in parentheses and may hold anything; the fields behind it are numbers.
  const end = text.lastIndexOf(")");
  const rest = text.slice(end + 2).split(" ");
  return { name: text.slice(text.indexOf("(") + 1, end), parent: Number(rest[1]), user: Number(rest[11]), system: Number(rest[12]) };
}

const secondsOf = ({ user, system }) => (user + system) / TICKS_PER_SECOND;
