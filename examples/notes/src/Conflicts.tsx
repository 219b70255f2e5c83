// Two have changed the same text, and one of them had not seen it: that one decides.

import { useLiveQuery } from "dexie-react-hooks";
import type { Choice, Conflict, ConflictingRecord } from "headwater-client/dexie";
import { useState } from "react";
import type { List, Note, Session } from "./database.ts";
import { useObservable } from "./hooks.ts";
import { Dialog } from "./parts.tsx";

type Row = Partial<List & Note>;
const NAMES: Record<string, string> = { title: "Title", text: "Text", isDone: "Done" };
const shown = (value: unknown) => (value === true ? "yes" : value === false ? "no" : value === undefined ? "—" : String(value));

export function Conflicts({ session }: { session: Session }) {
  const conflicts = useObservable(session.sync.conflicts);
  const [isOpen, setOpen] = useState(false);
  const conflict = conflicts[0];
  if (!conflict) return null;
  const others = conflicts.length - 1;
  return (
    <section role="alert" className="notice conflict">
      <p>
        Somebody changed what you changed, before your edit arrived. Theirs is shown; yours is kept.
        {others > 0 && ` ${others} more like this.`}
      </p>
      <button type="button" onClick={() => setOpen(true)}>Look and decide</button>
      {isOpen && <Decision key={conflict.id} session={session} conflict={conflict} onClose={() => setOpen(false)} />}
    </section>
  );
}

function Decision({ session: { db }, conflict, onClose }: { session: Session; conflict: Conflict; onClose: () => void }) {
  const decide = (choice: Choice) => void conflict.resolve(choice).then(onClose);
  const [merged, setMerged] = useState<Record<string, unknown>>({});
  const [record] = conflict.records;
  const current = useLiveQuery(async () => (record ? ((await db.table(record.table).get(record.key as string)) ?? null) : null), [record]);
  if (!record || conflict.records.length > 1 || !record.mine || !(record.theirs ?? current)) {
    return (
      <Dialog title="Yours or theirs?" onClose={onClose}>
        <p>{!conflict.isFetched ? "You edited it on another device. What you wrote there is shown when there is a connection." : conflict.records.length === 1 ? "One of you has deleted it." : `${conflict.records.length} notes were changed together.`}</p>
        {conflict.records.map((one) => <Versions key={String(one.key)} record={one} theirs={one.theirs as Row | null | undefined} />)}
        <footer>
          <button type="button" onClick={() => decide("theirs")}>Keep theirs</button>
          <button type="button" onClick={() => decide("mine")}>Take mine</button>
        </footer>
      </Dialog>
    );
  }
  const theirs = (record.theirs ?? current) as Row;
  const row = { ...theirs, ...merged };
  const fields = changed(record, theirs);
  return (
    <Dialog title="Yours or theirs?" onClose={onClose}>
      <Versions record={record} theirs={theirs} onTake={(name, value) => setMerged({ ...merged, [name]: value })} />
      {fields.filter((name) => name !== "isDone").map((name) => (
        <label key={name} className="merged">
          {NAMES[name] ?? name} as it will be
          <textarea value={shown(row[name as keyof Row])} rows={3} onChange={(event) => setMerged({ ...merged, [name]: event.target.value })} />
        </label>
      ))}
      <footer>
        <button type="button" onClick={() => decide("theirs")}>Keep theirs</button>
        <button type="button" onClick={() => decide("mine")}>Take mine</button>
        <button type="button" className="main" disabled={Object.keys(merged).length === 0} onClick={() => decide({ rows: [row as never] })}>Save what I merged</button>
      </footer>
    </Dialog>
  );
}

function changed({ base, mine }: ConflictingRecord, theirs: Row | null | undefined): string[] {
  const rows = [base, mine, theirs].map((row) => (row ?? {}) as Record<string, unknown>);
  return Object.keys(NAMES).filter((name) => new Set(rows.map((row) => JSON.stringify(row[name]))).size > 1);
}

function Versions({ record, theirs, onTake }: { record: ConflictingRecord; theirs: Row | null | undefined; onTake?: (name: string, value: unknown) => void }) {
  const sides: [string, Row | null | undefined][] = [["Before", record.base as Row | null], ["Yours", record.mine as Row | null], ["Theirs", theirs]];
  return (
    <table className="versions">
      <thead><tr><td />{sides.map(([name]) => <th key={name} scope="col">{name}</th>)}</tr></thead>
      <tbody>
        {changed(record, theirs).map((field) => (
          <tr key={field}>
            <th scope="row">{NAMES[field]}</th>
            {sides.map(([name, row]) => (
              <td key={name} data-side={name}>
                <span>{row === null ? "deleted" : shown(row?.[field as keyof Row])}</span>
                {onTake && name !== "Before" && row && (
                  <button type="button" className="plain" onClick={() => onTake(field, row[field as keyof Row])}>take</button>
                )}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
