// Prints a digest of the sources that web/src/chat/e2ee/pkg is built from.
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = new URL("../../sdk/e2ee/", import.meta.url);

/** SHA-256 in hex over the names and contents of everything that is compiled. */
export function digest() {
  const sources = readdirSync(new URL("src/", root)).map((name) => `src/${name}`);
  const names = [...sources, "Cargo.toml", "Cargo.lock", "bind/Cargo.toml", "bind/Cargo.lock", "bind/src/main.rs"].sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(`${name}\n`).update(readFileSync(new URL(name, root)));
  return hash.digest("hex");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(digest());
