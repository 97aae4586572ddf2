// The messenger in Chromium against the real server: two people, two devices, a group, a phone, a server that dies.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { bubble, face, leave, live, menu, messengers, person, reachable, row, say, texts, turnOnSealing as turnOn } from "./messenger-page.mjs";
import { startServer } from "./server.mjs";

const PIXEL = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

let server;
let browser;
const { enter, pair } = messengers(() => browser, () => server.url);

before(async () => {
  server = await startServer();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

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

describe("a long history", () => {
  test("is drawn around the reader, who keeps their place on the way up and comes back down", async () => {
    const [ann, bob] = await pair();
    const post = (n) =>
      fetch(`${server.url}/api/v1/messages?user_id=${ann.user}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ client_msg_id: `h-${n}`, to_user: bob.user, content: `line ${n}.`, msg_type: "text" }),
      });
    for (let n = 0; n < 300; n++) {
      const answer = await post(n);
      if (answer.status === 429) {
        n -= 1;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      else assert.equal(answer.status, 201);
    }
    await face(bob, ann.user);
    await bubble(bob, "line 299.").waitFor();
    const drawn = () => bob.page.locator(".message").count();
    const top = () => bob.page.locator(".messages").evaluate((box) => (box.scrollTop = 0));
    for (let tries = 0; (await bubble(bob, "line 0.").count()) === 0 && tries < 60; tries++) {
      await top();
      await bob.page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50))));
      assert.ok((await drawn()) <= 120, `${await drawn()} messages drawn`);
    }
    await bubble(bob, "line 0.").waitFor();
    await bob.page.locator(".to-end").click();
    await bubble(bob, "line 299.").waitFor();
    await bob.page.waitForFunction(() => {
      const box = document.querySelector(".messages");
      return box.scrollHeight - box.scrollTop - box.clientHeight < 5;
    });
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
      assert.match(await role(), /^menuitem/);
      await ann.page.keyboard.press(key);
      await ann.page.locator(".menu").waitFor({ state: "detached" });
      assert.ok(await opener.evaluate((button) => button === document.activeElement), key);
    }
    await leave(ann);
  });
});

describe("notifications", () => {
  test("tell of what is said elsewhere, once they are asked for, and lead there", async () => {
    const [ann, bob] = await pair();
    await say(ann, "first");
    await bubble(ann, "first", "delivered").waitFor();
    // What the system would show; a headless browser shows nothing.
    await bob.page.addInitScript(() => {
      window.notes = [];
      window.Notification = class {
        static permission = "default";
        static async requestPermission() {
          return (this.permission = "granted");
        }
        constructor(title, options) {
          window.notes.push({ title, ...options, click: () => this.onclick() });
        }
        close() {}
      };
    });
    await bob.page.reload();
    await live(bob.page);
    await say(ann, "not asked for");
    await row(bob, ann.user).locator(".last", { hasText: "not asked for" }).waitFor();
    await bob.page.getByRole("button", { name: "You and your settings" }).click();
    await bob.page.getByLabel("Tell me of new messages").check();
    await bob.page.getByRole("button", { name: "Close", exact: true }).click();
    await say(ann, "now you know");
    await bob.page.waitForFunction(() => window.notes.length === 1);
    assert.deepEqual(await bob.page.evaluate(() => [window.notes[0].title, window.notes[0].body]), [ann.user, "now you know"]);
    await bob.page.evaluate(() => window.notes[0].click());
    await bubble(bob, "now you know").waitFor();
    await leave(ann, bob);
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
  /** Two people who have written to each other, and every frame that the second one's page saw. */
  async function acquainted() {
    const [a, b] = [person("ann"), person("bob")];
    const [ann, bob] = [await enter(a), await enter(b)];
    const frames = [];
    bob.page.on("websocket", (socket) => {
      socket.on("framereceived", ({ payload }) => frames.push(payload));
      socket.on("framesent", ({ payload }) => frames.push(payload));
    });
    await bob.page.reload();
    await live(bob.page);
    await face(ann, b);
    await face(bob, a);
    await say(ann, "in plain");
    await bubble(bob, "in plain").waitFor();
    for (const { page } of [ann, bob]) {
      await page.reload(); // somebody can write to them now: their keys are published
      await live(page);
    }
    await Promise.all([reachable(server.url, a), reachable(server.url, b)]);
    return { ann, bob, frames };
  }

  test("what one turns on holds for both, for their files and for all their devices", async () => {
    const { ann, bob, frames } = await acquainted();
    await turnOn(ann);
    await bob.page.locator(".setting", { hasText: `${ann.user} turned on end-to-end encryption` }).waitFor();
    await bob.page.getByRole("button", { name: "End-to-end encrypted", exact: true }).waitFor();
    assert.equal(await bob.page.getAttribute(".thread textarea", "placeholder"), "Write an encrypted message");
    await say(bob, "the key is under the mat");
    await bubble(ann, "under the mat").waitFor();
    await row(ann, bob.user).locator(".last", { hasText: "under the mat" }).waitFor();
    assert.ok(frames.some((frame) => frame.includes("encrypted")));
    assert.ok(!frames.some((frame) => frame.includes("under the mat")));

    await ann.page.locator('.composer input[type="file"]').setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: PIXEL });
    await bob.page.waitForFunction(() => document.querySelector(".picture img")?.naturalWidth === 1);
    assert.equal(await bob.page.locator('[data-type="file"]').count(), 0);

    await menu(ann, "in plain", "Reply");
    await say(ann, "an ansver");
    await bubble(bob, "an ansver").waitFor();
    await menu(ann, "an ansver", "Edit");
    await say(ann, "an answer");
    await bubble(bob, "an answer").waitFor();
    assert.ok(!frames.some((frame) => frame.includes("an answer")), "an edit is an envelope too");
    await bob.page.getByRole("button", { name: "Search messages" }).click();
    await bob.page.locator("dialog input[type=search]").fill("an answer");
    await bob.page.locator("dialog .finds mark", { hasText: "answer" }).waitFor();
    // The first empties the field.
    await bob.page.keyboard.press("Escape");
    await bob.page.keyboard.press("Escape");
    await bob.page.locator("dialog").waitFor({ state: "detached" });
    assert.ok(!frames.some((frame) => frame.includes("dot.png")));
    await bob.page.getByRole("button", { name: "Show dot.png" }).click();
    await bob.page.locator(".lightbox img").waitFor();
    await bob.page.keyboard.press("Escape");
    await bob.page.locator(".lightbox").waitFor({ state: "detached" });

    await bob.page.reload();
    await live(bob.page);
    await bubble(bob, "under the mat").waitFor();
    const later = await enter(bob.user);
    await face(later, ann.user);
    await later.page.locator(".unreadable").first().waitFor();
    assert.equal(await bubble(later, "under the mat").count(), 0);
    await later.page.getByRole("button", { name: "End-to-end encrypted", exact: true }).waitFor();
    await leave(ann, bob, later);
  });

  test("what is turned off is told before anything goes out in plain", async () => {
    const { ann, bob } = await acquainted();
    await turnOn(ann);
    await bob.page.getByRole("button", { name: "End-to-end encrypted", exact: true }).click();
    await bob.page.getByLabel("Encrypt this conversation end to end").click();
    await bob.page.getByRole("button", { name: "Close", exact: true }).click();
    await ann.page.locator(".plain-note", { hasText: "the server can read what you write" }).waitFor();
    await ann.page.getByRole("button", { name: "Turn it on" }).click();
    await bob.page.locator(".setting", { hasText: `${ann.user} turned on` }).nth(1).waitFor();
    await leave(ann, bob);
  });

  test("what is written offline waits, and is encrypted when it is sent", async () => {
    const { ann, bob, frames } = await acquainted();
    await turnOn(ann);
    await bob.page.locator(".setting").waitFor();
    await server.kill();
    await ann.page.locator('.connection:not([data-state="connected"])').waitFor();
    await say(ann, "written in the dark");
    await bubble(ann, "written in the dark", "sending").waitFor();
    assert.ok(!(await ann.page.evaluate(() => JSON.stringify({ ...localStorage }))).includes("written in the dark"));
    await server.start();
    await bubble(bob, "written in the dark").waitFor();
    await bubble(ann, "written in the dark", "read").waitFor();
    assert.ok(!frames.some((frame) => frame.includes("written in the dark")));
    await leave(ann, bob);
  });

  test("the cryptography is loaded for somebody who needs it, and nobody else", async () => {
    const asked = [];
    const context = await browser.newContext();
    const page = await context.newPage();
    page.on("request", (request) => request.url().endsWith(".wasm") && asked.push(request.url()));
    await page.goto(`${server.url}/chat?user_id=${person("newcomer")}`);
    await live(page);
    await page.evaluate(() => new Promise((resolve) => window.requestIdleCallback(() => setTimeout(resolve, 500))));
    assert.deepEqual(asked, []);
    await context.close();
  });
});

describe("files", () => {
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
    await picker.setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: PIXEL });
    await picker.setInputFiles({ name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("hello".repeat(300)) });
    await row(bob, ann.user).click();
    await bob.page.waitForFunction(() => document.querySelector(".picture img")?.naturalWidth === 1);
    await bob.page.locator(".file", { hasText: "notes.txt" }).filter({ hasText: "1.5 KiB" }).waitFor();
    await leave(ann, bob);
  });
});
