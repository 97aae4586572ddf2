// `make bench`: the same work for the floor, Barrage and its rivals, one after the other, each server on CPU 0 and the
// generator on CPU 1. Prints the table; keeps reports in bench/results. Quick with BENCH_QUICK=1; some targets only with
// BENCH_ONLY=bun,barrage; BENCH_PUBLISH=1 also writes bench/RESULTS.md and its chart.
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

import { targets } from "./targets.mjs";
import { chart, page } from "./table.mjs";

const here = import.meta.dirname;
const root = join(here, "..");
const barrage = process.env.BARRAGE_BIN ?? join(root, "target/release/barrage");
const quick = process.env.BENCH_QUICK === "1";
const only = process.env.BENCH_ONLY?.split(",");
const time = quick ? ["--seconds", "2", "--warm-up", "1"] : ["--seconds", "6", "--warm-up", "2"];
/** No run may take longer; a server that has fallen behind is given up by then. */
const RUN_MS_MAX = 90_000;

/** The work, in the order of the table. */
const loads = [
  { key: "full", name: "1,000 sockets, as fast as it goes, 256 comments on their way", args: ["--preset", "full"] },
  {
    key: "full8",
    name: "1,000 sockets, as fast as it goes, 8 comments on their way",
    args: ["--preset", "full", "--in-flight", "8"],
    quick: false,
  },
  { key: "paced", name: "10,000 sockets × 10 comments/s", args: ["--preset", "paced"] },
  { key: "million", name: "10,000 sockets × 100 comments/s", args: ["--preset", "million"] },
];

/** Runs one target on one load; the run of its report, or why there is none. */
async function measure(key, target, load, into, progress) {
  const out = join(into, `${load.key}-${key}`);
  const args = ["bench", "room", ...load.args, ...time, ...target.args, "--out", out];
  const ended = await run(args, progress);
  if (ended !== 0) return { failed: ended };
  const report = JSON.parse(readFileSync(join(out, "report.json"), "utf8"));
  return { ...report.runs[0], host: report.host, command: ["barrage", ...args.slice(0, -2)].join(" ") };
}

/** Its exit code, or what ended it. Its progress becomes the end of one line. */
function run(args, progress) {
  const child = spawn(barrage, args, { cwd: root, stdio: ["ignore", "ignore", "pipe"], detached: true });
  const alarm = setTimeout(() => process.kill(-child.pid, "SIGKILL"), RUN_MS_MAX);
  let last = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    last = text.trim().split("\n").at(-1) || last;
    progress(last);
  });
  return new Promise((resolve) => {
    child.on("error", (error) => resolve(String(error)));
    child.on("close", (code, signal) => {
      clearTimeout(alarm);
      resolve(code === 0 ? 0 : signal === "SIGKILL" ? `stopped after ${RUN_MS_MAX / 1000} s` : last);
    });
  });
}

/** Those that are here, with their versions. */
function present() {
  const found = {};
  for (const [key, target] of Object.entries(targets)) {
    if (only !== undefined && !only.includes(key)) continue;
    try {
      found[key] = { ...target, version: target.told(barrage) };
    } catch (error) {
      console.error(`${key} is left out: ${String(error.message).split("\n")[0]}`);
    }
  }
  return found;
}

const found = present();
const chosen = loads.filter((load) => !quick || load.quick !== false);
const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
const into = join(here, "results", stamp);
mkdirSync(into, { recursive: true });
const began = performance.now();
const runs = {};
let done = 0;
for (const load of chosen) {
  for (const [key, target] of Object.entries(found)) {
    done += 1;
    const count = `[${done}/${chosen.length * Object.keys(found).length}]`;
    const show = (line) => {
      const minutes = Math.floor((performance.now() - began) / 60_000);
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${count} ${minutes} min  ${load.key} ${key}: ${line}`.slice(0, 150));
    };
    show("starts");
    const measured = await measure(key, target, load, into, show);
    runs[load.key] = { ...runs[load.key], [key]: measured };
    const cost = measured.round?.server?.us_per_delivery;
    const told = measured.failed ?? `${cost?.toFixed(3)} µs of CPU a delivery, ${Math.round(measured.round.deliveries_per_s)} deliveries/s`;
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
    console.error(`${count} ${load.key} ${key}: ${told}`);
  }
}
const result = { at: stamp, quick, loads: chosen, targets: found, runs, minutes: (performance.now() - began) / 60_000 };
writeFileSync(join(into, "results.json"), JSON.stringify(result, null, 1));
writeFileSync(join(into, "RESULTS.md"), page(result));
writeFileSync(join(into, "RESULTS.svg"), chart(result));
console.log(page(result));
if (process.env.BENCH_PUBLISH === "1") {
  for (const name of ["RESULTS.md", "RESULTS.svg"]) copyFileSync(join(into, name), join(here, name));
}
console.error(`kept in ${relative(root, into)}`);
