// Recordings in the viewer page: their comments keep to the video, whatever the video does.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";
import { drawn, reaches, say, serveMedia, timeOf, viewerPages, wasDrawn } from "./viewer-page.mjs";

let server;
let browser;
let pages;
let rooms = 0;
const freshRoom = () => `replay-${++rooms}`;
const watch = (...how) => pages.watch(...how);
const media = (name) => `${server.url}/media/${name}`;

before(async () => {
  server = await startServer();
  browser = await launch();
  pages = viewerPages(server, browser);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const setVideo = (room, name) => pages.admin(`/rooms/${room}`, { video_url: name === undefined ? "" : media(name) }, "PUT");
const passes = ({ page }, ms) => page.evaluate((wanted) => new Promise((resolve) => setTimeout(resolve, wanted)), ms);

describe("a recording", () => {
  test("shows comments at their time, stops them with the video and shows them again after a jump back", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 20, [
      { offset_ms: 1_000, content: "at one second" },
      { offset_ms: 10_000, content: "at ten seconds" },
    ]);
    const viewer = await watch(room, "viewer");
    await viewer.page.locator(`.source option[value="${session_id}"]`).waitFor({ state: "attached" });
    await viewer.page.selectOption(".source", session_id);
    const at = async (text) => (await drawn(viewer, text), timeOf(viewer));
    const first = await at("at one second");
    assert.ok(first >= 1 && first < 5, `drawn at ${first} s`);
    assert.equal(await wasDrawn(viewer, "at ten seconds"), false);
    await viewer.page.click('[aria-label="Pause"]');
    const paused = await timeOf(viewer);
    await passes(viewer, 2_500);
    assert.equal(await timeOf(viewer), paused);
    assert.equal(await wasDrawn(viewer, "at ten seconds"), false);
    await viewer.page.click('[aria-label="Play"]');
    const second = await at("at ten seconds");
    assert.ok(second >= 10 && second < 12, `drawn at ${second} s`);
    await viewer.page.locator(".seek").fill("0");
    await viewer.page.waitForFunction(() => window.__barrage?.drawn.filter(({ text }) => text === "at one second").length === 2);
    assert.deepEqual(viewer.problems, []);
    await viewer.close();
  });

  test("comes as one object for six minutes, which the browser keeps, and not as pages", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 800, [1, 400].flatMap((s) => Array.from({ length: 30 }, (_, n) => ({ offset_ms: (s + n) * 1_000, content: `after ${s} s: ${n}` }))));
    const viewer = await watch(room, "viewer", { query: { session: session_id } });
    // A busy machine that sleeps over a second misses what is said in it.
    const fliesAfter = (s) => viewer.page.waitForFunction((said) => window.__barrage?.drawn.some(({ text }) => text.startsWith(said)), `after ${s} s`, { polling: 20 });
    await fliesAfter(1);
    await viewer.page.locator(".seek").fill("500"); // of 1,000
    await fliesAfter(400);
    const asked = () => viewer.page.evaluate(() => window.performance.getEntriesByType("resource").map(({ name, transferSize }) => ({ path: new URL(name).pathname.replace(/.*\/rooms\/[^/]+/, ""), transferSize })));
    const pageOf = (list) => list.filter(({ path }) => path.startsWith("/replay"));
    const segmentsOf = (list) => list.filter(({ path }) => /segments\/\d/.test(path));
    const first = await asked();
    assert.deepEqual(pageOf(first), []);
    const sent = segmentsOf(first).filter(({ transferSize }) => transferSize > 0).map(({ path }) => path);
    assert.equal(sent.length, 3, JSON.stringify(first));
    assert.equal(new Set(sent).size, 3);
    await viewer.page.reload();
    await fliesAfter(1);
    const second = segmentsOf(await asked());
    assert.ok(second.length > 0 && second.every(({ transferSize }) => transferSize === 0), JSON.stringify(second));
    await viewer.close();
  });

  test("loses what is deleted while it plays", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 60, [{ offset_ms: 1_000, content: "first" }, { offset_ms: 8_000, content: "deleted" }, { offset_ms: 8_500, content: "last" }]);
    const viewer = await watch(room, "viewer", { query: { session: session_id } });
    await drawn(viewer, "first");
    await viewer.page.click('[aria-label="Pause"]');
    const { comments } = await (await fetch(`${server.url}/api/v1/rooms/${room}/replay?session_id=${session_id}&user_id=viewer`)).json();
    await pages.admin(`/comments/${comments.find(({ content }) => content === "deleted").id}`, undefined, "DELETE");
    await viewer.page.waitForFunction(() => ![...document.querySelectorAll("li, .timeline-row, .chat-row")].some(({ textContent }) => textContent.includes("deleted")));
    await viewer.page.click('[aria-label="Play"]');
    await drawn(viewer, "last");
    assert.equal(await wasDrawn(viewer, "deleted"), false);
    await viewer.close();
  });

  test("lets its last comments finish their way after the end", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 2, []);
    const viewer = await watch(room, "viewer", { query: { session: session_id } });
    await drawn(viewer, "the last word");
    await viewer.page.locator('[aria-label="Play"]').first().waitFor(); // it has ended
    await viewer.page.waitForFunction(() => window.__barrage.flying === 0);
    await viewer.close();
  });

  test("that cannot be asked for is not called missing, and is opened by another try", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 20, [{ offset_ms: 1_000, content: "here after all" }]);
    let away = true;
    const refuse = (page) => page.route(/\/sessions(\?|$)/, (route) => (away ? route.fulfill({ status: 503, json: { error: { code: "unavailable", message: "away" } } }) : route.fallback()));
    const viewer = await watch(room, "viewer", { query: { session: session_id }, prepare: refuse });
    await viewer.page.locator(".picture-card", { hasText: "The server cannot take it right now." }).waitFor();
    away = false;
    await viewer.page.getByRole("button", { name: "Try again" }).click();
    await drawn(viewer, "here after all");
    await viewer.close();
  });

  test("is linked to with its moment, also after a reload", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 600, [{ offset_ms: 301_000, content: "five minutes in" }]);
    const viewer = await watch(room, "viewer", { query: { session: session_id, t: "300" } });
    await drawn(viewer, "five minutes in");
    const time = await timeOf(viewer);
    assert.ok(time >= 300 && time < 310, `at ${time} s`);
    await viewer.page.evaluate(() => {
      window.copied = undefined;
      window.navigator.clipboard.writeText = (text) => Promise.resolve(void (window.copied = text));
    });
    await viewer.page.click('button[aria-label="Recording"]');
    await viewer.page.click(".copy-link");
    const link = new URL(await (await viewer.page.waitForFunction(() => window.copied)).jsonValue());
    assert.equal(link.searchParams.get("session"), session_id);
    assert.ok(Number(link.searchParams.get("t")) >= 300);
    assert.equal(link.searchParams.get("user_id"), null);
    await viewer.page.reload();
    await viewer.page.locator(".picture.is-recording").waitFor();
    await viewer.close();
    const lost = await watch(room, "viewer", { query: { session: "1" } });
    await lost.page.locator(".picture-card", { hasText: "This recording does not exist here." }).waitFor();
    await lost.close();
  });

  for (const [locale, label, button] of [["en-US", /4 Jul 2019.*· 3 comments/, "Watch the replay (3)"], ["zh-CN", /2019年7月4日.*· 3 条弹幕/, "观看回放(3)"]]) {
    test(`is dated by its own time and offered while nothing is on air (${locale})`, async () => {
      const room = freshRoom();
      const { session_id } = await pages.record(room, 30, [{ offset_ms: 1, content: "a" }, { offset_ms: 2, content: "b" }], { started_at: "2019-07-04T12:00:00Z" });
      const viewer = await watch(room, "viewer", { locale });
      await viewer.page.locator(".picture-card").getByRole("button", { name: button }).click();
      await viewer.page.locator(".picture.is-recording").waitFor();
      assert.match(await viewer.page.locator(`.source option[value="${session_id}"]`).textContent(), label);
      await viewer.close();
    });
  }

  test("has a curve and a list one can click", async () => {
    const room = freshRoom();
    const comments = Array.from({ length: 1_200 }, (_, i) => ({ offset_ms: i * 500, content: `comment ${i}` }));
    const { session_id } = await pages.record(room, 600, comments);
    const viewer = await watch(room, "viewer", { query: { session: session_id } });
    await viewer.page.waitForFunction(() => (document.querySelector(".heat path")?.getAttribute("d") ?? "").length > 100);
    await viewer.page.click("#tab-timeline");
    await viewer.page.locator(".timeline-row").first().waitFor();
    await viewer.page.evaluate(() => (document.querySelector(".timeline-list").scrollTop = 34 * 800));
    const row = viewer.page.locator(".timeline-row", { hasText: "comment 805" });
    await row.click();
    await viewer.page.waitForFunction(() => window.__barrage.time >= 402 && window.__barrage.time < 410);
    assert.ok((await viewer.page.locator(".timeline-row").count()) < 100);
    await viewer.page.locator('.timeline-row[aria-current="true"]').waitFor();
    await viewer.close();
  });

  test("can have its comments moved in time, and remembers it", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 60, [{ offset_ms: 1_000, content: "early" }]);
    const viewer = await watch(room, "viewer", { query: { session: session_id } });
    await drawn(viewer, "early");
    await viewer.page.click('button[aria-label="Recording"]');
    await viewer.page.getByRole("button", { name: "+5 s" }).click();
    await viewer.page.locator(".seek").fill("0");
    await viewer.page.waitForFunction(() => window.__barrage?.drawn.filter(({ text }) => text === "early").length === 2);
    assert.ok((await timeOf(viewer)) >= 6);
    await viewer.page.reload();
    await viewer.page.locator(".shift", { hasText: "+5 s" }).waitFor({ state: "attached" });
    await viewer.close();
  });

  test("takes a comment at its moment", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 60, []);
    const viewer = await watch(room, "viewer", { query: { session: session_id, t: "20" } });
    await say(viewer, "said about it");
    await drawn(viewer, "said about it");
    const { comments } = await (await fetch(`${server.url}/api/v1/rooms/${room}/replay?session_id=${session_id}&user_id=viewer`)).json();
    const { offset_ms } = comments.find(({ content }) => content === "said about it");
    assert.ok(offset_ms >= 20_000 && offset_ms < 40_000, String(offset_ms));
    await viewer.page.click("#tab-timeline");
    await viewer.page.locator(".timeline-row", { hasText: "said about it" }).waitFor();
    await viewer.close();
  });
});

