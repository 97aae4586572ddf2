// The moderation desk in a real browser against the real binary: a queue worked off by keyboard, several moderators who
// do not decide the same, decisions taken back, a phone, appeals, figures, and what a room's owner switches on.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";

const PATIENCE_MS = 60_000;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const ENV = { BARRAGE__WEBHOOKS__ALLOW_PRIVATE: "true", BARRAGE__WEBHOOKS__ATTEMPTS_MAX: "1" };

let server;
let browser;
let tokens;
const complaints = [];

before(async () => {
  server = await startServer({ dev: false, env: ENV });
  browser = await launch();
  const people = [["ann", "admin"], ["ben", "admin"], ["alice", "vip"], ["bob", "vip"], ["mallory", "vip"], ["carol", "vip"]];
  tokens = Object.fromEntries(people.map(([name, level]) => [name, server.token(name, level)]));
  await admin("/rooms/hall", { name: "The hall", owner_id: "olga" }, "PUT");
  await admin("/rooms/hall/open");
  await admin("/words/review/suspicious");
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Each test begins with an empty queue, whoever has what is left in it. */
beforeEach(async () => {
  for (const { id, claimed_by = "ann" } of await pending()) await call(claimed_by, "POST", `/admin/reviews/${id}/reject`);
});

async function call(who, method, path, body) {
  const answer = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${tokens[who]}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

const admin = (path, body, method = "POST") => call("ann", method, `/admin${path}`, body);
const say = (who, content) => call(who, "POST", "/rooms/hall/comments", { content });
const reviews = async (status) => (await call("ann", "GET", `/admin/reviews?status=${status}&limit=1000`)).reviews;
const pending = () => reviews("pending");
const published = async () => (await call("alice", "GET", "/rooms/hall/comments?limit=200")).comments.map(({ content }) => content);

/** Held comments with these texts, oldest first. */
async function hold(...texts) {
  const authors = ["alice", "bob", "mallory", "carol"];
  const held = [];
  for (const [at, text] of texts.entries()) {
    const who = authors[at % authors.length];
    const answer = await say(who, `suspicious: ${text}`);
    assert.equal(answer.status, "pending_review");
    held.push(answer.id);
  }
  return held;
}

async function until(what, ask) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await pause(150);
  }
}

/** The console as this person sees it. */
async function visit(who, hash, circumstances = {}) {
  const context = await browser.newContext({ locale: "en-US", viewport: { width: 1280, height: 800 }, bypassCSP: true, ...circumstances });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.addInitScript((token) => window.sessionStorage.setItem("barrage.console.key", token), tokens[who]);
  await page.goto(`${server.url}/admin#${hash}`);
  return page;
}

const close = (page) => page.context().close();
const row = (page, text) => page.locator("[data-review]", { hasText: `suspicious: ${text}` });
const state = (page, text) => row(page, text).getAttribute("data-state");
const inHand = (page) => page.locator("[data-review][aria-current=true] .content").textContent();
const focused = (page) => page.evaluate(() => document.activeElement?.closest("[data-review]")?.querySelector(".content")?.textContent);
const top = async (locator) => Math.round((await locator.boundingBox()).y);

async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 160)} ${failureSummary.replace(/\s+/g, " ").slice(0, 200)}`));
}

describe("the queue", { timeout: 300_000 }, () => {
  test("is worked off by keyboard, and the last decision is taken back with u", async () => {
    await hold("one", "two", "three");
    const page = await visit("ann", "/desk");
    await row(page, "three").waitFor();
    await page.getByText("a approve · r reject").waitFor();
    await until("the first one has the focus", async () => (await focused(page)) === "suspicious: one");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.press("a");
    assert.equal(await state(page, "one"), "waiting");
    await until("the next one has the focus", async () => (await focused(page)) === "suspicious: two");
    await page.keyboard.press("r");
    await until("the one after it has the focus", async () => (await focused(page)) === "suspicious: three");
    await page.keyboard.press("u");
    await until("the second is open again", async () => (await state(page, "two")) === "open");
    assert.equal(await focused(page), "suspicious: two");
    await until("what was approved is published", async () => (await published()).includes("suspicious: one"));
    assert.deepEqual((await pending()).map(({ content }) => content), ["suspicious: two", "suspicious: three"]);
    await page.keyboard.press("r");
    await page.keyboard.press("r");
    await page.getByText("Nothing waits.").waitFor();
    await until("the others are rejected", async () => (await pending()).length === 0);
    await close(page);
  });

  test("shows why a comment was held, what was said around it, and its author", async () => {
    await say("carol", "just before it");
    await hold("in context");
    const page = await visit("ann", "/desk");
    const detail = page.locator("[data-detail]");
    await detail.getByText("A word of the review list: suspicious").waitFor();
    await detail.locator(".around").getByText("just before it").waitFor();
    await detail.getByText("Neither banned nor muted.").waitFor();
    await detail.getByText("In your hands: others wait.").waitFor();
    await close(page);
  });

  test("bans the author for a reason from the list, and rejects the comment with it", async () => {
    await hold("x", "y", "by mallory");
    const page = await visit("ann", "/desk");
    await row(page, "by mallory").locator(".content").click();
    await page.keyboard.press("b");
    const dialog = page.getByRole("dialog", { name: "Ban mallory" });
    await dialog.getByLabel("Reason").selectOption({ label: "Spam or advertising" });
    await dialog.getByRole("button", { name: "Ban", exact: true }).click();
    await dialog.waitFor({ state: "detached" });
    await until("the comment is rejected", async () => (await reviews("rejected")).some(({ content }) => content === "suspicious: by mallory"));
    const { bans } = await call("ann", "GET", "/admin/bans");
    assert.deepEqual(bans.map(({ user_id, reason }) => [user_id, reason]), [["mallory", "spam"]]);
    await admin(`/bans/${bans[0].id}`, undefined, "DELETE");
    await close(page);
  });

  test("rejects for a reason with one key, and the trail and the row name it", async () => {
    const [first, second] = await hold("rude", "ruder");
    const page = await visit("ann", "/desk");
    const reasons = page.locator("[data-detail]").getByRole("group", { name: "Reject for" });
    await reasons.getByRole("button", { name: "Insults" }).waitFor();
    await until("the first one has the focus", async () => (await focused(page)) === "suspicious: rude");
    await page.keyboard.press("2");
    await row(page, "rude").getByText("Rejected · Insults").waitFor();
    await until("the next one has the focus", async () => (await focused(page)) === "suspicious: ruder");
    await reasons.getByRole("button", { name: "Hate" }).click();
    await page.getByText("Nothing waits.").waitFor();
    for (const [id, reason] of [[first, "insult"], [second, "hate"]]) {
      const { entries } = await call("ann", "GET", `/admin/audit?target=${id}`);
      assert.deepEqual(entries.map(({ action, detail }) => [action, detail]), [["review.reject", JSON.stringify({ reason })]]);
    }
    await close(page);
  });

  test("a note is written with the keyboard, read beside the author's next comment, and removed", async () => {
    await hold("noted");
    const page = await visit("ann", "/desk");
    await until("the comment has the focus", async () => (await focused(page)) === "suspicious: noted");
    await page.keyboard.press("n");
    const card = page.getByRole("dialog", { name: "alice" });
    await card.getByText("No notes. Moderators read them, the person never does.").waitFor();
    await page.keyboard.type("Second account of mallory");
    await page.keyboard.press("Control+Enter");
    const note = card.locator("[data-note]", { hasText: "Second account of mallory" });
    await note.getByText("ann · hall").waitFor();
    const { notes } = await call("ann", "GET", "/admin/users/alice/notes");
    assert.deepEqual(notes.map(({ text, created_by, room_id }) => [text, created_by, room_id]), [["Second account of mallory", "ann", "hall"]]);
    await page.keyboard.press("Escape");
    await card.waitFor({ state: "detached" });
    await page.reload();
    await page.locator("[data-detail] .author").getByText("Second account of mallory").waitFor();
    await row(page, "noted").getByRole("button", { name: "alice" }).click();
    await note.getByRole("button", { name: "Remove the note" }).click();
    await note.waitFor({ state: "detached" });
    const { entries } = await call("ann", "GET", "/admin/audit?target=alice&limit=2");
    assert.deepEqual(entries.map(({ action }) => action), ["note.remove", "note.add"]);
    await close(page);
  });

  test("rows stay where they are under the hand while others decide, and go when it leaves", async () => {
    const [first] = await hold("p", "q", "r");
    const page = await visit("ben", "/desk");
    await row(page, "r").hover();
    const before = await top(row(page, "r"));
    // In the hands of ben, as the server sees it; on another device.
    await until("ben has it", async () => (await pending())[0]?.claimed_by === "ben");
    await call("ben", "POST", `/admin/reviews/${first}/reject`);
    const moving = setInterval(() => void page.mouse.move(300 + Math.random() * 50, before + 10).catch(() => undefined), 300);
    try {
      await until("ben sees that it is settled", async () => (await state(page, "p")) === "elsewhere");
      await pause(1500);
      assert.equal(await top(row(page, "r")), before);
    } finally {
      clearInterval(moving);
    }
    await page.mouse.move(640, 20);
    await row(page, "q").locator(".content").click();
    await page.mouse.move(640, 20);
    await row(page, "p").waitFor({ state: "detached" });
    assert.equal(await inHand(page), "suspicious: q");
    await close(page);
  });
});

describe("two moderators", { timeout: 300_000 }, () => {
  test("do not decide the same: who has one is seen, and the other is told", async () => {
    const [first] = await hold("shared", "other");
    const ann = await visit("ann", "/desk");
    await ann.getByText("In your hands: others wait.").waitFor();
    const ben = await visit("ben", "/desk");
    await row(ben, "shared").getByText("ann has it").waitFor();
    await until("ben begins with what nobody has", async () => (await inHand(ben)) === "suspicious: other");
    await row(ben, "shared").getByRole("button", { name: "Reject" }).click();
    await ben.locator(".toast", { hasText: "Another moderator is deciding about it." }).waitFor();
    await until("it is as it was", async () => (await state(ben, "shared")) === "open");
    await row(ann, "shared").getByRole("button", { name: "Approve" }).click();
    await until("it is published", async () => (await published()).includes("suspicious: shared"));
    const decided = (await reviews("approved")).find(({ id }) => id === first);
    assert.equal(decided.decided_by, "ann");
    await Promise.all([close(ann), close(ben)]);
  });
});

describe("on a phone", { timeout: 300_000 }, () => {
  const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };

  test("a tap decides without moving what is beneath, and can be taken back", async () => {
    await hold("tap", "beneath");
    const page = await visit("ann", "/desk", phone);
    const approve = row(page, "tap").getByRole("button", { name: "Approve" });
    await approve.waitFor();
    assert.ok((await approve.boundingBox()).height >= 44, "a finger hits it");
    const before = await top(row(page, "beneath"));
    await approve.tap();
    await until("it waits to be sent", async () => (await state(page, "tap")) === "waiting");
    assert.equal(await top(row(page, "beneath")), before);
    await row(page, "tap").getByRole("button", { name: "Undo" }).tap();
    await until("it is open again", async () => (await state(page, "tap")) === "open");
    assert.equal((await pending()).length, 2);
    await close(page);
  });

  test("a tap on the text opens it in place, nothing sticks out, and axe finds nothing", async () => {
    await hold("a rather long text that has to be wrapped more than once on a screen as small as this one is, and then some more");
    for (const colorScheme of ["light", "dark"]) {
      const page = await visit("ann", "/desk", { ...phone, colorScheme, locale: "zh-CN" });
      await page.locator("[data-review] .content").tap();
      await page.locator("[data-detail]").getByText("命中审核词表：suspicious").waitFor();
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "nothing sticks out");
      assert.deepEqual(await violations(page), []);
      await close(page);
    }
  });
});

describe("beside the queue", { timeout: 300_000 }, () => {
  test("an appeal is granted, and the comment shown", async () => {
    const [id] = await hold("a joke");
    await admin(`/reviews/${id}/reject`);
    await call("alice", "POST", "/appeals", { comment_id: id, text: "it was a joke" });
    const page = await visit("ann", "/desk");
    await page.getByRole("tab", { name: "Appeals" }).click();
    const appeal = page.locator("[data-appeal]", { hasText: "suspicious: a joke" });
    await appeal.getByText("it was a joke").waitFor();
    await appeal.focus();
    await page.keyboard.press("a");
    await appeal.waitFor({ state: "detached" });
    await until("it is published", async () => (await published()).includes("suspicious: a joke"));
    await close(page);
  });

  test("a sample of what passes can be deleted, and the figures tell how well the rules do", async () => {
    const [good, bad] = await hold("fine", "not fine");
    await admin(`/reviews/${good}/approve`);
    await admin(`/reviews/${bad}/reject`);
    await say("carol", "hello, everybody");
    const page = await visit("ann", "/desk");
    await page.getByRole("tab", { name: "Passing" }).click();
    const passed = page.locator("[data-passed]", { hasText: "hello, everybody" });
    await passed.getByRole("button", { name: "Delete" }).click();
    await until("it is gone", async () => !(await published()).includes("hello, everybody"));
    await page.getByRole("tab", { name: "Statistics" }).click();
    const table = page.getByRole("table", { name: "By what held it" });
    await table.getByRole("row", { name: /Review words/ }).waitFor();
    await page.getByRole("table", { name: "By moderator" }).getByRole("row", { name: /^ann/ }).waitFor();
    await page.locator("[data-decided]", { hasText: "suspicious: not fine" }).getByText("Rejected").waitFor();
    await close(page);
  });
});

describe("what an owner switches on", { timeout: 300_000 }, () => {
  test("rules and roles are set in the room's settings", async () => {
    const page = await visit("ann", "/rooms/hall/settings");
    await page.getByLabel("Links").selectOption({ label: "None" });
    await page.getByLabel("Similar to recent (%)").fill("80");
    await page.getByLabel("Label", { exact: true }).fill("spam");
    await page.locator(".thresholds").getByRole("button", { name: "Add" }).click();
    await page.getByRole("button", { name: "Save" }).click();
    // Once it is saved the page goes back to the room by itself.
    const back = () => page.waitForURL((url) => url.hash === "#/rooms/hall");
    await back();
    const saved = async () => (await call("ann", "GET", "/admin/rooms/hall")).moderation;
    assert.deepEqual(await saved(), { links: "none", similar: 0.8, thresholds: { spam: { verdict: "hold", score: 0.7 } } });
    await page.goto(`${server.url}/admin#/rooms/hall/settings`);
    await page.getByLabel("Links").selectOption({ label: "Allowed" });
    await page.getByRole("button", { name: "Remove spam" }).click();
    await page.getByRole("button", { name: "Save" }).click();
    await back();
    assert.deepEqual(await saved(), { similar: 0.8 });

    await page.goto(`${server.url}/admin#/rooms/hall/settings`);
    await page.locator(".roles").getByLabel("User id").fill("carol");
    await page.locator(".roles").getByLabel("Role", { exact: true }).selectOption({ label: "Helper" });
    await page.getByRole("button", { name: "Give" }).click();
    await page.locator('[data-role="carol"]').waitFor();
    assert.deepEqual((await call("ann", "GET", "/admin/roles?room_id=hall")).roles, [{ user_id: "carol", room_id: "hall", role: "helper" }]);
    await page.locator('[data-role="carol"]').getByRole("button", { name: "Take" }).click();
    await page.locator('[data-role="carol"]').waitFor({ state: "detached" });
    await admin("/rooms/hall", { moderation: { similar: null } }, "PUT");
    await close(page);
  });

  test("the shield goes up and down, and many comments are counted, hidden and shown again", async () => {
    for (const [who, text] of [["alice", "buy now one"], ["bob", "buy now two"]]) await say(who, text);
    const page = await visit("ann", "/rooms/hall");
    await page.getByRole("button", { name: "Raise" }).click();
    await page.getByRole("button", { name: "Lower" }).waitFor();
    assert.equal((await call("ann", "GET", "/admin/rooms/hall")).moderation.shield, true);
    await page.getByRole("button", { name: "Lower" }).click();
    await page.getByRole("button", { name: "Raise" }).waitFor();

    await page.getByRole("button", { name: "Hide many…" }).click();
    const dialog = page.getByRole("dialog", { name: "Hide many comments" });
    await dialog.getByRole("textbox").fill("buy now");
    await page.keyboard.press("Enter");
    await dialog.getByText("2 comments by 2 people match.").waitFor();
    await dialog.getByRole("button", { name: "Hide them" }).click();
    await until("they are hidden", async () => !(await published()).some((text) => text.startsWith("buy now")));
    await page.locator(".toast", { hasText: "are hidden" }).getByRole("button", { name: "Undo" }).click();
    await until("they are back", async () => (await published()).filter((text) => text.startsWith("buy now")).length === 2);
    await close(page);
  });

  test("many are hidden by an expression and by who wrote them, muted for a reason, and come back as one", async () => {
    for (const [who, text] of [["alice", "call 555-0101"], ["bob", "call 555-0199"], ["bob", "something else"], ["carol", "five five five"]]) await say(who, text);
    const page = await visit("ann", "/rooms/hall");
    const dialog = page.getByRole("dialog", { name: "Hide many comments" });
    const begin = async (by) => {
      await page.getByRole("button", { name: "Hide many…" }).click();
      await dialog.getByLabel("By").selectOption({ label: by });
    };
    const left = async () => (await published()).filter((text) => ["call 555-0101", "call 555-0199", "something else", "five five five"].includes(text));
    const hidden = page.locator(".toast", { hasText: "are hidden" });
    const takeBack = async () => {
      await hidden.getByRole("button", { name: "Undo" }).click();
      await until("they are back", async () => (await left()).length === 4);
      await hidden.waitFor({ state: "detached" });
    };

    await begin("Expression");
    await dialog.getByRole("textbox").fill("(");
    await page.keyboard.press("Enter");
    await dialog.getByRole("alert").getByText("match.regex").waitFor();
    await dialog.getByRole("textbox").fill("555-\\d{4}");
    await page.keyboard.press("Enter");
    await dialog.getByText("2 comments by 2 people match.").waitFor();
    await dialog.getByRole("button", { name: "Hide them" }).click();
    await until("they are hidden", async () => (await left()).join() === "something else,five five five");
    await takeBack();

    await begin("User id");
    await dialog.getByRole("textbox").fill("bob");
    await dialog.getByLabel("Also mute their authors").selectOption({ label: "10 min" });
    await dialog.getByLabel("Reason").selectOption({ label: "Spam or advertising" });
    await page.keyboard.press("Enter");
    await dialog.getByText(/comments by 1 people match/).waitFor();
    await dialog.getByRole("button", { name: "Hide them" }).click();
    await until("they are hidden", async () => (await left()).join() === "call 555-0101,five five five");
    const muted = async () => (await call("ann", "GET", "/admin/bans?room_id=hall")).bans.map(({ user_id, kind, reason }) => `${user_id} ${kind} ${reason}`);
    await until("their author is muted", async () => (await muted()).join() === "bob mute spam");
    await takeBack();
    await until("the mute is lifted with it", async () => (await muted()).length === 0);
    await close(page);
  });

  test("a webhook is added, tested, and its dead letters are seen and sent again", async () => {
    const seen = [];
    let failing = true;
    const receiver = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => (body += chunk));
      request.on("end", () => (seen.push(JSON.parse(body).type), response.writeHead(failing ? 503 : 204).end()));
    }).listen(0, "127.0.0.1");
    await new Promise((ready) => receiver.once("listening", ready));
    const url = `http://127.0.0.1:${receiver.address().port}/in`;
    try {
      const page = await visit("ann", "/webhooks");
      await page.getByRole("button", { name: "New webhook" }).first().click();
      await page.getByLabel("Address").fill(url);
      await page.getByLabel("comment", { exact: true }).check();
      await page.getByRole("dialog").getByRole("button", { name: "Add" }).click();
      const secret = page.getByRole("dialog", { name: "The secret" });
      assert.match(await secret.locator(".secret").textContent(), /^whsec_/);
      await secret.getByRole("button", { name: "Close" }).click();
      const hook = page.locator("[data-webhook]", { hasText: url });
      await hook.getByRole("button", { name: "Test" }).click();
      await until("the test call comes", async () => seen.includes("test"));
      await hook.getByRole("button", { name: "Given up: 1" }).click();
      await hook.getByText("1 attempts").waitFor();
      failing = false;
      await hook.getByRole("button", { name: "Send all 1 again" }).click();
      await until("it comes again", async () => seen.filter((kind) => kind === "test").length === 2);
      await hook.getByText("No call was given up.").waitFor();
      await hook.getByRole("button", { name: "Remove" }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
      await hook.waitFor({ state: "detached" });
      await close(page);
    } finally {
      receiver.close();
      receiver.closeAllConnections();
    }
  });
});

