// The viewer page where the platform lacks something: each API is taken away in turn, and the page does what it is for.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";
import { drawn, listed, say, viewerPages } from "./viewer-page.mjs";

let server;
let browser;
let pages;
let rooms = 0;
const freshRoom = () => `platform-${++rooms}`;
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

/** Runs `take` in the page before anything of ours. */
const without = (take) => (page) => page.addInitScript(take);

const LACKING = {
  "crypto.randomUUID, as on plain http": () => delete window.Crypto.prototype.randomUUID,
  "a clipboard, as on plain http": () => Object.defineProperty(window.Navigator.prototype, "clipboard", { get: () => undefined }),
  "localStorage, which throws": () =>
    Object.defineProperty(window, "localStorage", {
      get: () => {
        throw new window.DOMException("denied", "SecurityError");
      },
    }),
  "room in localStorage": () => {
    window.Storage.prototype.setItem = () => {
      throw new window.DOMException("full", "QuotaExceededError");
    };
  },
  "full screen, as on an iPhone": () => {
    delete window.Element.prototype.requestFullscreen;
    Object.defineProperty(window.Document.prototype, "fullscreenElement", { get: () => undefined });
  },
  "OffscreenCanvas and workers": () => {
    delete window.OffscreenCanvas;
    delete window.Worker;
  },
  "picture in picture": () => Object.defineProperty(window.Document.prototype, "pictureInPictureEnabled", { get: () => undefined }),
};

describe("without", () => {
  for (const [what, take] of Object.entries(LACKING)) {
    test(`${what} one watches, writes, copies, changes settings and fills the screen`, async () => {
      const room = freshRoom();
      const ann = await watch(room, "ann", { prepare: without(take) });
      const { page } = ann;
      const text = `still here, in ${room}`; // the same text again would be refused
      await say(ann, text);
      await Promise.all([drawn(ann, text), listed(ann, text)]);
      await page.locator(".chat-row .name").first().click();
      await page.getByRole("menuitem", { name: "Copy text" }).click();
      await page.locator(".note", { hasText: /Copied|does not let the page copy/ }).waitFor();
      await page.click(".danmaku-toggle");
      await page.locator('.danmaku-toggle[aria-pressed="false"]').waitFor();
      await page.click(".danmaku-toggle");
      const small = await page.locator(".picture").boundingBox();
      await page.click('[aria-label="Full screen"]');
      await page.waitForFunction((width) => document.querySelector(".picture").clientWidth > width, small.width);
      const whole = await page.locator(".picture").boundingBox();
      assert.deepEqual([whole.x, whole.y, whole.width, whole.height], [0, 0, 1280, 720]);
      await page.click('[aria-label="Leave full screen"]');
      await page.waitForFunction((width) => document.querySelector(".picture").clientWidth === width, small.width);
      assert.deepEqual(ann.problems, []);
      await ann.close();
    });
  }

  test("a full screen of its own, Escape leaves the filled page", async () => {
    const ann = await watch(freshRoom(), "ann", { prepare: without(LACKING["full screen, as on an iPhone"]) });
    await ann.page.keyboard.press("f");
    await ann.page.locator(".picture.fills-page").waitFor();
    await ann.page.keyboard.press("Escape");
    await ann.page.locator(".picture:not(.fills-page)").waitFor();
    await ann.close();
  });
});

describe("a viewer who", () => {
  test("asks for less motion reads a list, and may choose that they fly", async () => {
    const room = freshRoom();
    const ann = await watch(room, "ann", { reducedMotion: "reduce" });
    await ann.page.locator(".note", { hasText: "Your system asks for less motion" }).waitFor();
    await say(ann, "listed only");
    await listed(ann, "listed only");
    assert.equal(await ann.page.evaluate(() => window.__barrage.flying), 0);
    await ann.page.click('button[aria-label="Danmaku settings"]');
    await ann.page.getByLabel("Let comments fly").check({ force: true });
    await say(ann, "now it flies");
    await drawn(ann, "now it flies");
    await ann.close();
  });

  test("prefers light gets a light page around a dark picture", async () => {
    const colours = async (colorScheme) => {
      const ann = await watch(freshRoom(), "ann", { colorScheme });
      const found = await ann.page.evaluate(() => ["body", ".composer-input"].map((part) => window.getComputedStyle(document.querySelector(part)).color));
      await ann.close();
      return found;
    };
    const [light, dark] = [await colours("light"), await colours("dark")];
    assert.notEqual(light[0], dark[0]);
    assert.equal(light[1], dark[1]);
  });

  test("has no token and no site's link is told so, and nothing says connected", async () => {
    const asked = (page) => page.route(/\/api\/v1\/server/, (route) => route.fulfill({ json: { dev: false, anonymous_read: false, version: "0" } }));
    const nobody = await watch(freshRoom(), undefined, { prepare: asked, joins: false });
    await nobody.page.locator('.composer-input[placeholder="Sign in with your site\'s link to comment."]:disabled').waitFor();
    await nobody.page.locator(".connection", { hasText: "Not signed in" }).waitFor();
    await nobody.close();
  });
});

describe("a small window", () => {
  for (const [name, width, height] of [["of 320 pixels", 320, 640], ["at 400 % zoom", 320, 180], ["a phone's", 390, 844], ["a phone's on its side", 844, 390]]) {
    test(`${name} needs no scrolling to the side`, async () => {
      const room = freshRoom();
      const { session_id } = await pages.record(room, 60, [{ offset_ms: 1, content: "w".repeat(120) }]);
      for (const query of [{}, { session: session_id }]) {
        const ann = await watch(room, "ann", { viewport: { width, height }, query });
        await ann.page.locator(".composer-input").waitFor();
        const tabs = () => [...document.querySelectorAll('.tabs [role="tab"]')].filter(({ offsetWidth }) => offsetWidth > 0).map((tab) => Math.round(tab.getBoundingClientRect().right));
        if (query.session) await ann.page.waitForFunction(() => document.querySelector("#tab-timeline")?.offsetWidth > 0);
        const ends = await ann.page.evaluate(tabs);
        assert.ok(ends.every((end) => end <= width), `tabs end at ${ends}`);
        const sizes = await ann.page.evaluate(() => ({
          wide: document.documentElement.scrollWidth,
          text: [...document.querySelectorAll('input[type="text"], input[type="url"], input[type="password"]')].map((input) => Number.parseFloat(window.getComputedStyle(input).fontSize)),
        }));
        assert.equal(sizes.wide, width);
        assert.ok(sizes.text.every((px) => px >= 16), JSON.stringify(sizes.text));
        await ann.close();
      }
    });
  }

  test("keeps its layout while it loads", async () => {
    for (const viewport of [{ width: 1280, height: 720 }, { width: 390, height: 844 }]) {
      const room = freshRoom();
      await pages.record(room, 60, []);
      const measure = () => {
        window.shifted = 0;
        new window.PerformanceObserver((list) => {
          for (const { hadRecentInput, value } of list.getEntries()) if (!hadRecentInput) window.shifted += value;
        }).observe({ type: "layout-shift", buffered: true });
      };
      const ann = await watch(room, "ann", { viewport, prepare: (page) => page.addInitScript(measure) });
      await ann.page.locator(".picture-card").waitFor();
      await Promise.all(Array.from({ length: 8 }, (_, i) => pages.post(room, `u${i}`, { content: `hello ${room} ${i}` })));
      await listed(ann, `hello ${room} 7`);
      const shifted = await ann.page.evaluate(() => window.shifted);
      assert.ok(shifted < 0.1, `${shifted} at ${viewport.width} px`);
      await ann.close();
    }
  });
});
