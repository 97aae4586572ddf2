// The moderator console in a real browser against the real binary: a room is made, a word holds a comment for review,
// the comment is approved and published, a word is masked at once, a user is banned.
// Run with BARRAGE_BIN=path/to/barrage. Chromium: CHROMIUM or /usr/bin/chromium.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { chromium } from "playwright-core";

const binary = process.env.BARRAGE_BIN;
const room = "stage";
const options = { skip: binary === undefined ? "set BARRAGE_BIN to the server's binary" : false, timeout: 120_000 };

let folder;
let server;
let browser;
let page;
let base;
const complaints = [];

before(async () => {
  if (binary === undefined) return;
  folder = await mkdtemp(join(tmpdir(), "barrage-console-"));
  const address = `127.0.0.1:${await freePort()}`;
  base = `http://${address}`;
  server = spawn(binary, ["serve", "--dev", "--listen", address, "--data", join(folder, "data")], { stdio: "inherit" });
  await until("the server is ready", async () => (await fetch(`${base}/readyz`).catch(() => null))?.ok === true);
  browser = await chromium.launchPersistentContext(join(folder, "browser"), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    locale: "en-US",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    if (/Content Security Policy/i.test(message.text())) complaints.push(message.text());
  });
});

after(async () => {
  await browser?.close();
  if (server?.exitCode === null) {
    server.kill("SIGTERM");
    await once(server, "exit");
  }
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

test("a room is made and opened", options, async () => {
  await page.goto(`${base}/admin`);
  await page.getByRole("button", { name: "New room" }).click();
  await page.getByRole("dialog").getByLabel("Room id").fill(room);
  await page.getByRole("button", { name: "Next" }).click();
  await page.getByLabel("Name", { exact: true }).fill("The stage");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "The stage" }).waitFor();
  await page.getByRole("button", { name: "Open", exact: true }).click();
  await page.getByRole("button", { name: "Close", exact: true }).waitFor();
  const info = await getJson(`/rooms/${room}`);
  assert.equal(info.name, "The stage");
  assert.equal(info.state, "live");
});

test("a comment with a review word is held, approved in the console, and published", options, async () => {
  await page.goto(`${base}/admin#/words`);
  await addWord("review", "suspicious");
  const held = await say("alice", "something suspicious here");
  assert.equal(held.body.status, "pending_review");
  assert.deepEqual(await published(), []);

  await page.getByRole("link", { name: /^Desk/ }).click();
  const row = page.locator("[data-review]", { hasText: "something suspicious here" });
  await row.waitFor();
  await row.focus();
  await page.keyboard.press("a");
  await row.waitFor({ state: "detached" });
  await until("the comment is published", async () => (await published()).includes("something suspicious here"));
});

test("a masked word is in force at once", options, async () => {
  await page.goto(`${base}/admin#/words`);
  await addWord("mask", "rascal");
  assert.equal((await say("bob", "you rascal you")).status, 201);
  await until("the masked comment is published", async () => (await published()).includes("you ****** you"));
});

