// Lints the SDK, the pages and their tests. Types come from tsc (`npm run types`); here only what types do not see.
import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["**/dist/**", ".cache/**", "target/**", "**/node_modules/**", "crates/**", "data/**", "web/src/chat/e2ee/pkg/**"] },
  js.configs.recommended,
  ...tseslint.configs.strict,
  {
    rules: {
      eqeqeq: "error",
      // Text from users must never become HTML.
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "use textContent" },
        { property: "outerHTML", message: "use textContent" },
        { property: "insertAdjacentHTML", message: "use textContent" },
      ],
      "no-eval": "error",
      "no-implied-eval": "error",
      "@typescript-eslint/consistent-type-imports": "error",
    },
  },
  {
    files: ["**/*.mjs", "**/*.js"],
    languageOptions: {
      globals: { process: "readonly", console: "readonly", URL: "readonly", AbortSignal: "readonly", Buffer: "readonly", setInterval: "readonly", clearInterval: "readonly", URLSearchParams: "readonly", fetch: "readonly", setTimeout: "readonly", clearTimeout: "readonly", performance: "readonly", window: "readonly", document: "readonly", WebSocket: "readonly", requestAnimationFrame: "readonly", localStorage: "readonly", sessionStorage: "readonly", MutationObserver: "readonly" },
    },
  },
  {
    files: ["examples/**/*.{js,mjs}", "sdk/danmaku/compare/*.{js,mjs}"],
    languageOptions: { globals: { location: "readonly" } },
  },
  {
    files: ["web/public/*.js"],
    languageOptions: { globals: { self: "readonly", caches: "readonly" } },
  },
);
