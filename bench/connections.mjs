#!/usr/bin/env node
// What HTTP connections cost the server that carry nothing: readers that never read, kept-alive ones, new ones.
//
//     BARRAGE_BIN=target/release/barrage node bench/connections.mjs [--readers 200] [--idle 2000] [--new 10000]
//
// Prints one JSON object: the memory that each event stream holds whose client takes nothing, at the most and at the end, and how
// many of them were still open; the memory of an idle kept-alive connection; the CPU time of a new connection with one request,
// less that of the same request on a kept-alive one. Memory is the growth of the server's VmRSS.
import { mkdtempSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Barrage, LIMITS, sleep, token } from "./server.mjs";

const { values } = parseArgs({
  options: { readers: { type: "string", default: "200" }, idle: { type: "string", default: "2000" }, new: { type: "string", default: "10000" } },
});
const [READERS, IDLE, NEW] = [values.readers, values.idle, values.new].map(Number);
const each = (kb, count) => Number((kb / count).toFixed(1));

/** A connection whose request is sent; `read` says whether the answer is waited for. */
function opened(port, head, read) {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(head);
      if (!read) resolve(socket.pause());
    });
    socket.on("error", read ? reject : () => undefined);
    if (read) socket.once("data", () => resolve(socket));
  });
}

const get = (port, path, bearer) => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n${bearer === undefined ? "" : `Authorization: Bearer ${bearer}\r\n`}\r\n`;

async function main() {
  const dir = mkdtempSync(join(tmpdir(), "barrage-connections-"));
  const server = new Barrage(dir, LIMITS);
  try {
    await server.start();
    const port = server.port;
    // Warm: the first requests allocate what stays.
    for (let n = 0; n < 200; n++) await server.call("GET", "rooms/show", undefined, token("warm"));

    const idle = [];
    let before = server.kb("VmRSS");
    for (let n = 0; n < IDLE; n++) idle.push(await opened(port, get(port, "/healthz"), true));
    const idleKib = each(server.kb("VmRSS") - before, IDLE);
    idle.forEach((socket) => socket.destroy());
    await sleep(2_000);

    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const kept = () => new Promise((resolve, reject) => {
      request({ port, path: "/healthz", agent }, (answer) => answer.resume().on("end", resolve)).on("error", reject).end();
    });
    let cpu = server.cpuMs();
    for (let n = 0; n < NEW; n++) await kept();
    const keptUs = ((server.cpuMs() - cpu) * 1_000) / NEW;
    cpu = server.cpuMs();
    for (let n = 0; n < NEW; n++) (await opened(port, get(port, "/healthz"), true)).destroy();
    const newUs = ((server.cpuMs() - cpu) * 1_000) / NEW;
    agent.destroy();
    await sleep(1_000);

    before = server.kb("VmRSS");
    const readers = [];
    for (let n = 0; n < READERS; n++) readers.push(await opened(port, get(port, "/api/v1/rooms/show/events", token(`reader-${n}`)), false));
    await sleep(1_000);
    const speaker = token("speaker");
    let most = 0;
    const begun = Date.now();
    let said = 0;
    while (Date.now() - begun < 60_000) {
      await Promise.all(Array.from({ length: 10 }, () => server.call("POST", "rooms/show/comments", { content: `${said++} ${"x".repeat(150)}` }, speaker)));
      most = Math.max(most, server.kb("VmRSS") - before);
      await sleep(20);
    }
    const left = server.kb("VmRSS") - before;
    // A reader that was dropped finds its connection ended once it reads on.
    const ended = await Promise.all(readers.map((socket) => new Promise((resolve) => {
      socket.once("close", () => resolve(1)).resume();
      setTimeout(() => resolve(0), 5_000);
    })));
    console.log(JSON.stringify({
      idle_kib: idleKib, new_us: Number((newUs - keptUs).toFixed(1)), kept_request_us: Number(keptUs.toFixed(1)),
      unread_readers: READERS, comments: said, unread_most_kib: each(most, READERS), unread_end_kib: each(left, READERS),
      dropped: ended.reduce((sum, one) => sum + one, 0),
    }));
  } finally {
    server.child?.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

await main();
process.exit(0);
