// A server of a benchmark's own, and a long recording to fill it with. Used by archive/run.mjs, reads.mjs and connections.mjs.
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { Buffer } from "node:buffer";
import { createServer } from "node:net";
import { availableParallelism } from "node:os";
import { join } from "node:path";

const BIN = process.env.BARRAGE_BIN ?? "target/release/barrage";
const SECRET = "a secret of at least thirty-two bytes!";
export const ADMIN_KEY = "the-admin-key-of-this-bench";
/** Limits that are not what is measured. */
export const LIMITS = "[limits]\nnormal_per_s = 1000000\nduplicate_window_ms = 0\nroom_per_s = 1000000\n";
const BATCH = 5_000;

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A generator that gives the same numbers each time (mulberry32). */
let state = 0x5eed;
export function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
}

// What people write: a few things often, many things rarely.
const WORDS = "哈哈哈 来了 前排 好听 泪目 这里 太强了 主播 为什么 是不是 今天 昨天 明天 开始 结束 第一次 看到 这个 那个 大家 一起 加油 冲啊 真的 不会吧 可以 喜欢 名场面 高能 预警 打卡 考古 弹幕 护体 感动 童年 回忆 经典 神曲 循环 耳朵 怀孕 音乐 画面 剧情 反转 结局 希望 下次 再来 晚安 早上好 吃饭 下班 上班 学习 作业 考试 goal what a shot lol same here who is that the referee again love this song please play it louder again from the start see you tomorrow good night everyone".split(" ");
function word() {
  return WORDS[Math.floor(WORDS.length * random() ** 2)];
}
const seen = new Set();
function text() {
  for (;;) {
    let made = Array.from({ length: 1 + Math.floor(random() * 5) }, word).join(random() < 0.5 ? "" : " ");
    if (random() < 0.3) made += Math.floor(random() * 10_000);
    while (seen.has(made)) made += word();
    if (made.length <= 100) {
      seen.add(made);
      return made;
    }
  }
}

function* batches(count, sessionMs) {
  for (let at = 0; at < count; at += BATCH) {
    yield Array.from({ length: Math.min(BATCH, count - at) }, (_, n) => ({
      offset_ms: Math.floor(((at + n + random()) * sessionMs) / count),
      content: text(),
      user_id: `u${(at + n).toString(36)}${Math.floor(random() * 46_656).toString(36)}`,
      username: word() + word() + Math.floor(random() * 1_000),
    }));
  }
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Barrage {
  constructor(dir, config) {
    [this.dir, this.config] = [dir, config];
  }

  /** Starts it on the last core, with `more` in its configuration. */
  async start(more = "") {
    this.port ??= await freePort();
    writeFileSync(join(this.dir, "barrage.toml"), this.config + more);
    const aws = { AWS_ENDPOINT_URL: process.env.BARRAGE_TEST_S3 ?? "", AWS_ACCESS_KEY_ID: "any", AWS_SECRET_ACCESS_KEY: "any", AWS_REGION: "eu-central-1" };
    const env = { ...process.env, BARRAGE__AUTH__ADMIN_KEY: ADMIN_KEY, BARRAGE__AUTH__HMAC_SECRET: SECRET, ...aws };
    const core = String(availableParallelism() - 1);
    this.child = spawn("taskset", ["-c", core, BIN, "serve", "--config", join(this.dir, "barrage.toml"), "--data", join(this.dir, "data"), "--listen", `127.0.0.1:${this.port}`], { env, stdio: "ignore" });
    for (let n = 0; ; n++) {
      if (await fetch(`http://127.0.0.1:${this.port}/readyz`).then((answer) => answer.ok, () => false)) return;
      if (n > 600) throw new Error("the server does not start");
      await sleep(100);
    }
  }

  async stop() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill();
    await ended;
  }

  async call(method, path, body, bearer = ADMIN_KEY) {
    const answer = await fetch(`http://127.0.0.1:${this.port}/api/v1/${path}`, { method, headers: { authorization: `Bearer ${bearer}`, ...(body ? { "content-type": "application/json" } : {}) }, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text.slice(0, 300)}`);
    return text;
  }

  cpuMs() {
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(stat[11]) + Number(stat[12])) * 10;
  }

  kb(field) {
    return Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${this.child.pid}/status`, "utf8"))[1]);
  }

  /** A recording in the room `film`; returns its session, the bytes of its texts, and some of its people. */
  async import(count, sessionMs) {
    let session;
    let texts = 0;
    const people = [];
    for (const comments of batches(count, sessionMs)) {
      const answer = JSON.parse(await this.call("POST", "admin/rooms/film/import", { session_id: session, session: { duration_ms: sessionMs }, comments }));
      session = answer.session_id;
      for (const { content } of comments) texts += Buffer.byteLength(content);
      people.push(comments[0].user_id);
    }
    return { session, texts, people };
  }
}

/** A day's token. */
export function token(sub) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub, exp: Math.floor(Date.now() / 1_000) + 86_400 })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}
