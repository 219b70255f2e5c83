// What goes on behind the notes: each exchange with the server as it happens, where its answer came from, and what it costs.

import { useEffect, useState } from "react";
import type { Session } from "./database.ts";
import { costOf, type Exchange, inWords, sum } from "./exchange.ts";
import { useExchanges } from "./hooks.ts";
import { Journey } from "./Journey.tsx";
import { Lag, usePublished } from "./Lag.tsx";

const KEPT = 200;
const SHOWN = 30;
const bytes = (count: number) => (count < 10_000 ? `${count.toLocaleString("en")} B` : count < 1e6 ? `${(count / 1e3).toFixed(0)} kB` : `${(count / 1e6).toFixed(1)} MB`);
/** In millionths of a dollar. */
const money = (dollars: number) => `$${(dollars * 1e6).toLocaleString("en", { maximumFractionDigits: 2 })}`;

export function Panel({ session, space }: { session: Session; space: string }) {
  const exchanges = useExchanges(session.network, KEPT);
  const [totals, setTotals] = useState({ count: 0, up: 0, down: 0, dollars: 0 });
  useEffect(
    () =>
      session.network.watch(({ up, down, used }) =>
        setTotals((before) => ({ count: before.count + 1, up: before.up + up, down: before.down + down, dollars: before.dollars + costOf(used) })),
      ),
    [session],
  );
  const current = Math.max(0, ...exchanges.map((exchange) => (exchange.space === space ? (exchange.version ?? 0) : 0)));
  const published = usePublished(session, space, current);
  return (
    <aside className="panel" aria-label="Sync" tabIndex={0}>
      <h2>What goes on</h2>
      <Journey exchanges={exchanges} />
      <Lag key={space} current={current} published={published} />
      <dl className="totals">
        <div><dt>Exchanges</dt><dd>{totals.count.toLocaleString("en")}</dd></div>
        <div><dt>Sent</dt><dd>{bytes(totals.up)}</dd></div>
        <div><dt>Received</dt><dd>{bytes(totals.down)}</dd></div>
        <div title={inWords(sum(exchanges.map(({ used }) => used)))}>
          <dt>A million times</dt><dd>{money(totals.dollars)}</dd>
        </div>
      </dl>
      <ol className="exchanges" aria-label="Exchanges, newest first">
        {exchanges.slice(0, SHOWN).map((exchange) => <Line key={exchange.id} exchange={exchange} />)}
      </ol>
      {exchanges.length === 0 && <p className="quiet">Nothing yet. Only the window that leads a database talks to the server; others share what it gets.</p>}
      <p className="quiet">List prices of Cloudflare's paid plan, beyond what is included, without CPU and duration. The number is dollars for a million windows that do what this one did.</p>
    </aside>
  );
}

const VERBS: Record<string, string> = {
  push: "Sent edits", head: "Looked at KV's head", pull: "Looked for changes", news: "Heard of changes", opening: "Opened a socket", token: "Renewed the token", ping: "Asked if anybody is there",
  conflict: "Decided a conflict", grant: "Got a grant", spaces: "Administered spaces", members: "Looked at members", invitations: "Made an invitation", accept: "Joined a list",
};

function Line({ exchange }: { exchange: Exchange }) {
  const { kind, over, layer, version, status, up, down, ms, used } = exchange;
  // Nothing may be in KV yet.
  const failed = status >= 400 && kind !== "head";
  return (
    <li data-layer={layer} data-failed={failed}>
      <b>{VERBS[kind] ?? kind}</b>
      <span className="layer">{kind === "news" ? "from the object" : layer === "object" ? "object" : layer}</span>
      <small>
        {[
          over === "socket" ? "socket" : `HTTP ${status}`,
          version !== undefined && `version ${version.toLocaleString("en")}`,
          up > 0 && `${bytes(up)} up`,
          down > 0 && `${bytes(down)} down`,
          kind !== "news" && `${Math.round(ms)} ms`,
          inWords(used),
        ].filter(Boolean).join(" · ")}
      </small>
    </li>
  );
}