describe("the trail", { timeout: 300_000 }, () => {
  test("is read by whom something was done to, by who did it, and page by page", async () => {
    const said = await say("carol", "to be deleted");
    await admin(`/comments/${said.id}?reason=private`, undefined, "DELETE");
    for (let n = 0; n < 120; n++) await admin("/words/mask/trail", undefined, n % 2 === 0 ? "POST" : "DELETE");
    const page = await visit("ann", "/audit");
    const rows = page.locator(".audit");
    await rows.first().waitFor();
    assert.equal(await rows.count(), 100);
    // To the millisecond; what is shown of it may be the same on both pages.
    const first = () => rows.first().locator("time").getAttribute("datetime");
    const newest = await first();
    await page.getByRole("button", { name: "Older" }).click();
    await until("the next page", async () => (await first()) < newest);
    await page.getByRole("button", { name: "Newer" }).click();
    await until("the first page again", async () => (await first()) >= newest);

    await page.getByLabel("Done to").fill(said.id);
    await page.keyboard.press("Enter");
    await until("the one entry", async () => (await rows.count()) === 1);
    await rows.getByText("deleted the comment").waitFor();
    await rows.getByText("for: Other people's private data").waitFor();
    await page.getByRole("button", { name: "Show everything" }).click();
    await page.getByLabel("What").selectOption({ label: "added the word" });
    await until("words alone", async () => (await rows.first().textContent()).includes("added the word"));
    await page.getByLabel("Done by").fill("nobody");
    await page.keyboard.press("Enter");
    await page.getByText("Nothing matches.").waitFor();
    await close(page);
  });
});

