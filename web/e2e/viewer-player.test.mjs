// The player over the picture: its bar, its keys, full screen, the phone on its side, and the one comment that stands still.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";
import { drawn, reaches, say, serveMedia, timeOf, viewerPages } from "./viewer-page.mjs";

let server;
let browser;
let pages;
let rooms = 0;
const freshRoom = () => `player-${++rooms}`;
const watch = (...how) => pages.watch(...how);

before(async () => {
  server = await startServer();
  browser = await launch();
  pages = viewerPages(server, browser);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** A recording of twenty seconds over a video of twenty seconds. */
async function replay(options = {}) {
  const room = freshRoom();
  await pages.admin(`/rooms/${room}`, { video_url: `${server.url}/media/twenty-seconds.webm` }, "PUT");
  const { session_id } = await pages.record(room, 20, []);
  const viewer = await watch(room, "ann", { query: { session: session_id }, prepare: (_, context) => serveMedia(context), ...options });
  await viewer.page.locator(".picture.is-recording video").waitFor({ state: "attached" });
  await reaches(viewer, 0.2);
  return viewer;
}

const inside = (outer, inner) => inner.x >= outer.x - 1 && inner.y >= outer.y - 1 && inner.x + inner.width <= outer.x + outer.width + 1 && inner.y + inner.height <= outer.y + outer.height + 1;

/** Whether bar and composer lie over the picture, all in sight. */
async function overlaid({ page }) {
  const picture = await page.locator(".picture").boundingBox();
  for (const part of [".controls", ".composer-input", '.controls [aria-label="Full screen"], .controls [aria-label="Leave full screen"]']) {
    const box = await page.locator(part).first().boundingBox();
    assert.ok(box && inside(picture, box), `${part} at ${JSON.stringify(box)}, the picture at ${JSON.stringify(picture)}`);
  }
}

describe("the bar", () => {
  test("and the composer lie over the picture: in a window, in full screen and on a phone on its side", async () => {
    const room = freshRoom();
    const ann = await watch(room, "ann");
    await overlaid(ann);
    await ann.page.click('.controls [aria-label="Full screen"]');
    await ann.page.waitForFunction(() => document.fullscreenElement?.className.includes("picture"));
    await overlaid(ann);
    await say(ann, "from full screen");
    await drawn(ann, "from full screen");
    await ann.close();
    const phone = await watch(room, "phone", { viewport: { width: 844, height: 390 }, isMobile: true, hasTouch: true });
    await overlaid(phone);
    const box = await phone.page.locator(".picture").boundingBox();
    assert.deepEqual([box.y, box.width, box.height], [0, 844, 390]);
    await phone.close();
  });

  test("plays, steps, seeks, changes speed and volume, and remembers the volume", async () => {
    const ann = await replay();
    const { page } = ann;
    await page.click('[aria-label="Pause"]');
    await page.locator('[aria-label="Play"]').first().waitFor();
    const paused = await timeOf(ann);
    await page.click('[aria-label="Forward 5 seconds"]');
    await reaches(ann, paused + 4.9);
    await page.click('[aria-label="Back 5 seconds"]');
    await page.waitForFunction((before) => Math.abs(window.__barrage.time - before) < 0.5, paused);
    await page.selectOption(".rate", "2");
    assert.equal(await page.evaluate(() => document.querySelector("video").playbackRate), 2);
    await page.locator(".seek").fill("500");
    await page.waitForFunction(() => Math.abs(window.__barrage.time - 10) < 0.5);
    await page.locator(".volume").fill("0.3");
    await page.waitForFunction(() => document.querySelector("video").volume === 0.3 && !document.querySelector("video").muted);
    await page.reload();
    await page.waitForFunction(() => document.querySelector("video")?.volume === 0.3);
    await ann.close();
  });

  test("never stops following, whatever becomes of a drag", async () => {
    const ann = await replay();
    const { page } = ann;
    const bar = page.locator(".seek");
    // Values that come without an end of the drag: a pointer that was taken away, a focus that left.
    for (const end of ["pointercancel", "lostpointercapture", "blur", "pointerup"]) {
      await bar.evaluate((input, name) => {
        input.value = "250";
        input.dispatchEvent(new window.Event("input", { bubbles: true }));
        input.dispatchEvent(new window.Event(name));
      }, end);
      await page.waitForFunction(() => Math.abs(window.__barrage.time - 5) < 1);
      await page.waitForFunction(() => Number(document.querySelector(".seek").value) > 260, undefined, { polling: 50 });
    }
    await ann.close();
  });

  test("shows and hides the danmaku, takes more room, and offers a picture of its own", async () => {
    const ann = await replay();
    const { page } = ann;
    await page.click(".danmaku-toggle");
    await page.locator('.danmaku-toggle[aria-pressed="false"]').waitFor();
    const before = await page.locator(".picture").boundingBox();
    await page.click('[aria-label="Theatre mode"]');
    await page.waitForFunction((width) => document.querySelector(".picture").clientWidth > width + 100, before.width);
    assert.equal(await page.locator(".side").isVisible(), false);
    const offered = await page.evaluate(() => document.pictureInPictureEnabled);
    assert.equal(await page.locator('[aria-label="Picture in picture"]').isVisible(), offered);
    assert.deepEqual(ann.problems, []);
    await ann.close();
  });
});

describe("keys", () => {
  test("play, step, volume, full screen, mute, danmaku and writing", async () => {
    const ann = await replay();
    const { page } = ann;
    const video = (expression) => page.waitForFunction(`(() => { const video = document.querySelector("video"); return ${expression}; })()`);
    await page.keyboard.press(" ");
    await video("video.paused");
    const at = await timeOf(ann);
    await page.keyboard.press("ArrowRight");
    await reaches(ann, at + 4.9);
    await page.keyboard.press("ArrowLeft");
    await page.waitForFunction((before) => Math.abs(window.__barrage.time - before) < 0.5, at);
    await page.keyboard.press(" ");
    await video("!video.paused");
    await page.keyboard.press("m");
    await video("!video.muted");
    await page.keyboard.press("ArrowDown");
    await video("video.volume === 0.75");
    await page.keyboard.press("ArrowUp");
    await video("video.volume === 0.8");
    await page.keyboard.press("d");
    await page.locator('.danmaku-toggle[aria-pressed="false"]').waitFor();
    await page.keyboard.press("f");
    await page.waitForFunction(() => document.fullscreenElement !== null);
    await page.keyboard.press("f");
    await page.waitForFunction(() => document.fullscreenElement === null);
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement?.className === "composer-input");
    // Whoever types keeps the keys.
    await page.keyboard.type("f m d");
    assert.equal(await page.inputValue(".composer-input"), "f m d");
    assert.equal(await page.evaluate(() => document.fullscreenElement), null);
    await ann.close();
  });

  test("a double click is full screen, and the same again leaves it", async () => {
    const ann = await watch(freshRoom(), "ann");
    const { page } = ann;
    await page.dblclick(".picture", { position: { x: 300, y: 200 } });
    await page.waitForFunction(() => document.fullscreenElement !== null);
    await page.dblclick(".picture", { position: { x: 300, y: 200 } });
    await page.waitForFunction(() => document.fullscreenElement === null);
    await ann.close();
  });

  test("Enter that ends a word of an input method sends nothing, in the box and in the list of words", async () => {
    const ann = await watch(freshRoom(), "ann");
    const { page } = ann;
    await page.click('button[aria-label="Danmaku settings"]');
    for (const field of [".composer-input", ".add-word"]) {
      await page.fill(field, "ni");
      await page.locator(field).evaluate((input) => {
        const key = (more) => input.dispatchEvent(new window.KeyboardEvent("keydown", { key: "Enter", code: "Enter", bubbles: true, cancelable: true, ...more }));
        key({ isComposing: true });
        // Safari ends the composition first, and says 229 of the key after it.
        input.dispatchEvent(new window.CompositionEvent("compositionend", { data: "你", bubbles: true }));
        key({ keyCode: 229 });
        key({});
      });
      assert.equal(await page.inputValue(field), "ni");
    }
    assert.equal(await page.evaluate(() => localStorage.getItem("barrage.settings")), null);
    assert.equal(ann.frames.some(({ sent }) => sent?.type === "comment"), false);
    await ann.close();
  });
});

describe("one comment", () => {
  /** Moves the mouse down over the right part of the picture until a comment has its card. */
  async function pointAtOne({ page }) {
    const box = await page.locator(".picture").boundingBox();
    for (;;) {
      for (let y = box.y + 8; y < box.y + box.height / 2; y += 12) {
        await page.mouse.move(box.x + box.width * 0.6, y);
        await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 120)));
        if (await page.locator(".comment-card").isVisible()) return;
      }
    }
  }

  async function withComments() {
    const room = freshRoom();
    const ann = await watch(room, "ann");
    await Promise.all(Array.from({ length: 12 }, (_, i) => pages.post(room, `u${i}`, { content: `${"a comment of some length ".repeat(2)}${i}` })));
    await ann.page.waitForFunction(() => window.__barrage.flying >= 10);
    return ann;
  }

  test("under the mouse stands still with like, copy and block beside it; the others go on", async () => {
    const ann = await withComments();
    const { page } = ann;
    await pointAtOne(ann);
    const card = page.locator(".comment-card");
    for (const name of ["Like", "Copy text", "Block this user", "More"]) await card.getByRole("button", { name }).waitFor();
    const held = await card.boundingBox();
    await page.waitForFunction(() => window.__barrage.flying === 1, undefined, { polling: 100 }); // the others have crossed
    assert.deepEqual(await card.boundingBox(), held);
    await card.getByRole("button", { name: "Like" }).click();
    await card.locator(".count", { hasText: "1" }).waitFor();
    await card.getByRole("button", { name: "Block this user" }).click();
    await page.waitForFunction(() => window.__barrage.flying === 0);
    await ann.close();
  });

  test("has its menu inside the full screen, and the page goes on after it", async () => {
    const ann = await withComments();
    const { page } = ann;
    await page.keyboard.press("f");
    await page.waitForFunction(() => document.fullscreenElement !== null);
    await pointAtOne(ann);
    await page.locator(".comment-card").getByRole("button", { name: "More" }).click();
    const menu = page.locator(".menu");
    await menu.waitFor();
    assert.ok(await menu.evaluate((element) => document.fullscreenElement.contains(element)));
    await menu.getByRole("menuitem", { name: "Mention" }).click();
    await menu.waitFor({ state: "detached" });
    await page.mouse.move(5, 300);
    await page.waitForFunction(() => window.__barrage.flying === 0); // nothing is held back
    assert.deepEqual(ann.problems, []);
    await ann.close();
  });
});

