// Our renderer beside npm's `danmaku` and ArtPlayer's plugin, on the same comments in one run, in the system's Chromium:
//   cd sdk/danmaku/compare && npm install && node compare.mjs [comments.xml] [seconds] [renderer,renderer]
// The file is a recording with `<d p="…">text</d>`; without one (or `-`), texts are made up (the same each time). Prints a table.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { cpus } from "node:os";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { launch } from "../../../web/e2e/browser.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [, , given = "-", seconds = "16", only] = process.argv;
const file = given === "-" ? undefined : given;
const RENDERERS = ["ours", "ours-dom", "danmaku-canvas", "danmaku-dom", "artplayer"].filter((name) => !only || only.split(",").includes(name));
const RATES = [1_000, 10_000];
const IDLE_S = 5;
const HOUR = 600_000;
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".webm": "video/webm" };
/** A frame that comes this late has missed one. */
const DROPPED_MS = 25;

const texts = file ? await recorded(file) : madeUp();
await build({
  configFile: false, root: here("."), logLevel: "error",
  resolve: { alias: { "@barrage/danmaku": here("../src/index.ts") } }, worker: { format: "es" },
  build: { target: "es2022", outDir: here("dist"), emptyOutDir: true },
});
const files = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://x");
  const path = pathname === "/video.webm" ? here("../../../web/e2e/media/twenty-seconds.webm") : here(`dist${pathname === "/" ? "/index.html" : pathname}`);
  const body = await readFile(path).catch(() => undefined);
  response.writeHead(body ? 200 : 404, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" }).end(body);
});
await new Promise((resolve) => files.listen(0, "127.0.0.1", resolve));
const browser = await launch();

console.log(`${texts.length} texts${file ? " of a recording" : " made up"}, 1280×720, 25 px, ${seconds} s each (the second half counts), ${cpus().length} × ${cpus()[0].model}, headless Chromium ${browser.version()} without a GPU\n`);
console.log("| renderer | a minute | p50 ms | p99 ms | frames dropped | main thread busy | heap MB | shown | refused | worker p99 ms |");
console.log("|---|---|---|---|---|---|---|---|---|---|");
for (const perMinute of RATES) for (const renderer of RENDERERS) console.log(await measure(renderer, perMinute));
if (RENDERERS.includes("ours")) console.log(`\nIdle for ${IDLE_S} s after comments have flown by, main thread busy: ${await idle()}`);
if (RENDERERS.includes("ours")) console.log(`\n${HOUR.toLocaleString("en")} comments, an hour at 10,000 a minute, said at once: ${await hour()}`);
await browser.close();
files.close();

async function open(renderer) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  await page.goto(`http://127.0.0.1:${files.address().port}/?renderer=${renderer}`);
  await page.waitForFunction(() => document.title === "ready");
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable");
  const metrics = async () => Object.fromEntries((await devtools.send("Performance.getMetrics")).metrics.map(({ name, value }) => [name, value]));
  return { page, metrics, collect: () => devtools.send("HeapProfiler.collectGarbage") };
}

async function measure(renderer, perMinute) {
  const { page, metrics } = await open(renderer);
  const before = await metrics();
  const { frames, workerFrames, engine, shown = "", refused = "", said } = await page.evaluate(([list, rate, s]) => window.bench.run(list, rate, s), [texts, perMinute, Number(seconds)]);
  const after = await metrics();
  const busy = (after.TaskDuration - before.TaskDuration) / (after.Timestamp - before.Timestamp);
  const dropped = frames.reduce((sum, ms) => sum + (ms > DROPPED_MS ? Math.round(ms / 16.7) - 1 : 0), 0);
  await page.close();
  const name = engine ? `${renderer} (${engine})` : renderer;
  const cells = [name, perMinute, at(frames, 0.5), at(frames, 0.99), dropped, `${Math.round(busy * 100)} %`, (after.JSHeapUsedSize / 1e6).toFixed(1), shown === "" ? `${said} said` : shown, refused, workerFrames.length > 0 ? at(workerFrames, 0.99) : ""];
  return `| ${cells.join(" | ")} |`;
}

/** What the page costs once nothing flies any more. */
async function idle() {
  const { page, metrics } = await open("ours");
  await page.evaluate(([list]) => window.bench.run(list, 600, 4), [texts]);
  await page.waitForTimeout(12_000);
  const before = await metrics();
  await page.waitForTimeout(IDLE_S * 1000);
  const after = await metrics();
  await page.close();
  return `${(((after.TaskDuration - before.TaskDuration) / (after.Timestamp - before.Timestamp)) * 100).toFixed(2)} %`;
}

/** What is left in memory after an hour's comments. */
async function hour() {
  const { page, metrics, collect } = await open("ours");
  await page.evaluate(([list]) => window.bench.flood(list, 10_000), [texts]);
  await collect();
  const before = await metrics();
  const { shown, refused } = await page.evaluate(([list, count]) => window.bench.flood(list, count), [texts, HOUR]);
  await collect();
  const after = await metrics();
  await page.close();
  return `heap ${(before.JSHeapUsedSize / 1e6).toFixed(1)} MB after the first 10,000, ${(after.JSHeapUsedSize / 1e6).toFixed(1)} MB at the end (${shown} shown, ${refused} refused)`;
}

function at(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(1);
}

async function recorded(path) {
  const xml = await readFile(path, "utf8");
  const entities = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
  return [...xml.matchAll(/<d p="[^"]*">([^<]{1,60})<\/d>/g)].map(([, text]) => text.replace(/&(\w+);/g, (all, name) => entities[name] ?? all));
}

function madeUp() {
  const words = ["哈哈哈哈", "前方高能", "弹幕", "好听", "这也太强了吧", "第一次来", "awesome", "what a play", "6666", "来了来了"];
  let seed = 7;
  const next = (n) => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff) % n;
  return Array.from({ length: 5_000 }, (_, i) => `${words[next(words.length)]}${words[next(words.length)].slice(0, next(9))} ${i % 97}`);
}
