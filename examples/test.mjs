// Runs every example against the real binary: `BARRAGE_BIN=target/debug/barrage npm run examples`. The players have a test
// of their own (players/test.mjs), because their packages are installed there alone.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { launch } from "../web/e2e/browser.mjs";
import { startServer } from "../web/e2e/server.mjs";
import { signToken } from "./sign-token/token.mjs";

const run = promisify(execFile);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const secret = "a secret of the examples' tests";
const started = [];

let dev;
let strict;
let browser;

before(async () => {
  // Tokens are signed by one's own back end with the secret that the server knows; pages of other origins may embed.
  Object.assign(process.env, { BARRAGE__AUTH__HMAC_SECRET: secret, BARRAGE__AUTH__ORIGINS: "*", BARRAGE__AUTH__ANONYMOUS_READ: "true" });
  strict = await startServer({ dev: false });
  dev = await startServer();
});

after(async () => {
  for (const child of started) child.kill();
  await browser?.close();
  await strict?.stop();
  await dev?.stop();
});

/** A program, and its lines as they come. */
function start(file, args, env) {
  const child = spawn(process.execPath, [here(file), ...args], { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "inherit"] });
  started.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { child, line: async () => (await lines.next()).value };
}

function post(server, room, token, content) {
  return fetch(`${server.url}/api/v1/rooms/${room}/comments`, { method: "POST", headers: { "content-type": "application/json", authorization: `Bearer ${token}` }, body: JSON.stringify({ content }) });
}

const signers = [["node", ["sign-token/token.mjs"]], ["python3", ["sign-token/token.py"]], ["go", ["run", "sign-token/token.go"]], ["php", ["sign-token/token.php"]]];
for (const [program, args] of signers) {
  test(`a token signed in ${program} speaks in its room and in no other`, { timeout: 120_000 }, async (t) => {
    if (await run(program, program === "go" ? ["version"] : ["--version"]).catch(() => true) === true) return t.skip(`${program} is not installed`);
    const { stdout } = await run(program, args.map((arg) => (arg.includes("/") ? here(arg) : arg)), { env: { ...process.env, GOFLAGS: "-mod=mod" } });
    const token = stdout.trim();
    assert.equal((await post(strict, "show", token, `signed in ${program}`)).status, 201);
    assert.equal((await post(strict, "another", token, "hello")).status, 403);
    assert.equal((await post(strict, "show", `${token}x`, "hello")).status, 401);
  });
}

test("the moderation bot deletes what matches, and nothing else", { timeout: 60_000 }, async () => {
  const token = signToken(secret, { sub: "bot", level: "moderator", rooms: ["moderated"] });
  const bot = start("moderation-bot/bot.mjs", ["moderated", "/buy followers/i"], { BARRAGE: strict.url, TOKEN: token });
  assert.match(await bot.line(), /^watching moderated over /);
  const [eve, ann] = ["eve", "ann"].map((sub) => signToken(secret, { sub, name: sub }));
  await post(strict, "moderated", eve, "Buy Followers now");
  assert.equal(await bot.line(), 'deleted "Buy Followers now" of eve');
  await post(strict, "moderated", ann, "nice");
  const { comments } = await (await fetch(`${strict.url}/api/v1/rooms/moderated/comments`)).json();
  assert.deepEqual(comments.map(({ content }) => content), ["nice"]);
});

test("two terminals chat", { timeout: 60_000 }, async () => {
  const [alice, bob] = [["alice", "bob"], ["bob", "alice"]].map((args) => start("private-chat/chat.mjs", args, { BARRAGE: dev.url }));
  assert.match(await alice.line(), /type to write to bob/);
  assert.match(await bob.line(), /type to write to alice/);
  alice.child.stdin.write("hello bob\n");
  assert.equal(await bob.line(), "alice: hello bob");
  bob.child.stdin.write("hello alice\n");
  assert.equal(await alice.line(), "bob: hello alice");
});

test("the load test delivers every comment to every reader", { timeout: 60_000 }, async () => {
  const { child, line } = start("load-test/load.mjs", ["10", "4", "2"], { BARRAGE: dev.url });
  const figures = JSON.parse(await line());
  await once(child, "exit");
  assert.ok(figures.said > 0, JSON.stringify(figures));
  assert.equal(figures.delivered, figures.expected, JSON.stringify(figures));
});

test("a page of another origin shows a room over its own video, as its own user", { timeout: 90_000 }, async () => {
  const site = start("embed/server.mjs", [], { BARRAGE: strict.url, PORT: "0" });
  const page = await open(await site.line());
  await page.locator("barrage-room >> input:not([disabled])").waitFor();
  await post(strict, "show", signToken(secret, { sub: "bob", name: "Bob" }), "hello from Bob");
  await page.locator("barrage-room >> .row", { hasText: "hello from Bob" }).waitFor();
  await page.fill("barrage-room >> input", "hello from my site");
  await page.press("barrage-room >> input", "Enter");
  await page.locator("barrage-room >> .row.own", { hasText: /^Alice\s*hello from my site/ }).waitFor();
  assert.ok(await page.locator(".barrage-layer canvas").count(), "nothing flies over the video");
});

test("a replay shows its comments when the video reaches them", { timeout: 90_000 }, async () => {
  const imported = await fetch(`${dev.url}/api/v1/admin/rooms/show/import`, {
    method: "POST", headers: { "content-type": "application/json" },
    body: JSON.stringify({ session: {}, comments: [{ offset_ms: 1_000, content: "early" }, { offset_ms: 15_000, content: "late" }, { offset_ms: 20_000, content: "end" }] }),
  });
  assert.ok(imported.ok, await imported.clone().text());
  const { sessions } = await (await fetch(`${dev.url}/api/v1/rooms/show/sessions`)).json();
  const html = (await readFile(here("replay-player/index.html"), "utf8")).replace("BARRAGE/", `${dev.url}/`).replace("SESSION\"", `${sessions[0].session_id}"`);
  const video = await readFile(here("../web/e2e/media/twenty-seconds.webm"));
  const site = createServer((request, response) => response.end(request.url === "/" ? html : video));
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  const page = await open(`http://localhost:${site.address().port}/`);
  await page.evaluate(() => document.querySelector("video").play());
  await page.locator("barrage-room >> .row", { hasText: "early" }).waitFor();
  assert.equal(await page.locator("barrage-room >> .row", { hasText: "late" }).count(), 0);
  site.close();
});

async function open(url) {
  browser ??= await launch();
  const page = await browser.newPage({ viewport: { width: 1100, height: 1000 }, locale: "en-US" });
  await page.goto(url);
  return page;
}
