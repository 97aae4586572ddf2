// Shows that each player draws what is said in a room: BARRAGE_BIN=… node examples/players/test.mjs (after `npm install` here).
// SHOTS=folder keeps a picture of each.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { build } from "vite";
import { launch } from "../../web/e2e/browser.mjs";
import { startServer } from "../../web/e2e/server.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".webm": "video/webm", ".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/mp4" };
/** Players with our renderer say how many they drew; the others have the text in their page. */
const OURS = ["hls", "videojs", "shaka"];
const THEIRS = ["artplayer", "danmujs", "xgplayer", "dplayer"];

await build({ configFile: here("vite.config.js") });
const server = await startServer();
const browser = await launch();
const files = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://x");
  const file = pathname.startsWith("/media/") ? here(`../../web/e2e${pathname}`) : here(`dist${pathname === "/" ? "/index.html" : pathname}`);
  const body = await readFile(file).catch(() => undefined);
  response.writeHead(body ? 200 : 404, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" }).end(body);
});
await new Promise((resolve) => files.listen(0, "127.0.0.1", resolve));
const site = `http://127.0.0.1:${files.address().port}`;

for (const player of [...OURS, ...THEIRS]) {
  test(`${player} draws what is said in a room, as text`, { timeout: 60_000 }, async () => {
    const page = await browser.newPage({ viewport: { width: 660, height: 380 } });
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    await page.goto(`${site}/?${new URLSearchParams({ player, room: player, barrage: server.url })}`);
    await page.waitForFunction(() => document.title === "ready", undefined, { timeout: 30_000 });
    const texts = ["hello", "弹幕", "<img src=x onerror=\"document.title='run'\">", "at the top"];
    for (const [i, content] of texts.entries()) {
      const answer = await fetch(`${server.url}/api/v1/rooms/${player}/comments?user_id=${player}-${i}&username=u${i}`, {
        method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ content, style: { mode: i === 3 ? "top" : "scroll", color: "#FFD54A" } }),
      });
      assert.equal(answer.status, 201);
    }
    if (OURS.includes(player)) await page.waitForFunction((count) => window.player.danmaku.stats.shown >= count, texts.length);
    else await page.waitForFunction((wanted) => wanted.every((text) => document.getElementById("player").innerText.includes(text) || document.getElementById("player").textContent.includes(text)), texts);
    assert.equal(await page.title(), "ready", "a comment ran as script");
    assert.deepEqual(problems, []);
    if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/player-${player}.png` });
    await page.close();
  });
}

test.after(async () => {
  await browser.close();
  await server.stop();
  files.close();
});
