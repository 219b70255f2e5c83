// What the tests on the runtime run, which here also says how much memory its module has.

import { bytesOfModules } from "./module-memory.mjs";
import worker from "./faulty-entry.mjs";

export { Coordinator } from "./faulty-entry.mjs";

export default {
  fetch(request, env, context) {
    if (new URL(request.url).pathname === "/__memory") return Response.json(bytesOfModules());
    return worker.fetch(request, env, context);
  },
};
