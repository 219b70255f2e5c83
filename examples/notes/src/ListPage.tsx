import { useLiveQuery } from "dexie-react-hooks";
import { useState } from "react";
import { addNote, countNotes, deleteList, type List, newestNotes, type Note, type Session, shareList } from "./database.ts";
import { useAsking, useObservable } from "./hooks.ts";
import { Draft } from "./parts.tsx";
import { Sharing } from "./Sharing.tsx";

const SHOWN = 100;

export function ListPage({ session, list }: { session: Session; list: List }) {
  const { db, sync } = session;
  const [limit, setLimit] = useState(SHOWN);
  const [isSharing, setSharing] = useState(false);
  const notes = useLiveQuery(() => newestNotes(db, list.id, limit), [list.id, limit]);
  const count = useLiveQuery(() => countNotes(db, list.id), [list.id]);
  const { spaces } = useObservable(sync.status);
  const held = list.space ? spaces.find(({ space }) => space === list.space)?.held : undefined;
  const isLost = held?.why === "forbidden" || held?.why === "gone";
  const { isBusy, refusal, ask } = useAsking();
  return (
    <article className="page">
      <header>
        <Draft isLine value={list.title} label="Title of the list" onSave={(title) => void db.lists.update(list.id, { title })} />
        {!isLost && (
          <button
            type="button" disabled={isBusy}
            onClick={() => (list.space ? setSharing(true) : ask(() => shareList(session, list).then(() => setSharing(true))))}
          >
            {list.space ? "Members" : "Share"}
          </button>
        )}
        {!list.space && (
          <button
            type="button" className="plain" disabled={isBusy}
            onClick={() => confirm(`Delete "${list.title}"?`) && ask(() => deleteList(session, list))}
          >
            Delete
          </button>
        )}
      </header>
      {refusal && <p role="alert" className="notice">{refusal}</p>}
      {isLost && list.space && <Lost session={session} space={list.space} why={held.why} notes={notes ?? []} />}
      {!isLost && <Composer onAdd={(text) => void addNote(db, list, text)} />}
      <ul className="notes" aria-label="Notes">
        {notes?.map((note) => <NoteCard key={note.id} session={session} note={note} isReadOnly={isLost} />)}
      </ul>
      {notes && count !== undefined && count > notes.length && (
        <button type="button" className="more" onClick={() => setLimit(limit + SHOWN)}>
          {notes.length.toLocaleString("en")} of {count.toLocaleString("en")} notes: show more
        </button>
      )}
      {isSharing && list.space && <Sharing session={session} list={{ ...list, space: list.space }} onClose={() => setSharing(false)} />}
    </article>
  );
}

function Composer({ onAdd }: { onAdd: (text: string) => void }) {
  const [text, setText] = useState("");
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim()) onAdd(text.trim());
        setText("");
      }}
    >
      <input value={text} onChange={(event) => setText(event.target.value)} placeholder="Write a note" aria-label="A new note" />
      <button type="submit" disabled={!text.trim()}>Add</button>
    </form>
  );
}

function NoteCard({ session: { db }, note, isReadOnly }: { session: Session; note: Note; isReadOnly: boolean }) {
  return (
    <li className="note" data-done={note.isDone}>
      <input
        type="checkbox" checked={note.isDone} disabled={isReadOnly} aria-label={`Done: ${note.text}`}
        onChange={(event) => void db.notes.update(note.id, { isDone: event.target.checked })}
      />
      <Draft value={note.text} label="Text of the note" isReadOnly={isReadOnly} onSave={(text) => void db.notes.update(note.id, { text })} />
      {!isReadOnly && <button type="button" className="plain" aria-label={`Delete ${note.text}`} onClick={() => void db.notes.delete(note.id)}>✕</button>}
    </li>
  );
}

/** The list is closed to this user, who may have written what nobody has got. */
function Lost({ session: { sync }, space, why, notes }: { session: Session; space: string; why: string; notes: Note[] }) {
  const { spaces } = useObservable(sync.status);
  const pending = spaces.find((one) => one.space === space)?.pending ?? 0;
  return (
    <section role="alert" className="notice">
      <p>
        {why === "gone" ? "This list was deleted." : "You are not a member of this list any more."}{" "}
        {pending > 0 && `${pending} of your edits did not arrive. `}What you see is what is on this device.
      </p>
      <button type="button" onClick={() => void navigator.clipboard.writeText(notes.map(({ text }) => text).join("\n"))}>Copy the notes</button>
      <button type="button" onClick={() => void sync.closeSpace(space, false)}>Remove them from this device</button>
    </section>
  );
}
