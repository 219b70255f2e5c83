import { useLiveQuery } from "dexie-react-hooks";
import { newId } from "headwater/dexie";
import { type FormEvent, useSyncExternalStore } from "react";
import { db, sync, user } from "./db.ts";

export function App() {
  // Runs again whenever the table changes: here, in another tab, or on another device.
  const todos = useLiveQuery(() => db.todos.toArray());
  const { phase, pending } = useSyncExternalStore(sync.status.subscribe, sync.status.getSnapshot);
  const add = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const title = String(new FormData(event.currentTarget).get("title")).trim();
    if (title) void db.todos.add({ id: newId(), title, done: false });
    event.currentTarget.reset();
  };
  return (
    <>
      <h1>Todos of {user}</h1>
      <form onSubmit={add}>
        <input type="text" name="title" aria-label="A new todo" autoComplete="off" />
        <button>Add</button>
      </form>
      <ul>
        {todos?.map(({ id, title, done }) => (
          <li key={id}>
            <input type="checkbox" checked={done} aria-label={title} onChange={(event) => void db.todos.update(id, { done: event.target.checked })} />
            <span>{title}</span>
            <button onClick={() => void db.todos.delete(id)}>Delete</button>
          </li>
        ))}
      </ul>
      <small>{pending > 0 ? `${pending} to send` : phase}</small>
    </>
  );
}