test("a comment on the desk is deleted, and its author banned", options, async () => {
  await page.goto(`${base}/admin#/rooms/${room}`);
  await page.locator(".status.live").waitFor();
  assert.equal((await say("mallory", "look at me")).status, 201);
  const line = page.locator("[data-comment]", { hasText: "look at me" });
  await line.hover();
  await line.getByRole("button", { name: "Delete" }).click();
  await page.locator("[data-comment].gone", { hasText: "look at me" }).waitFor();
  await until("the comment is gone for everyone", async () => !(await published()).includes("look at me"));

  await line.getByRole("button", { name: "Ban" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Ban" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  const refused = await say("mallory", "and again");
  assert.equal(refused.status, 403);
  assert.equal(refused.body.error.code, "banned");

  await page.getByRole("link", { name: "Bans" }).click();
  const ban = page.locator('[data-ban="mallory"]');
  await ban.getByRole("button", { name: "Lift" }).click();
  await ban.waitFor({ state: "detached" });
  assert.equal((await say("mallory", "thank you")).status, 201);
});

test("closing a room asks first, and the focus comes back to the button", options, async () => {
  await page.goto(`${base}/admin#/rooms`);
  const close = page.locator(`[data-room="${room}"]`).getByRole("button", { name: "Close" });
  await close.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByText("watching").waitFor();
  assert.equal(await focused(), "Cancel");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  assert.equal(await focused(), "Close");
  assert.equal((await getJson(`/rooms/${room}`)).state, "live");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
  const open = page.locator(`[data-room="${room}"]`).getByRole("button", { name: "Open" });
  await open.waitFor();
  assert.equal(await focused(), "Open");
  await page.keyboard.press("Enter");
  await close.waitFor();
  assert.equal(await focused(), "Close");
});

test("a rejection can be undone, many are decided at once, and leaving carries out what waits", options, async () => {
  for (const n of [1, 2, 3, 4]) assert.equal((await say(`held-${n}`, `suspicious number ${n}`)).body.status, "pending_review");
  await page.goto(`${base}/admin#/desk`);
  const row = (n) => page.locator("[data-review]", { hasText: `suspicious number ${n}` });
  const state = (n, wanted) => page.locator(`[data-review][data-state=${wanted}]`, { hasText: `suspicious number ${n}` }).waitFor();
  for (const n of [1, 2, 3, 4]) await row(n).waitFor();
  await row(1).getByRole("button", { name: "Reject" }).click();
  await row(1).getByRole("button", { name: "Undo" }).click();
  await state(1, "open");
  const { reviews } = await getJson("/admin/reviews?status=pending");
  assert.equal(reviews.length, 4);

  for (const n of [1, 2]) await row(n).getByRole("checkbox").check();
  await page.getByRole("group", { name: "Chosen rows" }).getByRole("button", { name: "Approve" }).click();
  for (const n of [1, 2]) await state(n, "waiting");
  await page.getByLabel("Choose all").check();
  await page.getByRole("group", { name: "Chosen rows" }).getByRole("button", { name: "Reject" }).click();
  await state(4, "waiting");
  await page.getByRole("link", { name: "Words" }).click();
  await until("the rest is rejected", async () => (await getJson("/admin/reviews?status=rejected")).reviews.length === 2);
  await until("the two are published", async () => (await published()).filter((text) => text.startsWith("suspicious number")).length === 2);
});

test("a word that was removed comes back with one press, and the focus moves to the next one", options, async () => {
  await page.goto(`${base}/admin#/words`);
  const card = page.locator('[data-list="mask"]');
  await addWord("mask", "knave");
  await card.getByRole("button", { name: "Remove knave" }).focus();
  await page.keyboard.press("Enter");
  await card.getByRole("button", { name: "Remove knave" }).waitFor({ state: "detached" });
  assert.equal(await focused(), "Remove rascal");
  await page.locator(".toast", { hasText: "knave” removed" }).getByRole("button", { name: "Undo" }).click();
  await card.getByRole("button", { name: "Remove knave" }).waitFor();
});

test("a person's card shows what they wrote and what was decided, and a ban can be taken back at once", options, async () => {
  assert.equal((await say("trudy", "buy my lanterns")).status, 201);
  await page.goto(`${base}/admin#/rooms/${room}`);
  await page.locator("[data-comment]", { hasText: "buy my lanterns" }).getByRole("button", { name: "trudy" }).click();
  const card = page.getByRole("dialog", { name: "trudy" });
  await card.getByText("buy my lanterns").waitFor();
  await card.getByText("Neither banned nor muted.").waitFor();
  await card.getByRole("button", { name: "Ban", exact: true }).click();
  await page.getByRole("dialog", { name: "Ban trudy" }).getByRole("button", { name: "Ban", exact: true }).click();
  await card.getByRole("button", { name: "Lift" }).waitFor();
  assert.equal((await say("trudy", "still here?")).status, 403);
  await card.getByRole("button", { name: "Close" }).click();
  await page.locator(".toast", { hasText: "trudy is banned" }).getByRole("button", { name: "Undo" }).click();
  await until("trudy may write again", async () => (await say("trudy", "thank you for that")).status === 201);
});

test("many bans are lifted at once, and put back", options, async () => {
  for (const n of [1, 2]) {
    const ban = { user_id: `lout-${n}`, room_id: room, kind: "ban", duration_s: 600 };
    await fetch(`${base}/api/v1/admin/bans`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(ban) });
  }
  await page.goto(`${base}/admin#/bans`);
  for (const n of [1, 2]) await page.locator(`[data-ban="lout-${n}"]`).getByRole("checkbox").check();
  await page.getByRole("group", { name: "Chosen rows" }).getByRole("button", { name: "Lift" }).click();
  for (const n of [1, 2]) await page.locator(`[data-ban="lout-${n}"]`).waitFor({ state: "detached" });
  await page.locator(".toast", { hasText: "2 may come back" }).getByRole("button", { name: "Undo" }).click();
  for (const n of [1, 2]) await page.locator(`[data-ban="lout-${n}"]`).waitFor();
});

test("a raid is told on the desk, and the shield raised against it with one press", options, async () => {
  await fetch(`${base}/api/v1/admin/rooms/${room}`, { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ moderation: { raid_alarm: true } }) });
  await page.goto(`${base}/admin#/desk`);
  // On a slow machine it takes more than one wave until enough of them fall into the same ten seconds.
  const alarm = page.locator(`[data-raid="${room}"]`);
  for (let wave = 0; wave < 10 && !(await alarm.isVisible()); wave++) {
    await Promise.all(Array.from({ length: 12 }, (_, n) => say(`raider-${wave}-${n}`, `come over to the other stream ${n}`)));
    await alarm.waitFor({ timeout: 10_000 }).catch(() => undefined);
  }
  await alarm.getByRole("button", { name: "Raise the shield" }).click();
  await alarm.waitFor({ state: "detached" });
  const settings = await getJson(`/admin/rooms/${room}`);
  assert.equal(settings.moderation.shield, true);
  await page.goto(`${base}/admin#/rooms/${room}`);
  await page.getByRole("button", { name: "Lower" }).click();
  await page.getByRole("button", { name: "Raise", exact: true }).waitFor();
});

