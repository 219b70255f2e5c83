// `npm run costs`: sets up and builds what is missing, counts what the platform bills on the local runtime, and writes the reports in
// docs/costs. `-- --reports` writes them from the counts that there are.
import { join } from "node:path";
import { build } from "./build.mjs";
import { main, root, run, setup, tools } from "./setup.mjs";

await main(() => {
  setup();
  build();
  // Miniflare wants the Node that set-up installs, whatever Node runs this.
  run(tools.node, [join(root, "costs/write.mjs"), ...process.argv.slice(2)], "See above.");
});
