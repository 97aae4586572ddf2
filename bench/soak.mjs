// The soak: a mixed load for hours, with a fault each ten minutes, that ends with what was lost, what came twice, how memory and
// descriptors moved, and the latency of each hour.
//
//   node bench/soak.mjs [--minutes 4320] [--binary FILE] [--config FILE] [--nodes 1] [--viewers 200] [--rooms 4] [--rate 20]
//                       [--fault-every-s 600] [--faults kill,term,freeze] [--out DIR]
//
// Starts the server itself, several nodes with `--nodes` and a configuration for them (Redis, MySQL, Kafka: see
// config/cluster-kafka.toml). Viewers read by socket and reconnect with their last id; a reader of every room polls without a
// gap; writers retry each comment with its client_msg_id until it is answered; a moderator deletes and mutes; people chat.
// Exits 1 when an acknowledged comment or message was lost, or one was published twice.
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import WebSocket from "ws";

const here = import.meta.dirname;
const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "4320" },
    binary: { type: "string", default: process.env.BARRAGE_BIN ?? join(here, "../target/release/barrage") },
    config: { type: "string" },
    nodes: { type: "string", default: "1" },
    viewers: { type: "string", default: "200" },
    rooms: { type: "string", default: "4" },
    rate: { type: "string", default: "20" },
    "fault-every-s": { type: "string", default: "600" },
    faults: { type: "string", default: "kill,term,freeze" },
    out: { type: "string" },
  },
});
const numbers = Object.fromEntries(
  ["minutes", "nodes", "viewers", "rooms", "rate", "fault-every-s"].map((name) => [name, Number(values[name])]),
);
const faults = values.faults.split(",");
if (Object.values(numbers).some((number) => !(number > 0)) || faults.some((kind) => !["kill", "term", "freeze"].includes(kind))) {
  console.error("every number must be above 0; faults are kill, term and freeze");
  process.exit(2);
}
const SECRET = "a secret for as long as it is soaked";
/** How often memory, descriptors and latency are noted. */
const SAMPLE_MS = 5_000;
/** After the load: time for the last comments to reach everybody. */
const SETTLE_MS = 15_000;

const began = Date.now();
const until = began + numbers.minutes * 60_000;
const dir = mkdtempSync(join(tmpdir(), "barrage-soak-"));
const out = values.out ?? join(here, "results", `soak-${new Date(began).toISOString().slice(0, 19).replaceAll(":", "-")}`);
mkdirSync(out, { recursive: true });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const room = (i) => `soak-${i % numbers.rooms}`;
let ending = false;

function token(user, level = "normal") {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1_000);
  const head = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, level, iat: now - 5, exp: now + 86_400 })}`;
  return `${head}.${createHmac("sha256", SECRET).update(head).digest("base64url")}`;
}

// --- the server -----------------------------------------------------------------------------------------------------------

const freePort = () =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

class Node {
  constructor(index, port) {
    Object.assign(this, { index, port, url: `http://127.0.0.1:${port}`, lives: 0 });
  }

  async start() {
    const args = ["serve", "--listen", `127.0.0.1:${this.port}`, "--data", join(dir, `node-${this.index}`)];
    if (values.config) args.push("--config", values.config);
    this.child = spawn(values.binary, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: {
        ...process.env,
        BARRAGE__AUTH__HMAC_SECRET: SECRET,
        BARRAGE__AUTH__ADMIN_KEY: SECRET,
        BARRAGE__LIMITS__NORMAL_PER_S: "1000",
        BARRAGE__LIMITS__DUPLICATE_WINDOW_MS: "0",
        BARRAGE__LIMITS__COOL_DOWN_REFUSALS: "0",
        BARRAGE__LOG__FORMAT: "json",
      },
    });
    this.child.stderr.on("data", (text) => appendFileSync(join(out, `node-${this.index}.log`), text));
    this.lives += 1;
    const { child } = this;
    this.ended = new Promise((resolve) => child.once("exit", resolve));
    for (let waited = 0; ; waited += 100) {
      const ready = await fetch(`${this.url}/readyz`).catch(() => undefined);
      if (ready?.ok) return;
      if (child.exitCode !== null || waited > 60_000) throw new Error(`node ${this.index} does not start; see ${out}`);
      await sleep(100);
    }
  }

  usage() {
    try {
      const status = readFileSync(`/proc/${this.child.pid}/status`, "utf8");
      const kib = Number(/VmRSS:\s+(\d+)/.exec(status)[1]);
      return { resident: kib * 1_024, files: readdirSync(`/proc/${this.child.pid}/fd`).length };
    } catch {
      return undefined; // It is being restarted.
    }
  }
}

