// `npm start`: sets up, builds and serves on this machine until Ctrl-C. `npm start -- --port 8788` takes another port.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { parseArgs } from "node:util";
import { SERVED, buildApps, copyApps } from "./app.mjs";
import { build } from "./build.mjs";
import { Stop, main, root, setup, tools, wranglerEnv } from "./setup.mjs";

const HOST = "127.0.0.1";
const DEFAULT_PORT = 8787;

function requireFreePort(port) {
  return new Promise((free, taken) => {
    const probe = createServer();
    probe.once("error", () =>
      taken(new Stop(`Port ${port} is taken. End what listens there, or run \`npm start -- --port ${port + 1}\`.`)),
    );
    probe.listen(port, HOST, () => probe.close(free));
  });
}

async function announce(port, server) {
  const url = `http://${HOST}:${port}`;
  while (server.exitCode === null) {
    const answer = await fetch(`${url}/health`).catch(() => null);
    if (answer?.ok) {
      const demo = port === DEFAULT_PORT ? "npm run demo" : `HEADWATER_URL=${url} npm run demo`;
      console.log(`\nHeadwater serves ${url}\n  in a browser: notes for several people; open two windows beside each other\n  an app with dexie-cloud-addon: ${url}/dexie-cloud-todo/\n  what it would cost: ${url}/costs\n  in another terminal: \`${demo}\`\nCtrl-C ends it.\n`);
      return;
    }
    await new Promise((later) => setTimeout(later, 200));
  }
}

function serve(port) {
  const args = ["dev", "--port", String(port), "--ip", HOST, "--persist-to", ".headwater/state", "--assets", SERVED];
  // The interactive keys would draw over the line that says where the server is.
  const server = spawn(tools.node, [tools.wrangler, ...args, "--show-interactive-dev-session=false"], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...wranglerEnv },
  });
  // A terminal sends Ctrl-C to both processes; whoever stops only this one must not leave the server behind.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => server.kill(signal));
  server.on("exit", (code, signal) => process.exit(code ?? (signal === "SIGINT" ? 0 : 1)));
  return server;
}

await main(async () => {
  const { values } = parseArgs({ options: { port: { type: "string", default: String(DEFAULT_PORT) } } });
  const port = Number(values.port);
  if (!(Number.isInteger(port) && port > 0 && port < 65_536)) throw new Stop("usage: npm start [-- --port 8788]");
  await requireFreePort(port);
  setup();
  build();
  buildApps();
  copyApps();
  await announce(port, serve(port));
});
