// The renderer package in a real browser: each engine, comments of their own making, masks, the mouse, media time.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { launch } from "./browser.mjs";

const TIMEOUT = { timeout: 60_000 };
const ORIGIN = "http://danmaku.test";
let browser;
let script;
let folder;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "barrage-danmaku-"));
  await writeFile(join(folder, "main.js"), 'import Danmaku from "@barrage/danmaku"; window.Danmaku = Danmaku;');
  const alias = { "@barrage/danmaku": fileURLToPath(new URL("../../sdk/danmaku/src/index.ts", import.meta.url)) };
  await build({ root: folder, configFile: false, logLevel: "error", resolve: { alias }, worker: { format: "es" }, build: { outDir: "out", lib: { entry: join(folder, "main.js"), formats: ["es"], fileName: () => "main.js" } } });
  script = await readFile(join(folder, "out/main.js"), "utf8");
  browser = await launch();
}, TIMEOUT);

after(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

/** A black stage of 600×200 with a `danmaku` on it. */
async function stage(options = {}, { headers = {}, context: wishes = {} } = {}) {
  const context = await browser.newContext({ viewport: { width: 640, height: 260 }, ...wishes });
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  await page.route(`${ORIGIN}/**`, (route) =>
    route.request().url().endsWith(".js")
      ? route.fulfill({ contentType: "text/javascript", body: script })
      : route.fulfill({ contentType: "text/html", headers, body: '<!doctype html><body style="margin:0"><div id="box" style="width:600px;height:200px;background:#000"></div><script type="module" src="/main.js"></script>' }));
  await page.goto(`${ORIGIN}/`);
  await page.evaluate((given) => {
    window.ran = [];
    const actions = given.actions?.map((label) => ({ label, run: ({ text }) => window.ran.push(`${label} ${text}`) }));
    window.danmaku = new window.Danmaku({ container: document.getElementById("box"), ...given, ...(actions ? { actions } : {}) });
  }, options);
  const shown = (count) => page.waitForFunction((wanted) => window.danmaku.stats.shown >= wanted, count);
  /** Whether anything but black is seen in a part of the stage. */
  const lit = async (clip) => {
    const shot = await page.screenshot({ clip });
    return page.evaluate(async (base64) => {
      const bitmap = await window.createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob());
      const canvas = new window.OffscreenCanvas(bitmap.width, bitmap.height);
      const pen = canvas.getContext("2d");
      pen.drawImage(bitmap, 0, 0);
      return pen.getImageData(0, 0, bitmap.width, bitmap.height).data.some((value, i) => i % 4 !== 3 && value > 40);
    }, shot.toString("base64"));
  };
  return { page, problems, shown, lit };
}

const LEFT = { x: 0, y: 0, width: 300, height: 200 };
const RIGHT = { x: 300, y: 0, width: 300, height: 200 };
const WHOLE = { x: 0, y: 0, width: 600, height: 200 };

for (const engine of ["worker", "canvas", "dom"]) {
  test(`${engine}: draws, removes by id, clears, and ends`, TIMEOUT, async () => {
    const { page, shown, lit, problems } = await stage({ engine });
    await page.evaluate(() => window.danmaku.emit({ id: "a", text: "in the middle", mode: "top" }));
    await shown(1);
    assert.equal(await page.evaluate(() => window.danmaku.stats.engine), engine);
    assert.equal(await lit(WHOLE), true);
    await page.evaluate(() => window.danmaku.remove(["a"]));
    while (await lit(WHOLE)) await page.waitForTimeout(20);
    await page.evaluate(() => window.danmaku.emit({ text: "again", mode: "bottom" }).emit({ text: "from the left", mode: "ltr" }));
    await shown(3);
    assert.equal(await page.evaluate(() => window.danmaku.destroy() === window.danmaku && document.getElementById("box").childElementCount), 0);
    assert.deepEqual(problems, []);
  });

  test(`${engine}: a mask lets comments be seen only inside`, TIMEOUT, async () => {
    const { page, shown, lit } = await stage({ engine });
    await page.evaluate(() => window.danmaku.mask({ path: "M0 0H300V200H0Z" }).emit({ text: "■".repeat(20), mode: "top" }));
    await shown(1);
    while (!(await lit(LEFT))) await page.waitForTimeout(20);
    assert.equal(await lit(RIGHT), false);
    await page.evaluate(() => window.danmaku.mask(null));
    while (!(await lit(RIGHT))) await page.waitForTimeout(20);
  });
}

