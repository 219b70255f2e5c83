import type { Member, Role } from "headwater-client/dexie";
import { useEffect, useState } from "react";
import { deleteList, type List, type Session } from "./database.ts";
import { useAsking } from "./hooks.ts";
import { Avatar, Dialog } from "./parts.tsx";
import { nameOf } from "./users.ts";

const ROLES: Role[] = ["reader", "writer", "owner"];
const MAY: Record<Role, string> = { reader: "may read", writer: "may write", owner: "owns it" };

interface Props {
  session: Session;
  list: List & { space: string };
  onClose: () => void;
}

export function Sharing({ session, list, onClose }: Props) {
  const { sync, user } = session;
  const { space, title } = list;
  const [members, setMembers] = useState<Member[] | null>(null);
  const [role, setRole] = useState<Role>("writer");
  const [link, setLink] = useState<string | null>(null);
  const [isCopied, setCopied] = useState(false);
  const { isBusy, refusal, ask } = useAsking();
  const look = async () => setMembers(await sync.spaces.members(space));
  useEffect(() => ask(look), [space]);
  const isOwner = members?.find(({ sub }) => sub === user)?.role === "owner";
  const invite = async () => {
    setLink(`${location.origin}/#invitation=${await sync.spaces.invite(space, { role })}`);
    setCopied(false);
  };
  const copy = async () => {
    await navigator.clipboard.writeText(link!);
    setCopied(true);
  };
  const choices = (label: string, value: Role, isDisabled: boolean, onChange: (role: Role) => void) => (
    <select aria-label={label} value={value} disabled={isDisabled} onChange={(event) => onChange(event.target.value as Role)}>
      {ROLES.map((one) => <option key={one} value={one}>{MAY[one]}</option>)}
    </select>
  );
  return (
    <Dialog title={`Members of ${title || "this list"}`} onClose={onClose}>
      <ul className="members">
        {members?.map((member) => (
          <li key={member.sub}>
            <Avatar name={member.sub} />
            <span>{nameOf(member.sub)}{member.sub === user && " (you)"}</span>
            {choices(`What ${nameOf(member.sub)} may do`, member.role, !isOwner || isBusy, (next) => ask(() => sync.spaces.setMember(space, member.sub, next).then(look)))}
            {isOwner && member.sub !== user && (
              <button type="button" className="plain" disabled={isBusy} onClick={() => ask(() => sync.spaces.removeMember(space, member.sub).then(look))}>Remove</button>
            )}
          </li>
        ))}
      </ul>
      {isOwner && (
        <section className="invite">
          <p>Whoever opens the link, signed in, becomes a member. It stands for one person and a week.</p>
          {choices("What the invited person may do", role, isBusy, setRole)}
          <button type="button" disabled={isBusy} onClick={() => ask(invite)}>Make a link</button>
          {link && (
            <div className="link">
              <input readOnly value={link} aria-label="Link of the invitation" onFocus={(event) => event.target.select()} />
              <button type="button" onClick={() => void copy()}>{isCopied ? "Copied" : "Copy"}</button>
            </div>
          )}
        </section>
      )}
      {members && !isOwner && <button type="button" disabled={isBusy} onClick={() => ask(() => sync.spaces.leave(space).then(onClose))}>Leave this list</button>}
      {isOwner && (
        <button type="button" disabled={isBusy} onClick={() => confirm(`Delete "${title}" for everybody?`) && ask(() => deleteList(session, list).then(onClose))}>
          Delete the list for everybody
        </button>
      )}
      {refusal && <p role="alert" className="notice">{refusal}</p>}
    </Dialog>
  );
}
