// What goes on behind the notes: each exchange with the server as it happens, where its answer came from, and what it costs.

import { useEffect, useState } from "react";
import type { Session } from "./database.ts";
import { costOf, type Exchange, inWords, sum, type Used } from "./exchange.ts";
import { useExchanges } from "./hooks.ts";
import { Journey } from "./Journey.tsx";
import { Lag, usePublished } from "./Lag.tsx";

const KEPT = 200;
const SHOWN = 30;
const bytes = (count: number) => (count < 10_000 ? `${count.toLocaleString("en")} B` : count < 1e6 ? `${(count / 1e3).toFixed(0)} kB` : `${(count / 1e6).toFixed(1)} MB`);
/** In millionths of a dollar. */
const money = (dollars: number) => `$${(dollars * 1e6).toLocaleString("en", { maximumFractionDigits: 2 })}`;

/** What tells where the object stands. */
const TELLING = new Set(["push", "pull", "conflict", "news", "ping"]);

export function Panel({ session, space }: { session: Session; space: string }) {
  const exchanges = useExchanges(session.network, KEPT);
  const ofApp = exchanges.filter(({ isOfPanel }) => !isOfPanel);
  const [totals, setTotals] = useState<{ count: number; up: number; down: number; used: Used }>({ count: 0, up: 0, down: 0, used: {} });
  useEffect(
    () =>
      session.network.watch(({ up, down, used, isOfPanel }) => {
        if (isOfPanel) return;
        setTotals((before) => ({ count: before.count + 1, up: before.up + up, down: before.down + down, used: sum([before.used, used]) }));
      }),
    [session],
  );
  const current = Math.max(0, ...ofApp.map(({ space: of, kind, version }) => (of === space && TELLING.has(kind) ? (version ?? 0) : 0)));
  const published = usePublished(session, space, current);
  return (
    <aside className="panel" aria-label="Sync" tabIndex={0}>
      <h2>What goes on</h2>
      <Journey exchanges={ofApp} />
      <Lag key={space} current={current} published={published} />
      <dl className="totals">
        <div><dt>Exchanges</dt><dd>{totals.count.toLocaleString("en")}</dd></div>
        <div><dt>Sent</dt><dd>{bytes(totals.up)}</dd></div>
        <div><dt>Received</dt><dd>{bytes(totals.down)}</dd></div>
        <div title={inWords(totals.used)}>
          <dt>For a million</dt><dd>{money(costOf(totals.used))}</dd>
        </div>
      </dl>
      <ol className="exchanges" aria-label="Exchanges, newest first">
        {exchanges.slice(0, SHOWN).map((exchange) => <Line key={exchange.id} exchange={exchange} />)}
      </ol>
      {current === 0 && <p className="quiet">Only one window of a user syncs with the server. The others share what it gets, and this may be one of them.</p>}
      <p className="quiet">
        Dollars for a million windows that do what this one did, at list prices of Cloudflare's paid plan, beyond what is included. Left out: CPU and duration, what this panel
        asks, and publication by the object's alarm, which writes KV keys at $5.00 per million. Over a socket the server does not say what it used: "about" stands before what is documented.
      </p>
    </aside>
  );
}

const VERBS: Record<string, string> = {
  push: "Sent edits", head: "Looked at KV's head", pull: "Looked for changes", news: "Heard of changes", opening: "Opened a socket", token: "Renewed the token", ping: "Asked if anybody is there",
  conflict: "Decided a conflict", grant: "Got a grant", spaces: "Administered spaces", members: "Looked at members", invitations: "Made an invitation", accept: "Joined a list",
};

function Line({ exchange }: { exchange: Exchange }) {
  const { kind, over, layer, version, status, isOfPanel, up, down, ms, used } = exchange;
  // The panel finds out so whether anything is in KV yet.
  const isRefused = status >= 400 && !(kind === "head" && status === 404);
  const place = layer === "memory" && status >= 400 ? "edge" : layer;
  return (
    <li data-layer={layer} data-failed={isRefused} data-panel={isOfPanel}>
      <b>{VERBS[kind] ?? kind}</b>
      <span className="layer">{kind === "news" ? `from the ${place}` : place}</span>
      <small>
        {[
          isOfPanel && "for this panel",
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
