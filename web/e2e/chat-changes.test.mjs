// Answers, edits, reactions and search in the messenger, in Chromium against the real server.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { bubble, face, leave, live, menu, messengers, person, row, say, texts } from "./messenger-page.mjs";
import { startServer } from "./server.mjs";

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

const languages = [
  ["en-US", { reply: "Reply", edit: "Edit", edited: "edited", more: "More reactions", search: "Search messages", you: "You" }],
  ["zh-CN", { reply: "回复", edit: "编辑", edited: "已编辑", more: "更多表情", search: "搜索消息", you: "我" }],
];

describe("a message", () => {
  for (const [locale, words] of languages) {
    test(`is answered, edited and reacted to, and both see it (${locale})`, async () => {
      const [ann, bob] = await pair({ locale });
      await say(ann, "tea at fvie?");
      await row(bob, ann.user).click();
      await bubble(bob, "tea at fvie?").waitFor();

      await menu(ann, "tea at fvie?", words.edit);
      assert.equal(await ann.page.inputValue(".thread textarea"), "tea at fvie?");
      await say(ann, "tea at five?");
      await bubble(bob, "tea at five?").waitFor();
      await bob.page.locator(".meta", { hasText: words.edited }).waitFor();
      assert.deepEqual(await texts(bob), ["tea at five?"]);

      await menu(bob, "tea at five?", words.reply);
      await bob.page.locator(".about-line", { hasText: "tea at five?" }).waitFor();
      await say(bob, "gladly");
      const quote = ann.page.locator(".message", { hasText: "gladly" }).locator(".quote");
      await quote.filter({ hasText: words.you }).filter({ hasText: "tea at five?" }).waitFor();
      assert.equal(await bob.page.locator(".about-line").count(), 0);

      const message = ann.page.locator(".message", { hasText: "gladly" });
      await message.hover();
      await message.locator(".menu-anchor > button").click();
      await ann.page.getByRole("menuitemcheckbox", { name: "👍" }).click();
      const chip = bob.page.locator(".reactions button", { hasText: "👍" });
      await chip.filter({ hasText: "1" }).waitFor();
      await chip.click();
      await ann.page.locator(".reactions button", { hasText: "👍" }).filter({ hasText: "2" }).waitFor();
      await chip.click();
      await ann.page.locator(".reactions button", { hasText: "👍" }).filter({ hasText: "1" }).waitFor();
      await menu(bob, "gladly", words.more);
      await bob.page.locator(".emoji-grid button", { hasText: "🚀" }).click();
      await ann.page.locator(".reactions button", { hasText: "🚀" }).waitFor();

      await ann.page.reload();
      await live(ann.page);
      await ann.page.locator(".reactions button", { hasText: "🚀" }).waitFor();
      await ann.page.locator(".quote", { hasText: "tea at five?" }).waitFor();
      await ann.page.locator(".meta", { hasText: words.edited }).waitFor();
      await leave(ann, bob);
    });
  }

  test("is edited by keyboard, and Escape gives the draft back", async () => {
    const [ann, bob] = await pair();
    await say(ann, "frist");
    await bubble(ann, "frist", "delivered").waitFor();
    await ann.page.press(".thread textarea", "ArrowUp");
    await ann.page.locator(".about-line", { hasText: "Edit your message" }).waitFor();
    assert.equal(await ann.page.inputValue(".thread textarea"), "frist");
    await ann.page.press(".thread textarea", "Escape");
    assert.equal(await ann.page.inputValue(".thread textarea"), "");
    await ann.page.press(".thread textarea", "ArrowUp");
    await say(ann, "first");
    await bubble(ann, "first").waitFor();
    assert.deepEqual(await texts(ann), ["first"]);
    await leave(ann, bob);
  });

  test("changed while somebody is away is so when they come back", async () => {
    const [ann, bob] = await pair();
    await say(ann, "one");
    await say(ann, "two");
    await row(bob, ann.user).click();
    await bubble(bob, "two").waitFor();
    const address = bob.page.url();
    await bob.page.goto("about:blank");
    await menu(ann, "one", "Edit");
    await say(ann, "uno");
    await bubble(ann, "uno").waitFor();
    await bob.page.goto(address);
    await bubble(bob, "uno").waitFor();
    assert.deepEqual(await texts(bob), ["uno", "two"]);
    await leave(ann, bob);
  });
});

describe("search", () => {
  test("finds one's own words anywhere, and goes to the message", async () => {
    const [ann, bob] = await pair();
    await say(ann, "the needle is here 针在这里");
    for (let n = 0; n < 30; n++) await say(ann, `straw ${n}`);
    await bubble(ann, "straw 29", "delivered").waitFor();
    const phone = await enter(ann.user, { device: "phone", locale: "zh-CN" });
    await phone.page.getByLabel("搜索会话和消息").fill("针在");
    await phone.page.locator(".finds mark", { hasText: "针在" }).waitFor();
    await phone.page.locator(".finds button").click();
    await phone.page.locator(".message.found", { hasText: "needle" }).waitFor();
    assert.ok(await phone.page.locator(".message", { hasText: "needle" }).isVisible());

    await ann.page.getByRole("button", { name: "Search messages" }).click();
    await ann.page.locator("dialog input[type=search]").fill("NEEDLE");
    await ann.page.locator("dialog .finds mark", { hasText: "needle" }).waitFor();
    await ann.page.locator("dialog .finds button").click();
    await ann.page.locator("dialog").waitFor({ state: "detached" });
    await ann.page.locator(".message.found", { hasText: "needle" }).waitFor();
    await leave(ann, bob, phone);
  });

  test("says when there is nothing, and shows nobody else's", async () => {
    const [ann, bob] = await pair();
    await say(ann, "a private matter");
    const cat = await enter(person("cat"));
    await face(cat, bob.user);
    await say(cat, "hello");
    await cat.page.getByLabel("Search conversations and messages").fill("private matter");
    await cat.page.locator(".search-all", { hasText: "Nothing was found." }).waitFor();
    assert.equal(await cat.page.locator(".finds button").count(), 0);
    await leave(ann, bob, cat);
  });
});
