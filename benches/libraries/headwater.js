export { firstLoad as load } from "../../client/dexie/benches/todos.ts";
