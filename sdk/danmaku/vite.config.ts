// Builds the package into one module. The worker travels inside it as text, so that a page needs no second file and a
// page of another origin may use it.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("."),
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    lib: { entry: here("src/index.ts"), formats: ["es"], fileName: "index" },
  },
  worker: { format: "es" },
});
