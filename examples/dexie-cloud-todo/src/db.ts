// A database as any app with dexie-cloud-addon has it. What is Headwater's are two settings, `databaseUrl` and `fetchTokens`.

import { Dexie, type Table } from "dexie";
import dexieCloud from "dexie-cloud-addon";
import { isDemo, tokenOf } from "./users.ts";

export interface Todo {
  id: string;
  title: string;
  isDone: boolean;
}

export type Todos = Dexie & { todos: Table<Todo, string, Omit<Todo, "id">> };

/** The list of a user, or one that its members share, by the space that holds it. A local database belongs to one user and one list. */
export function openTodos(user: string, space = ""): Todos {
  const db = new Dexie(`todos of ${user}${space && ` in ${space}`}`, { addons: [dexieCloud] }) as Todos;
  db.version(1).stores({ todos: "@id" });
  const databaseUrl = `${location.origin}/dexie${space && `/${space}`}`;
  const fetchTokens = async ({ public_key }: { public_key: string }) => {
    const grant_type = "urn:ietf:params:oauth:grant-type:token-exchange";
    const body = JSON.stringify({ grant_type, subject_token: await tokenOf(user), public_key });
    const headers = { "content-type": "application/json" };
    return (await fetch(`${databaseUrl}/token`, { method: "POST", headers, body })).json();
  };
  db.cloud.configure({
    databaseUrl,
    // Demo users are for trying it out: the server knows those in DEXIE_DEMO_USERS. A real app has the second line only.
    ...(isDemo(user) ? { requireAuth: { email: user, grant_type: "demo" } } : { requireAuth: true, fetchTokens }),
  });
  return db;
}
