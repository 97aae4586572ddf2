// The messenger in Chromium against the real server: two people, two devices, a group, a phone, a server that dies.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";

const PATIENCE_MS = 60_000;

let server;
let browser;
let people = 0;
/** A name nobody else has: tests share one server. */
const person = (name) => `${name}-${++people}`;

before(async () => {
  server = await startServer();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Somebody's messenger, connected and caught up. */
async function enter(user, { locale = "en-US", viewport = { width: 1280, height: 800 }, device, name = user } = {}) {
  const context = await browser.newContext({ locale, viewport, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("dialog", (dialog) => void dialog.accept());
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.text().includes("Content Security Policy") && problems.push(message.text()));
  const query = new URLSearchParams({ user_id: user, username: name, ...(device ? { device_id: device } : {}) });
  await page.goto(`${server.url}/chat?${query}`);
  await live(page);
  return { user, page, problems, close: () => context.close() };
}

const live = (page) => page.locator('.connection[data-state="connected"]').waitFor({ state: "attached" });

/** Opens the conversation with somebody, whether there was one or not. */
async function face({ page }, user) {
  await page.evaluate((key) => (window.location.hash = encodeURIComponent(key)), `direct:${user}`);
  await page.locator(".thread textarea").waitFor();
}

async function say({ page }, text) {
  await page.fill(".thread textarea", text);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".thread textarea").value === "");
}

const bubble = ({ page }, text, state) => page.locator(`.message${state ? `[data-state="${state}"]` : ""} .text`, { hasText: text }).first();
const row = ({ page }, name) => page.locator(".item", { hasText: name });
const texts = ({ page }) => page.locator(".message .text").allInnerTexts();

async function menu({ page }, text, action) {
  const message = page.locator(".message", { hasText: text }).first();
  await message.hover();
  await message.locator(".menu-anchor > button").click();
  await page.getByRole("menuitem", { name: action }).click();
}

async function pair(options = {}) {
  const [a, b] = [person("ann"), person("bob")];
  const [ann, bob] = [await enter(a, options), await enter(b, options)];
  await face(ann, b);
  return [ann, bob];
}

async function leave(...all) {
  for (const { problems, close } of all) {
    assert.deepEqual(problems, []);
    await close();
  }
}

describe("two people", () => {
  const languages = [
    ["en-US", { write: "Write a message", read: "Read", gone: "Message recalled", recall: "Recall", typing: "is typing…" }],
    ["zh-CN", { write: "写消息", read: "已读", gone: "对方撤回了一条消息", recall: "撤回", typing: "正在输入…" }],
  ];
  for (const [locale, words] of languages) {
    test(`talk, see each other type, read and recall (${locale})`, async () => {
      const [ann, bob] = await pair({ locale });
      assert.equal(await ann.page.getAttribute(".thread textarea", "placeholder"), words.write);
      await say(ann, "今晚的月亮真圆 and so bright");
      await bubble(ann, "今晚的月亮", "delivered").waitFor();
      await row(bob, ann.user).locator(".count", { hasText: "1" }).waitFor();

      await row(bob, ann.user).click();
      await bubble(bob, "今晚的月亮").waitFor();
      await bubble(ann, "今晚的月亮", "read").waitFor();
      await ann.page.locator('.message[data-state="read"]').getByRole("img", { name: words.read }).waitFor();
      assert.equal(await row(bob, ann.user).locator(".count").count(), 0);

      await bob.page.locator(".thread textarea").pressSequentially("it is");
      await ann.page.locator(".typing", { hasText: words.typing }).waitFor();
      await bob.page.keyboard.press("Enter");
      await bubble(ann, "it is").waitFor();
      assert.equal(await ann.page.locator(".typing").innerText(), "");

      await menu(ann, "今晚的月亮", words.recall);
      await bob.page.locator(".recalled", { hasText: words.gone }).waitFor();
      assert.deepEqual(await texts(bob), ["it is"]);
      await bob.page.reload();
      await live(bob.page);
      await bubble(bob, "it is").waitFor();
      assert.deepEqual(await texts(bob), ["it is"]);
      await leave(ann, bob);
    });
  }

  test("text never becomes HTML, and links lead out safely", async () => {
    const [ann, bob] = await pair();
    await say(ann, '<img src=x onerror="window.hacked=1"> https://example.org/a?b=1.');
    await row(bob, ann.user).click();
    await bubble(bob, "<img src=x").waitFor();
    const link = bob.page.locator(".message a");
    assert.equal(await link.getAttribute("href"), "https://example.org/a?b=1");
    assert.match(await link.getAttribute("rel"), /noopener/);
    for (const { page } of [ann, bob]) {
      assert.equal(await page.locator("img").count(), 0);
      assert.equal(await page.evaluate(() => window.hacked), undefined);
    }
    await leave(ann, bob);
  });

  test("Shift+Enter breaks the line, a draft waits in its conversation, old messages load when scrolled to", async () => {
    const [ann, bob] = await pair();
    await ann.page.fill(".thread textarea", "one");
    await ann.page.keyboard.press("Shift+Enter");
    await ann.page.keyboard.type("two");
    await ann.page.keyboard.press("Enter");
    await bubble(ann, "one\ntwo").waitFor();
    for (let n = 0; n < 80; n++) await say(ann, `line ${n}.`);
    await bubble(ann, "line 79.", "delivered").waitFor();
    await ann.page.fill(".thread textarea", "not yet");
    await face(ann, person("cleo"));
    await row(ann, bob.user).locator(".last", { hasText: "not yet" }).waitFor();
    await ann.page.reload();
    await live(ann.page);
    await row(ann, bob.user).click();
    assert.equal(await ann.page.inputValue(".thread textarea"), "not yet");
    const later = await enter(ann.user);
    await row(later, bob.user).click();
    await bubble(later, "line 79.").waitFor();
    assert.equal(await bubble(later, "line 3.").count(), 0);
    await later.page.locator(".messages").evaluate((box) => (box.scrollTop = 0));
    await bubble(later, "line 3.").waitFor();
    await later.page.locator(".to-end").click();
    await later.page.waitForFunction(() => {
      const box = document.querySelector(".messages");
      return box.scrollHeight - box.scrollTop - box.clientHeight < 5;
    });
    assert.deepEqual(await texts(later), ["one\ntwo", ...Array.from({ length: 80 }, (_, n) => `line ${n}.`)]);
    await leave(ann, bob, later);
  });

  test("what is blocked is refused in words, and can be discarded", async () => {
    const [ann, bob] = await pair();
    await say(ann, "hello");
    await row(bob, ann.user).click();
    await bob.page.getByRole("button", { name: "Block", exact: true }).click();
    await bob.page.getByRole("button", { name: "Unblock", exact: true }).waitFor();
    await say(ann, "still there?");
    await ann.page.locator('.message[data-state="failed"] .why').waitFor();
    await menu(ann, "still there?", "Discard");
    await ann.page.waitForFunction(() => document.querySelectorAll(".message").length === 1);
    await leave(ann, bob);
  });
});

describe("two devices of one person", () => {
  test("stay in step: what one sends, reads and recalls is so on the other", async () => {
    const [a, b] = [person("ann"), person("bob")];
    const [laptop, phone, bob] = [await enter(a, { device: "laptop" }), await enter(a, { device: "phone" }), await enter(b)];
    await face(laptop, b);
    await say(laptop, "from the laptop");
    await row(phone, b).locator(".last", { hasText: "from the laptop" }).waitFor();
    await face(bob, a);
    await say(bob, "to both");
    await row(phone, b).click();
    await bubble(phone, "to both").waitFor();
    await face(laptop, person("cleo"));
    await face(phone, person("dan"));
    await say(bob, "unread");
    for (const device of [laptop, phone]) await row(device, b).locator(".count", { hasText: "1" }).waitFor();
    await row(phone, b).click();
    await laptop.page.waitForFunction(() => document.querySelectorAll(".item .count").length === 0);
    await row(laptop, b).click();
    await menu(phone, "from the laptop", "Recall");
    await laptop.page.locator(".recalled").waitFor();
    assert.deepEqual(await texts(laptop), await texts(phone));
    await leave(laptop, phone, bob);
  });
});

describe("a group", () => {
  test("is made, talked in, counted, and left", async () => {
    const [a, b, c] = [person("ann"), person("bob"), person("cleo")];
    const [ann, bob, cleo] = [await enter(a), await enter(b), await enter(c)];
    const name = person("Choir 合唱团");
    await ann.page.getByRole("button", { name: "New group" }).click();
    await ann.page.getByLabel("Name", { exact: true }).fill(name);
    await ann.page.getByLabel("Members (user ids)").fill(b);
    await ann.page.getByRole("button", { name: "Create" }).click();
    await ann.page.locator(".head h1", { hasText: name }).waitFor();
    await say(ann, "who is here?");
    await row(bob, name).click();
    await bubble(bob, "who is here?").waitFor();
    assert.equal(await bob.page.locator(".message .name").innerText(), a);
    await ann.page.locator(".readers", { hasText: "read by all" }).waitFor();

    await ann.page.getByRole("button", { name: "Group", exact: true }).click();
    await ann.page.getByLabel("Add people (user ids)").fill(c);
    await ann.page.getByRole("button", { name: "Add", exact: true }).click();
    await ann.page.locator(".people li", { hasText: c }).waitFor();
    await ann.page.getByLabel(`Role of ${b}`).selectOption("admin");
    await ann.page.getByRole("button", { name: "Close", exact: true }).click();
    await ann.page.locator("dialog").waitFor({ state: "detached" });
    await say(ann, "welcome");
    await row(cleo, name).click();
    await bubble(cleo, "welcome").waitFor();
    assert.deepEqual(await texts(cleo), ["welcome"]);
    await bubble(bob, "welcome").waitFor();
    await ann.page.locator(".message", { hasText: "welcome" }).locator(".readers", { hasText: "read by all" }).waitFor();

    await bob.page.getByRole("button", { name: "Group", exact: true }).click();
    await bob.page.getByRole("button", { name: `Remove ${c}` }).click();
    await cleo.page.locator(".choose").waitFor();
    assert.equal(await row(cleo, name).count(), 0);
    await bob.page.getByRole("button", { name: "Leave the group" }).click();
    await bob.page.locator(".choose").waitFor();
    await leave(ann, bob, cleo);
  });
});

describe("the focus", () => {
  test("is given back by a dialog when it goes, and taken from nobody afterwards", async () => {
    const ann = await enter(person("ann"));
    await face(ann, person("bob"));
    await ann.page.getByRole("button", { name: "You and your settings" }).click();
    await ann.page.locator("dialog[open]").waitFor();
    const focused = await ann.page.evaluate(async () => {
      const nameOfFocused = () => document.activeElement.getAttribute("aria-label");
      const painted = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve))));
      const gone = new Promise((resolve) => new MutationObserver(() => document.querySelector("dialog") ?? resolve()).observe(document.body, { childList: true, subtree: true }));
      [...document.querySelectorAll("dialog button")].find(({ textContent }) => textContent === "Close").click();
      await gone;
      const atOnce = nameOfFocused();
      document.querySelector(".thread textarea").focus();
      await painted();
      return [atOnce, nameOfFocused()];
    });
    assert.deepEqual(focused, ["You and your settings", "Write a message"]);
    await leave(ann);
  });

  test("goes into a menu and comes back out of it", async () => {
    const ann = await enter(person("ann"));
    await face(ann, person("bob"));
    await say(ann, "by keyboard");
    await bubble(ann, "by keyboard", "delivered").waitFor();
    const opener = ann.page.locator(".message", { hasText: "by keyboard" }).locator(".menu-anchor > button");
    const role = () => ann.page.evaluate(() => document.activeElement.getAttribute("role"));
    for (const key of ["Escape", "Enter"]) {
      await opener.focus();
      await ann.page.keyboard.press("Enter");
      await ann.page.locator(".menu").waitFor();
      assert.equal(await role(), "menuitem");
      await ann.page.keyboard.press(key);
      await ann.page.locator(".menu").waitFor({ state: "detached" });
      assert.ok(await opener.evaluate((button) => button === document.activeElement), key);
    }
    await leave(ann);
  });
});

