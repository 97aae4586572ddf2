// The viewer page in Chromium against the real server: what is typed in one page is drawn in another.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";
import { drawn, listed, say, timeOf, viewerPages } from "./viewer-page.mjs";

let server;
let browser;
let pages;
let rooms = 0;
const freshRoom = () => `e2e-${++rooms}`;
const watch = (...how) => pages.watch(...how);
const admin = (...what) => pages.admin(...what);

before(async () => {
  server = await startServer();
  browser = await launch();
  pages = viewerPages(server, browser);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

describe("live", () => {
  for (const [locale, placeholder, text] of [["en-US", "Say something…", "hello from the other side"], ["zh-CN", "发个友善的弹幕…", "今晚的月亮真圆"]]) {
    test(`a comment typed in one page is drawn in the other (${locale})`, async () => {
      const room = freshRoom();
      const [ann, bob] = [await watch(room, "ann", { locale }), await watch(room, "bob", { locale })];
      assert.equal(await ann.page.getAttribute(".composer-input", "placeholder"), placeholder);
      await say(ann, text);
      await Promise.all([drawn(ann, text), drawn(bob, text), listed(bob, text)]);
      assert.deepEqual([...ann.problems, ...bob.problems], []);
      await ann.close();
      await bob.close();
    });
  }

  test("text from users never becomes HTML", async () => {
    const room = freshRoom();
    const [ann, bob] = [await watch(room, "ann"), await watch(room, "bob")];
    const text = '<img src=x onerror="window.hacked=1">';
    await say(ann, text);
    await Promise.all([drawn(bob, text), listed(bob, text)]);
    await bob.page.locator(".chat-row .name").first().click(); // the menu shows it once more
    await bob.page.locator(".menu-title", { hasText: text }).waitFor();
    assert.equal(await bob.page.locator("img").count(), 0);
    assert.equal(await bob.page.evaluate(() => window.hacked), undefined);
    await ann.close();
    await bob.close();
  });

  test("switched off, comments are listed and do not fly, and on again they fly", async () => {
    const room = freshRoom();
    const [ann, bob] = [await watch(room, "ann"), await watch(room, "bob")];
    await say(ann, "before");
    await drawn(bob, "before");
    await bob.page.click(".danmaku-toggle");
    await bob.page.waitForFunction(() => window.__barrage.flying === 0);
    await say(ann, "while off");
    await drawn(ann, "while off");
    await listed(bob, "while off");
    await bob.page.click(".danmaku-toggle");
    await say(ann, "after");
    await drawn(bob, "after");
    assert.equal(await bob.page.evaluate(() => window.__barrage?.drawn.some(({ text }) => text === "while off")), false);
    await ann.close();
    await bob.close();
  });

  test("a gift plays at its moment on every screen, an announcement is shown and acknowledged", async () => {
    const room = freshRoom();
    const viewers = [await watch(room, "ann"), await watch(room, "bob")];
    for (const { page } of viewers) {
      await page.evaluate(() => {
        const seen = () => document.querySelector(".gift") && (window.giftAt ??= Date.now());
        new MutationObserver(seen).observe(document.querySelector(".gifts"), { childList: true });
      });
    }
    const play_at = Date.now() + 2_000;
    await admin(`/rooms/${room}/gifts`, { gift: "lantern", user_id: "ann", username: "ann", count: 3, value: 30, play_at });
    await admin(`/rooms/${room}/announcements`, { content: "fireworks at nine" });
    for (const viewer of viewers) {
      await viewer.page.locator(".banner", { hasText: "fireworks at nine" }).waitFor();
      const played = await (await viewer.page.waitForFunction(() => window.giftAt)).jsonValue();
      // Not before; and not with what had to be shown at once, however busy this machine is.
      assert.ok(played > play_at - 500 && played < play_at + 10_000, `${played - play_at} ms off`);
      const { event_id } = viewer.frames.find(({ received: message }) => message?.kind === "announcement").received;
      assert.ok(viewer.frames.some(({ sent }) => sent?.type === "ack" && sent.event_id === event_id));
      await viewer.close();
    }
  });

  test("a refusal is told in words, with the time to wait", async () => {
    const room = freshRoom();
    // Longer than a busy machine takes for the second one.
    await admin(`/rooms/${room}`, { slow_mode_s: 30 }, "PUT");
    // As from a server that does not say so beforehand.
    const silent = (page) => page.route(/\/api\/v1\/rooms\/[^/]+\?/, (route) => route.abort());
    const ann = await watch(room, "slow", { level: "normal", prepare: silent });
    await say(ann, "one");
    await ann.page.fill(".composer-input", "two");
    await ann.page.keyboard.press("Enter");
    await ann.page.locator(".composer-status", { hasText: /Too fast\. Try again in [\d.]+ s\./ }).waitFor();
    assert.equal(await ann.page.inputValue(".composer-input"), "two");
    await ann.close();
  });

  test("slow mode is told before one types, and the next comment waits by itself", async () => {
    const room = freshRoom();
    await admin(`/rooms/${room}`, { slow_mode_s: 30 }, "PUT");
    const ann = await watch(room, "slow2", { level: "normal", prepare: (page) => roomSays(page, { slow_mode_s: 30 }) });
    await ann.page.locator(".composer-status", { hasText: "Slow mode: one comment every 30 s." }).waitFor();
    await say(ann, "one");
    await ann.page.fill(".composer-input", "two");
    await ann.page.locator(".composer-status", { hasText: /Slow mode\. Try again in [\d.]+ s\./ }).waitFor();
    assert.equal(await ann.page.locator(".send").isDisabled(), true);
    await ann.close();
  });

  for (const [locale, words] of [["en-US", "Only moderators may comment here."], ["zh-CN", "这里只有管理员可以发弹幕。"]]) {
    test(`who may not write is told so in the box (${locale})`, async () => {
      const says = (page) => roomSays(page, { speakers: "moderators" });
      const ann = await watch(freshRoom(), "ann", { level: "normal", locale, prepare: says });
      await ann.page.locator(`.composer-input[placeholder="${words}"]:disabled`).waitFor();
      await ann.close();
      const mod = await watch(freshRoom(), "mod", { level: "moderator", locale, prepare: says });
      await mod.page.locator(".composer-input:enabled").waitFor();
      await mod.close();
    });
  }

  test("a room that closes says so in the box, and offers what was to be watched again", async () => {
    const room = freshRoom();
    await admin(`/rooms/${room}/open`);
    const ann = await watch(room, "ann");
    await say(ann, "live once");
    await ann.page.locator('.state[data-state="live"]').waitFor();
    await admin(`/rooms/${room}/close`);
    await ann.page.locator('.composer-input[placeholder="This room takes no comments now."]:disabled').waitFor();
    await ann.page.locator(".picture-card", { hasText: "The broadcast has ended." }).getByRole("button", { name: "Watch again" }).click();
    await ann.page.locator(".picture.is-recording").waitFor();
    await ann.page.locator('.composer-input[placeholder="Comment at this moment…"]:enabled').waitFor();
    await ann.close();
  });

  test("a small burst is listed whole", async () => {
    const room = freshRoom();
    const ann = await watch(room, "ann");
    await Promise.all(Array.from({ length: 20 }, (_, i) => pages.post(room, `u${i}`, { content: `burst ${i} ${"abcdefghijklmnopqrst"[i]}` })));
    await ann.page.waitForFunction(() => document.querySelectorAll(".chat-row").length === 20);
    assert.equal(await ann.page.locator(".chat-skipped").count(), 0);
    await ann.close();
  });

  test("the list does not move under whoever reads further up", async () => {
    const room = freshRoom();
    await Promise.all(Array.from({ length: 40 }, (_, i) => pages.post(room, `u${i}`, { content: `row ${i} ${"x".repeat(i)}` })));
    const ann = await watch(room, "ann");
    await ann.page.waitForFunction(() => document.querySelectorAll(".chat-row").length === 40);
    const top = () => ann.page.evaluate(() => {
      const list = document.querySelector(".chat-rows");
      const row = [...list.children].find((one) => one.offsetTop - list.offsetTop >= list.scrollTop);
      return `${row.textContent} at ${Math.round(row.getBoundingClientRect().top)}`;
    });
    await ann.page.evaluate(() => (document.querySelector(".chat-rows").scrollTop = 200));
    await ann.page.waitForFunction(() => document.querySelector(".chat-rows").scrollTop === 200);
    const before = await top();
    await Promise.all(Array.from({ length: 30 }, (_, i) => pages.post(room, `late${i}`, { content: `later ${i} ${"y".repeat(i)}` })));
    await listed(ann, "later 29");
    await ann.page.locator(".chat-below:visible").waitFor();
    assert.equal(await top(), before);
    await ann.close();
  });

  test("a mention stands out for whom it is meant", async () => {
    const room = freshRoom();
    const [ann, bob] = [await watch(room, "ann"), await watch(room, "bob")];
    await pages.post(room, "cid", { content: "look here, ann", mentions: ["ann"] });
    await ann.page.locator(".chat-row.mention", { hasText: "look here, ann" }).waitFor();
    await listed(bob, "look here, ann");
    assert.equal(await bob.page.locator(".chat-row.mention").count(), 0);
    await ann.close();
    await bob.close();
  });

  test("a like shows at once, and is taken back when the server refuses", async () => {
    const room = freshRoom();
    const ann = await watch(room, "ann");
    await pages.post(room, "bob", { content: "like me" });
    await listed(ann, "like me");
    let answer;
    const answered = new Promise((resolve) => (answer = resolve));
    await ann.page.route(/\/like\b/, async (route) => {
      await answered;
      await route.fulfill({ status: 503, contentType: "application/json", body: JSON.stringify({ error: { code: "unavailable", message: "away" } }) });
    });
    const row = ann.page.locator(".chat-row", { hasText: "like me" });
    await row.locator(".name").click();
    await ann.page.getByRole("menuitem", { name: "Like" }).click();
    await row.locator(".likes.mine", { hasText: "♥ 1" }).waitFor();
    answer();
    await row.locator(".likes:not(.mine):empty").waitFor({ state: "attached" });
    await ann.close();
  });

  test("blocking a word clears what flies and is listed; an expression in slashes blocks too", async () => {
    const room = freshRoom();
    const ann = await watch(room, "ann");
    await ann.page.click('button[aria-label="Danmaku settings"]');
    for (const [word, text] of [["Spoiler", "what a spoiler"], ["/^6{3,}$/", "66666"]]) {
      await pages.post(room, "bob", { content: text });
      await Promise.all([drawn(ann, text), listed(ann, text)]);
      const flying = await ann.page.evaluate(() => window.__barrage.flying);
      assert.ok(flying > 0);
      await ann.page.fill(".add-word", word);
      await ann.page.press(".add-word", "Enter");
      await ann.page.locator(".chips", { hasText: word }).waitFor();
      await ann.page.waitForFunction(() => window.__barrage.flying === 0);
      assert.equal(await ann.page.locator(".chat-row", { hasText: text }).count(), 0);
    }
    await ann.page.fill(".add-word", "/(/");
    await ann.page.press(".add-word", "Enter");
    await ann.page.locator(".hint", { hasText: "That expression cannot be read." }).waitFor();
    await ann.close();
  });

  test("hiding a kind clears what flies of it, and leaves the list", async () => {
    const room = freshRoom();
    const ann = await watch(room, "ann");
    await pages.post(room, "bob", { content: "rolling by" });
    await drawn(ann, "rolling by");
    await ann.page.click('button[aria-label="Danmaku settings"]');
    await ann.page.getByLabel("Scrolling").check();
    await ann.page.waitForFunction(() => window.__barrage.flying === 0);
    await listed(ann, "rolling by");
    await ann.close();
  });

  test("two tabs do not undo each other's settings", async () => {
    const room = freshRoom();
    const ann = await watch(room, "ann");
    const second = await ann.page.context().newPage();
    await second.goto(`${server.url}/rooms/${room}?user_id=ann&username=ann`);
    await second.click('button[aria-label="Danmaku settings"]');
    await ann.page.click(".danmaku-toggle");
    await second.locator('.danmaku-toggle[aria-pressed="false"]').waitFor();
    await second.fill(".add-word", "spoiler");
    await second.press(".add-word", "Enter");
    await ann.page.locator(".chips", { hasText: "spoiler" }).waitFor({ state: "attached" });
    const stored = JSON.parse(await ann.page.evaluate(() => localStorage.getItem("barrage.settings")));
    assert.deepEqual([stored.on, stored.blockedWords], [false, ["spoiler"]]);
    await ann.close();
  });

  test("what is typed during an outage is sent after it", async () => {
    const room = freshRoom();
    const [ann, bob] = [await watch(room, "ann"), await watch(room, "bob")];
    await server.kill();
    await ann.page.locator(".composer-status", { hasText: "What you send now goes out when it is back." }).waitFor();
    await say(ann, "said into the dark");
    await ann.page.locator(".composer-status", { hasText: "Your comment goes out when it is back." }).waitFor();
    await server.start();
    await ann.page.getByRole("button", { name: "Connect again" }).click({ timeout: 5_000 }).catch(() => undefined); // or she came back by herself
    await listed(bob, "said into the dark"); // bob came back by himself, perhaps after it
    await ann.page.waitForFunction(() => document.querySelector(".composer-status span").textContent === "");
    assert.equal(ann.frames.filter(({ sent }) => sent?.content === "said into the dark").length, 1);
    await ann.close();
    await bob.close();
  });

  test("what is typed during an outage outlives a reload, and a recording's comment keeps its moment", async () => {
    const room = freshRoom();
    const { session_id } = await pages.record(room, 60, [{ offset_ms: 1_000, content: "first" }]);
    const ann = await watch(room, "ann", { query: { session: session_id } });
    await drawn(ann, "first");
    await server.kill();
    await ann.page.locator(".composer-status", { hasText: "goes out when it is back" }).waitFor();
    await say(ann, "about this very moment");
    await ann.page.locator(".composer-status", { hasText: "Your comment goes out when it is back." }).waitFor();
    const at = await timeOf(ann);
    await server.start();
    await ann.page.reload();
    await ann.page.waitForFunction(() => document.querySelector(".composer-status span")?.textContent === "" && !localStorage.getItem(Object.keys(localStorage).find((key) => key.startsWith("barrage.unsent.")) ?? "")?.includes("moment"));
    const { comments } = await (await fetch(`${server.url}/api/v1/rooms/${room}/replay?session_id=${session_id}&user_id=ann`)).json();
    const sent = comments.filter(({ content }) => content === "about this very moment");
    assert.equal(sent.length, 1);
    assert.ok(Math.abs(sent[0].offset_ms - at * 1_000) < 2_000, `${sent[0].offset_ms} ms, said at ${at} s`);
    await ann.close();
  });

  test("a moderator deletes and mutes in place, and takes a mute back", async () => {
    const room = freshRoom();
    const [mod, bob] = [await watch(room, "mod", { level: "moderator" }), await watch(room, "bob", { level: "normal" })];
    await say(bob, "something rude");
    await listed(mod, "something rude");
    await mod.page.locator(".chat-row .name").first().click();
    await mod.page.getByRole("menuitem", { name: "Mute for 10 minutes" }).click();
    await bob.page.locator(".note", { hasText: "You have been muted." }).waitFor();
    await mod.page.getByRole("button", { name: "Undo" }).click();
    await mod.page.locator(".chat-row .name").first().click();
    await mod.page.getByRole("menuitem", { name: "Delete comment" }).click();
    await bob.page.locator(".chat-row").waitFor({ state: "detached" });
    await bob.page.locator(".composer-input").fill("sorry");
    // One comment a second: one that came too soon stays in the field for another Enter.
    const isSent = () => bob.page.waitForFunction(() => document.querySelector(".composer-input").value === "", null, { timeout: 500 });
    for (let sent = false; !sent; ) {
      await bob.page.keyboard.press("Enter");
      sent = await isSent().then(() => true, () => false);
    }
    await listed(mod, "sorry");
    await bob.page.locator(".chat-row .name").first().click();
    assert.equal(await bob.page.getByRole("menuitem", { name: "Delete comment" }).count(), 0);
    await mod.close();
    await bob.close();
  });

  test("the generated clip shows the same moment on every screen", async () => {
    const room = freshRoom();
    const [ann, bob] = [await watch(room, "ann"), await watch(room, "bob")];
    const at = ({ page }) => page.evaluate(() => ({ time: window.__barrage.time, now: Date.now() / 1_000 }));
    const [a, b] = [await at(ann), await at(bob)];
    assert.ok(Math.abs(a.time - a.now - (b.time - b.now)) < 0.2, JSON.stringify([a, b]));
    await ann.close();
    await bob.close();
  });
});

/** The room's answer with something added that the server may not say yet. */
function roomSays(page, more) {
  return page.route(/\/api\/v1\/rooms\/[^/]+\?/, async (route) => {
    try {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, json: { ...(await answer.json()), ...more } });
    } catch (error) {
      if (!page.isClosed()) throw error; // otherwise the page left while it asked
    }
  });
}