describe("the video of a recording", () => {
  test("that waits for data holds the comments", async () => {
    const room = freshRoom();
    await setVideo(room, "twenty-seconds.webm");
    const { session_id } = await pages.record(room, 20, [{ offset_ms: 1_000, content: "crossing" }]);
    const viewer = await watch(room, "viewer", { query: { session: session_id }, prepare: (_, context) => serveMedia(context) });
    await drawn(viewer, "crossing");
    // What a video says when its data run out; the time of a starved video does not move.
    await viewer.page.evaluate(() => {
      const video = document.querySelector("video");
      const { currentTime } = video;
      Object.defineProperty(video, "currentTime", { configurable: true, get: () => currentTime });
      Object.defineProperty(video, "readyState", { configurable: true, get: () => 2 });
      video.dispatchEvent(new window.Event("waiting"));
    });
    await passes(viewer, 9_000); // a comment crosses in less
    assert.equal(await viewer.page.evaluate(() => window.__barrage.flying), 1);
    await viewer.page.evaluate(() => {
      const video = document.querySelector("video");
      delete video.currentTime;
      delete video.readyState;
      video.dispatchEvent(new window.Event("playing"));
    });
    await viewer.page.waitForFunction(() => window.__barrage.flying === 0);
    await viewer.close();
  });

  for (const [locale, words] of [["en-US", "Showing the built-in clip."], ["zh-CN", "改为播放内置动画。"]]) {
    test(`that cannot be played gives way to the clip, and says why (${locale})`, async () => {
      const room = freshRoom();
      await setVideo(room, "nothing-there.webm");
      const { session_id } = await pages.record(room, 60, [{ offset_ms: 31_000, content: "over the clip" }]);
      const viewer = await watch(room, "viewer", { locale, query: { session: session_id, t: "30" }, prepare: (_, context) => serveMedia(context) });
      await viewer.page.locator(".picture-problem", { hasText: words }).waitFor();
      await viewer.page.locator("canvas.media").waitFor();
      await drawn(viewer, "over the clip");
      await viewer.close();
    });
  }

  test("that is exchanged goes on where the last one was", async () => {
    const room = freshRoom();
    await setVideo(room, "twenty-seconds.webm");
    const { session_id } = await pages.record(room, 20, []);
    const viewer = await watch(room, "viewer", { query: { session: session_id, t: "12" }, prepare: (_, context) => serveMedia(context) });
    await reaches(viewer, 12.2);
    await pages.admin(`/rooms/${room}`, { video_url: `${media("twenty-seconds.webm")}?other` }, "PUT");
    await viewer.page.evaluate(() => (window.first = document.querySelector("video")));
    await pages.admin(`/rooms/${room}/open`); // its event makes the page look
    await viewer.page.waitForFunction(() => document.querySelector("video") !== window.first);
    await viewer.page.waitForFunction(() => document.querySelector("video").readyState >= 2);
    assert.ok((await timeOf(viewer)) >= 12);
    await viewer.close();
  });

  test("without a length does not pretend to seek", async () => {
    const room = freshRoom();
    await setVideo(room, "twenty-seconds.webm");
    const { session_id } = await pages.record(room, 20, [{ offset_ms: 2_000, content: "played anyway" }]);
    // What a browser says of a recorder's file until it has read all of it.
    const endless = (page) => page.addInitScript(() => Object.defineProperty(window.HTMLMediaElement.prototype, "duration", { get: () => Infinity }));
    const viewer = await watch(room, "viewer", { query: { session: session_id }, prepare: async (page, context) => (await endless(page), serveMedia(context)) });
    await drawn(viewer, "played anyway");
    assert.equal(await viewer.page.locator(".seek").isDisabled(), true);
    assert.equal(await viewer.page.locator(".seek-row").isVisible(), false);
    assert.equal(await viewer.page.locator('[aria-label="Forward 5 seconds"]').isVisible(), false);
    assert.match(await viewer.page.locator(".time").textContent(), /^\d:\d\d$/);
    const before = await timeOf(viewer);
    await viewer.page.keyboard.press("ArrowRight");
    assert.ok((await timeOf(viewer)) < before + 4);
    await viewer.close();
  });
});

describe("a live stream", () => {
  const scripts = ({ page }) => page.evaluate(() => performance.getEntriesByType("resource").some(({ name }) => /\/hls-[\w-]+\.js$/.test(name)));

  test("over HLS is played by hls.js where the browser cannot, which is loaded only then", async () => {
    const room = freshRoom();
    const plain = await watch(room, "plain");
    assert.equal(await scripts(plain), false);
    await plain.close();
    await setVideo(room, "stream.m3u8");
    const cannot = (page) => page.addInitScript(() => (window.HTMLMediaElement.prototype.canPlayType = () => ""));
    const viewer = await watch(room, "viewer", { prepare: async (page, context) => (await cannot(page), serveMedia(context)) });
    await viewer.page.waitForFunction(() => document.querySelector("video")?.currentTime > 0.5);
    assert.equal(await scripts(viewer), true);
    assert.deepEqual(viewer.problems, []);
    await viewer.close();
  });
});
