// A token for a user of one's own site (JWT, HS256), with nothing but Node.
import { createHmac } from "node:crypto";

const part = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** `claims`: sub, and if wanted name, level, rooms. It ends after `ttlSeconds`. */
export function signToken(secret, claims, ttlSeconds = 3600) {
  const exp = Math.floor(Date.now() / 1000) + ttlSeconds;
  const unsigned = `${part({ alg: "HS256", typ: "JWT" })}.${part({ ...claims, exp })}`;
  return `${unsigned}.${createHmac("sha256", secret).update(unsigned).digest("base64url")}`;
}

if (process.argv[1] === new URL(import.meta.url).pathname) {
  console.log(signToken(process.env.BARRAGE__AUTH__HMAC_SECRET, { sub: "alice", name: "Alice", level: "vip", rooms: ["show"] }));
}
