import { cloudflare } from "@cloudflare/vite-plugin";
import { defineConfig } from "vite";

// `npm run dev` runs the Worker too, in the runtime of Cloudflare.
export default defineConfig({ plugins: [cloudflare()] });
