// What the tests of the viewer page share: a page in a room, what it sends and is sent, and the admin's side of the server.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

export const PATIENCE_MS = 60_000;

/**
 * Pages of one server in one browser. `watch(room, user)` opens a viewer's page, connected and in the room; `options` are
 * those of a browser context, and `query` and `prepare` (called with the page before it is opened).
 */
export function viewerPages(server, browser) {
  async function watch(room, user, { level = "vip", query = {}, prepare, joins = true, ...options } = {}) {
    const context = await browser.newContext({ locale: "en-US", viewport: { width: 1280, height: 720 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => message.text().includes("Content Security Policy") && problems.push(message.text()));
    const frames = [];
    const joined = new Promise((resolve) => {
      page.on("websocket", (socket) => {
        socket.on("framesent", ({ payload }) => frames.push({ sent: JSON.parse(payload) }));
        socket.on("framereceived", ({ payload }) => {
          const message = JSON.parse(payload);
          frames.push({ received: message });
          if (message.type === "room_joined") resolve();
        });
      });
    });
    await prepare?.(page, context);
    const identity = user === undefined ? {} : { user_id: user, username: user, level };
    await page.goto(`${server.url}/rooms/${room}?${new URLSearchParams({ ...identity, ...query })}`);
    if (joins) await joined;
    return { page, frames, problems, close: () => context.close() };
  }

  async function call(path, body, method = "POST") {
    const answer = await fetch(`${server.url}/api/v1${path}`, {
      method,
      headers: { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
    return answer.json().catch(() => undefined);
  }

  return {
    watch,
    admin: (path, body, method) => call(`/admin${path}`, body, method),
    /** A comment over HTTP, for those whose page does not matter. */
    post: (room, user, comment) => call(`/rooms/${room}/comments?user_id=${user}&username=${user}&level=vip`, comment),
    /** A recording of so many seconds; `comments` as the importer takes them. */
    record: (room, seconds, comments, session = {}) =>
      call(`/admin/rooms/${room}/import`, { session, comments: [...comments, { offset_ms: seconds * 1_000, content: "the last word" }] }),
  };
}

export async function say({ page }, text) {
  await page.fill(".composer-input", text);
  await page.press(".composer-input", "Enter");
  await page.waitForFunction(() => document.querySelector(".composer-input").value === "");
}

/** Waits until the renderer says it has drawn this text. */
export function drawn({ page }, text) {
  return page.waitForFunction((wanted) => window.__barrage?.drawn.find((item) => item.text === wanted), text, { polling: 20 });
}

export const wasDrawn = ({ page }, text) => page.evaluate((wanted) => window.__barrage?.drawn.some((item) => item.text === wanted), text);

export const listed = ({ page }, text) => page.locator(".chat-row .text", { hasText: text }).first().waitFor();

/** The video's own time, in seconds. */
export const timeOf = ({ page }) => page.evaluate(() => window.__barrage.time);

/** Waits until the media is at or past so many seconds. */
export const reaches = ({ page }, seconds) => page.waitForFunction((wanted) => window.__barrage.time >= wanted, seconds, { polling: 20 });

export async function received({ frames }, matches) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!frames.some(({ received: message }) => message && matches(message))) {
    assert.ok(Date.now() < deadline, "the expected message did not come");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Answers requests for `/media/NAME` from e2e/media, ranges too. `hold(from)` may hold an answer back. */
export async function serveMedia(context, { types = {}, hold = async () => undefined } = {}) {
  await context.route(/\/media\/[\w.-]+(\?|$)/, async (route) => {
    const name = new URL(route.request().url()).pathname.split("/").at(-1);
    const body = await readFile(new URL(`media/${name}`, import.meta.url)).catch(() => undefined);
    if (!body) return route.fulfill({ status: 404 });
    const [, first, last] = /bytes=(\d+)-(\d*)/.exec(route.request().headers().range ?? "") ?? [];
    const contentType = { webm: "video/webm", m3u8: "application/vnd.apple.mpegurl", m4s: "video/mp4", ...types }[name.split(".").at(-1)];
    await hold(Number(first ?? 0));
    if (first === undefined) return route.fulfill({ status: 200, contentType, body, headers: { "accept-ranges": "bytes" } });
    const to = last ? Number(last) : body.length - 1;
    const headers = { "accept-ranges": "bytes", "content-range": `bytes ${first}-${to}/${body.length}` };
    return route.fulfill({ status: 206, contentType, headers, body: body.subarray(Number(first), to + 1) });
  });
}
