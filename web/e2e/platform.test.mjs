// Every page with each thing taken away that a browser may not have: what plain http hides, storage that is denied or
// full, interfaces that some platforms never had. The page still does what it is for, and nothing throws.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";

const PATIENCE_MS = 30_000;

let server;
let browser;
let people = 0;

before(async () => {
  server = await startServer();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Runs in the page before anything of it. */
const MISSING = {
  "plain http: no UUIDs, no cryptography, no clipboard, no locks": () => {
    delete window.Crypto.prototype.randomUUID;
    delete window.Crypto.prototype.subtle;
    delete window.Navigator.prototype.clipboard;
    delete window.Navigator.prototype.locks;
    delete window.Navigator.prototype.serviceWorker;
  },
  "storage denied": () => {
    for (const name of ["localStorage", "sessionStorage", "indexedDB"]) {
      Object.defineProperty(window, name, {
        get: () => {
          throw new window.DOMException("denied", "SecurityError");
        },
      });
    }
  },
  "storage full": () => {
    window.Storage.prototype.setItem = () => {
      throw new window.DOMException("full", "QuotaExceededError");
    };
  },
  "no full screen, picture in picture, notifications, WebAssembly": () => {
    delete window.Element.prototype.requestFullscreen;
    delete window.Document.prototype.exitFullscreen;
    delete window.Document.prototype.fullscreenElement;
    delete window.Document.prototype.fullscreenEnabled;
    delete window.HTMLVideoElement.prototype.requestPictureInPicture;
    delete window.Document.prototype.pictureInPictureEnabled;
    delete window.Notification;
    delete window.WebAssembly;
  },
  "no idle callbacks, off-screen canvas, wake lock, media session": () => {
    delete window.requestIdleCallback;
    delete window.OffscreenCanvas;
    delete window.HTMLCanvasElement.prototype.transferControlToOffscreen;
    delete window.Navigator.prototype.wakeLock;
    delete window.Navigator.prototype.mediaSession;
    delete window.Navigator.prototype.share;
  },
};

/** What each page is for. */
const PAGES = {
  rooms: async (page) => {
    await page.goto(`${server.url}/`);
    await page.getByLabel("Enter a room by its name").fill("somewhere");
    await page.getByRole("heading", { name: "Quick start" }).waitFor();
    await page.getByRole("button", { name: "简体中文" }).click();
    await page.getByRole("heading", { name: "快速开始" }).waitFor();
  },
  viewer: async (page) => {
    await page.goto(`${server.url}/rooms/platform?user_id=viewer-${++people}&username=V&level=vip`);
    const text = `hello ${people}`;
    await page.locator(".composer-input").waitFor();
    await page.waitForFunction(() => document.querySelector(".composer-input").placeholder !== "");
    await page.fill(".composer-input", text);
    await page.keyboard.press("Enter");
    await page.locator(".chat-row .text", { hasText: text }).first().waitFor();
  },
  "embedded room": async (page) => {
    await page.goto(`${server.url}/embed/platform?lang=en&user_id=embed-${++people}`);
    await page.locator("barrage-room >> .viewers:not(:empty)").waitFor();
  },
  overlay: async (page) => {
    await page.goto(`${server.url}/overlay/platform?mode=list`);
    await page.waitForFunction(() => document.getElementById("app").dataset.state === "connected");
    const text = `overlay ${++people}`;
    const answer = await fetch(`${server.url}/api/v1/rooms/platform/comments?user_id=o-${people}&username=O`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ content: text }),
    });
    if (!answer.ok) throw new Error(await answer.text());
    await page.getByText(text).first().waitFor();
  },
  messenger: async (page) => {
    await page.goto(`${server.url}/chat?user_id=ann-${++people}#direct%3Abob-${people}`);
    await page.locator('.connection[data-state="connected"]').waitFor({ state: "attached" });
    await page.fill(".thread textarea", "hello there");
    await page.keyboard.press("Enter");
    const message = page.locator('.message[data-state="delivered"]', { hasText: "hello there" });
    await message.waitFor();
    await message.hover();
    await message.locator(".menu-anchor > button").click();
    await page.getByRole("menuitem", { name: "Copy" }).click();
    await page.getByText("Copied.").waitFor();
    await page.getByRole("button", { name: "You and your settings" }).click();
    await page.getByLabel("Tell me of new messages").waitFor();
    await page.getByRole("button", { name: "Close", exact: true }).click();
  },
  console: async (page) => {
    await page.goto(`${server.url}/admin#/rooms/platform-desk`);
    await page.locator(".status.live").waitFor();
    await page.getByLabel("Announcement").fill("hear, hear");
    await page.getByRole("button", { name: "Announce" }).click();
    await page.getByText("Announced.").waitFor();
    await page.getByRole("button", { name: "简体中文" }).click();
    await page.getByRole("navigation").getByRole("link", { name: "房间" }).click();
    await page.getByRole("heading", { name: "房间" }).waitFor();
  },
};

