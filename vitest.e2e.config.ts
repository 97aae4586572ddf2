// Tests of the packages that need the real binary: BARRAGE_BIN names it.
import { defineConfig } from "vitest/config";
import shared from "./vitest.config.ts";

export default defineConfig({
  ...shared,
  test: { include: ["sdk/*/e2e/**/*.test.ts"], testTimeout: 30_000, hookTimeout: 90_000, fileParallelism: false },
});
