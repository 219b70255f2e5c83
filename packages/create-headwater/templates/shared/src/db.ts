import { Dexie, type Table } from "dexie";
import { headwater } from "headwater/dexie";

export interface Todo {
  id: string;
  title: string;
  done: boolean;
}

// Two users to develop with: http://localhost:5173/?user=bob is the other one. Ask your own sign-in who it is.
export const user = new URLSearchParams(location.search).get("user") ?? "alice";

/** A database belongs to one user. */
export const db = new Dexie(`todos ${user}`) as Dexie & { todos: Table<Todo, string> };
db.version(1).stores({ todos: "id" });

export const sync = headwater(db, {
  url: `${location.origin}/api`,
  async token() {
    const answer = await fetch("/api/token", { method: "POST", headers: { "x-development-user": user } });
    return answer.ok ? answer.text() : null;
  },
  collections: ["todos"],
});
