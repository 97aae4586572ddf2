// Receives webhooks and the moderation hook of Barrage: verifies the signature, refuses what is older than five minutes.
//
//     SECRET=whsec_… node receiver.mjs      # listens on 127.0.0.1:9000, or on PORT

import { Buffer } from "node:buffer";
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const secret = process.env.SECRET;
const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : Buffer.from(secret);

/** Whether one of the signatures is ours, and the call is not replayed. */
function isGenuine(headers, body) {
  const at = Number(headers["webhook-timestamp"]);
  if (!(Math.abs(Date.now() / 1000 - at) <= 300)) return false;
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  const ours = Buffer.from(`v1,${createHmac("sha256", key).update(signed).digest("base64")}`);
  const given = (headers["webhook-signature"] ?? "").split(" ").map((signature) => Buffer.from(signature));
  return given.some((signature) => signature.length === ours.length && timingSafeEqual(signature, ours));
}

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (!isGenuine(request.headers, body)) return response.writeHead(401).end();
  const call = JSON.parse(body);
  let answer = {};
  if (call.items) {
    // The moderation hook: links wait for a moderator, and so does what the room said a moment ago.
    const holds = ({ text, context = [] }) => text.includes("http") || context.includes(text);
    answer = { items: call.items.map((item) => ({ id: item.id, verdict: holds(item) ? "hold" : "allow" })) };
  } else {
    // A webhook: the same id may come again.
    console.log(request.headers["webhook-id"], call.type, call.data);
  }
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
}).listen(Number(process.env.PORT ?? 9000), "127.0.0.1");
