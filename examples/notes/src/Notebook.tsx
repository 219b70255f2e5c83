// The page of somebody who is signed in: lists, the notes of one, and what goes on behind them.

import { useLiveQuery } from "dexie-react-hooks";
import { useEffect, useState, useSyncExternalStore } from "react";
import { Conflicts } from "./Conflicts.tsx";
import { type List, type Session } from "./database.ts";
import { Invited } from "./Invited.tsx";
import { ListPage } from "./ListPage.tsx";
import { Lists } from "./Lists.tsx";
import { Panel } from "./Panel.tsx";
import { Avatar, Wordmark } from "./parts.tsx";
import { Refused } from "./Refused.tsx";
import { StatusLine } from "./StatusLine.tsx";
import { become, nameOf } from "./users.ts";

type View = "notes" | "sync";

export function Notebook({ session }: { session: Session }) {
  const { db, network, user } = session;
  const lists = useLiveQuery(() => db.lists.toArray());
  const [chosen, setChosen] = useState<string | null>(() => localStorage.getItem(`list of ${user}`));
  const [view, setView] = useState<View>("notes");
  const isCut = useSyncExternalStore(network.onSwitch, () => network.isCut);
  useEffect(() => {
    if (chosen) localStorage.setItem(`list of ${user}`, chosen);
  }, [chosen, user]);
  const sorted = lists?.toSorted((a, b) => a.title.localeCompare(b.title));
  const list: List | undefined = sorted?.find(({ id }) => id === chosen) ?? sorted?.[0];
  return (
    <div className="notebook" data-view={view} data-cut={isCut}>
      <header className="bar">
        <Wordmark />
        <StatusLine session={session} isCut={isCut} />
        <label className="switch">
          <input type="checkbox" role="switch" checked={!isCut} onChange={(event) => network.cut(!event.target.checked)} />
          <span>Network</span>
        </label>
        <button type="button" className="plain who" onClick={() => become(null)} title="Be somebody else">
          <Avatar name={user} />
          <span>{nameOf(user)}</span>
        </button>
      </header>
      <Lists session={session} lists={sorted} chosen={list?.id ?? null} onChoose={setChosen} />
      <main>
        <Invited session={session} onAccepted={setChosen} />
        <Refused session={session} />
        <Conflicts session={session} />
        {list ? <ListPage key={list.id} session={session} list={list} /> : lists && <p className="empty">Make a list, or open an invitation.</p>}
      </main>
      <Panel session={session} space={list?.space ?? "~"} />
      <nav className="views" aria-label="Views">
        {(["notes", "sync"] as const).map((name) => (
          <button key={name} type="button" aria-pressed={view === name} onClick={() => setView(name)}>{name === "notes" ? "Notes" : "Sync"}</button>
        ))}
      </nav>
    </div>
  );
}
