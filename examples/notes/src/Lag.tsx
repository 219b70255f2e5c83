// How far the published snapshot in KV lies behind the object, drawn over the last two minutes.

import { useEffect, useRef, useState } from "react";
import type { Session } from "./database.ts";
import { tokenOf } from "./users.ts";

export interface Published {
  version: number;
  /** Seconds since it was published. */
  age: number;
}

const LOOK_MS = 30_000;
const SETTLE_MS = 2_000;
const WINDOW_MS = 120_000;
const EARLY_MS = 60_000;

/** Reading a shared space takes a grant, which lasts ten minutes. */
const grants = new Map<string, { grant: string; until: number }>();

async function look({ network, user }: Session, space: string): Promise<Published | null> {
  const headers: Record<string, string> = { authorization: `Bearer ${await tokenOf(user, "start")}` };
  if (space !== "~") {
    let kept = grants.get(space);
    if (!kept || performance.now() > kept.until) {
      const { grant, expiresIn } = await (await network.fetch(`/spaces/${space}/grant`, { method: "POST", headers })).json();
      kept = { grant, until: performance.now() + expiresIn - EARLY_MS };
      grants.set(space, kept);
    }
    headers["headwater-grant"] = kept.grant;
  }
  const answer = await network.fetch(`/sync/head?space=${space}`, { headers });
  if (!answer.ok) return null;
  const { version } = JSON.parse((await answer.text()).split("\n")[0]!) as { version: number };
  return { version, age: Number(answer.headers.get("headwater-age") ?? 0) };
}

/** Asks KV while the page is visible, after each change and each half minute: one KV read, which the panel counts like any other. */
export function usePublished(session: Session, space: string, current: number): Published | null {
  const [published, setPublished] = useState<Published | null>(null);
  useEffect(() => setPublished(null), [space]);
  useEffect(() => {
    const ask = () => {
      if (document.visibilityState === "visible" && !session.network.isCut) look(session, space).then(setPublished, () => {});
    };
    const first = setTimeout(ask, SETTLE_MS);
    const timer = setInterval(ask, LOOK_MS);
    return () => {
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

export function Lag({ current, published }: { current: number; published: Published | null }) {
  const samples = useRef<Sample[]>([]);
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const kv = published?.version ?? 0;
  const newest = Math.max(current, kv);
  const last = samples.current.at(-1);
  if (newest > 0 && (!last || last.current !== newest || last.published !== kv)) samples.current.push({ at: Date.now(), current: newest, published: kv });
  samples.current = samples.current.filter(({ at }, index, all) => at > now - WINDOW_MS || index === all.length - 1 || all[index + 1]!.at > now - WINDOW_MS);
  if (newest === 0) return null;
  const behind = newest - kv;
  const said = `Version ${newest.toLocaleString("en")}`;
  const words = !published
    ? `${said}. Nothing is in KV yet: readers are sent to the object.`
    : behind === 0
      ? `${said}, and KV has it.`
      : `${said}. KV is ${behind.toLocaleString("en")} behind, published ${Math.round(published.age)} s before it was asked.`;
  return (
    <figure className="lag">
      <Chart samples={samples.current} now={now} />
      <figcaption>{words}</figcaption>
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
