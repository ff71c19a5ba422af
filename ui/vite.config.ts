import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// Where `npm run dev` sends requests: a server that was started by hand.
const server = "http://127.0.0.1:4200";
const paths = ["/api", "/generate", "/superres", "/health", "/ready", "/metrics", "/storage", "/openapi.json", "/docs"];

export default defineConfig({
  plugins: [react()],
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: Object.fromEntries(paths.map((path) => [path, server])) },
});
