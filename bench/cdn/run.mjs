#!/usr/bin/env node
// What a cache in front of Barrage spares it: viewers of one room read live segments through nginx or Varnish, as the SDK does.
//
//     BARRAGE_BIN=target/release/barrage node bench/cdn/run.mjs [--cache nginx|varnish] [--viewers 1,100,1000] [--segment-ms 1000,250] [--seconds 15]
//
// Prints one line a run: requests at the origin for each segment, publish → viewer, and the origin's CPU and memory. All on one
// machine and one clock. The viewers are sockets of this process, which costs more than the cache and the server together: how
// late its own loop was (`loop_p99_ms`) and, with nginx, how long the cache took by its own clock (`cache_p99_ms`) tell which of
// them a late comment waited for.
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Buffer } from "node:buffer";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { clearInterval, setInterval } from "node:timers";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    cache: { type: "string", default: "nginx" },
    viewers: { type: "string", default: "1,100,1000" },
    "segment-ms": { type: "string", default: "1000,250" },
    seconds: { type: "string", default: "15" },
    held: { type: "boolean", default: false },
  },
});
const BIN = process.env.BARRAGE_BIN ?? "target/release/barrage";
const here = dirname(fileURLToPath(import.meta.url));
const CONFIGS = join(here, "../../deploy/cdn");
const ADMIN_KEY = "the-admin-key-of-this-bench";
const JITTER_MS = 300;
const PUBLISH_EACH_MS = 100;

const numbers = (list) => list.split(",").map(Number);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function until(what, ask) {
  for (let n = 0; n < 200; n++) {
    if (await ask().catch(() => false)) return;
    await sleep(50);
  }
  throw new Error(`waited in vain for ${what}`);
}

function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"], ...options });
  child.on("error", (error) => console.error(`${command}: ${error.message}`));
  return child;
}

async function origin(dir, port, segmentMs) {
  writeFileSync(join(dir, "barrage.toml"), `[auth]\nanonymous_read = true\n[rooms]\nlive_segment_ms = ${segmentMs}\n[limits]\nnormal_per_s = 1000\nduplicate_window_ms = 0\ntrusted_proxies = ["127.0.0.1"]\n`);
  const env = { ...process.env, BARRAGE__AUTH__ADMIN_KEY: ADMIN_KEY, BARRAGE__AUTH__HMAC_SECRET: "a secret of at least thirty-two bytes!" };
  const child = start(BIN, ["serve", "--config", join(dir, "barrage.toml"), "--listen", `127.0.0.1:${port}`, "--data", join(dir, "data")], { env, stdio: "ignore" });
  await until("the server", async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok);
  return child;
}

function nginx(dir, port, originPort, shieldPort) {
  const site = readFileSync(join(CONFIGS, "nginx.conf"), "utf8")
    .replaceAll("/var/cache/nginx/barrage", join(dir, "cache"))
    .replaceAll("127.0.0.1:8079", `127.0.0.1:${shieldPort}`)
    .replaceAll("/var/log/nginx/barrage-cdn-error.log", join(dir, "cdn-error.log"))
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${originPort}`)
    .replaceAll("listen 80;", `listen 127.0.0.1:${port} backlog=4096;`)
    .replace("access_log off;", `access_log ${join(dir, "access.log")} timed buffer=64k flush=1s;`);
  writeFileSync(join(dir, "site.conf"), site);
  writeFileSync(join(dir, "nginx.conf"), `daemon off;\n${process.getuid?.() === 0 ? "user root;\n" : ""}worker_processes 1;\nworker_rlimit_nofile 16384;\npid ${dir}/nginx.pid;\nerror_log ${dir}/error.log crit;\nevents { worker_connections 8192; }\nhttp { client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p; fastcgi_temp_path ${dir}/f; uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s; log_format timed "$status $request_time $upstream_cache_status $uri"; keepalive_requests 100000; include ${dir}/site.conf; }\n`);
  return start("nginx", ["-c", join(dir, "nginx.conf"), "-e", join(dir, "error.log")]);
}

function varnish(dir, port, originPort) {
  const vcl = readFileSync(join(CONFIGS, "barrage.vcl"), "utf8").replace('.port = "8080"', `.port = "${originPort}"`);
  writeFileSync(join(dir, "barrage.vcl"), vcl);
  return start("varnishd", ["-F", "-n", join(dir, "varnish"), "-a", `127.0.0.1:${port}`, "-f", join(dir, "barrage.vcl"), "-s", "malloc,64m", "-p", "http_gzip_support=off", "-p", "thread_pool_max=2000", "-T", "none"]);
}

/** A viewer: one kept-alive connection that asks for one segment after the other. */
class Viewer {
  #socket;
  #read = Buffer.alloc(0);
  #answered;
  latencies = [];
  statuses = new Map();

  constructor(port, segmentMs, held) {
    this.segmentMs = segmentMs;
    this.jitter = held ? 0 : Math.random() * Math.min(JITTER_MS, segmentMs);
    this.held = held;
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.setNoDelay(true);
    this.#socket.on("data", (bytes) => this.#data(bytes));
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => this.#answered?.({ status: 0, body: "" }));
  }

  async run(from, endMs) {
    for (let seq = from; (seq + 1) * this.segmentMs < endMs; seq++) {
      const wait = this.held ? 0 : (seq + 1) * this.segmentMs + this.jitter - Date.now();
      if (wait > 0) await sleep(wait);
      const { status, body } = await this.#get(`/api/v1/rooms/show/live/${seq}`);
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
      const now = Date.now();
      for (const [, at] of body.matchAll(/"content":"at (\d+)"/g)) this.latencies.push(now - Number(at));
    }
    this.#socket.destroy();
  }

  #get(path) {
    if (this.#socket.destroyed) return Promise.resolve({ status: 0, body: "" });
    this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: cdn\r\nAccept: application/json\r\n\r\n`);
    return new Promise((resolve) => (this.#answered = resolve));
  }

  #data(bytes) {
    this.#read = this.#read.length === 0 ? bytes : Buffer.concat([this.#read, bytes]);
    const head = this.#read.indexOf("\r\n\r\n");
    if (head < 0) return;
    const text = this.#read.toString("latin1", 0, head);
    const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
    if (this.#read.length < head + 4 + length) return;
    const body = this.#read.toString("utf8", head + 4, head + 4 + length);
    this.#read = this.#read.subarray(head + 4 + length);
    this.#answered({ status: Number(text.slice(9, 12)), body });
  }
}