test("what was done is in the audit, and nothing broke on the way", options, async () => {
  await page.getByRole("link", { name: "Audit" }).click();
  await page.locator(".audit", { hasText: "mallory" }).first().waitFor();
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByText("Comments by outcome").waitFor();
  await page.goto(base);
  await page.getByRole("link", { name: /The stage/ }).waitFor();
  assert.deepEqual(complaints, []);
});

/** The name of what has the focus. */
const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent);

async function addWord(list, word) {
  const card = page.locator(`[data-list="${list}"]`);
  await card.getByRole("textbox").fill(word);
  await card.getByRole("button", { name: "Add" }).click();
  await card.getByRole("button", { name: `Remove ${word}` }).waitFor();
}

/** As a VIP, whose rate limit the few comments of these tests stay under. */
async function say(user, content) {
  const answer = await fetch(`${base}/api/v1/rooms/${room}/comments?user_id=${user}&username=${user}&level=vip`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ content }),
  });
  return { status: answer.status, body: await answer.json() };
}

async function published() {
  return (await getJson(`/rooms/${room}/comments?limit=100`)).comments.map((comment) => comment.content);
}

async function getJson(path) {
  const separator = path.includes("?") ? "&" : "?";
  return (await fetch(`${base}/api/v1${path}${separator}user_id=reader`)).json();
}

/** Asks until it is so; fails with what was waited for after a minute. */
async function until(what, ask) {
  const deadline = Date.now() + 60_000;
  while (!(await ask())) {
    assert.ok(Date.now() < deadline, `waited in vain: ${what}`);
    await pause(50);
  }
}

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}
