import type { Session } from "./database.ts";
import { useObservable } from "./hooks.ts";

/** Edits that the server has refused: nothing disappears without a word. */
export function Refused({ session: { sync } }: { session: Session }) {
  const rejected = useObservable(sync.rejected);
  return rejected.map((edit, index) => (
    <section key={index} role="alert" className="notice">
      <p>The server did not take an edit: {edit.detail} ({edit.code})</p>
      <details>
        <summary>What was in it</summary>
        <pre>{JSON.stringify(edit.changes, null, 1)}</pre>
      </details>
      <button type="button" onClick={() => void edit.retry()}>Try again</button>
      <button type="button" className="plain" onClick={() => void edit.discard()}>Give it up</button>
    </section>
  ));
}