/** What nginx says of its own answers: the 99th percentile of how long they took, and how many of them fetched. */
function byNginx(dir) {
  const lines = readFileSync(join(dir, "access.log"), "utf8").split("\n").filter((line) => line.includes("/live/"));
  const seconds = lines.map((line) => Number(line.split(" ")[1])).sort((a, b) => a - b);
  const fetched = lines.filter((line) => line.split(" ")[2] !== "HIT").length;
  return { cache_p99_ms: Math.round(1_000 * (seconds[Math.floor(seconds.length * 0.99)] ?? 0)), cache_max_ms: Math.round(1_000 * (seconds.at(-1) ?? 0)), not_hit: fetched };
}

function usage(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return { cpuMs: (Number(stat[11]) + Number(stat[12])) * 10, rssKb: Number(rss?.[1] ?? 0) };
}

async function asked(port) {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line.startsWith("barrage_http_requests_total{") && line.includes("live/{seq}"));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

const token = (payload) => {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(payload)}`;
  return import("node:crypto").then(({ createHmac }) => `${signed}.${createHmac("sha256", "a secret of at least thirty-two bytes!").update(signed).digest("base64url")}`);
};

async function measure(viewers, segmentMs) {
  const dir = mkdtempSync(join(tmpdir(), "barrage-cdn-"));
  // Varnish reads its configuration as a user of its own.
  chmodSync(dir, 0o755);
  const [originPort, cachePort, shieldPort] = [await freePort(), await freePort(), await freePort()];
  const server = await origin(dir, originPort, segmentMs);
  const cache = (values.cache === "varnish" ? varnish : nginx)(dir, cachePort, originPort, shieldPort);
  try {
    await until("the cache", async () => (await fetch(`http://127.0.0.1:${cachePort}/healthz`)).ok);
    const authorization = `Bearer ${await token({ sub: "speaker", exp: Math.floor(Date.now() / 1_000) + 3_600 })}`;
    const { seq } = await (await fetch(`http://127.0.0.1:${cachePort}/api/v1/rooms/show/live`)).json();
    const endMs = Date.now() + Number(values.seconds) * 1_000;
    const publisher = setInterval(() => {
      const body = JSON.stringify({ content: `at ${Date.now()}` });
      fetch(`http://127.0.0.1:${originPort}/api/v1/rooms/show/comments`, { method: "POST", headers: { authorization, "content-type": "application/json" }, body }).catch(() => undefined);
    }, PUBLISH_EACH_MS);
    const before = { asked: await asked(originPort), ...usage(server.pid), atMs: Date.now() };
    const crowd = Array.from({ length: viewers }, () => new Viewer(cachePort, segmentMs, values.held));
    const first = seq + 2;
    const loop = monitorEventLoopDelay({ resolution: 5 });
    loop.enable();
    await Promise.all(crowd.map((viewer) => viewer.run(first, endMs)));
    clearInterval(publisher);
    loop.disable();
    const after = { asked: await asked(originPort), ...usage(server.pid), atMs: Date.now() };
    const latencies = crowd.flatMap((viewer) => viewer.latencies).sort((a, b) => a - b);
    const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))];
    cache.kill();
    await sleep(500);
    const segments = Math.max(1, Math.floor(endMs / segmentMs) - first);
    const failed = crowd.reduce((sum, viewer) => sum + [...viewer.statuses].reduce((n, [status, count]) => (status === 200 ? n : n + count), 0), 0);
    console.log(JSON.stringify({
      cache: values.cache, mode: values.held ? "held" : "after", viewers, segment_ms: segmentMs, segments, given: latencies.length, failed,
      origin_requests_per_segment: Number(((after.asked - before.asked) / segments).toFixed(2)), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: latencies.at(-1),
      origin_cpu_percent: Number((((after.cpuMs - before.cpuMs) / (after.atMs - before.atMs)) * 100).toFixed(1)), origin_rss_mib: Math.round(after.rssKb / 1_024),
      loop_p99_ms: Math.round(loop.percentile(99) / 1e6), loop_max_ms: Math.round(loop.max / 1e6), ...(values.cache === "nginx" ? byNginx(dir) : {}),
    }));
  } finally {
    cache.kill();
    server.kill();
    await sleep(500);
    rmSync(dir, { recursive: true, force: true });
  }
}

for (const segmentMs of numbers(values["segment-ms"])) for (const viewers of numbers(values.viewers)) await measure(viewers, segmentMs);
