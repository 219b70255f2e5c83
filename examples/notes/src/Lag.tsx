// How far the published snapshot in KV lies behind the object, drawn over the last two minutes.

import { useEffect, useRef, useState } from "react";
import type { Session } from "./database.ts";
import { tokenOf } from "./users.ts";

interface Published {
  version: number;
  /** Seconds since it was published. */
  age: number;
}

const LOOK_MS = 30_000;
const SETTLE_MS = 2_000;
const WINDOW_MS = 120_000;
const EARLY_MS = 60_000;

/** What KV has; null: not known. */
type Known = Published | "nothing" | null;

/** Reading a shared space takes a grant, which lasts ten minutes. */
const grants = new Map<string, { grant: string; until: number }>();

async function grantFor({ network }: Session, space: string, headers: Record<string, string>): Promise<string> {
  const kept = grants.get(space);
  if (kept && performance.now() < kept.until) return kept.grant;
  const answer = await network.fetchForPanel(`/spaces/${space}/grant`, { method: "POST", headers });
  const { grant, expiresIn } = await answer.json();
  if (!answer.ok) throw new Error(`a grant is refused: ${answer.status}`);
  grants.set(space, { grant, until: performance.now() + expiresIn - EARLY_MS });
  return grant;
}

async function look(session: Session, space: string): Promise<Known> {
  const headers: Record<string, string> = { authorization: `Bearer ${await tokenOf(session.user, "start")}` };
  if (space !== "~") headers["headwater-grant"] = await grantFor(session, space, headers);
  const answer = await session.network.fetchForPanel(`/sync/head?space=${space}`, { headers });
  const text = await answer.text();
  if (answer.status === 404) return "nothing";
  if (answer.ok) return { version: JSON.parse(text).version, age: Number(answer.headers.get("headwater-age") ?? 0) };
  grants.delete(space);
  return null;
}

/** Asks KV while the page is visible, after each change and each half minute, if it is known where the object stands. */
export function usePublished(session: Session, space: string, current: number): Known {
  const [published, setPublished] = useState<Known>(null);
  useEffect(() => setPublished(null), [space]);
  useEffect(() => {
    if (current === 0) return;
    let isOver = false;
    const say = (known: Known) => {
      if (!isOver) setPublished(known);
    };
    const ask = () => {
      if (document.visibilityState === "visible" && !session.network.isCut) look(session, space).then(say, () => say(null));
    };
    const first = setTimeout(ask, SETTLE_MS);
    const timer = setInterval(ask, LOOK_MS);
    return () => {
      isOver = true;
      clearTimeout(first);
      clearInterval(timer);
    };
  }, [session, space, current]);
  return published;
}

interface Sample {
  at: number;
  current: number;
  published: number;
}

function inWords(newest: number, published: Known): string {
  const said = `Version ${newest.toLocaleString("en")}`;
  if (published === null) return `${said}. What KV has is not known.`;
  if (published === "nothing") return `${said}. Nothing is in KV yet: readers are sent to the object.`;
  const behind = newest - published.version;
  if (behind === 0) return `${said}, and KV has it.`;
  return `${said}. KV is ${behind.toLocaleString("en")} behind, published ${Math.round(published.age)} s before it was asked.`;
}

/** `current`: the version of the object, as far as this window has heard; 0: a window that leaves that to another one. */
export function Lag({ current, published }: { current: number; published: Known }) {
  const samples = useRef<Sample[]>([]);
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  if (current === 0) return null;
  const kv = published && published !== "nothing" ? published.version : 0;
  const newest = Math.max(current, kv);
  const last = samples.current.at(-1);
  if (!last || last.current !== newest || last.published !== kv) samples.current.push({ at: Date.now(), current: newest, published: kv });
  samples.current = samples.current.filter(({ at }, index, all) => at > now - WINDOW_MS || index === all.length - 1 || all[index + 1]!.at > now - WINDOW_MS);
  return (
    <figure className="lag">
      <Chart samples={samples.current} now={now} />
      <figcaption>{inWords(newest, published)}</figcaption>
    </figure>
  );
}

function Chart({ samples, now }: { samples: Sample[]; now: number }) {
  const [width, height] = [310, 64];
  const values = samples.flatMap(({ current, published }) => (published === 0 ? [current] : [current, published]));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (at: number) => Math.max(0, width - ((now - at) / WINDOW_MS) * width);
  const y = (value: number) => height - 8 - ((Math.max(value, low) - low) / Math.max(1, high - low)) * (height - 16);
  const line = (of: "current" | "published") =>
    samples.map((sample, index) => `${index === 0 ? "M" : "H"}${x(sample.at)} ${index === 0 ? y(sample[of]) : `V${y(sample[of])}`}`).join(" ") + ` H${width}`;
  return (
    <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`Versions of the last two minutes, from ${low} to ${high}`}>
      <path d={line("current")} data-layer="object" />
      {samples.some(({ published }) => published > 0) && <path d={line("published")} data-layer="KV" />}
    </svg>
  );
}
