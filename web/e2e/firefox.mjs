// Firefox for tests: the system's own, headless, driven by WebDriver BiDi. The library of the other tests drives only a
// Firefox of its own making.
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";

const READY_MS = 60_000;

/** Settings of the profile: nothing that talks to the network by itself. */
const PREFERENCES = {
  "app.normandy.enabled": false,
  "app.update.auto": false,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.homepage_override.mstone": "ignore",
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "",
  "toolkit.telemetry.enabled": false,
};

/** A browser with one page. `preload` is a function that each page runs first; certificates of nobody are believed for pages. */
export async function launchFirefox({ preload, preferences = {} } = {}) {
  const profile = await mkdtemp(join(tmpdir(), "barrage-firefox-"));
  const lines = Object.entries({ ...PREFERENCES, ...preferences }).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`);
  await writeFile(join(profile, "user.js"), lines.join("\n"));
  const args = ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"];
  const browser = spawn(process.env.FIREFOX ?? "/usr/bin/firefox-esr", args, { stdio: ["ignore", "ignore", "pipe"] });
  const exited = new Promise((resolve) => browser.on("close", resolve));
  const session = await connect(await endpoint(browser));
  await session.ask("session.new", { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
  if (preload) await session.ask("script.addPreloadScript", { functionDeclaration: preload.toString() });
  const { contexts } = await session.ask("browsingContext.getTree", {});
  const context = contexts[0].context;
  return {
    open: (url) => session.ask("browsingContext.navigate", { context, url, wait: "complete" }),
    /** The value of an expression in the page; promises are awaited. */
    async evaluate(expression) {
      const { result, exceptionDetails } = await session.ask("script.evaluate", { expression, target: { context }, awaitPromise: true });
      if (exceptionDetails) throw new Error(exceptionDetails.text);
      return result.value;
    },
    /** Types text where the focus is. */
    async type(text) {
      const actions = [...text].flatMap((value) => [{ type: "keyDown", value }, { type: "keyUp", value }]);
      await session.ask("input.performActions", { context, actions: [{ type: "key", id: "keys", actions }] });
    },
    async close() {
      session.close();
      browser.kill("SIGTERM");
      await exited;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Where it listens, which it says when it is ready. */
function endpoint(browser) {
  let said = "";
  return new Promise((resolve, reject) => {
    const alarm = setTimeout(() => reject(new Error(`Firefox is not ready: ${said}`)), READY_MS);
    browser.on("error", reject);
    browser.stderr.setEncoding("utf8").on("data", (text) => {
      said += text;
      const found = /WebDriver BiDi listening on (ws:\S+)/.exec(said);
      if (!found) return;
      clearTimeout(alarm);
      resolve(`${found[1]}/session`);
    });
  });
}

async function connect(url) {
  const socket = new WebSocket(url);
  const waiting = new Map();
  let last = 0;
  socket.on("message", (text) => {
    const { id, result, error, message } = JSON.parse(text);
    const { resolve, reject } = waiting.get(id) ?? {};
    waiting.delete(id);
    if (error) reject?.(new Error(`${error}: ${message}`));
    else resolve?.(result);
  });
  await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
  return {
    ask: (method, params) =>
      new Promise((resolve, reject) => {
        waiting.set(++last, { resolve, reject });
        socket.send(JSON.stringify({ id: last, method, params }));
      }),
    close: () => socket.close(),
  };
}
