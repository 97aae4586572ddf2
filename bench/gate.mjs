// The gate of a release: the figures of gate.json, measured again with this binary, as ratios to the floor and to rivals in the
// same run. Exits 1 when one falls short, so that `scripts/release` packs nothing. A figure that misses is measured again, at
// most twice: other work on the machine makes one worse, never better.
//
//   node bench/gate.mjs [--binary FILE] [--only NAME,…] [--rounds N]
//
// Rivals that are not installed (`bench/setup`) are named and left out; the floor is built in.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { targets } from "./targets.mjs";

const here = import.meta.dirname;
const { values } = parseArgs({
  options: { binary: { type: "string" }, only: { type: "string" }, rounds: { type: "string", default: "3" } },
});
const barrage = values.binary ?? process.env.BARRAGE_BIN ?? join(here, "../target/release/barrage");
const only = values.only?.split(",");
const rounds = Number(values.rounds);
/** No run may take longer. */
const RUN_MS_MAX = 120_000;

let version;
try {
  version = execFileSync(barrage, ["--version"], { encoding: "utf8", stdio: "pipe" }).trim();
} catch {
  console.error(`${barrage} does not run: name the binary with --binary`);
  process.exit(2);
}
const gate = JSON.parse(readFileSync(join(here, "gate.json"), "utf8"));
const wanted = (figure) => only === undefined || only.some((part) => figure.name.includes(part));
const figures = gate.figures.filter(wanted);
const absolute = gate.absolute.filter(wanted);

function present(key) {
  try {
    return Boolean(targets[key].told(barrage));
  } catch {
    return false;
  }
}

/** One run of one target on one load. */
function measure(key, load) {
  const out = mkdtempSync(join(tmpdir(), "barrage-gate-"));
  try {
    const args = ["bench", "room", ...gate.loads[load], ...targets[key].args, "--out", out];
    const ran = spawnSync(barrage, args, { cwd: join(here, ".."), stdio: "ignore", timeout: RUN_MS_MAX, killSignal: "SIGKILL" });
    if (ran.status !== 0) return undefined;
    return JSON.parse(readFileSync(join(out, "report.json"), "utf8")).runs[0];
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

const figure = (run, of) => run?.round?.server?.[of] ?? run?.round?.[of] ?? run?.opened?.[of];

/** What this round says of each figure of a load. */
function round(load, best) {
  const ratios = figures.filter((one) => one.load === load && !best.get(one)?.holds);
  const facts = absolute.filter((one) => one.load === load && !best.get(one)?.holds);
  if (ratios.length + facts.length === 0) return;
  const keys = new Set(ratios.map((one) => one.over).filter(present));
  const own = measure("barrage", load);
  const others = new Map([...keys].map((key) => [key, measure(key, load)]));
  for (const one of ratios) {
    const limit = one.published * (1 + one.tolerance);
    if (!keys.has(one.over)) {
      best.set(one, { holds: true, left: `${one.over} is not installed` });
      continue;
    }
    const ratio = figure(own, one.of) / figure(others.get(one.over), one.of);
    // What could not be measured is no ratio, and does not hold.
    const before = best.get(one)?.value ?? Infinity;
    const value = Number.isFinite(ratio) ? Math.min(ratio, before) : before;
    best.set(one, { value, limit, holds: value <= limit });
  }
  for (const one of facts) {
    const value = figure(own, one.of);
    const holds = value !== undefined && value >= (one.at_least ?? -Infinity) && value <= (one.at_most ?? Infinity);
    best.set(one, { value, limit: one.at_least ?? one.at_most, holds });
  }
}

const best = new Map();
for (let n = 0; n < rounds; n += 1) for (const load of Object.keys(gate.loads)) round(load, best);

console.log(`${version}: measured · at most · published`);
let failed = 0;
for (const one of [...figures, ...absolute]) {
  const { value, limit, holds, left } = best.get(one) ?? {};
  if (!holds) failed += 1;
  const shown = (number) => (number === undefined || number === Infinity ? "–" : number.toFixed(3));
  const told = left ?? `${shown(value)} · ${shown(limit)} · ${shown(one.published)}`;
  console.log(`${left ? "left out" : holds ? "holds   " : "FAILS   "}  ${one.name}: ${told}`);
}
if (failed > 0) console.log(`${failed} figures fall short: no release`);
process.exitCode = failed > 0 ? 1 : 0;
