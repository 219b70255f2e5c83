export { plainLoad as load } from "../../client/dexie/benches/todos.ts";