for (const [missing, takeAway] of Object.entries(MISSING)) {
  describe(missing, () => {
    for (const [name, use] of Object.entries(PAGES)) {
      test(name, async () => {
        const context = await browser.newContext({ locale: "en-US" });
        await context.addInitScript(takeAway);
        const page = await context.newPage();
        page.setDefaultTimeout(PATIENCE_MS);
        const problems = [];
        page.on("pageerror", (error) => problems.push(String(error)));
        await use(page);
        assert.deepEqual(problems, []);
        await context.close();
      });
    }
  });
}

test("a sealed conversation says where it cannot be sealed, and sends nothing in plain before that is understood", async () => {
  const [ann, bob] = [`ann-${++people}`, `bob-${people}`];
  const envelope = JSON.stringify({ v: 1, from_device: "elsewhere", devices: { [`${ann}/elsewhere`]: { type: 0, body: "AAAA" } } });
  const sent = await fetch(`${server.url}/api/v1/messages?user_id=${bob}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ client_msg_id: "sealed", to_user: ann, content: envelope, msg_type: "encrypted" }),
  });
  assert.equal(sent.status, 201, await sent.text());
  const context = await browser.newContext({ locale: "en-US" });
  await context.addInitScript(MISSING["plain http: no UUIDs, no cryptography, no clipboard, no locks"]);
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(`${server.url}/chat?user_id=${ann}#direct%3A${bob}`);
  await page.locator(".plain-note", { hasText: "would go out in plain" }).waitFor();
  await page.fill(".thread textarea", "is it safe?");
  await page.keyboard.press("Enter");
  assert.equal(await page.inputValue(".thread textarea"), "is it safe?");
  await page.getByRole("button", { name: "Write in plain" }).click();
  await page.locator(".thread textarea").press("Enter");
  await page.locator('.message[data-state="delivered"]', { hasText: "is it safe?" }).getByText("Not encrypted").waitFor();
  await context.close();
});

describe("a token", () => {
  let guarded;
  before(async () => (guarded = await startServer({ dev: false })));
  after(() => guarded?.stop());

  const first = async (context, path) => {
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(`${guarded.url}${path}`);
    return page;
  };

  test("is asked for honestly by a first visit", async () => {
    const context = await browser.newContext({ locale: "en-US" });
    for (const path of ["/", "/chat"]) await (await first(context, path)).getByText(/Sign in with your site.s link/).waitFor();
    const console = await first(context, "/admin");
    await console.getByLabel("Admin key or moderator token").waitFor();
    const viewer = await first(context, "/rooms/hall");
    await viewer.waitForFunction(() => document.querySelector("#app").textContent.length > 0);
    assert.doesNotMatch(await viewer.locator("body").innerText(), /^Connected$/m);
    await context.close();
  });

  test("given to one tab serves the others, until somebody signs out", async () => {
    const context = await browser.newContext({ locale: "en-US" });
    const token = guarded.token("ann", "moderator");
    const rooms = await first(context, `/?token=${token}`);
    await rooms.getByRole("button", { name: "Sign out" }).waitFor();
    assert.doesNotMatch(rooms.url(), /token/);
    const chat = await first(context, "/chat");
    await chat.locator('.connection[data-state="connected"]').waitFor({ state: "attached" });
    const desk = await first(context, "/admin");
    await desk.getByRole("heading", { name: "Rooms" }).waitFor();
    await rooms.getByRole("button", { name: "Sign out" }).click();
    await chat.getByText(/Sign in with your site.s link/).waitFor();
    await desk.getByLabel("Admin key or moderator token").waitFor();
    await context.close();
  });

  test("pasted where storage is denied signs in for the visit", async () => {
    const context = await browser.newContext({ locale: "en-US" });
    await context.addInitScript(MISSING["storage denied"]);
    const page = await first(context, "/chat");
    await page.getByLabel("Or paste a token").fill(guarded.token("bob"));
    await page.getByRole("button", { name: "Enter" }).click();
    await page.locator('.connection[data-state="connected"]').waitFor({ state: "attached" });
    await page.reload();
    await page.locator('.connection[data-state="connected"]').waitFor({ state: "attached" });
    await context.close();
  });
});
