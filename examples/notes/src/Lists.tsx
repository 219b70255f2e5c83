import { useState } from "react";
import { addList, type List, type Session } from "./database.ts";

interface Props {
  session: Session;
  lists: List[] | undefined;
  chosen: string | null;
  onChoose: (list: string) => void;
}

export function Lists({ session: { db }, lists = [], chosen, onChoose }: Props) {
  const [title, setTitle] = useState("");
  const section = (name: string, ofSection: List[]) =>
    ofSection.length > 0 && (
      <section aria-label={name}>
        <h2>{name}</h2>
        <ul>
          {ofSection.map((list) => (
            <li key={list.id}>
              <button type="button" className="plain" aria-current={list.id === chosen} onClick={() => onChoose(list.id)}>{list.title || "Untitled"}</button>
            </li>
          ))}
        </ul>
      </section>
    );
  return (
    <aside className="lists" aria-label="Lists">
      {section("Private", lists.filter(({ space }) => !space))}
      {section("Shared", lists.filter(({ space }) => space))}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (title.trim()) void addList(db, title.trim()).then(onChoose);
          setTitle("");
        }}
      >
        <input value={title} onChange={(event) => setTitle(event.target.value)} placeholder="New list" aria-label="Title of a new list" maxLength={200} />
        <button type="submit" disabled={!title.trim()}>Add</button>
      </form>
    </aside>
  );
}
