// How soon a page can be used on slow 4G (1.6 Mbit/s, 150 ms), and how much it moves while it comes.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";

const SLOW_4G = { offline: false, latency: 150, downloadThroughput: 1_600_000 / 8, uploadThroughput: 750_000 / 8 };
const USABLE_MS = 1_500;
const SHIFT_MAX = 0.1;

let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await launch();
  const post = (path, body, method = "POST") => fetch(`${server.url}/api/v1${path}`, { method, headers: { "content-type": "application/json" }, ...(body ? { body: JSON.stringify(body) } : {}) });
  for (const room of ["hall", "garden", "cellar"]) {
    await post(`/admin/rooms/${room}/open`);
    await post(`/rooms/${room}/comments?user_id=${room}&level=vip`, { content: "hello" });
  }
  for (const n of [1, 2, 3]) await post("/messages?user_id=bob&username=Bob", { client_msg_id: `m${n}`, to_user: "ann", content: `line ${n}`, msg_type: "text" });
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** What has to be there before somebody can do what they came for, and what comes last. */
const PAGES = {
  rooms: { path: "/", usable: "#enter", last: ".quick" },
  messenger: { path: "/chat?user_id=ann#direct%3Abob", usable: ".thread textarea", last: ".message" },
  console: { path: "/admin", usable: ".shell .section-head input", last: "[data-room]" },
  viewer: { path: "/rooms/hall?user_id=ann", usable: ".composer-input", last: ".chat-row" },
};

/** One visit with nothing cached: when it could be used, and by how much it moved. */
async function visit({ path, usable, last }) {
  const context = await browser.newContext({ locale: "en-US", viewport: { width: 390, height: 844 } });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  await page.addInitScript((selector) => {
    window.shift = 0;
    new window.PerformanceObserver((list) => {
      for (const { value, hadRecentInput } of list.getEntries()) if (!hadRecentInput) window.shift += value;
    }).observe({ type: "layout-shift", buffered: true });
    new window.MutationObserver(() => {
      if (document.querySelector(selector)) window.usableAt ??= performance.now();
    }).observe(document, { childList: true, subtree: true });
  }, usable);
  const devtools = await context.newCDPSession(page);
  await devtools.send("Network.enable");
  await devtools.send("Network.emulateNetworkConditions", SLOW_4G);
  await page.goto(`${server.url}${path}`);
  await page.locator(last).first().waitFor();
  await page.waitForTimeout(1_000); // whatever still moves, moves now
  const seen = await page.evaluate(() => ({
    usableAt: Math.round(window.usableAt),
    shift: window.shift,
    kib: Math.round(performance.getEntriesByType("resource").reduce((sum, { transferSize }) => sum + transferSize, 0) / 1024),
  }));
  await context.close();
  return seen;
}

for (const [name, view] of Object.entries(PAGES)) {
  test(name, async (context) => {
    // Whatever else this machine does only adds to the time: the quickest of three says most.
    const visits = [];
    for (let n = 0; n < 3 && !(visits.at(-1)?.usableAt < USABLE_MS); n++) visits.push(await visit(view));
    const usableAt = Math.min(...visits.map((one) => one.usableAt));
    const shift = Math.max(...visits.map((one) => one.shift));
    context.diagnostic(`${name}: usable after ${usableAt} ms, moved by ${shift.toFixed(3)}, ${visits[0].kib} KiB`);
    assert.ok(usableAt < USABLE_MS, `usable after ${usableAt} ms`);
    assert.ok(shift < SHIFT_MAX, `moved by ${shift}`);
  });
}
