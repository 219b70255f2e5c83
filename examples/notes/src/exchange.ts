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
  /** The server does not say it in a message: counted as it is documented for a push of as many changes. */
  isEstimate?: boolean;
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
  /** Bytes of bodies and messages. */
  up: number;
  down: number;
  ms: number;
  used: Used;
}

/** List prices of the paid plan in US dollars per million, beyond what is included: developers.cloudflare.com, September 2026. */
const PRICES = { worker: 0.3, object: 0.15, message: 0.15 / 20, kv: 0.5, written: 1, read: 0.001 } as const;
type Operation = keyof typeof PRICES;
const OPERATIONS = Object.keys(PRICES) as Operation[];
const NAMES: Record<Operation, [string, string]> = {
  worker: ["Worker request", "Worker requests"], object: ["object request", "object requests"], message: ["socket message", "socket messages"],
  kv: ["KV key read", "KV keys read"], written: ["row written", "rows written"], read: ["row read", "rows read"],
};

/** US dollars. */
export const costOf = (used: Used): number => OPERATIONS.reduce((sum, name) => sum + ((used[name] ?? 0) * PRICES[name]) / 1e6, 0);

export const inWords = (used: Used): string => {
  const words = OPERATIONS.filter((name) => used[name]).map((name) => `${used[name]} ${NAMES[name][used[name] === 1 ? 0 : 1]}`);
  return words.length === 0 ? "nothing billed" : `${used.isEstimate ? "about " : ""}${words.join(", ")}`;
};

export function sum(all: readonly Used[]): Used {
  const total: Used = {};
  for (const used of all) for (const name of OPERATIONS) total[name] = (total[name] ?? 0) + (used[name] ?? 0);
  return total;
}

/** `Server-Timing` says what an answer used. */
export function usedOf(headers: Headers): Used {
  const count = (name: string) => Number(new RegExp(`\\b${name};desc="(\\d+)"`).exec(headers.get("server-timing") ?? "")?.[1] ?? 0);
  return { worker: 1, object: count("object"), kv: count("kv"), written: count("rows_written"), read: count("rows_read") };
}

export function layerOf(path: string, headers: Headers): Layer {
  if (path === "/sync/head") return "KV";
  const source = headers.get("headwater-source");
  if (source === "kv") return "KV";
  if (source !== "edge") return "object";
  return /cache;desc="[1-9]/.test(headers.get("server-timing") ?? "") ? "cache" : "memory";
}

export function kindOf(path: string): string {
  const [, first = "", second = "", third = ""] = path.split("/");
  if (first === "sync") return second;
  if (first === "invitations") return "accept";
  return third === "grant" ? "grant" : third || "spaces";
}
