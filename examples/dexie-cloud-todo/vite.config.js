import { defineConfig } from "vite";

// `npm start` serves the built app beside the Worker. `npm run dev` here serves the sources, and asks that Worker for the rest.
const worker = { target: process.env.HEADWATER_URL ?? "http://127.0.0.1:8787", ws: true };
const paths = ["^/dexie/", "/spaces", "/invitations", "/development-users.json"];

export default defineConfig({
  base: "/dexie-cloud-todo/",
  build: { target: "es2022", sourcemap: true },
  server: { proxy: Object.fromEntries(paths.map((path) => [path, worker])) },
});
