import { useEffect, useState } from "react";
import type { Session } from "./database.ts";
import { useAsking } from "./hooks.ts";
import { nameOf } from "./users.ts";

const inAddress = () => (location.hash.startsWith("#invitation=") ? location.hash : null);

/** Shown when the address is a link of an invitation. */
export function Invited({ session: { sync, user }, onAccepted }: { session: Session; onAccepted: (list: string) => void }) {
  const [link, setLink] = useState(inAddress);
  const { isBusy, refusal, ask } = useAsking();
  useEffect(() => {
    const look = () => setLink(inAddress());
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  if (!link) return null;
  const close = () => {
    history.replaceState(null, "", location.pathname + location.search);
    setLink(null);
  };
  const accept = async () => {
    onAccepted(await sync.spaces.accept(link));
    close();
  };
  return (
    <section className="notice" aria-label="Invitation">
      <p>You are invited to a shared list. Come in as {nameOf(user)}?</p>
      <button type="button" disabled={isBusy} onClick={() => ask(accept)}>Join the list</button>
      <button type="button" className="plain" onClick={close}>Not now</button>
      {refusal && <p role="alert">{refusal}</p>}
    </section>
  );
}
