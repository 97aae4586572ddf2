// Measures how smoothly the viewer draws: opens a room page with `?stress=N` in headless Chromium and prints the
// intervals between animation frames, of the page and of the renderer, as a table.
//
//   node scripts/measure.mjs http://127.0.0.1:8080/rooms/bench [comments a minute, default 10000] [seconds, default 30]
import { launch } from "../e2e/browser.mjs";

const [url = "http://127.0.0.1:8080/rooms/bench", perMinute = "10000", seconds = "30"] = process.argv.slice(2);
const WARM_UP_MS = 10_000;

const browser = await launch();
// A picture of 1280×720 with its whole height in use.
const page = await browser.newPage({ viewport: { width: 1668, height: 916 } });
await page.addInitScript(() => localStorage.setItem("barrage.settings", JSON.stringify({ area: 1 })));
await page.goto(`${url}?stress=${perMinute}`);
await page.waitForTimeout(WARM_UP_MS); // until the stage is full
const before = await page.evaluate(() => window.__barrage);
const frames = await page.evaluate(
  (ms) =>
    new Promise((resolve) => {
      const intervals = [];
      let last = performance.now();
      const end = last + ms;
      const frame = (now) => {
        intervals.push(now - last);
        last = now;
        if (now < end) requestAnimationFrame(frame);
        else resolve(intervals);
      };
      requestAnimationFrame(frame);
    }),
  Number(seconds) * 1_000,
);
const after = await page.evaluate(() => window.__barrage);
const box = await page.locator(".picture").boundingBox();
await browser.close();

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]?.toFixed(1);
const row = (list) => {
  const sorted = [...list].sort((a, b) => a - b);
  return { frames: list.length, p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), p99: quantile(sorted, 0.99), max: quantile(sorted, 1) };
};
const each = (count) => Math.round((count * 60) / Number(seconds));
console.log(`picture ${Math.round(box.width)}×${Math.round(box.height)}, ${perMinute} comments a minute, ${seconds} s; milliseconds between frames`);
console.table({ page: row(frames.slice(1)), renderer: row(after.frames.slice(before.frames.length)) });
console.log(
  `a minute: received ${each(after.received - before.received)}, shown ${each(after.shown - before.shown)}, ` +
    `late ${each(after.dropped.late - before.dropped.late)}, crowded ${each(after.dropped.crowded - before.dropped.crowded)}; ${after.flying} flying at the end`,
);