describe("trouble", () => {
  test("a server killed and started again loses nothing and doubles nothing", async () => {
    const [ann, bob] = await pair();
    await face(bob, ann.user);
    for (let n = 0; n < 5; n++) await say(ann, `before ${n}`);
    await bubble(bob, "before 4").waitFor();
    await server.kill();
    await ann.page.locator('.connection:not([data-state="connected"])').waitFor();
    for (let n = 0; n < 5; n++) {
      await say(ann, `while away ${n}`);
      await say(bob, `me too ${n}`);
    }
    await bubble(ann, "while away 4", "sending").waitFor();
    await ann.page.locator(".item .last .icon").first().waitFor();
    await server.start();
    await Promise.all([live(ann.page), live(bob.page)]);
    await Promise.all([bubble(ann, "me too 4").waitFor(), bubble(bob, "while away 4").waitFor()]);
    await bubble(ann, "while away 4", "read").waitFor();
    await say(bob, "all here?");
    await bubble(ann, "all here?").waitFor();
    const [left, right] = [await texts(ann), await texts(bob)];
    assert.deepEqual(left, right);
    assert.equal(left.length, 16);
    assert.equal(new Set(left).size, 16);
    for (const said of ["before", "while away", "me too"]) {
      assert.deepEqual(left.filter((text) => text.startsWith(said)), [0, 1, 2, 3, 4].map((n) => `${said} ${n}`));
    }
    await leave(ann, bob);
  });
});

