#!/usr/bin/env node
// What the archive makes of a long session: bytes a comment in each form, how long archiving takes, and how long a cold minute does.
//
//     scripts/services up s3                       and mysql redis, for MariaDB's rows
//     set -a; . target/services/env; set +a
//     BARRAGE_BIN=target/release/barrage node bench/archive/run.mjs [--comments 1000000] [--hours 6] [--cold 5]
//
// Every comment has a user, a name and a text of its own. The server runs on one core (taskset). Cold means: the server was just
// started and has no object in memory; each segment is asked for once a start, `--cold` times. Prints one JSON object.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { Buffer } from "node:buffer";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";
import { Barrage, LIMITS, random, sleep, token } from "../server.mjs";

const { values } = parseArgs({
  options: {
    comments: { type: "string", default: "1000000" },
    hours: { type: "string", default: "6" },
    cold: { type: "string", default: "5" },
  },
});
const { BARRAGE_TEST_S3: S3, BARRAGE_TEST_MYSQL: MYSQL, BARRAGE_TEST_REDIS: REDIS } = process.env;
const COMMENTS = Number(values.comments);
const SESSION_MS = Number(values.hours) * 3_600_000;
const READER = token("reader");

if (S3 === undefined) throw new Error("BARRAGE_TEST_S3 is not set: scripts/services up s3");

function sql(database, query) {
  const ran = spawnSync("sqlite3", [database, query], { encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`sqlite3: ${ran.stderr || ran.error}`);
  return ran.stdout.trim();
}

const each = (bytes) => Number((bytes / COMMENTS).toFixed(1));

/** The table of comments with its indexes, in MariaDB. */
async function mariadb() {
  if (MYSQL === undefined || REDIS === undefined) return null;
  const dir = mkdtempSync(join(tmpdir(), "barrage-archive-"));
  const [, user, host, port] = /^mysql:\/\/(\w+)@([\d.]+):(\d+)\//.exec(MYSQL);
  const client = (query) => spawnSync("mariadb", ["--no-defaults", "--protocol=tcp", "-h", host, "-P", port, "-u", user, "-N", "-e", query], { encoding: "utf8" }).stdout.trim();
  client("DROP DATABASE IF EXISTS barrage_archive_bench; CREATE DATABASE barrage_archive_bench");
  const namespace = `bench${process.pid}`;
  const server = new Barrage(dir, `${LIMITS}[server]\nnamespace = "${namespace}"\n[archive]\nurl = ""\n[store]\nurl = "${MYSQL.replace(/\/\w+$/, "/barrage_archive_bench")}"\n[redis]\nurl = "${REDIS}"\n`);
  try {
    await server.start();
    await server.import(COMMENTS, SESSION_MS);
    await server.stop();
    const tables = client("ANALYZE TABLE barrage_archive_bench.comments; SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = 'barrage_archive_bench' AND table_name = 'comments'");
    return Number(tables.split(/\s+/).at(-1));
  } finally {
    server.child?.kill("SIGKILL");
    client("DROP DATABASE IF EXISTS barrage_archive_bench");
    rmSync(dir, { recursive: true, force: true });
  }
}

async function main() {
  const dir = mkdtempSync(join(tmpdir(), "barrage-archive-"));
  const server = new Barrage(dir, LIMITS);
  const url = `s3://barrage/bench-${process.pid}`;
  const archive = `[archive]\nurl = "${url}"\n`;
  try {
    await server.start(`[archive]\nurl = ""\n`);
    const { session, texts } = await server.import(COMMENTS, SESSION_MS);
    let json = 0;
    let cursor = "";
    for (;;) {
      const page = await server.call("GET", `rooms/film/replay?session_id=${session}&limit=1000${cursor}`);
      const { comments, next_cursor } = JSON.parse(page);
      for (const comment of comments) json += Buffer.byteLength(JSON.stringify(comment)) + 1;
      if (next_cursor === undefined || next_cursor === null) break;
      cursor = `&cursor=${encodeURIComponent(next_cursor)}`;
    }
    await server.stop();
    const database = join(dir, "data/barrage.sqlite");
    sql(database, "VACUUM");
    const sqlite = statSync(database).size;

    const begun = performance.now();
    await server.start(`${archive}after_days = 0\n`);
    for (;;) {
      const { sessions } = JSON.parse(await server.call("GET", "rooms/film/sessions"));
      if (sessions[0].archived === true) break;
      await sleep(200);
    }
    // Marked when all objects are named; the rows go within the same round.
    while (Number(sql(`file:${database}?mode=ro`, "SELECT count(*) FROM comments")) > 0) await sleep(500);
    const [archivingS, archivingCpuS] = [(performance.now() - begun) / 1_000, server.cpuMs() / 1_000];
    const { sessions: listed } = JSON.parse(await server.call("GET", "admin/archive"));
    const { segments, bytes } = listed.find((one) => one.session_id === session);

    const cold = [];
    const hot = [];
    for (let n = 0; n < Number(values.cold); n++) {
      await server.stop();
      await server.start(`${archive}after_days = 7\n`);
      // The connection and the manifest are not what is measured.
      await server.call("GET", `rooms/film/sessions/${session}/segments`, undefined, READER);
      const minutes = Array.from({ length: segments }, (_, at) => at * 6 + Math.floor(random() * 6)).sort(() => random() - 0.5);
      for (const minute of minutes) {
        const ask = async (times) => {
          const asked = performance.now();
          await server.call("GET", `rooms/film/replay?session_id=${session}&from_ms=${minute * 60_000}&to_ms=${(minute + 1) * 60_000}&limit=1000`, undefined, READER);
          times.push(performance.now() - asked);
        };
        await ask(cold);
        await ask(hot);
      }
    }
    const misses = /barrage_archive_cache_total\{outcome="miss"\} (\d+)/.exec(await (await fetch(`http://127.0.0.1:${server.port}/metrics`)).text());
    const at = (times, share) => Number(times.sort((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(1));
    await server.stop();
    console.log(JSON.stringify({
      comments: COMMENTS, hours: Number(values.hours), segments, texts: each(texts), json: each(json), sqlite: each(sqlite), objects: each(bytes),
      sqlite_to_objects: Number((sqlite / bytes).toFixed(1)), archiving_s: Number(archivingS.toFixed(1)), archiving_cpu_s: archivingCpuS,
      cold_p50_ms: at(cold, 0.5), cold_p99_ms: at(cold, 0.99), cold_max_ms: at(cold, 1), warm_p50_ms: at(hot, 0.5), warm_p99_ms: at(hot, 0.99),
      loads_of_the_last_start: Number(misses?.[1] ?? Number.NaN),
    }));
    const rows = await mariadb();
    if (rows !== null) console.log(JSON.stringify({ mariadb: each(rows), mariadb_to_objects: Number((rows / bytes).toFixed(1)) }));
  } finally {
    server.child?.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  }
}

await main();