const nodes = [];
for (let i = 0; i < numbers.nodes; i += 1) nodes.push(new Node(i, await freePort()));
const anyNode = () => nodes[Math.floor(Math.random() * nodes.length)];

async function call(method, path, body, bearer, node = anyNode()) {
  const answer = await fetch(`${node.url}/api/v1/${path}`, {
    method,
    headers: { authorization: `Bearer ${bearer}`, ...(body && { "content-type": "application/json" }) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(20_000),
  });
  return { status: answer.status, body: await answer.json().catch(() => ({})) };
}

/** Repeats what a fault has interrupted until it is answered. */
async function insist(method, path, body, bearer) {
  for (;;) {
    const answer = await call(method, path, body, bearer).catch(() => undefined);
    if (answer && answer.status < 500 && answer.status !== 429) return answer;
    if (ending && Date.now() > until + SETTLE_MS) return answer ?? { status: 0, body: {} };
    await sleep(200 + Math.random() * 300);
  }
}

// --- the load ---------------------------------------------------------------------------------------------------------------

/** Accepted comments: id → {room, content, at}. */
const accepted = new Map();
const sentAt = new Map();
const counts = { accepted: 0, messages: 0, deleted: 0, reconnects: 0, repeats: 0, omitted: 0, refused: 0 };
const doubled = new Set();
const faultsDone = [];
let latencies = [];
const hours = new Map();

/** Which id a text was published under: a second one is a comment that came twice. */
const idOf = new Map();

function seen(comment) {
  const before = idOf.get(comment.content);
  if (before === undefined) idOf.set(comment.content, comment.id);
  else if (before !== comment.id) doubled.add(comment.content);
}

class Viewer {
  constructor(index) {
    Object.assign(this, { index, room: room(index), given: new Set(), omitted: 0, since: undefined, joinedAt: undefined });
  }

  async run() {
    while (!ending || this.socket) {
      await this.connection();
      if (ending) return;
      counts.reconnects += 1;
      await sleep(300 + Math.random() * 1_500);
    }
  }

  connection() {
    return new Promise((resolve) => {
      const node = nodes[(this.index + counts.reconnects) % nodes.length];
      const since = this.since === undefined ? "history=0" : `since_id=${this.since}&history=200`;
      const socket = new WebSocket(`ws://127.0.0.1:${node.port}/ws?room_id=${this.room}&${since}&token=${token(`viewer-${this.index}`)}`, "barrage.v1.json");
      const own = new Set();
      this.socket = socket;
      const beat = setInterval(() => socket.readyState === 1 && socket.send('{"type":"heartbeat"}'), 20_000);
      // Half a minute to three minutes: then it goes, and comes back with its last id.
      const leave = setTimeout(() => socket.close(1000), 30_000 + Math.random() * 150_000);
      socket.on("message", (text) => {
        const message = JSON.parse(text);
        if (message.type === "room_joined") {
          this.joinedAt ??= Date.now();
          this.take(message.history, message.omitted, own, false);
        } else if (message.type === "comments") this.take(message.comments, message.omitted, own, true);
      });
      socket.on("error", () => {});
      socket.on("close", () => {
        clearInterval(beat);
        clearTimeout(leave);
        this.socket = undefined;
        resolve();
      });
    });
  }

  take(comments, omitted = 0, own, live) {
    this.omitted += omitted;
    counts.omitted += omitted;
    for (const comment of comments) {
      // One connection is never given a comment twice; another one may begin with some that the last one brought.
      if (own.has(comment.id)) doubled.add(comment.content);
      own.add(comment.id);
      if (this.given.has(comment.id)) counts.repeats += 1;
      this.given.add(comment.id);
      this.since = comment.id;
      seen(comment);
      const at = sentAt.get(comment.content);
      if (live && at !== undefined) latencies.push(Date.now() - at);
    }
  }
}

let serial = 0;
async function write(i) {
  const at = room(i);
  serial += 1;
  // Texts that are nothing like each other, so that none is merged away.
  const content = `${serial.toString(36)} ${Math.random().toString(36).slice(2, 12)} ${Math.random().toString(36).slice(2, 12)}`;
  sentAt.set(content, Date.now());
  const answer = await insist("POST", `rooms/${at}/comments`, { content, client_msg_id: `soak-${serial}` }, token(`writer-${i % 50}`));
  if (answer.status === 201 && answer.body.status === "accepted") {
    accepted.set(answer.body.id, { room: at, content, at: sentAt.get(content) });
    counts.accepted += 1;
  } else counts.refused += 1;
}

async function writers() {
  for (let i = 0; Date.now() < until; i += 1) {
    write(i).catch((error) => console.error(`a writer: ${error.message}`));
    await sleep(1_000 / numbers.rate);
  }
}

/** Reads a room by polling, from the beginning, without ever letting go of the cursor. */
async function poller(name, given) {
  let since = "0";
  while (Date.now() < until + SETTLE_MS - 3_000) {
    const answer = await insist("GET", `rooms/${name}/comments?since_id=${since}&limit=100&wait_s=2`, undefined, token("poller"));
    if (answer.status !== 200) {
      await sleep(500);
      continue;
    }
    for (const comment of answer.body.comments) {
      given.add(comment.id);
      seen(comment);
    }
    since = answer.body.latest_id;
  }
}

const deleted = new Set();
async function moderator() {
  while (Date.now() < until) {
    await sleep(5_000);
    const recent = [...accepted.keys()].slice(-50);
    const id = recent[Math.floor(Math.random() * recent.length)];
    if (id === undefined) continue;
    deleted.add(id);
    const answer = await insist("DELETE", `admin/comments/${id}`, undefined, SECRET);
    if (answer.status >= 200 && answer.status < 300) counts.deleted += 1;
    const ban = await insist("POST", "admin/bans", { user_id: "nuisance", kind: "mute", duration_s: 2, reason: "soak" }, SECRET);
    if (ban.body.id) await insist("DELETE", `admin/bans/${ban.body.id}`, undefined, SECRET);
  }
}

const messagesSent = new Set();
const messagesGiven = new Set();
async function chat() {
  for (let n = 0; Date.now() < until; n += 1) {
    const answer = await insist("POST", "messages", { to_user: "carol", content: `message ${n}`, client_msg_id: `message-${n}` }, token(`friend-${n % 5}`));
    const id = answer.body.server_msg_id ?? answer.body.id;
    if (answer.status < 300 && id) {
      messagesSent.add(id);
      counts.messages += 1;
    }
    await sleep(500);
  }
}
async function reader() {
  let since = "0";
  while (Date.now() < until + SETTLE_MS - 3_000) {
    const answer = await insist("GET", `messages?since_id=${since}&limit=100&wait_s=2`, undefined, token("carol"));
    for (const message of answer.body.messages ?? []) messagesGiven.add(message.server_msg_id ?? message.id);
    since = answer.body.latest_id ?? since;
    if (answer.status !== 200) await sleep(500);
  }
}

async function faultier() {
  for (let n = 0; ; n += 1) {
    await sleep(numbers["fault-every-s"] * 1_000);
    // The last minute is for everybody to come back.
    if (Date.now() > until - 30_000) return;
    const kind = faults[n % faults.length];
    const node = nodes[n % nodes.length];
    const at = Date.now();
    if (kind === "freeze") {
      node.child.kill("SIGSTOP");
      await sleep(5_000);
      node.child.kill("SIGCONT");
    } else {
      node.child.kill(kind === "kill" ? "SIGKILL" : "SIGTERM");
      await node.ended;
      await node.start();
    }
    faultsDone.push({ kind, node: node.index, at_s: Math.round((at - began) / 1_000), took_s: (Date.now() - at) / 1_000 });
    console.error(`${minutes()} ${kind} of node ${node.index}: back after ${((Date.now() - at) / 1_000).toFixed(1)} s`);
  }
}

// --- what it looks like -------------------------------------------------------------------------------------------------------

const samples = [];
const minutes = () => `${((Date.now() - began) / 60_000).toFixed(1)} min`;
const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))];

