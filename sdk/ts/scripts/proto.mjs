// Writes src/proto/schema.ts from proto/barrage/v1/client.proto: `npm run proto -w sdk/ts`. A test says when it is stale.
import { readFileSync, writeFileSync } from "node:fs";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** The text of schema.ts. One line a message: `number name type`, with `*` for repeated, `?` for optional, `@group` for a oneof. */
export function schemaText() {
  const source = readFileSync(here("../../../proto/barrage/v1/client.proto"), "utf8").replace(/\/\/.*$/gm, "");
  const messages = [...source.matchAll(/^message (\w+) \{(?:\}|([\s\S]*?)^\})/gm)].map(([, name, body = ""]) => [name, fieldsOf(body)]);
  const enums = [...source.matchAll(/^enum (\w+) \{([\s\S]*?)^\}/gm)].map(([, name, body]) => [name, valuesOf(name, body)]);
  const lines = (entries) => entries.map(([name, text]) => `  ${name}: ${JSON.stringify(text)},`).join("\n");
  return `// Made by scripts/proto.mjs from proto/barrage/v1/client.proto. Do not edit.\n\nexport const MESSAGES: Record<string, string> = {\n${lines(messages)}\n};\n\nexport const ENUMS: Record<string, string> = {\n${lines(enums)}\n};\n`;
}

function fieldsOf(body) {
  const fields = [];
  let group = "";
  for (const line of body.split("\n")) {
    const oneof = /oneof (\w+) \{/.exec(line);
    if (oneof) group = `@${oneof[1]}`;
    else if (/^\s*\}/.test(line)) group = "";
    const field = /(?:(repeated|optional) )?(\w+) (\w+) = (\d+);/.exec(line);
    if (field) fields.push(`${field[4]} ${field[3]} ${field[2]}${field[1] === "repeated" ? "*" : field[1] === "optional" ? "?" : ""}${group}`);
  }
  return fields.join(",");
}

/** `LEVEL_VIP = 1` of `Level` is `vip` in JSON. */
function valuesOf(name, body) {
  const prefix = `${name.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase()}_`;
  const values = [];
  for (const [, value, number] of body.matchAll(/(\w+) = (\d+);/g)) values[Number(number)] = value.replace(prefix, "").toLowerCase();
  return values.join(",");
}

if (argv[1] === fileURLToPath(import.meta.url)) writeFileSync(here("../src/proto/schema.ts"), schemaText());
