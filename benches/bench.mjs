// `npm run bench [-- --quick] [-- --json]`: sets up and builds what is missing, then measures. The measuring is a
// program of its own because Miniflare wants the Node that set-up installs, whatever Node runs this one.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { root, tools } from "../scripts/setup.mjs";

// Standard output carries the result alone, so what set-up and build have to say goes to standard error.
function run(program, args, output) {
  const { status } = spawnSync(program, args, { cwd: root, stdio: ["ignore", output, "inherit"] });
  if (status !== 0) process.exit(1);
}

run(process.execPath, [join(root, "scripts/setup.mjs")], 2);
run(process.execPath, [join(root, "scripts/build.mjs")], 2);
run(tools.node, [join(root, "benches/measure.mjs"), ...process.argv.slice(2)], "inherit");
