// Published clients of other servers, unmodified, against the real binary: each is given another address and nothing else.
//
//   npm ci --prefix scripts/clients && BARRAGE_BIN=$PWD/target/debug/barrage node --test scripts/clients/clients.test.mjs
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { spawn, spawnSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = resolve(HERE, "../..");
const BIN = resolve(process.env.BARRAGE_BIN ?? join(ROOT, "target/debug/barrage"));
const PYTHON = process.env.PYTHON ?? "python3";
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE_MS = 20_000;
const SECRET = "a secret of at least thirty-two bytes!";
const ADMIN_KEY = "the-admin-key-of-tests";
const PUSHER = { appId: "1", key: "barrage-key", secret: "a secret of the pusher door" };

let server;
let directory;
let address;
let ports;

before(async () => {
  ports = { irc: 6667, goim: await freePort() };
  directory = mkdtempSync(join(tmpdir(), "barrage-clients-"));
  const config = join(directory, "barrage.toml");
  writeFileSync(config, `
[auth]
anonymous_read = true
hmac_secret = "${SECRET}"
admin_key = "${ADMIN_KEY}"
origins = ["*"]
[limits]
normal_per_s = 100
duplicate_window_ms = 0
[doors.irc]
listen = "127.0.0.1:${ports.irc}"
[doors.goim]
listen = "127.0.0.1:${ports.goim}"
[doors.pusher]
app_id = "${PUSHER.appId}"
key = "${PUSHER.key}"
secret = "${PUSHER.secret}"
`);
  server = spawn(BIN, ["serve", "--config", config, "--data", join(directory, "data"), "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface(server.stdout), "line");
  address = line.match(/:\/\/(\S+)/)[1];
});

after(async () => {
  server?.kill("SIGTERM");
  if (server) await once(server, "exit");
  if (directory) rmSync(directory, { recursive: true, force: true });
});

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  return port;
}

/** A token as a back end signs it. */
function token(sub, claims = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const body = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub, iat: now - 5, exp: now + 3600, ...claims })}`;
  return `${body}.${createHmac("sha256", SECRET).update(body).digest("base64url")}`;
}

async function call(method, path, body, bearer = ADMIN_KEY) {
  const answer = await fetch(`http://${address}${path}`, {
    method,
    headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

const say = (user, room, content) => call("POST", `/api/v1/rooms/${room}/comments`, { content }, token(user));
const comments = async (room) => (await call("GET", `/api/v1/rooms/${room}/comments`)).comments;