describe("in light and dark, on a wide screen and a phone", { timeout: 300_000 }, () => {
  test("axe finds nothing, and nothing sticks out", async () => {
    await hold("to look at");
    await call("ann", "POST", "/admin/users/alice/notes", { text: "a note that has to be wrapped on a phone, because it is so long", room_id: "hall" });
    const looks = [
      ["the queue", "/desk", async (page) => page.locator("[data-review] .content").first().click()],
      ["a card", "/desk", async (page) => {
        await page.locator("[data-review] .user-name").first().click();
        await page.locator("dialog [data-note]").first().waitFor();
      }],
      ["the trail", "/audit", async (page) => page.locator(".audit").first().waitFor()],
      ["hiding many", "/rooms/hall", async (page) => {
        await page.locator(".shield button").last().click();
        await page.getByRole("dialog").locator("select").first().selectOption("regex");
      }],
    ];
    for (const circumstances of [{}, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }]) {
      for (const colorScheme of ["light", "dark"]) {
        for (const [what, hash, look] of looks) {
          const page = await visit("ann", hash, { ...circumstances, colorScheme, ...(colorScheme === "dark" ? { locale: "zh-CN" } : {}) });
          await look(page);
          const where = `${what}, ${colorScheme}, ${page.viewportSize().width} px`;
          assert.deepEqual(await violations(page), [], where);
          assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), `${where}: something sticks out`);
          if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${where.replace(/[ ,]+/g, "-")}.png` });
          await close(page);
        }
      }
    }
  });
});

test("nothing broke on the way", () => assert.deepEqual(complaints, []));
