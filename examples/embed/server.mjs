// A site of one's own with a room of Barrage over its video: node server.mjs, then open http://localhost:3000
// BARRAGE: where Barrage is; BARRAGE__AUTH__HMAC_SECRET: the secret that both know; PORT: default 3000.
import { createServer } from "node:http";
import { signToken } from "../sign-token/token.mjs";

const barrage = process.env.BARRAGE ?? "http://127.0.0.1:8080";
const secret = process.env.BARRAGE__AUTH__HMAC_SECRET ?? "";

const page = `<!doctype html>
<meta charset="utf-8">
<title>My show</title>
<video id="my-video" src="https://media.example/show.mp4" controls muted width="960" height="540"></video>
<barrage-room room="show" for="#my-video"></barrage-room>
<script>
  // Who is signed in here speaks there, under the same name. Called when the room needs a token, and before one ends.
  addEventListener("barrage-token", (event) => event.respondWith(fetch("/token").then((answer) => answer.text())));
  customElements.whenDefined("barrage-room").then(async () => {
    document.querySelector("barrage-room").token = await (await fetch("/token")).text();
  });
</script>
<script type="module" src="${barrage}/embed.js"></script>
`;

const server = createServer((request, response) => {
  if (request.url === "/token") {
    // A real site takes this from its session, and answers 401 to whoever has none.
    response.end(signToken(secret, { sub: "alice", name: "Alice", level: "vip", rooms: ["show"] }));
  } else {
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(page);
  }
});
server.listen(Number(process.env.PORT ?? 3000), () => console.log(`http://localhost:${server.address().port}`));