test("a page that forbids workers is drawn on its own canvas", TIMEOUT, async () => {
  const { page, shown } = await stage({}, { headers: { "content-security-policy": "worker-src 'none'" } });
  await page.evaluate(() => window.danmaku.emit({ text: "hello" }));
  await shown(1);
  assert.equal(await page.evaluate(() => window.danmaku.stats.engine), "canvas");
});

test("a comment may be a canvas; one that is an element moves the stage to elements", TIMEOUT, async () => {
  const { page, shown, problems } = await stage();
  await page.evaluate(() => {
    const red = () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 60, height: 20 });
      canvas.getContext("2d").fillRect(0, 0, 60, 20);
      return canvas;
    };
    window.danmaku.emit({ render: red });
  });
  await shown(1);
  assert.notEqual(await page.evaluate(() => window.danmaku.stats.engine), "dom");
  await page.evaluate(() => window.danmaku.emit({ render: () => Object.assign(document.createElement("b"), { textContent: "bold" }) }));
  await page.locator("#box b").waitFor();
  assert.equal(await page.evaluate(() => window.danmaku.stats.engine), "dom");
  assert.deepEqual(problems, []);
});

test("more than fits is refused and counted, and equal ones become one", TIMEOUT, async () => {
  const { page } = await stage({ merge: true });
  await page.evaluate(() => {
    for (let i = 0; i < 400; i++) window.danmaku.emit({ text: `comment number ${i}` });
    for (let i = 0; i < 50; i++) window.danmaku.emit({ text: "same" });
  });
  await page.waitForFunction(() => window.danmaku.stats.dropped.crowded > 100 && window.danmaku.stats.merged === 49);
});

test("the comment under the mouse stands still and gets its buttons", TIMEOUT, async () => {
  const { page, shown } = await stage({ actions: ["Like"], speed: 100 });
  await page.evaluate(() => window.danmaku.emit({ text: "a comment that is hovered" }));
  await shown(1);
  await page.waitForTimeout(1_500);
  await page.mouse.move(560, 12);
  await page.getByRole("button", { name: "Like" }).waitFor();
  const at = () => page.evaluate(async () => (await window.danmaku.hit(560, 12))?.box.x);
  const before = await at();
  await page.waitForTimeout(300);
  assert.equal(await at(), before);
  await page.getByRole("button", { name: "Like" }).click();
  assert.deepEqual(await page.evaluate(() => window.ran), ["Like a comment that is hovered"]);
});

test("less motion: scrolling comments stand at the top", TIMEOUT, async () => {
  const { page, shown } = await stage({}, { context: { reducedMotion: "reduce" } });
  await page.evaluate(() => window.danmaku.emit({ text: "still" }));
  await shown(1);
  const x = () => page.evaluate(async () => (await window.danmaku.hit(300, 10))?.box.x);
  const before = await x();
  assert.ok(before !== undefined && before > 200);
  await page.waitForTimeout(300);
  assert.equal(await x(), before);
});

test("along a media's time, a comment comes when it is due, and a jump shows none of what lies between", TIMEOUT, async () => {
  const { page, problems } = await stage();
  await page.evaluate(() => {
    // A media element whose time the test sets.
    const media = Object.assign(document.createElement("video"), {});
    Object.defineProperties(media, { currentTime: { get: () => window.at, set(value) { window.at = value; } }, paused: { get: () => false }, ended: { get: () => false }, readyState: { get: () => 4 }, playbackRate: { get: () => 1 } });
    window.at = 0;
    window.danmaku.destroy();
    const comments = [{ text: "two", time: 2 }, { text: "one", time: 1 }, { text: "thirty", time: 30 }, { text: "forty", time: 40 }];
    window.drawn = [];
    window.danmaku = new window.Danmaku({ container: document.getElementById("box"), media, comments, onReport: (report) => window.drawn.push(...report.drawn.map(({ text }) => text)) });
    media.dispatchEvent(new window.Event("playing"));
  });
  await page.evaluate(() => (window.at = 2.5));
  await page.waitForFunction(() => window.drawn.length >= 2);
  await page.evaluate(() => (window.at = 39));
  await page.waitForTimeout(200);
  await page.evaluate(() => (window.at = 40.5));
  await page.waitForFunction(() => window.drawn.length >= 3);
  assert.deepEqual(await page.evaluate(() => [...window.drawn].sort()), ["forty", "one", "two"]);
  assert.deepEqual(problems, []);
});
