import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    alias: {
      "@barrage/client/proto": here("sdk/ts/src/proto/index.ts"),
      "@barrage/client/recording": here("sdk/ts/src/recording.ts"),
      "@barrage/client": here("sdk/ts/src/index.ts"),
      "@barrage/danmaku": here("sdk/danmaku/src/index.ts"),
      "@barrage/players": here("sdk/players/src/index.ts"),
    },
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  test: { include: ["sdk/*/test/**/*.test.ts", "web/test/**/*.test.{ts,tsx}"] },
});