/** Waits for the first event that fits, with its arguments. */
function heard(emitter, event, fits = () => true) {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no ${event}`)), PATIENCE_MS);
    const on = emitter.bind ?? emitter.on;
    on.call(emitter, event, (...values) => {
      if (fits(...values)) {
        clearTimeout(timer);
        done(values);
      }
    });
  });
}

async function eventually(what, ask) {
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until; await new Promise((wake) => setTimeout(wake, 50))) {
    const found = await ask();
    if (found) return found;
  }
  throw new Error(`waited in vain for ${what}`);
}

describe("IRC", () => {
  test("tmi.js reads, writes, moderates, over WebSocket", async () => {
    const tmi = require("tmi.js");
    const [host, port] = address.split(":");
    // This client changes the case of its password, so the token goes in hexadecimal.
    const password = Buffer.from(token("mo", { name: "Mo", level: "moderator", rooms: ["hall"] })).toString("hex");
    const client = new tmi.Client({ connection: { server: host, port: Number(port), secure: false, reconnect: false }, identity: { username: "mo", password }, channels: [] });
    await client.connect();
    await client.join("hall");
    const message = heard(client, "message", (_channel, tags) => tags["user-id"] === "bob");
    await say("bob", "hall", "hello tmi; \\ = :)");
    const [channel, tags, text] = await message;
    assert.deepEqual([channel, tags["display-name"], text], ["#hall", "bob", "hello tmi; \\ = :)"]);
    await client.say("hall", "hello from tmi.js");
    await eventually("it", async () => (await comments("hall")).some((said) => said.content === "hello from tmi.js" && said.username === "Mo"));
    const deleted = heard(client, "messagedeleted");
    await client.deletemessage("hall", tags.id);
    assert.equal((await deleted)[1], "bob");
    const timeout = heard(client, "timeout");
    await client.timeout("hall", "bob", 30, "be nice");
    assert.deepEqual((await timeout).slice(0, 2), ["#hall", "bob"]);
    await assert.rejects(say("bob", "hall", "muted?"), /muted/);
    await client.unban("hall", "bob");
    await say("bob", "hall", "not any more");
    await client.slow("hall", 7);
    await client.slowoff("hall");
    const latency = await client.ping();
    assert.ok(latency[0] < 10);
    await client.disconnect();
  });

  test("@twurple/chat reads and writes, over TCP", async () => {
    const { ChatClient } = await import("@twurple/chat");
    const accessToken = token("twu", { name: "Twu" });
    const given = { accessToken, refreshToken: null, scope: ["chat:read", "chat:edit"], expiresIn: null, obtainmentTimestamp: Date.now(), userId: "twu" };
    const authProvider = {
      clientId: "barrage",
      getCurrentScopesForUser: () => given.scope,
      getAccessTokenForUser: async () => given,
      getAccessTokenForIntent: async () => given,
      getAnyAccessToken: async () => given,
    };
    // This client asks Twitch whose token it has; here is the answer.
    const reach = globalThis.fetch;
    const whose = { client_id: "barrage", login: "twu", user_id: "twu", scopes: given.scope, expires_in: 3600 };
    globalThis.fetch = (url, options) => (String(url).startsWith("https://id.twitch.tv/") ? Promise.resolve(globalThis.Response.json(whose)) : reach(url, options));
    const client = new ChatClient({ authProvider, hostName: "127.0.0.1", ssl: false, webSocket: false, channels: ["stage"], requestMembershipEvents: true });
    const joined = new Promise((done) => client.onJoin(done));
    client.connect();
    await joined;
    globalThis.fetch = reach;
    const message = new Promise((done) => client.onMessage((channel, user, text, about) => done([channel, user, text, about.userInfo.displayName])));
    await say("carol", "stage", "hello twurple");
    assert.deepEqual(await message, ["stage", "carol", "hello twurple", "carol"]);
    await client.say("stage", "hello from twurple");
    await eventually("it", async () => (await comments("stage")).some((said) => said.content === "hello from twurple"));
    const announced = new Promise((done) => client.onAnnouncement((_channel, _user, about) => done(about)));
    await call("POST", "/api/v1/admin/rooms/stage/announcements", { content: "doors at eight" });
    await announced;
    const timedOut = new Promise((done) => client.onTimeout((channel, user, seconds) => done([channel, user, seconds])));
    await call("POST", "/api/v1/admin/bans", { user_id: "carol", room_id: "stage", kind: "mute", duration_s: 40 });
    assert.deepEqual(await timedOut, ["stage", "carol", 40]);
    client.quit();

    const reader = new ChatClient({ hostName: `${address}/irc`, ssl: false, channels: ["stage"] });
    const anonymous = new Promise((done) => reader.onMessage((_channel, user, text) => done([user, text])));
    const read = new Promise((done) => reader.onJoin(done));
    reader.connect();
    await read;
    await say("dora", "stage", "to everybody");
    assert.deepEqual(await anonymous, ["dora", "to everybody"]);
    reader.quit();
  });

  test("weechat reads and writes, over TCP", { skip: spawnSync("weechat-headless", ["--version"]).error !== undefined }, async () => {
    const home = mkdtempSync(join(tmpdir(), "weechat-"));
    const commands = [
      "/set logger.file.auto_log on",
      "/set logger.file.path ${weechat_data_dir}",
      "/set logger.file.flush_delay 0",
      `/server add barrage 127.0.0.1/${ports.irc} -notls -password=oauth:${token("wee")} -nicks=wee -capabilities=twitch.tv/tags,twitch.tv/commands`,
      "/set irc.server.barrage.autojoin #attic",
      "/fifo enable",
      "/connect barrage",
    ];
    const weechat = spawn("weechat-headless", ["--dir", home, ...commands.flatMap((command) => ["--run-command", command])], { stdio: "ignore" });
    const log = (name) => {
      try {
        return readFileSync(join(home, `irc.barrage.${name}.weechatlog`), "utf8");
      } catch {
        return "";
      }
    };
    try {
      await eventually("weechat to join", async () => {
        await say("eve", "attic", `hello weechat ${Date.now()}`);
        return log("#attic").includes("hello weechat");
      });
      const pipe = join(home, `weechat_fifo_${weechat.pid}`);
      writeFileSync(pipe, "irc.barrage.#attic *hello from weechat\n");
      await eventually("it", async () => (await comments("attic")).some((said) => said.content === "hello from weechat" && said.user_id === "wee"));
    } finally {
      weechat.kill("SIGTERM");
      await once(weechat, "exit");
      rmSync(home, { recursive: true, force: true });
    }
  });
});

describe("Pusher", () => {
  const signed = (socketId, channel, data) => {
    const text = data === undefined ? `${socketId}:${channel}` : `${socketId}:${channel}:${data}`;
    return { auth: `${PUSHER.key}:${createHmac("sha256", PUSHER.secret).update(text).digest("hex")}`, ...(data === undefined ? {} : { channel_data: data }) };
  };
  /** What a back end does when pusher-js asks it to authorise a channel. */
  const channelAuthorization = (user) => ({
    customHandler: ({ socketId, channelName }, done) => {
      const data = channelName.startsWith("presence-") ? JSON.stringify({ user_id: user, user_info: { name: user } }) : undefined;
      done(null, signed(socketId, channelName, data));
    },
  });
  const options = (user) => {
    const [wsHost, port] = address.split(":");
    return { wsHost, wsPort: Number(port), forceTLS: false, enabledTransports: ["ws"], cluster: "", disableStats: true, channelAuthorization: channelAuthorization(user) };
  };

  test("pusher-js subscribes, is present, sends client events; the server library publishes", async () => {
    const { default: Pusher } = { default: require("pusher-js") };
    const ann = new Pusher(PUSHER.key, options("ann"));
    const bob = new Pusher(PUSHER.key, options("bob"));
    const open = ann.subscribe("room-square");
    await heard(open, "pusher:subscription_succeeded");
    const comment = heard(open, "comment");
    await say("carl", "square", "hello pusher");
    assert.equal((await comment)[0].content, "hello pusher");

    const there = ann.subscribe("presence-room-square");
    await heard(there, "pusher:subscription_succeeded");
    const added = heard(there, "pusher:member_added");
    const other = bob.subscribe("presence-room-square");
    const [members] = await heard(other, "pusher:subscription_succeeded");
    assert.equal(members.count, 2);
    assert.equal((await added)[0].id, "bob");
    const typing = heard(there, "client-typing");
    other.trigger("client-typing", { on: true });
    assert.deepEqual((await typing)[0], { on: true });

    const Server = require("pusher");
    const [host, port] = address.split(":");
    const backEnd = new Server({ ...PUSHER, host, port, useTLS: false });
    const order = heard(there, "order");
    await backEnd.trigger("presence-room-square", "order", { number: 7 });
    assert.deepEqual((await order)[0], { number: 7 });
    const said = heard(open, "comment", (data) => data.user_id === "shop");
    await backEnd.trigger("room-square", "comment", { content: "sold out", user_id: "shop", username: "Shop" });
    assert.equal((await said)[0].username, "Shop");
    const users = await (await backEnd.get({ path: "/channels/presence-room-square/users" })).json();
    assert.deepEqual(users.users.map((user) => user.id), ["ann", "bob"]);
    const removed = heard(there, "pusher:member_removed");
    bob.disconnect();
    assert.equal((await removed)[0].id, "bob");
    const refused = heard(ann.subscribe("chat"), "pusher:subscription_error");
    await refused;
    ann.disconnect();
  });

  test("laravel-echo listens", async () => {
    const { default: Echo } = await import("laravel-echo");
    const echo = new Echo({ broadcaster: "pusher", Pusher: require("pusher-js"), client: new (require("pusher-js"))(PUSHER.key, options("echo")), key: PUSHER.key });
    const channel = echo.private("room-garden");
    await new Promise((done) => channel.subscribed(done));
    const comment = new Promise((done) => channel.listen(".comment", done));
    await say("carl", "garden", "hello echo");
    assert.equal((await comment).content, "hello echo");
    const presence = echo.join("room-garden");
    const here = await new Promise((done) => presence.here(done));
    assert.deepEqual(here, [{ name: "echo" }]);
    echo.disconnect();
  });

  test("the library on PyPI publishes", { skip: spawnSync(PYTHON, ["-c", "import pusher"]).status !== 0 }, async () => {
    const [host, port] = address.split(":");
    const program = `
import pusher
p = pusher.Pusher(app_id="${PUSHER.appId}", key="${PUSHER.key}", secret="${PUSHER.secret}", host="${host}", port=${port}, ssl=False)
p.trigger(["room-py"], "comment", {"content": "hello from python 弹幕", "user_id": "py"})
print(p.channels_info())
`;
    const run = spawnSync(PYTHON, ["-c", program], { encoding: "utf8" });
    assert.equal(run.status, 0, run.stderr);
    assert.ok((await comments("py")).some((said) => said.content === "hello from python 弹幕"));
  });
});

describe("goim", () => {
  test("bilibili-live-ws reads, compressed either way and over TCP", async () => {
    const { LiveWS, LiveTCP } = await import("bilibili-live-ws");
    const [host] = address.split(":");
    const clients = [
      new LiveWS(4711, { address: `ws://${address}/sub`, protover: 2 }),
      new LiveWS(4711, { address: `ws://${address}/sub`, protover: 3 }),
      new LiveTCP(4711, { host, port: ports.goim, protover: 2 }),
    ];
    await Promise.all(clients.flatMap((client) => [heard(client, "live"), heard(client, "heartbeat", (viewers) => viewers >= 1)]));
    const said = clients.map((client) => heard(client, "DANMU_MSG"));
    await say("12345", "4711", "hello goim");
    for (const [message] of await Promise.all(said)) assert.equal(message.info[1], "hello goim");
    clients.forEach((client) => client.close());
  });

  test("tiny-bilibili-ws reads", async () => {
    const { KeepLiveWS } = await import("tiny-bilibili-ws");
    const [host, port] = address.split(":");
    const client = new KeepLiveWS(4712, { host, port: Number(port), path: "/sub", ssl: false, uid: 0, key: token("reader") });
    const message = heard(client, "DANMU_MSG");
    await eventually("it", async () => {
      await say("12345", "4712", "hello tiny");
      return Promise.race([message, new Promise((later) => setTimeout(() => later(undefined), 300))]);
    });
    const [said] = await message;
    assert.equal((said.data ?? said).info[1], "hello tiny");
    client.close();
  });
});

