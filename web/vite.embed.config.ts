// Builds embed.js: one file under a stable name, so that a page of another origin needs nothing else from this server.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";
import { alias } from "./vite.config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("."),
  resolve: { alias },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: false,
    lib: { entry: here("src/embed/embed.ts"), formats: ["es"], fileName: () => "embed.js" },
    rolldownOptions: { output: { minify: true } },
  },
  worker: { format: "es" },
});
