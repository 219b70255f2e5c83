import { liveQuery } from "dexie";
import { newId } from "headwater/dexie";
import { db, sync, user } from "./db.ts";
import "./style.css";

document.querySelector("#app")!.innerHTML = `
  <h1></h1>
  <form><input type="text" name="title" aria-label="A new todo" autocomplete="off" /><button>Add</button></form>
  <ul></ul>
  <small></small>`;
document.querySelector("h1")!.textContent = `Todos of ${user}`;
const form = document.querySelector("form")!;
const list = document.querySelector("ul")!;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const title = String(new FormData(form).get("title")).trim();
  if (title) void db.todos.add({ id: newId(), title, done: false });
  form.reset();
});

// Runs again whenever the table changes: here, in another tab, or on another device.
liveQuery(() => db.todos.toArray()).subscribe((todos) => {
  list.replaceChildren(
    ...todos.map(({ id, title, done }) => {
      const item = document.createElement("li");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: done, ariaLabel: title });
      box.addEventListener("change", () => void db.todos.update(id, { done: box.checked }));
      const remove = Object.assign(document.createElement("button"), { textContent: "Delete" });
      remove.addEventListener("click", () => void db.todos.delete(id));
      item.append(box, Object.assign(document.createElement("span"), { textContent: title }), remove);
      return item;
    }),
  );
});

sync.status.subscribe(({ phase, pending }) => {
  document.querySelector("small")!.textContent = pending > 0 ? `${pending} to send` : phase;
});
