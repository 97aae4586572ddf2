// A loop over a room's sockets, as the documentation of ws shows it. What a socket at /publish/ROOM says goes to all at /ROOM.
import { WebSocketServer } from "ws";

const rooms = new Map();
const members = (room) => rooms.get(room) ?? rooms.set(room, new Set()).get(room);

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.env.PORT),
  backlog: 4096,
  perMessageDeflate: false,
});
server.on("connection", (socket, request) => {
  const [, room, published] = request.url.split("/");
  socket.on("error", () => socket.terminate());
  if (published !== undefined) {
    socket.on("message", (text) => {
      for (const member of members(published)) member.send(text, { binary: false });
    });
    return;
  }
  members(room).add(socket);
  socket.on("close", () => members(room).delete(socket));
});
