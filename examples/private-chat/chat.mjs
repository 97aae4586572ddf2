// Private chat in a terminal: node chat.mjs ME THEM. Lines typed are sent; what comes is printed.
// BARRAGE: where Barrage is; TOKEN: ME's token (a server with --dev believes the name).
import { createInterface } from "node:readline";
import { Api, Chat, ChatApi, Client } from "@barrage/client";

const [, , me = "alice", them = "bob"] = process.argv;
const who = process.env.TOKEN ? { token: process.env.TOKEN } : { identity: { user_id: me, username: me } };
const url = process.env.BARRAGE ?? "http://127.0.0.1:8080";
const client = new Client({ url, ...who });
const chat = new Chat(client, new ChatApi(new Api({ url, ...who })));
const conversation = chat.direct(them);

chat.on("message", ({ message }) => {
  if (message.from_user !== them) return;
  console.log(`${them}: ${message.content}`);
  conversation.markRead(message.id);
});
chat.on("live", async () => {
  await conversation.loadOlder(20);
  for (const { from_user, content } of conversation.messages) console.log(`${from_user}: ${content}`);
  console.log(`(over ${client.transport}; type to write to ${them})`);
});
// What is typed without a connection waits, and is sent once.
createInterface({ input: process.stdin }).on("line", (line) => line.trim() && conversation.send(line));
client.connect();