async function sampler() {
  while (!ending) {
    await sleep(SAMPLE_MS);
    const taken = latencies.sort((a, b) => a - b);
    latencies = [];
    const hour = Math.floor((Date.now() - began) / 3_600_000);
    // A bounded reservoir of each hour.
    const kept = hours.get(hour) ?? [];
    for (const latency of taken) {
      if (kept.length < 200_000) kept.push(latency);
      else kept[Math.floor(Math.random() * kept.length)] = latency;
    }
    hours.set(hour, kept);
    for (const node of nodes) {
      const usage = node.usage();
      if (usage) samples.push({ at_s: (Date.now() - began) / 1_000, node: node.index, life: node.lives, ...usage, p99_ms: quantile(taken, 0.99) ?? null });
    }
    if (samples.length % 12 < nodes.length) {
      console.error(`${minutes()} ${counts.accepted} comments, p99 ${quantile(taken, 0.99) ?? "–"} ms, ${counts.reconnects} reconnects, doubled ${doubled.size}`);
    }
  }
}

/** The slope an hour over all lives of all processes, each with a level of its own; the first minute of a life is its warming up. */
function slope(of) {
  const lives = new Map();
  for (const s of samples) {
    const key = `${s.node}/${s.life}`;
    lives.set(key, [...(lives.get(key) ?? []), s]);
  }
  let [above, below] = [0, 0];
  for (const life of lives.values()) {
    const warm = life.filter((s) => s.at_s - life[0].at_s > Math.min(60, (numbers.minutes * 60) / 5));
    const mean = (pick) => warm.reduce((sum, s) => sum + pick(s), 0) / warm.length;
    const [at, level] = [mean((s) => s.at_s), mean((s) => s[of])];
    for (const s of warm) {
      above += (s.at_s - at) * (s[of] - level);
      below += (s.at_s - at) ** 2;
    }
  }
  return below === 0 ? 0 : (above / below) * 3_600;
}

