import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    alias: { "@barrage/client": fileURLToPath(new URL("sdk/ts/src/index.ts", import.meta.url)) },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  test: { include: ["sdk/ts/test/**/*.test.ts", "web/test/**/*.test.{ts,tsx}"] },
});
