// Pins, polls, questions and gift combos where people see them: on the room's page, embedded, and over a picture.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";

const PATIENCE_MS = 60_000;
const options = { timeout: 240_000 };

let server;
let browser;
const complaints = [];

before(async () => {
  server = await startServer();
  browser = await launch();
  await call("ann", "PUT", "/admin/rooms/hall", { name: "The hall" });
  await call("ann", "POST", "/admin/rooms/hall/open");
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function call(user, method, path, body) {
  const level = user === "ann" ? "admin" : "vip";
  const answer = await fetch(`${server.url}/api/v1${path}?user_id=${user}&username=${user}&level=${level}`, {
    method,
    ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

async function visit(path, ready) {
  const page = await (await browser.newContext({ locale: "en-US", viewport: { width: 1280, height: 800 } })).newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.on("pageerror", (error) => complaints.push(`${path}: ${error.message}`));
  await page.goto(`${server.url}${path}`);
  await page.locator(ready).first().waitFor({ state: "attached" });
  return page;
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

test("a pin, a poll and a combo are shown in the viewer, embedded and over a picture", options, async () => {
  const said = await call("bob", "POST", "/rooms/hall/comments", { content: "remember this" });
  const before = await call("ann", "POST", "/rooms/hall/polls", { question: "Already open?", options: ["yes", "no"], duration_s: 600 });
  const pages = {
    viewer: await visit("/rooms/hall?user_id=vic&username=Vic", '.connection[data-state="connected"]'),
    embed: await visit("/embed/hall?user_id=eve&username=Eve", "barrage-room"),
    overlay: await visit("/overlay/hall", '[data-state="connected"]'),
  };
  for (const [name, page] of Object.entries(pages)) await page.locator(".poll", { hasText: "Already open?" }).waitFor().catch((error) => assert.fail(`${name}: ${error}`));

  await call("ann", "PUT", "/admin/rooms/hall/pin", { comment_id: said.id });
  for (const page of Object.values(pages)) await page.locator(".pin", { hasText: "remember this" }).waitFor();
  const poll = await call("ann", "POST", "/rooms/hall/polls", { question: "Who wins?", options: ["red", "blue"], duration_s: 600 });
  await call("bob", "POST", `/rooms/hall/polls/${poll.poll_id}/votes`, { option: 0 });
  for (const page of Object.values(pages)) await page.locator(".poll", { hasText: "Who wins?" }).getByText("100 %").waitFor();
  await pages.viewer.locator(".poll", { hasText: "Who wins?" }).getByRole("button", { name: /blue/ }).click();
  for (const page of Object.values(pages)) await page.locator(".poll", { hasText: "Who wins?" }).getByText("2 votes").waitFor();
  assert.equal(await pages.viewer.locator(".poll", { hasText: "Who wins?" }).getByRole("button", { name: /blue/ }).getAttribute("aria-pressed"), "true");
  for (const { poll_id } of [before, poll]) await call("ann", "POST", `/rooms/hall/polls/${poll_id}/close`);
  for (const page of Object.values(pages)) await page.locator(".poll", { hasText: "Who wins?" }).getByText("closed").waitFor();

  // One gift after the other, as fast as this machine can: the line stays, and counts.
  for (const [name, page] of Object.entries(pages)) {
    const lines = page.locator(name === "embed" ? ".row.gift" : ".gift", { hasText: "rocket" });
    await until(`${name} counts in one line`, async () => {
      await call("ann", "POST", "/admin/rooms/hall/gifts", { gift: "rocket", user_id: "bob", username: "Bob", count: 1, value: 1 });
      const last = (await lines.allTextContents()).at(-1) ?? "";
      return Number(last.match(/×(\d+)/)?.[1] ?? 1) >= 3;
    });
  }

  await call("ann", "DELETE", "/admin/rooms/hall/pin");
  for (const page of Object.values(pages)) await page.locator(".pin").waitFor({ state: "hidden" });
  for (const page of Object.values(pages)) await page.context().close();
});

test("a question is asked, wanted by others too, and answered", options, async () => {
  const bob = await visit("/rooms/hall?user_id=bob&username=Bob", '.connection[data-state="connected"]');
  const carol = await visit("/rooms/hall?user_id=carol&username=Carol", '.connection[data-state="connected"]');
  for (const page of [bob, carol]) await page.getByRole("tab", { name: "Questions" }).click();
  await bob.getByLabel("Ask the room's owner…").fill("When does it begin?");
  await bob.keyboard.press("Enter");
  const asked = carol.locator("[data-question]", { hasText: "When does it begin?" });
  await asked.getByRole("button", { name: /I want to know that too/ }).click();
  await bob.locator("[data-question]", { hasText: "▲ 1" }).waitFor();
  await until("the button knows", async () => (await asked.getByRole("button").getAttribute("aria-pressed")) === "true");
  const { questions } = await call("ann", "GET", "/rooms/hall/questions");
  assert.deepEqual(questions.map(({ content, upvotes }) => [content, upvotes]), [["When does it begin?", 1]]);
  await call("ann", "POST", `/rooms/hall/questions/${questions[0].question_id}/answer`);
  for (const page of [bob, carol]) await page.locator("[data-question]").waitFor({ state: "detached" });
  for (const page of [bob, carol]) await page.context().close();
});

test("comments that were hidden come back to where they stood", options, async () => {
  for (const content of ["first of three", "second: buy now", "third of three"]) await call("bob", "POST", "/rooms/hall/comments", { content });
  const page = await visit("/rooms/hall?user_id=vic&username=Vic", '.connection[data-state="connected"]');
  const rows = async () => (await page.locator(".chat-row").allTextContents()).filter((text) => /three|buy now/.test(text)).map((text) => text.match(/first|second|third/)[0]);
  await until("all are listed", async () => (await rows()).length === 3);
  const { action_id } = await call("ann", "POST", "/admin/rooms/hall/nuke", { match: { text: "buy now" }, minutes: 5 });
  await until("it is hidden", async () => (await rows()).join() === "first,third");
  await call("ann", "POST", `/admin/rooms/hall/undo/${action_id}`);
  await until("it is back in its place", async () => (await rows()).join() === "first,second,third");
  await page.context().close();
});

test("a recording has its pin and its poll at their time", options, async () => {
  await call("ann", "POST", "/admin/rooms/archive/open");
  const said = await call("bob", "POST", "/rooms/archive/comments", { content: "remember that" });
  await call("ann", "PUT", "/admin/rooms/archive/pin", { comment_id: said.id });
  await call("ann", "POST", "/rooms/archive/polls", { question: "Who won?", options: ["red", "blue"], duration_s: 3600 });
  const { session_id } = await call("ann", "GET", "/rooms/archive");
  await call("ann", "POST", "/admin/rooms/archive/close");
  const { events } = await call("bob", "GET", `/rooms/archive/sessions/${session_id}/events`);
  assert.deepEqual(events.map(({ kind }) => kind), ["pin", "poll"]);
  const page = await (await browser.newContext({ locale: "en-US", viewport: { width: 1280, height: 800 } })).newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(`${server.url}/rooms/archive?user_id=vic&session=${session_id}`);
  await page.locator(".pin", { hasText: "remember that" }).waitFor();
  await page.locator(".poll", { hasText: "Who won?" }).waitFor();
  await page.context().close();
});

test("nothing broke on the way", () => assert.deepEqual(complaints, []));
