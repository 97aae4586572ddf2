// A bot that reads a room and deletes what matches: node bot.mjs ROOM '/regular expression/i'
// BARRAGE: where Barrage is; TOKEN: one that may moderate the room (level moderator with the room in `rooms`, or admin).
import { Api, Client } from "@barrage/client";

const [, , roomId = "lobby", pattern = "/buy followers/i"] = process.argv;
const [, source, flags] = /^\/(.*)\/(\w*)$/.exec(pattern) ?? [];
const unwanted = new RegExp(source ?? pattern, flags);
const url = process.env.BARRAGE ?? "http://127.0.0.1:8080";
const token = process.env.TOKEN;
const api = new Api({ url, token });
const client = new Client({ url, token });

const room = client.room(roomId);
room.on("gap", ({ omitted }) => console.log(`${omitted} comments were missed while the bot was away`));
room.on("comments", async ({ comments }) => {
  for (const { id, username, content } of comments) {
    if (!unwanted.test(content)) continue;
    await api.admin.deleteComment(id).then(
      () => console.log(`deleted ${JSON.stringify(content)} of ${username}`),
      (error) => console.error(`could not delete ${id}: ${error.message}`),
    );
  }
});
client.on("state", ({ name, reason }) => name === "closed" && (console.error(reason), process.exit(1)));
client.connect();
await room.join({ max_per_s: 200 });
console.log(`watching ${roomId} over ${client.transport}`);
