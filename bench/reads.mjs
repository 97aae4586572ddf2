#!/usr/bin/env node
// What each documented request costs the server in CPU time, over a store with a million comments.
//
//     BARRAGE_BIN=target/release/barrage node bench/reads.mjs [--comments 1000000] [--times 200] [--most-ms 2]
//
// Takes the operations from the server's own reference and asks each of them, reads with each of their query parameters and with
// all of them. Prints a line for each request that costs more than `--most-ms`, then the ten dearest, and exits 1 if there is one.
// Leaves out what streams, what is a job by its nature (import, erasure, nuke, verifying and restoring archives) and what ends the
// server. CPU time is counted in ticks of 10 ms, so `--times` bounds the error: 10 ms / 200 is 0.05 ms.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Barrage, LIMITS, token } from "./server.mjs";

const { values } = parseArgs({
  options: { comments: { type: "string", default: "1000000" }, times: { type: "string", default: "200" }, "most-ms": { type: "string", default: "2" } },
});
const TIMES = Number(values.times);
const SESSION_MS = 6 * 3_600_000;
const JOBS = /\/(import|nuke|drain|verify|restore|events)$|^DELETE .*\/data$|\/content$/;
const UNLIMITED = "likes_per_s = 100000\nreads_per_user_per_s = 100000\ncool_down_refusals = 0\n[chat]\nmessages_per_s = 10000\n";

/** What to ask of an operation: its path with the query, and a body. */
function* requests(method, path, operation, known) {
  const fill = (name) => known[name] ?? "1";
  const at = path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(fill(name)));
  const body = operation.requestBody === undefined ? undefined : (known.bodies[`${method} ${path}`] ?? {});
  const queries = (operation.parameters ?? []).filter((one) => one.in === "query" && one.name !== "wait_s" && known[one.name] !== undefined);
  const needed = queries.filter((one) => one.required);
  const query = (some) => some.map(({ name }) => `${name}=${encodeURIComponent(known[name])}`).join("&");
  yield { url: `${at}?${query(needed)}`, body };
  if (method !== "GET") return;
  for (const one of queries.filter((one) => !one.required)) yield { url: `${at}?${query([...needed, one])}`, body };
  if (queries.length > 1) yield { url: `${at}?${query(queries)}`, body };
}

async function main() {
  const dir = mkdtempSync(join(tmpdir(), "barrage-reads-"));
  const server = new Barrage(dir, `${LIMITS}${UNLIMITED}[archive]\nurl = ""\n`);
  try {
    await server.start();
    const { session, people } = await server.import(Number(values.comments), SESSION_MS);
    const origin = `http://127.0.0.1:${server.port}`;
    const reference = await (await fetch(`${origin}/api/openapi.json`)).json();
    const page = JSON.parse(await server.call("GET", `rooms/film/replay?session_id=${session}&from_ms=${SESSION_MS / 2}&limit=100`));
    const middle = page.comments[50];
    const speaker = token(people[3]);
    await server.call("POST", "rooms/film/comments", { content: "live" }, speaker);
    const known = {
      room_id: "film", session_id: session, id: middle.id, user_id: people[5], by_user: people[5], cursor: page.next_cursor, limit: "1000", from_ms: String(SESSION_MS / 2),
      to_ms: String(SESSION_MS / 2 + 60_000), since_id: middle.id, only_user_ids: people[7], history: "100", history_s: "60", n: "30", revision: "x", seq: String(Math.floor(Date.now() / 1_000) - 5),
      list: "block", word: "darn", status: "pending", q: "good", since: "2026-01-01T00:00:00Z", until: "2036-01-01T00:00:00Z", actor: "admin", action: "gift", state: "open", device_id: "phone", emoji: "👍",
      bodies: {
        "POST /api/v1/rooms/{room_id}/comments": { content: "one more", session_id: session, offset_ms: 1_000 },
        "POST /api/v1/messages": { client_msg_id: "m", to_user: people[6], content: "hi" },
        "POST /api/v1/groups": { name: "g", members: [people[6]] },
        "POST /api/v1/admin/bans": { user_id: people[8], room_id: "film", duration_s: 60, kind: "mute" },
        "POST /api/v1/admin/rooms/{room_id}/gifts": { gift: "rose", user_id: people[9], username: "n", count: 1, value: 1 },
        "POST /api/v1/admin/rooms/{room_id}/announcements": { content: "hello", critical: false },
        "PUT /api/v1/admin/rooms/{room_id}": { name: "Film" },
        "PUT /api/v1/admin/words": { block: ["darn"] },
        "PUT /api/v1/admin/rooms/{room_id}/pin": { comment_id: middle.id },
      },
    };
    const rows = [];
    for (const [path, operations] of Object.entries(reference.paths)) {
      for (const [lower, operation] of Object.entries(operations)) {
        const method = lower.toUpperCase();
        if (!["GET", "POST", "PUT", "PATCH", "DELETE"].includes(method) || JOBS.test(`${method} ${path}`)) continue;
        for (const { url, body } of requests(method, path, operation, known)) {
          const bearer = /\/admin\//.test(path) ? "the-admin-key-of-this-bench" : speaker;
          const ask = async () => {
            const answer = await fetch(origin + url, { method, headers: { authorization: `Bearer ${bearer}`, ...(body === undefined ? {} : { "content-type": "application/json" }) }, body: body && JSON.stringify(body) });
            await answer.arrayBuffer();
            return answer.status;
          };
          const status = await ask();
          const cpu = server.cpuMs();
          let last = status;
          for (let n = 0; n < TIMES; n++) last = await ask();
          rows.push({ ms: (server.cpuMs() - cpu) / TIMES, request: `${method} ${url}`, status, last });
        }
      }
    }
    rows.sort((a, b) => b.ms - a.ms);
    const most = Number(values["most-ms"]);
    const dear = rows.filter(({ ms }) => ms > most);
    for (const { ms, request, status, last } of rows.slice(0, Math.max(10, dear.length))) console.log(`${ms.toFixed(2)} ms  ${status}/${last}  ${request}`);
    const answered = rows.filter(({ status }) => status < 300).length;
    console.log(JSON.stringify({ comments: Number(values.comments), requests: rows.length, answered, above: dear.length, most_ms: most }));
    process.exitCode = dear.length > 0 ? 1 : 0;
  } finally {
    server.child?.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

await main();