function chart() {
  const [width, height] = [960, 150];
  const end = Math.max(...samples.map((s) => s.at_s), 1);
  const panel = (title, of, unit, top) => {
    const known = samples.filter((s) => s[of] !== null);
    const most = Math.max(...known.map((s) => s[of]), 1e-9);
    const dots = known.map((s) => `<circle cx="${((s.at_s / end) * width).toFixed(1)}" cy="${(height - (s[of] / most) * (height - 20)).toFixed(1)}" r="1.2" class="n${s.node % 3}"/>`);
    const marks = faultsDone.map((f) => `<line x1="${((f.at_s / end) * width).toFixed(1)}" x2="${((f.at_s / end) * width).toFixed(1)}" y1="20" y2="${height}" class="f"><title>${f.kind}</title></line>`);
    return `<g transform="translate(10 ${top})"><text y="14">${title}, at most ${unit(most)}</text>${marks.join("")}${dots.join("")}<line x2="${width}" y1="${height}" y2="${height}"/></g>`;
  };
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 520" font-family="sans-serif" font-size="12"><style>svg{background:#fff}line{stroke:#999}.f{stroke:#d33;stroke-dasharray:3}.n0{fill:#26c}.n1{fill:#2a2}.n2{fill:#a2a}</style>
${panel("resident memory", "resident", (n) => `${(n / 2 ** 20).toFixed(0)} MiB`, 5)}
${panel("descriptors", "files", (n) => n.toFixed(0), 175)}
${panel("publish to socket, p99", "p99_ms", (n) => `${n.toFixed(0)} ms`, 345)}
</svg>`;
}

// --- the run --------------------------------------------------------------------------------------------------------------------

process.on("SIGINT", () => process.exit(130));
process.on("exit", () => {
  for (const node of nodes) node.child?.kill("SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

for (const node of nodes) await node.start();
const viewers = Array.from({ length: numbers.viewers }, (_, i) => new Viewer(i));
const running = viewers.map((viewer) => viewer.run());
while (!viewers.every((viewer) => viewer.joinedAt)) await sleep(100);
const polled = Array.from({ length: numbers.rooms }, () => new Set());
const background = [sampler(), moderator(), chat(), reader(), ...polled.map((given, i) => poller(room(i), given))];
const fault = faultier();
const loadBegan = Date.now();
await writers();
await sleep(SETTLE_MS);
ending = true;
await Promise.race([Promise.all([...background, fault]), sleep(SETTLE_MS * 2)]);

// A deleted comment may be gone before a reader comes back for it.
let lost = 0;
const missing = [];
for (const viewer of viewers) {
  let missed = 0;
  for (const [id, comment] of accepted) {
    if (comment.room === viewer.room && comment.at >= loadBegan && !viewer.given.has(id) && !deleted.has(id)) missed += 1;
  }
  // What a viewer was told as left out is not lost.
  const untold = Math.max(0, missed - viewer.omitted);
  if (untold > 0) missing.push(`viewer ${viewer.index}: ${untold}`);
  lost += untold;
}
for (const [id, comment] of accepted) {
  if (!deleted.has(id) && !polled[Number(comment.room.slice(5))].has(id)) {
    lost += 1;
    missing.push(`polling ${comment.room}: ${id}`);
  }
}
const lostMessages = [...messagesSent].filter((id) => !messagesGiven.has(id)).length;
for (const viewer of viewers) viewer.socket?.terminate();
await Promise.race([Promise.all(running), sleep(5_000)]);

const report = {
  minutes: (Date.now() - began) / 60_000,
  ...numbers,
  counts,
  lost,
  lost_messages: lostMessages,
  doubled: doubled.size,
  memory_mib_per_hour: slope("resident") / 2 ** 20,
  files_per_hour: slope("files"),
  p99_ms_by_hour: Object.fromEntries([...hours].map(([hour, all]) => [hour, quantile(all.sort((a, b) => a - b), 0.99) ?? null])),
  faults: faultsDone,
  missing: missing.slice(0, 50),
};
writeFileSync(join(out, "report.json"), JSON.stringify(report, null, 1));
writeFileSync(join(out, "samples.csv"), ["at_s,node,life,resident,files,p99_ms", ...samples.map((s) => [s.at_s, s.node, s.life, s.resident, s.files, s.p99_ms ?? ""].join(","))].join("\n"));
writeFileSync(join(out, "soak.svg"), chart());
const hoursShown = Object.entries(report.p99_ms_by_hour).map(([hour, p99]) => `hour ${Number(hour) + 1}: ${p99 ?? "–"} ms`).join(", ");
console.log(`${counts.accepted} comments to ${numbers.viewers} viewers, ${counts.messages} messages, ${counts.deleted} deleted, ${counts.reconnects} reconnects, ${faultsDone.length} faults, ${report.minutes.toFixed(1)} minutes`);
console.log(`lost ${lost + lostMessages}, doubled ${doubled.size}, memory slope ${report.memory_mib_per_hour.toFixed(2)} MiB/h, file descriptors slope ${report.files_per_hour.toFixed(1)}/h`);
console.log(`p99 publish to socket by hour: ${hoursShown}`);
console.log(`chart and samples: ${out}`);
process.exit(lost + lostMessages + doubled.size > 0 ? 1 : 0);
