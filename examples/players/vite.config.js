import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// The packages of this repository are taken from their sources; outside of it they come from npm.
export default {
  root: here("."),
  logLevel: "error",
  resolve: { alias: { "@barrage/client": here("../../sdk/ts/src/index.ts"), "@barrage/danmaku": here("../../sdk/danmaku/src/index.ts"), "@barrage/players": here("../../sdk/players/src/index.ts") } },
  worker: { format: "es" },
  build: { target: "es2022", outDir: "dist", chunkSizeWarningLimit: 2_000 },
};
