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

  await page.getByRole("link", { name: /^Reviews/ }).click();
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

test("what was done is in the audit, and nothing broke on the way", options, async () => {
  await page.getByRole("link", { name: "Audit" }).click();
  await page.locator(".audit", { hasText: "mallory" }).first().waitFor();
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByText("Comments by outcome").waitFor();
  await page.goto(base);
  await page.getByRole("link", { name: /The stage/ }).waitFor();
  assert.deepEqual(complaints, []);
});

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

/** Asks until it is so; fails with what was waited for after 15 s. */
async function until(what, ask) {
  const deadline = Date.now() + 15_000;
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
