import { cloudflare } from "@cloudflare/vite-plugin";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` runs the Worker too, in the runtime of Cloudflare.
export default defineConfig({ plugins: [react(), cloudflare()] });
