// WebSocket over TLS, WebTransport streams and WebTransport datagrams over a bad network, in one run, on one server:
//
//   BARRAGE_BIN=target/release/barrage node bench/weak/run.mjs
//
// About 11 minutes; WEAK_QUICK=1 takes three. Needs Linux, root (network namespaces, /dev/net/tun) and Rust. The server is in
// one namespace, the viewers in another; between them is `weak-link` (src/main.rs). The authors have a way of their own, which
// is not bad. WEAK_PUBLISH=1 writes bench/weak/RESULTS.md and its picture.
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import { page, picture } from "./table.mjs";

const here = import.meta.dirname;
const root = join(here, "../..");
const barrage = process.env.BARRAGE_BIN ?? join(root, "target/release/barrage");
/** Another program may drive the server than the one that serves. */
const generator = process.env.BARRAGE_GENERATOR ?? barrage;
const quick = process.env.WEAK_QUICK === "1";
const target = join(root, "target/bench/weak");
const link = join(target, "release/weak-link");
const transports = ["wss", "wt", "wt-datagrams"];
const load = { sockets: 50, rate: 10, seconds: quick ? 3 : 8, seed: 7 };
const reconnect = { sockets: 20, rate: 20, seconds: 4, times: quick ? 1 : 2 };

const cells = (losses, rtts) => losses.flatMap((loss) => rtts.map((rtt) => ({ loss, rtt, reorder: 0 })));
const networks = quick
  ? cells([0, 5], [50])
  : [...cells([0, 1, 5], [0, 50, 150]), { loss: 0, rtt: 50, reorder: 5 }, { loss: 1, rtt: 50, reorder: 5 }];

const work = mkdtempSync(join(tmpdir(), "barrage-weak-"));
const [servers, viewers] = [`barrage-servers-${process.pid}`, `barrage-viewers-${process.pid}`];
const secret = randomBytes(24).toString("hex");
const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "inherit"] });
/** Ahead of other programs, so that a busy machine tells of the network and not of itself. */
const inside = (namespace, ...command) => ["nice", "-n", "-15", "ip", "netns", "exec", namespace, ...command];

/** A program, its first line that fits, and its end. */
function start([command, ...args], fits, env = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "inherit"] });
  const lines = [];
  const ended = new Promise((resolve) => child.on("close", resolve));
  const ready = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      lines.push(line);
      if (fits(line)) resolve(line);
    });
    ended.then((code) => reject(new Error(`${command} ended with ${code}: ${lines.join("\n")}`)));
  });
  return { child, ready, ended, lines };
}

function namespaces() {
  for (const name of [servers, viewers]) {
    ip("netns", "add", name);
    ip("-n", name, "link", "set", "lo", "up");
  }
  // The authors' way.
  ip("-n", servers, "link", "add", "good0", "type", "veth", "peer", "name", "good0", "netns", viewers);
  [servers, viewers].forEach((name, i) => {
    ip("-n", name, "addr", "add", `10.98.0.${i + 1}/24`, "dev", "good0");
    ip("-n", name, "link", "set", "good0", "up");
  });
}

async function serve() {
  const settings = {
    BARRAGE__AUTH__HMAC_SECRET: secret,
    BARRAGE__AUTH__ORIGINS: "*",
    BARRAGE__SERVER__QUIC: "true",
    BARRAGE__LIMITS__CONNECTIONS_PER_ADDRESS: "100000",
    BARRAGE__LIMITS__HANDSHAKES_PER_ADDRESS_PER_S: "100000",
    BARRAGE__LIMITS__DUPLICATE_WINDOW_MS: "0",
    BARRAGE__LIMITS__NORMAL_PER_S: "1000",
    BARRAGE__LOG__LEVEL: "warn",
  };
  const command = ["taskset", "-c", "0", barrage, "serve", "--dev", "--i-know-this-is-open", "--tls-self-signed"];
  const server = start(
    inside(servers, ...command, "--listen", "0.0.0.0:8443", "--data", join(work, "data")),
    (line) => line.includes("quic"),
    settings,
  );
  await server.ready;
  return server;
}

/** Runs `work` over a network with these faults; what the link counted besides. */
async function over({ loss, rtt, reorder }, work) {
  const args = ["--rtt-ms", rtt, "--loss", loss, "--reorder", reorder, "--seed", load.seed].map(String);
  const between = start(["nice", "-n", "-15", "taskset", "-c", "1", link, servers, viewers, ...args], (line) => line === "ready");
  await between.ready;
  ip("-n", servers, "addr", "add", "10.99.0.1/24", "dev", "weak0");
  ip("-n", viewers, "addr", "add", "10.99.0.2/24", "dev", "weak0");
  ip("-n", viewers, "addr", "add", "10.99.0.3/24", "dev", "weak0");
  ip("-n", servers, "link", "set", "weak0", "up");
  ip("-n", viewers, "link", "set", "weak0", "up");
  try {
    return { ...(await work()), link: await end(between) };
  } finally {
    await end(between);
  }
}

