// A room on somebody else's page: the component over a video of another origin, the frame, the overlay, a token that ends.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";

const secret = "a secret of the embed's tests";
const TIMEOUT = { timeout: 90_000 };
let server;
let browser;
let site;
let origin;
const pages = new Map();

before(async () => {
  Object.assign(process.env, { BARRAGE__AUTH__HMAC_SECRET: secret, BARRAGE__AUTH__ORIGINS: "*", BARRAGE__AUTH__ANONYMOUS_READ: "true" });
  server = await startServer({ dev: false });
  browser = await launch();
  const video = await readFile(new URL("media/twenty-seconds.webm", import.meta.url));
  site = createServer((request, response) => {
    const page = pages.get(request.url);
    if (page === undefined) return response.writeHead(200, { "content-type": "video/webm" }).end(video);
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(page);
  });
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  // Another host, so another origin in every sense.
  origin = `http://localhost:${site.address().port}`;
}, TIMEOUT);

after(async () => {
  await browser?.close();
  await server?.stop();
  site?.close();
});

function sign(claims, ttlS = 3_600) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const unsigned = `${part({ alg: "HS256" })}.${part({ ...claims, exp: Math.floor(Date.now() / 1_000) + ttlS })}`;
  return `${unsigned}.${createHmac("sha256", secret).update(unsigned).digest("base64url")}`;
}

async function say(room, user, content, style) {
  const answer = await fetch(`${server.url}/api/v1/rooms/${room}/comments`, {
    method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${sign({ sub: user, name: user, level: "vip" })}` }, body: JSON.stringify({ content, style }),
  });
  assert.equal(answer.status, 201, await answer.clone().text());
  return answer.json();
}

const admin = (path, body, method = "POST") =>
  fetch(`${server.url}/api/v1/admin${path}`, {
    method, headers: { "content-type": "application/json", authorization: `Bearer ${sign({ sub: "root", level: "admin" })}` }, ...(body ? { body: JSON.stringify(body) } : {}),
  }).then(async (answer) => assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`));

async function open(path, html, options = {}) {
  if (html !== undefined) pages.set(path, html);
  const context = await browser.newContext({ viewport: { width: 1000, height: 560 }, locale: "en-US", ...options });
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => /Content Security Policy/.test(message.text()) && problems.push(message.text()));
  await page.goto(html === undefined ? server.url + path : origin + path);
  return { page, problems };
}

const component = (attributes, video = "") => `<!doctype html><meta charset="utf-8">${video}<barrage-room ${attributes}></barrage-room><script type="module" src="${server.url}/embed.js"></script>`;
const VIDEO = '<video id="my-video" src="/v.webm" muted width="640" height="360"></video>';
const row = (page, text) => page.locator("barrage-room >> .row", { hasText: text });

test("comments fly over a video of another origin, and stand as text in the list", TIMEOUT, async () => {
  const { page, problems } = await open("/component", component(`room="one" for="#my-video" token="${sign({ sub: "ann", name: "Ann" })}"`, VIDEO));
  await page.locator("barrage-room >> input:not([disabled])").waitFor();
  // The renderer may draw in a worker: only what is seen on the layer tells.
  await page.locator("video").evaluate((video) => (video.style.visibility = "hidden"));
  const picture = () => page.screenshot({ clip: { x: 8, y: 8, width: 640, height: 60 } });
  const empty = await picture();
  await say("one", "bob", '<img src=x onerror="document.title=1">', { mode: "top" });
  while (empty.equals(await picture())) await page.waitForTimeout(50);
  await row(page, "<img src=x").waitFor();
  await page.fill("barrage-room >> input", "from the component");
  await page.press("barrage-room >> input", "Enter");
  await page.locator("barrage-room >> .row.own", { hasText: "Ann" }).waitFor();
  assert.equal(await page.locator("barrage-room >> .row", { hasText: "from the component" }).count(), 1);
  const boxes = await page.evaluate(() => [".barrage-layer", "#my-video"].map((selector) => JSON.stringify(document.querySelector(selector).getBoundingClientRect())));
  assert.equal(boxes[0], boxes[1], "the layer is not where the video is");
  assert.notEqual(await page.title(), "1");
  assert.deepEqual(problems, []);
});

