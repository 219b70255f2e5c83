import type { Session } from "./database.ts";
import { useObservable } from "./hooks.ts";

const WHY: Record<string, string> = {
  "signed-out": "Signed out", "other-user": "This database is somebody else's", forbidden: "A list is closed to you", gone: "A list was deleted", full: "The server is full",
};

export function StatusLine({ session: { sync }, isCut }: { session: Session; isCut: boolean }) {
  const { phase, pending, progress, reason } = useObservable(sync.status);
  const waiting = pending === 0 ? "" : ` · ${pending} ${pending === 1 ? "edit waits" : "edits wait"}`;
  const [tone, words] = ((): [string, string] => {
    if (isCut) return ["off", `Offline${waiting}`];
    if (progress) return ["busy", `Loading ${progress.lines.toLocaleString("en")} records`];
    if (reason) return ["held", `${WHY[reason.why] ?? "Stopped"}${waiting}`];
    if (phase === "idle" && pending === 0) return ["good", "In sync"];
    if (phase === "waiting" || phase === "unsure") return ["off", `No connection${waiting}`];
    return ["busy", pending > 0 ? `Sending ${pending}` : "Looking for changes"];
  })();
  return (
    <output className="status" data-tone={tone}>
      {words}
      {progress && <progress aria-label="Loading" />}
    </output>
  );
}
