import { cloudflare } from "@cloudflare/vite-plugin";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// `npm run dev` runs the Worker too, in the runtime of Cloudflare.
export default defineConfig({ plugins: [svelte(), cloudflare()] });
