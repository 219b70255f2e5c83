// One exchange with the server: where its answer came from, what it used, and what that costs.

export type Layer = "memory" | "cache" | "KV" | "object";

/** What was used of what Cloudflare bills. */
export interface Used {
  worker?: number;
  object?: number;
  /** Messages that came over a socket; twenty are an object request. */
  message?: number;
  kv?: number;
  written?: number;
  read?: number;
  /** Alarms set; each is billed as a row written. */
  alarm?: number;
}

export interface Exchange {
  id: number;
  at: number;
  kind: string;
  over: "HTTP" | "socket";
  space: string;
  layer: Layer;
  version?: number | undefined;
  status: number;
  /** The panel asked, not the app. */
  isOfPanel: boolean;
  /** Bytes of bodies and messages. */
  up: number;
  down: number;
  ms: number;
  used: Used;
}

/** List prices of the paid plan in US dollars per million, beyond what is included: developers.cloudflare.com, September 2026. */
const PRICES = { worker: 0.3, object: 0.15, message: 0.15 / 20, kv: 0.5, written: 1, read: 0.001, alarm: 1 } as const;
type Operation = keyof typeof PRICES;
const OPERATIONS = Object.keys(PRICES) as Operation[];
const NAMES: Record<Operation, [string, string]> = {
  worker: ["Worker request", "Worker requests"], object: ["object request", "object requests"], message: ["socket message", "socket messages"],
  kv: ["KV key read", "KV keys read"], written: ["row written", "rows written"], read: ["row read", "rows read"],
  alarm: ["alarm set", "alarms set"],
};

/** US dollars. */
export const costOf = (used: Used): number => OPERATIONS.reduce((sum, name) => sum + ((used[name] ?? 0) * PRICES[name]) / 1e6, 0);

export const inWords = (used: Used): string => {
  const words = OPERATIONS.filter((name) => used[name]).map((name) => `${used[name]} ${NAMES[name][used[name] === 1 ? 0 : 1]}`);
  return words.length === 0 ? "nothing billed" : words.join(", ");
};

export function sum(all: readonly Used[]): Used {
  const total: Used = {};
  for (const used of all) for (const name of OPERATIONS) total[name] = (total[name] ?? 0) + (used[name] ?? 0);
  return total;
}

/** What the server says in `Server-Timing`. */
const counted = (headers: Headers, name: string): number =>
  Number(new RegExp(`\\b${name};desc="(\\d+)"`).exec(headers.get("server-timing") ?? "")?.[1] ?? 0);

export function usedOf(headers: Headers): Used {
  const count = (name: string) => counted(headers, name);
  return { worker: 1, object: count("object"), kv: count("kv"), written: count("rows_written"), read: count("rows_read"), alarm: count("alarms_set") };
}

/** What an answer over a socket says that its message used. */
interface Said {
  messages?: number;
  rowsWritten?: number;
  rowsRead?: number;
  alarmsSet?: number;
}

export const usedByMessage = ({ messages = 1, rowsWritten = 0, rowsRead = 0, alarmsSet = 0 }: Said): Used =>
  ({ message: messages, written: rowsWritten, read: rowsRead, alarm: alarmsSet });

/** The furthest layer that was asked. What is refused has no `Headwater-Source`, and says only what it used. */
export function layerOf(headers: Headers): Layer {
  const count = (name: string) => counted(headers, name);
  const source = headers.get("headwater-source") ?? (count("object") > 0 ? "coordinator" : count("kv") > 0 ? "kv" : "edge");
  if (source === "coordinator") return "object";
  if (source === "kv") return "KV";
  return count("cache") > 0 ? "cache" : "memory";
}

export function versionOf(headers: Headers): number | undefined {
  const version = headers.get("headwater-version") ?? headers.get("headwater-position")?.split(".").at(-1);
  return version === undefined ? undefined : Number(version);
}

export function kindOf(path: string): string {
  const [, first = "", second = "", third = ""] = path.split("/");
  if (first === "sync") return second;
  if (first === "invitations") return "accept";
  return third || "spaces";
}

/** The space that a request is for; empty: none, or one that its URL does not name. */
export function spaceOf({ pathname, searchParams }: URL): string {
  const [, first, second = ""] = pathname.split("/");
  if (first === "sync") return searchParams.get("space") ?? "~";
  return first === "spaces" ? decodeURIComponent(second) : "";
}
