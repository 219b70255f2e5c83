// The way of each exchange, drawn as it happens: from the layer that answered to this window, or from here to the object.

import { useEffect, useState } from "react";
import type { Exchange, Layer } from "./exchange.ts";

const PLACES: Record<Layer | "window", { x: number; y: number; name: string; note: string }> = {
  window: { x: 42, y: 78, name: "Window", note: "IndexedDB" },
  memory: { x: 160, y: 36, name: "Edge", note: "memory" },
  cache: { x: 160, y: 120, name: "Edge", note: "cache" },
  KV: { x: 268, y: 36, name: "KV", note: "snapshots" },
  object: { x: 268, y: 120, name: "Object", note: "writer" },
};
/** How an answer of each layer travels: everything passes the edge, and a socket ends in the object. */
const WAYS: Record<Layer, string> = {
  memory: "M160 36 L42 78",
  cache: "M160 120 L42 78",
  KV: "M268 36 L160 36 L42 78",
  object: "M268 120 C 190 84 130 78 42 78",
};
const FLIGHT_MS = 900;

export function Journey({ exchanges }: { exchanges: Exchange[] }) {
  const [, redraw] = useState(0);
  const newest = exchanges[0]?.id;
  useEffect(() => {
    const timer = setTimeout(() => redraw((n) => n + 1), FLIGHT_MS + 50);
    return () => clearTimeout(timer);
  }, [newest]);
  const now = Date.now();
  const flying = exchanges.filter(({ at }) => now - at < FLIGHT_MS);
  const counts = new Map<Layer, number>();
  for (const { layer } of exchanges) counts.set(layer, (counts.get(layer) ?? 0) + 1);
  const busy = new Set(flying.map(({ layer }) => layer));
  return (
    <svg className="journey" viewBox="0 0 310 156" role="img" aria-label={[...counts].map(([layer, count]) => `${layer}: ${count} answers`).join(", ") || "No answers yet"}>
      {(Object.keys(WAYS) as Layer[]).map((layer) => <path key={layer} d={WAYS[layer]} className="way" data-busy={busy.has(layer)} data-layer={layer} />)}
      {flying.map(({ id, kind, layer, down, up }) => (
        <circle key={id} className="flight" data-layer={layer} data-out={kind === "push" || kind === "conflict"} r={Math.min(9, 3 + Math.log10(1 + down + up))} style={{ offsetPath: `path("${WAYS[layer]}")` }} />
      ))}
      {Object.entries(PLACES).map(([layer, { x, y, name, note }]) => (
        <g key={layer} className="place" data-layer={layer} data-busy={busy.has(layer as Layer)} transform={`translate(${x} ${y})`}>
          <rect x="-38" y="-19" width="76" height="38" rx="9" />
          <text y="-3">{name}</text>
          <text y="10" className="note">{counts.get(layer as Layer) ? `${note} · ${counts.get(layer as Layer)}` : note}</text>
        </g>
      ))}
    </svg>
  );
}