describe("layout of comments", () => {
  test("long standing ones, dark ones, art, positioned ones and right-to-left ones are drawn; lists of places never", async () => {
    const room = freshRoom();
    const long = "a very long comment at the top ".repeat(6).trim();
    const { session_id } = await pages.record(room, 20, [
      { offset_ms: 100, content: long, style: { mode: "top", color: "#000000", size: "large" } },
      { offset_ms: 200, content: '["0.2","0.4","1-1","4","placed here",0,0]' },
      { offset_ms: 300, content: '["0.2","broken","1-1"' },
      { offset_ms: 400, content: "שלום לכולם" },
    ]);
    const ann = await watch(room, "ann", { query: { session: session_id } });
    await Promise.all([drawn(ann, long), drawn(ann, "placed here"), drawn(ann, "שלום לכולם")]);
    await ann.page.locator('.chat-row .text[dir="rtl"]', { hasText: "שלום" }).waitFor();
    await ann.page.locator(".chat-row", { hasText: "placed here" }).waitFor();
    assert.equal(await ann.page.evaluate(() => document.body.textContent.includes('["0.2"') || window.__barrage?.drawn.some(({ text }) => text.includes('["0.2"'))), false);
    assert.deepEqual(ann.problems, []);
    await ann.close();
  });
});