test("the video moves and the layer comes along; a deleted comment goes; the element goes and leaves nothing", TIMEOUT, async () => {
  const { page } = await open("/moves", component('room="two" for="#my-video"', VIDEO));
  await page.locator("barrage-room >> .viewers:not(:empty)").waitFor();
  await page.evaluate(() => {
    document.querySelector("#my-video").style.cssText = "position: absolute; left: 300px; top: 120px; width: 320px; height: 180px";
  });
  await page.waitForFunction(() => document.querySelector(".barrage-layer").style.left === "300px" && document.querySelector(".barrage-layer").offsetWidth === 320);
  const { id } = await say("two", "bob", "to be deleted");
  await row(page, "to be deleted").waitFor();
  await admin(`/comments/${id}`, undefined, "DELETE");
  await row(page, "to be deleted").waitFor({ state: "detached" });
  await page.evaluate(() => document.querySelector("barrage-room").remove());
  assert.equal(await page.locator(".barrage-layer").count(), 0);
});

test("a token that ends is renewed by the page, and without a new one the viewer reads on", TIMEOUT, async () => {
  const { page } = await open("/expiry", component(`room="three" token="${sign({ sub: "ann", name: "Ann" }, 3)}"`));
  await page.locator("barrage-room >> input:not([disabled])").waitFor();
  await page.evaluate((token) => {
    window.asked = 0;
    document.addEventListener("barrage-token", (event) => {
      window.asked++;
      if (window.asked === 1) event.respondWith(token);
    });
  }, sign({ sub: "ann", name: "Ann" }, 6));
  // The first renewal comes at once, because the token ends within a minute; the second is not answered.
  await page.locator("barrage-room >> .status", { hasText: "expired" }).waitFor({ timeout: 40_000 });
  await say("three", "bob", "still here");
  await row(page, "still here").waitFor();
  assert.ok(await page.locator("barrage-room >> input").isDisabled());
});

test("the frame fills itself, speaks Chinese, and takes a token from the page around it", TIMEOUT, async () => {
  const html = `<!doctype html><iframe id="f" src="${server.url}/embed/four?lang=zh&theme=dark" width="400" height="480"></iframe>`;
  const { page } = await open("/frame", html);
  const frame = page.frameLocator("#f");
  await frame.locator("barrage-room >> .viewers:not(:empty)").waitFor();
  assert.equal(await frame.locator("barrage-room >> .send").textContent(), "发送");
  await page.evaluate(([token, to]) => document.querySelector("#f").contentWindow.postMessage({ type: "barrage:token", token }, to), [sign({ sub: "ann", name: "Ann" }), server.url]);
  await frame.locator("barrage-room >> input:not([disabled])").fill("从框架里");
  await frame.locator("barrage-room >> input").press("Enter");
  await frame.locator("barrage-room >> .row.own", { hasText: "从框架里" }).waitFor();
});

test("the overlay is transparent, lists, leaves out, shows gifts, and comes back by itself", TIMEOUT, async () => {
  const { page, problems } = await open("/overlay/five?mode=list&hide=top&words=spoiler");
  await page.waitForFunction(() => document.getElementById("app").dataset.state === "connected");
  await say("five", "bob", "hello overlay");
  await say("five", "eve", "a SPOILER");
  await say("five", "joe", "at the top", { mode: "top" });
  await admin("/rooms/five/gifts", { gift: "rocket", user_id: "bob", username: "Bob", count: 2, value: 1 });
  await page.locator(".gift", { hasText: "Bob sent rocket ×2" }).waitFor();
  assert.deepEqual(await page.locator(".row .text").allTextContents(), ["hello overlay"]);
  assert.equal(await page.evaluate(() => window.getComputedStyle(document.documentElement).backgroundColor), "rgba(0, 0, 0, 0)");
  await server.kill();
  await page.waitForFunction(() => document.getElementById("app").dataset.state === "reconnecting");
  await server.start();
  await page.waitForFunction(() => document.getElementById("app").dataset.state === "connected");
  await say("five", "ann", "after the outage");
  await page.locator(".row", { hasText: "after the outage" }).waitFor();
  assert.deepEqual(problems, []);
});

test("the builder makes the address that it shows", TIMEOUT, async () => {
  const { page } = await open("/overlay");
  await page.getByLabel("Room", { exact: true }).fill("six");
  await page.getByLabel("Style").selectOption("list");
  await page.getByLabel("Gifts").check();
  const address = new URL(await page.locator("#address").inputValue());
  assert.equal(address.pathname + address.search, "/overlay/six?mode=list&hide=gifts");
  await page.waitForFunction((href) => document.querySelector("iframe").src === href, address.href);
});