describe("players, in Chromium", { skip: spawnSync(CHROMIUM, ["--version"]).error !== undefined }, () => {
  let site;
  let browser;

  /** Another site, with the players as npm has them. */
  before(async () => {
    const files = {
      "/dplayer.js": [join(HERE, "node_modules/dplayer/dist/DPlayer.min.js"), "text/javascript"],
      "/artplayer.js": [join(HERE, "node_modules/artplayer/dist/artplayer.js"), "text/javascript"],
      "/danmuku.js": [join(HERE, "node_modules/artplayer-plugin-danmuku/dist/artplayer-plugin-danmuku.js"), "text/javascript"],
      "/clip.webm": [join(ROOT, "web/e2e/media/twenty-seconds.webm"), "video/webm"],
    };
    const page = "<!doctype html><meta charset=utf-8><div id=player style='width:800px;height:450px'></div>"
      + ["dplayer", "artplayer", "danmuku"].map((name) => `<script src=/${name}.js></script>`).join("");
    site = createServer((request, response) => {
      const [file, type] = files[request.url] ?? [];
      response.writeHead(200, { "content-type": type ?? "text/html" });
      response.end(file === undefined ? page : readFileSync(file));
    }).listen(0, "127.0.0.1");
    await once(site, "listening");
    const { chromium } = await import("playwright-core");
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"] });
    await call("POST", "/api/v1/admin/rooms/film/import", {
      comments: [
        { offset_ms: 100, content: "<img src=x onerror=window.pwned=1> first", user_id: "ann" },
        { offset_ms: 300, content: "第二条弹幕", user_id: "bob", style: { color: "#FF0000" } },
      ],
    });
  });

  after(async () => {
    await browser?.close();
    site?.close();
  });

  async function open() {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${site.address().port}/`);
    return page;
  }

  test("DPlayer draws a recording, writes on it, and runs nothing", async () => {
    const page = await open();
    await page.evaluate(([api, token]) => {
      window.player = new window.DPlayer({
        container: document.querySelector("#player"), video: { url: "/clip.webm" }, autoplay: true, mutex: false,
        danmaku: { id: "film", api, token, user: "Cleo", unlimited: true },
      });
      window.player.video.muted = true;
    }, [`http://${address}/compat/dplayer/`, token("cleo", { name: "Cleo" })]);
    await page.waitForFunction(() => window.player.danmaku.dan?.length === 2);
    await page.evaluate(() => window.player.play());
    const drawn = page.locator(".dplayer-danmaku-item");
    await drawn.filter({ hasText: "<img src=x onerror=window.pwned=1> first" }).first().waitFor({ state: "attached" });
    await drawn.filter({ hasText: "第二条弹幕" }).first().waitFor({ state: "attached" });
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    await page.evaluate(() => window.player.danmaku.send({ text: "from DPlayer", color: 16777215, type: 1 }, () => { window.sent = true; }));
    await page.waitForFunction(() => window.sent);
    const list = await (await fetch(`http://${address}/compat/dplayer/v3/?id=film`)).json();
    assert.ok(list.data.some(([, type, , name, text]) => type === 1 && name === "Cleo" && text === "from DPlayer"));
    await page.close();
  });

  test("ArtPlayer's plugin draws the XML", async () => {
    const page = await open();
    await page.evaluate((danmuku) => {
      window.art = new window.Artplayer({
        container: "#player", url: "/clip.webm", muted: true, autoplay: true,
        plugins: [window.artplayerPluginDanmuku({ danmuku, antiOverlap: false })],
      });
      window.art.on("artplayerPluginDanmuku:loaded", (list) => { window.loaded = list.length; });
      window.art.on("ready", () => window.art.play());
    }, `http://${address}/compat/bilibili/film.xml`);
    await page.waitForFunction(() => window.loaded >= 2);
    await page.getByText("第二条弹幕").first().waitFor({ state: "attached" });
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    await page.close();
  });
});

