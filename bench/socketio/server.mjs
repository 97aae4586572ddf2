// Rooms as the documentation shows them: the query names the room, "publish" emits "comment" to it.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false });
io.on("connection", (socket) => {
  const { room } = socket.handshake.query;
  if (typeof room === "string") socket.join(room);
  socket.on("publish", (name, text) => io.to(name).emit("comment", text));
});
http.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 });
