// The page: who is here, which list is shown, and what is on it.

import { liveQuery, type Subscription } from "dexie";
import "./style.css";
import { openTodos, type Todo, type Todos } from "./db.ts";
import { invite, join, keepLists, makeList, sharedLists } from "./sharing.ts";
import { isDemo, users } from "./users.ts";

const at = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T;
const user = new URLSearchParams(location.search).get("as");

/** The spaces of shared lists; the user's own has none. */
let lists: string[] = [];
let shown = "";
let db: Todos;
let subscriptions: { unsubscribe(): void }[] = [];

function button(text: string, onClick: () => unknown): HTMLButtonElement {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.addEventListener("click", () => attempt(onClick));
  return made;
}

/** Does something, and says why where it is refused. */
async function attempt(action: () => unknown): Promise<void> {
  at("refusal").textContent = "";
  try {
    await action();
  } catch (error) {
    at("refusal").textContent = error instanceof Error ? error.message : String(error);
  }
}

function showTabs(): void {
  const tab = (name: string, space: string) => {
    const made = button(name, () => show(space));
    if (space === shown) made.setAttribute("aria-current", "page");
    return made;
  };
  at("tabs").replaceChildren(tab("My list", ""), ...lists.map((space, n) => tab(`Shared list ${n + 1}`, space)));
  at("sharing").hidden = isDemo(user!);
  at("invite").hidden = shown === "";
  at("link").hidden = true;
}

function showTodos(todos: Todo[]): void {
  const items = todos.map(({ id, title, isDone }) => {
    const item = document.createElement("li");
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: isDone });
    box.addEventListener("change", () => attempt(() => db.todos.update(id, { isDone: box.checked })));
    label.append(box, title);
    const remove = button("Delete", () => db.todos.delete(id));
    remove.ariaLabel = `Delete ${title}`;
    item.append(label, remove);
    return item;
  });
  at("todos").replaceChildren(...items);
}

/** Opens a list in place of the one before. */
function show(space: string): void {
  for (const one of subscriptions) one.unsubscribe();
  db?.close();
  shown = space;
  db = openTodos(user!, space);
  showTabs();
  showTodos([]);
  const todos: Subscription = liveQuery(() => db.todos.toArray()).subscribe(showTodos, (error) => attempt(() => Promise.reject(error)));
  const status = db.cloud.syncState.subscribe(({ status, phase, error }) => {
    at("status").textContent = error ? `${phase}: ${error.message}` : `${phase}, ${status}`;
  });
  subscriptions = [todos, status];
}

/** Keeps a list that was made or joined, and opens it. */
function add(space: string): void {
  lists = keepLists(user!, [...lists, space]);
  show(space);
}

async function begin(user: string): Promise<void> {
  at("lists").hidden = false;
  at("who").textContent = user;
  at("make").addEventListener("click", () => attempt(async () => add(await makeList(user))));
  at("invite").addEventListener("click", () =>
    attempt(async () => {
      const { origin, pathname } = location;
      const link = Object.assign(at<HTMLInputElement>("link"), { value: `${origin}${pathname}#join=${await invite(user, shown)}`, hidden: false });
      link.select();
    }),
  );
  at<HTMLFormElement>("new").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const title = String(new FormData(form).get("title")).trim();
    form.reset();
    if (title !== "") void attempt(() => db.todos.add({ title, isDone: false }));
  });
  show("");
  if (isDemo(user)) return;
  lists = await sharedLists(user);
  showTabs();
  const code = /^#join=(.+)$/.exec(location.hash)?.[1];
  if (code) {
    await attempt(async () => add(await join(user, code)));
    history.replaceState(null, "", location.pathname + location.search);
  }
}

async function askWho(): Promise<void> {
  at("sign-in").hidden = false;
  const become = (name: string) => {
    // The address keeps an invitation, which stands behind its #.
    location.href = `${location.pathname}?as=${encodeURIComponent(name)}${location.hash}`;
  };
  const item = (name: string) => {
    const made = document.createElement("li");
    made.append(button(name, () => become(name)));
    return made;
  };
  at("users").replaceChildren(...(await users()).map(item));
}

void (user ? begin(user) : askWho());