describe("WebTransport", () => {
  test("webtransport-go joins, speaks, reads 10,000 comments and comes back", { skip: spawnSync("go", ["version"]).status !== 0 && "no Go here" }, async () => {
    const data = mkdtempSync(join(tmpdir(), "barrage-wt-"));
    const args = ["serve", "--dev", "--tls-self-signed", "--listen", "127.0.0.1:0", "--data", data];
    const limits = { BARRAGE__LIMITS__NORMAL_PER_S: "100000", BARRAGE__LIMITS__ROOM_PER_S: "100000", BARRAGE__LIMITS__DUPLICATE_WINDOW_MS: "0" };
    const started = spawn(BIN, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...limits, BARRAGE__SERVER__QUIC: "true" } });
    try {
      let url;
      let hash;
      for await (const line of createInterface(started.stdout)) {
        url ??= /https:\/\/\S+/.exec(line)?.[0];
        hash = /sha-256 +([0-9a-f]{64})/.exec(line)?.[1];
        if (hash) break;
      }
      const run = (...more) => {
        const client = spawnSync("go", ["run", ".", "-url", url, "-hash", hash, ...more], { cwd: join(HERE, "webtransport"), encoding: "utf8" });
        assert.equal(client.status, 0, client.stderr);
        return client.stdout;
      };
      assert.match(run("-say", "hello", "-read", "1"), /^read 1, omitted 0, resumed after \d+/);
      // What a viewer's budget leaves out is told: every comment is read or counted.
      assert.match(run("-say", "again", "-times", "10000", "-read", "10000"), /^read \d+, omitted \d+, resumed after \d+/);
      assert.match(run("-say", "beside", "-times", "1000", "-read", "1000", "-datagrams"), /^read \d+, omitted \d+, resumed after \d+/);
    } finally {
      started.kill("SIGTERM");
      await once(started, "exit");
      rmSync(data, { recursive: true, force: true });
    }
  });
});
