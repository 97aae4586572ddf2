// Runs the browser's tests, a file at a time: `node scripts/e2e.mjs [FILE…]`. A file that fails runs once more at the end;
// what passes then is named as unsteady. Such a test depends on the machine's speed and is a fault to mend.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** More failed files than this are no accident. */
const UNSTEADY_MAX = 3;

const folder = join(dirname(fileURLToPath(import.meta.url)), "../e2e");
const named = process.argv.slice(2);
const files = named.length > 0 ? named : readdirSync(folder).filter((name) => name.endsWith(".test.mjs")).map((name) => join(folder, name));

const passes = (file) => spawnSync(process.execPath, ["--test", file], { stdio: "inherit" }).status === 0;

const failed = files.filter((file) => !passes(file));
if (failed.length > UNSTEADY_MAX) {
  console.error(`${failed.length} files failed: ${failed.join(" ")}`);
  process.exit(1);
}
for (const file of failed) {
  console.log(`once more, alone: ${file}`);
  if (passes(file)) console.log(`UNSTEADY: ${file}`);
  else process.exitCode = 1;
}