describe("on a phone", () => {
  test("the list and the conversation take turns", async () => {
    const [ann, bob] = await pair();
    const phone = await enter(bob.user, { viewport: { width: 390, height: 844 }, locale: "zh-CN" });
    await say(ann, "a rather long line that has to be broken somewhere on a screen as narrow as this one is, without widening it");
    await row(phone, ann.user).click();
    await bubble(phone, "rather long").waitFor();
    assert.equal(await phone.page.locator(".list").isVisible(), false);
    assert.equal(await phone.page.evaluate(() => document.documentElement.scrollWidth), 390);
    await phone.page.getByRole("button", { name: "返回会话列表" }).click();
    await row(phone, ann.user).waitFor();
    assert.equal(await phone.page.locator(".thread").count(), 0);
    await leave(ann, bob, phone);
  });
});

describe("end-to-end encryption", () => {
  test("is read on the devices there are, and by nobody else", async () => {
    const [a, b] = [person("ann"), person("bob")];
    const [ann, bob] = [await enter(a), await enter(b)];
    const frames = [];
    bob.page.on("websocket", (socket) => {
      socket.on("framereceived", ({ payload }) => frames.push(payload));
      socket.on("framesent", ({ payload }) => frames.push(payload));
    });
    await bob.page.reload();
    await live(bob.page);
    for (const one of [ann, bob]) await face(one, one === ann ? b : a);
    for (const { page } of [ann, bob]) await page.getByRole("button", { name: "Not end-to-end encrypted" }).click();
    const codes = await Promise.all([ann, bob].map(({ page }) => page.locator(".code").innerText()));
    assert.equal(codes[0], codes[1]);
    assert.match(codes[0], /^(\d{5}\s*){12}$/);
    for (const { page } of [ann, bob]) {
      await page.getByLabel("Encrypt what I write here end to end").check();
      await page.getByRole("button", { name: "Close", exact: true }).click();
      await page.locator("dialog").waitFor({ state: "detached" });
    }
    await say(ann, "the key is under the mat");
    await bubble(bob, "under the mat").waitFor();
    await say(bob, "found it");
    await bubble(ann, "found it").waitFor();
    await row(ann, b).locator(".last", { hasText: "found it" }).waitFor();
    assert.ok(frames.some((frame) => frame.includes("encrypted")));
    assert.ok(!frames.some((frame) => frame.includes("under the mat")));

    await bob.page.reload();
    await live(bob.page);
    await bubble(bob, "under the mat").waitFor();
    const later = await enter(b);
    await face(later, a);
    await later.page.locator(".unreadable").first().waitFor();
    assert.equal(await bubble(later, "under the mat").count(), 0);
    await leave(ann, bob, later);
  });
});

describe("files", () => {
  const pixel = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

  /** A server may be built or set up without them. */
  async function takesUploads() {
    const answer = await fetch(`${server.url}/api/v1/uploads?user_id=nobody`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    return answer.status !== 404;
  }

  test("a picture is shown, a file has its name and size", async (context) => {
    if (!(await takesUploads())) return context.skip("this server takes no uploads");
    const [ann, bob] = await pair();
    await row(ann, bob.user).waitFor();
    const picker = ann.page.locator('.composer input[type="file"]');
    await picker.setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: pixel });
    await picker.setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("hello".repeat(300)) });
    await row(bob, ann.user).click();
    await bob.page.waitForFunction(() => document.querySelector(".picture img")?.naturalWidth === 1);
    await bob.page.locator(".file", { hasText: "notes.txt" }).filter({ hasText: "1.5 KiB" }).waitFor();
    await leave(ann, bob);
  });
});
