// Builds every page of this folder (index.html, room.html, admin.html, …) into web/dist, which the
// server embeds. File names carry a hash of their content only, so the same sources always give the same files.
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
export const alias = {
  "@barrage/client/recording": here("../sdk/ts/src/recording.ts"),
  "@barrage/client": here("../sdk/ts/src/index.ts"),
  "@barrage/danmaku": here("../sdk/danmaku/src/index.ts"),
  "@barrage/players": here("../sdk/players/src/index.ts"),
};
const pages = readdirSync(here(".")).filter((name) => name.endsWith(".html")).sort();
const server = process.env.BARRAGE_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  root: here("."),
  base: "/",
  resolve: { alias },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: Object.fromEntries(pages.map((name) => [name.replace(".html", ""), here(name)])),
    },
  },
  worker: { format: "es" },
  server: {
    proxy: { "/api": server, "/ws": { target: server, ws: true }, "/readyz": server },
  },
});