async function end({ child, ended, lines }) {
  child.stdin.end();
  await ended;
  return JSON.parse(lines.at(-1));
}

/** One scenario of the load generator; the run of its report. */
async function bench(pid, scenario, { sockets, rate, seconds }, args) {
  const out = join(work, "report");
  const flags = { sockets, rate, seconds, "warm-up": 2, senders: 10, secret, pid, out, "generator-cpus": 1 };
  const ways = ["--server", "https://10.99.0.1:8443", "--publish-to", "https://10.98.0.1:8443"];
  const command = [generator, "bench", scenario, ...ways, ...Object.entries(flags).flatMap(([k, v]) => [`--${k}`, String(v)])];
  const [program, ...rest] = inside(viewers, ...command, ...args);
  const child = spawn(program, rest, { stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (said += text));
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`${scenario} ${args.join(" ")}: ${said.slice(-600)}`);
  return JSON.parse(readFileSync(join(out, "report.json"), "utf8")).runs[0];
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

async function measure(pid) {
  const rows = [];
  for (const network of networks) {
    for (const transport of transports) {
      const { round, opened, link } = await over(network, () => bench(pid, "room", load, ["--transport", transport]));
      const { total, delivery, server, expected, arrived_share, foreign_cpus, generator_limited } = round;
      if (total.accepted !== total.sent) throw new Error(`the server refused comments: ${JSON.stringify(round.refusals)}`);
      rows.push({
        ...network,
        transport,
        p50_ms: delivery.p50_ms,
        p99_ms: delivery.p99_ms,
        max_ms: delivery.max_ms,
        expected,
        arrived_share,
        omitted: total.omitted,
        batches_lost: total.batches_lost,
        kb_down: link.left_to_right.bytes / 1000 / load.sockets,
        kb_up: link.right_to_left.bytes / 1000 / load.sockets,
        lost_packets: link.left_to_right.lost + link.right_to_left.lost,
        packets: link.left_to_right.packets + link.right_to_left.packets,
        us_per_delivery: server.us_per_delivery,
        opened_ms: opened.handshake.p50_ms,
        foreign_cpus,
        generator_cpus: round.generator_cpus,
        generator_limited,
      });
      console.error(JSON.stringify(rows.at(-1)));
    }
  }
  return rows;
}

/** From the change of the viewers' address to the next comment. */
async function moves(pid) {
  const rows = [];
  for (const rtt of [0, 50, 150]) {
    for (const transport of transports) {
      const found = [];
      for (let n = 0; n < reconnect.times; n++) {
        const args = ["--transport", transport, "--move-to", "10.99.0.3", "--tls", "resumed"];
        const { round } = await over({ loss: 0, rtt, reorder: 0 }, () => bench(pid, "reconnect", reconnect, args));
        found.push({ ...round.resumed, arrived_share: round.arrived_share });
      }
      const of = (name) => median(found.map((one) => one[name]));
      rows.push({ rtt, transport, count: found.reduce((sum, one) => sum + one.count, 0), p50_ms: of("p50_ms"), p99_ms: of("p99_ms"), arrived_share: of("arrived_share") });
      console.error(JSON.stringify(rows.at(-1)));
    }
  }
  return rows;
}

let server;
try {
  execFileSync("cargo", ["build", "--release", "--manifest-path", join(here, "Cargo.toml"), "--target-dir", target], { stdio: ["ignore", "inherit", "inherit"] });
  namespaces();
  server = await serve();
  const begun = Date.now();
  const [rooms, moved] = [await measure(server.child.pid), await moves(server.child.pid)];
  const host = { kernel: release(), cpus: cpus().length, cpu: cpus()[0].model, memory_gib: Math.round(totalmem() / 2 ** 30), load: loadavg()[0] };
  const result = { at: new Date().toISOString(), minutes: (Date.now() - begun) / 60_000, host, load, reconnect, rooms, moved };
  const text = page(result);
  console.log(text);
  if (process.env.WEAK_PUBLISH === "1") {
    writeFileSync(join(here, "RESULTS.md"), text);
    writeFileSync(join(here, "RESULTS.svg"), picture(result));
  }
  writeFileSync(join(target, "results.json"), JSON.stringify(result, undefined, 1));
} finally {
  server?.child.kill("SIGTERM");
  await server?.ended;
  for (const name of [servers, viewers]) {
    try {
      ip("netns", "del", name);
    } catch {
      // It was never made.
    }
  }
  rmSync(work, { recursive: true, force: true });
}
