// Readers and speakers in one room, and how late comments arrive: node load.mjs READERS SPEAKERS SECONDS
// BARRAGE: where a server with --dev is. For real loads `barrage bench` is the tool: it holds tens of thousands of sockets.
import { Client } from "@barrage/client";

const [, , readers = "20", speakers = "5", seconds = "5"] = process.argv;
const url = process.env.BARRAGE ?? "http://127.0.0.1:8080";
const roomId = `load-${process.pid}`;
const person = (user_id) => {
  const client = new Client({ url, identity: { user_id, username: user_id, level: "vip" } });
  client.connect();
  return client;
};

const late = [];
const reading = await Promise.all(
  Array.from({ length: Number(readers) }, async (_, i) => {
    const client = person(`reader-${process.pid}-${i}`);
    client.room(roomId).on("comments", ({ comments }) => {
      for (const { content } of comments) late.push(performance.now() - Number(content.split(" ")[1]));
    });
    await client.room(roomId).join({ history: 0, max_per_s: 200 });
    return client;
  }),
);
const speaking = Array.from({ length: Number(speakers) }, (_, i) => person(`speaker-${process.pid}-${i}`));
let said = 0;
let refused = 0;
const say = (client) => client.room(roomId).comment({ content: `${said++} ${performance.now()}` }).catch(() => refused++);
const timers = speaking.map((client) => setInterval(() => say(client), 250));
await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000));
timers.forEach(clearInterval);
await new Promise((resolve) => setTimeout(resolve, 1000));

late.sort((a, b) => a - b);
const at = (share) => Math.round(late[Math.min(late.length - 1, Math.floor(late.length * share))] ?? NaN);
console.log(JSON.stringify({ transport: reading[0]?.transport, said: said - refused, refused, delivered: late.length, expected: (said - refused) * Number(readers), p50_ms: at(0.5), p99_ms: at(0.99) }));
process.exit(0);
