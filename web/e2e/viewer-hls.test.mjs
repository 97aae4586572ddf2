// Chat in step with the picture: a real live stream by ffmpeg, hls.js, and two viewers of whom one is twenty seconds late.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";
import { listed, PATIENCE_MS, say, viewerPages, wasDrawn } from "./viewer-page.mjs";

const LATE_S = 20;
/** As far back as the playlist goes. */
const KEPT_S = 60;
/** Pictures a second; a busy machine draws few. */
const RATE = 10;

let server;
let browser;
let pages;
let stream;

before(async () => {
  server = await startServer();
  browser = await launch();
  pages = viewerPages(server, browser);
  stream = await startStream();
});

after(async () => {
  await browser?.close();
  await stream?.stop();
  await server?.stop();
});

/** A live stream of this machine's clock, each second a segment that says when it was recorded. */
async function startStream() {
  const folder = await mkdtemp(join(tmpdir(), "barrage-hls-"));
  const encoder = spawn("ffmpeg", [
    "-loglevel", "error", "-re", "-f", "lavfi", "-i", `testsrc=size=160x90:rate=${RATE}`,
    "-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-g", String(RATE), "-sc_threshold", "0",
    "-f", "hls", "-hls_time", "1", "-hls_list_size", String(KEPT_S), "-hls_flags", "program_date_time+delete_segments+temp_file",
    join(folder, "live.m3u8"),
  ], { stdio: ["ignore", "inherit", "inherit"] });
  const ended = once(encoder, "exit");
  encoder.on("error", (error) => console.error(`ffmpeg: ${error.message}; scripts/setup installs it`));
  const playlist = () => readFile(join(folder, "live.m3u8"), "utf8").catch(() => "");
  return {
    /** To this browser it lies beside the page, whose policy lets scripts fetch from there and from https alone. */
    serve: (context) =>
      context.route(/\/stadium-tv\/[\w.-]+$/, async (route) => {
        const name = basename(new URL(route.request().url()).pathname);
        const body = await readFile(join(folder, name)).catch(() => undefined);
        const contentType = name.endsWith(".m3u8") ? "application/vnd.apple.mpegurl" : "video/mp2t";
        await route.fulfill(body ? { status: 200, contentType, body, headers: { "cache-control": "no-store" } } : { status: 404 }).catch(() => undefined); // the page left
      }),
    /** Waits until it goes back so many seconds. */
    async reaches(seconds) {
      const deadline = Date.now() + PATIENCE_MS + seconds * 1_000;
      for (;;) {
        if (((await playlist()).match(/#EXTINF/g) ?? []).length > seconds) return;
        assert.ok(Date.now() < deadline, "the stream did not come");
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    },
    async stop() {
      encoder.kill("SIGKILL");
      await ended.catch(() => undefined);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** How long ago the picture that this viewer sees was recorded, in seconds. */
const latenessOf = ({ page }) => page.evaluate(() => (Date.now() - window.__barrage.pictureMs) / 1_000);

/** The time of this viewer's picture when the comment is in the list, in Unix milliseconds. */
async function pictureAt({ page }, text) {
  const found = await page.waitForFunction(
    (wanted) => [...document.querySelectorAll(".chat-row .text")].some(({ textContent }) => textContent.includes(wanted)) && window.__barrage?.pictureMs,
    text, { polling: 50 },
  );
  return found.jsonValue();
}

/** Somebody's page, when the stream plays. */
async function enter(user) {
  // A page that finds no playlist shows the clip instead.
  await stream.reaches(3);
  const viewer = await pages.watch("stadium", user, { prepare: (_, context) => stream.serve(context) });
  await viewer.page.waitForFunction(() => window.__barrage?.pictureMs !== undefined && document.querySelector("video")?.currentTime > 0.5);
  return viewer;
}

test("each viewer reads a comment when their own picture is of its time", async () => {
  await pages.admin("/rooms/stadium", { video_url: `${server.url}/stadium-tv/live.m3u8` }, "PUT");
  const near = await enter("near");
  const late = await enter("late");
  await stream.reaches(LATE_S + 5);
  // A busy machine falls behind by itself.
  await near.page.evaluate(() => {
    const video = document.querySelector("video");
    video.currentTime = video.seekable.end(video.seekable.length - 1) - 4;
  });
  await late.page.evaluate((seconds) => {
    const video = document.querySelector("video");
    video.currentTime -= seconds - (Date.now() - window.__barrage.pictureMs) / 1_000;
  }, LATE_S);
  await late.page.waitForFunction((seconds) => (Date.now() - window.__barrage.pictureMs) / 1_000 > seconds - 2 && !document.querySelector("video").seeking, LATE_S);
  const [nearS, lateS] = [await latenessOf(near), await latenessOf(late)];
  assert.ok(lateS - nearS > 5, `the pictures are ${nearS} and ${lateS} s late`);

  const { created_at } = await pages.post("stadium", "commentator", { content: "GOAL!" });
  const saidMs = Date.parse(created_at);
  await say(late, "my own words wait for nobody");
  await listed(late, "my own words wait for nobody");
  const nearMs = await pictureAt(near, "GOAL!");
  assert.equal(await late.page.locator(".chat-row .text", { hasText: "GOAL!" }).count(), 0, "the late viewer was spoiled");
  assert.equal(await wasDrawn(late, "GOAL!"), false, "the late viewer was spoiled");
  const lateMs = await pictureAt(late, "GOAL!");
  for (const [who, ms] of [["near", nearMs], ["late", lateMs]]) {
    assert.ok(ms >= saidMs - 300, `${who}: shown ${saidMs - ms} ms before its picture`);
    assert.ok(ms - saidMs < 10_000, `${who}: shown ${ms - saidMs} ms after its picture`);
  }
  console.log(`pictures ${nearS.toFixed(1)} and ${lateS.toFixed(1)} s late; shown ${nearMs - saidMs} and ${lateMs - saidMs} ms after the picture of its time`);
  for (const viewer of [near, late]) {
    assert.deepEqual(viewer.problems, []);
    await viewer.close();
  }
});

test("a comment deleted before its picture is never shown to who is late", async () => {
  const late = await enter("later");
  await late.page.evaluate(() => document.querySelector("video").pause());
  const gone = await pages.post("stadium", "troll", { content: "not for anybody's eyes" });
  await pages.post("stadium", "guest", { content: "for everybody's eyes" });
  await pages.admin(`/comments/${gone.id}`, undefined, "DELETE");
  await late.page.waitForTimeout(1_000);
  await late.page.evaluate(() => document.querySelector("video").play());
  await listed(late, "for everybody's eyes");
  assert.equal(await late.page.locator(".chat-row .text", { hasText: "not for anybody" }).count(), 0);
  await late.close();
});
