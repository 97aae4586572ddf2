// A browser's own WebSocket against the real server: compression is negotiated, and what comes compressed is what was said.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";

let server;
let browser;

before(async () => {
  server = await startServer();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("Chromium reads compressed batches and sends compressed messages", async () => {
  const page = await browser.newPage();
  await page.goto(server.url);
  const heard = await page.evaluate(async (url) => {
    const writers = 30;
    const open = (user) =>
      new Promise((resolve, reject) => {
        const socket = new WebSocket(`${url.replace("http", "ws")}/ws?room_id=wire&user_id=${user}&level=admin`, "barrage.v1.json");
        socket.onopen = () => resolve(socket);
        socket.onerror = reject;
      });
    const reader = await open("reader");
    const contents = [];
    const all = new Promise((resolve) => {
      reader.onmessage = ({ data }) => {
        contents.push(...(JSON.parse(data).comments ?? []).map(({ content }) => content));
        if (contents.length === writers) resolve();
      };
    });
    const sockets = await Promise.all(Array.from({ length: writers }, (_, i) => open(`writer-${i}`)));
    const said = sockets.map((socket, i) => {
      const content = `${i} 弹幕 ${"again and again ".repeat(8)}`;
      socket.send(JSON.stringify({ content }));
      return content.trim();
    });
    await all;
    return { extensions: reader.extensions, same: said.every((content) => contents.includes(content)) };
  }, server.url);
  assert.match(heard.extensions, /permessage-deflate/);
  assert.ok(heard.same);
});
