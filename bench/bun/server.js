/* global Bun, Response */
// A topic for each room, as Bun's documentation shows it. What a socket at /publish/ROOM says goes to all at /ROOM.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  fetch(request, server) {
    const [, room, published] = new URL(request.url).pathname.split("/");
    const data = published === undefined ? { room, reads: true } : { room: published, reads: false };
    return server.upgrade(request, { data }) ? undefined : new Response(null, { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      if (socket.data.reads) socket.subscribe(socket.data.room);
    },
    message(socket, text) {
      server.publish(socket.data.room, text);
    },
  },
});
