// The viewer page over WebTransport in Chromium, by the hash of a certificate made for the run, and without it where UDP leads
// nowhere.
//
//   BARRAGE_BIN=target/debug/barrage node --test web/e2e/webtransport.test.mjs
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";
import { drawn, listed, PATIENCE_MS, say, viewerPages } from "./viewer-page.mjs";

// The certificates are nobody's.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";

let browser;

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
});

/** A network that lets no sockets through until the page says so: a slow machine would let them win the race. */
const withoutSockets = (page) =>
  page.addInitScript(() => {
    const Real = window.WebSocket;
    window.WebSocket = class {
      static OPEN = Real.OPEN;
      readyState = Real.CONNECTING;
      constructor(...how) {
        if (window.letSocketsThrough) return new Real(...how);
      }
      close() {}
    };
  });

/** A page that has joined its room, over whatever carries it. */
async function watch(pages, room, user, prepare) {
  const viewer = await pages.watch(room, user, { ignoreHTTPSErrors: true, joins: false, prepare });
  await viewer.page.locator(".composer-input:enabled").waitFor({ timeout: PATIENCE_MS });
  return viewer;
}

/** Waits until the server counts so many sessions over WebTransport. */
async function sessions(server, expected) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const metrics = await fetch(`${server.url}/metrics`).then((answer) => answer.text());
    const found = Number(/^barrage_webtransport_sessions (\d+)$/m.exec(metrics)?.[1]);
    if (found === expected) return;
    assert.ok(Date.now() < deadline, `${found} sessions, not ${expected}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

describe("the viewer over WebTransport", () => {
  test("what is typed in one page is drawn in the other, and no socket opens", async () => {
    const server = await startServer({ tls: true, env: { BARRAGE__SERVER__QUIC: "true" } });
    const pages = viewerPages(server, browser);
    const [ann, bob] = [await watch(pages, "quic", "ann", withoutSockets), await watch(pages, "quic", "bob", withoutSockets)];
    await sessions(server, 2);
    await say(ann, "over QUIC");
    await Promise.all([drawn(ann, "over QUIC"), drawn(bob, "over QUIC"), listed(bob, "over QUIC")]);
    assert.deepEqual([...ann.problems, ...bob.problems, ...ann.frames, ...bob.frames], []);

    // The next run has another certificate: the session cannot come back, so a socket carries on, and repeats nothing.
    for (const { page } of [ann, bob]) await page.evaluate(() => (window.letSocketsThrough = true));
    await server.kill();
    await server.start();
    await pages.post("quic", "carl", { content: "meanwhile" });
    await Promise.all([listed(ann, "meanwhile"), listed(bob, "meanwhile")]);
    const texts = await bob.page.locator(".chat-row").allInnerTexts();
    assert.equal(texts.filter((text) => text.includes("over QUIC")).length, 1, texts.join(" | "));
    assert.ok(bob.frames.some(({ received }) => received?.type === "room_joined"), "over a socket");
    await ann.close();
    await bob.close();
    await server.stop();
  });

  test("nobody notices where UDP leads nowhere", async () => {
    // The page looks for it at its own host.
    const server = await startServer({ tls: true, env: { BARRAGE__SERVER__QUIC: "true", BARRAGE__SERVER__QUIC_LISTEN: `127.0.0.2:${20_000 + Math.floor(Math.random() * 10_000)}` } });
    const pages = viewerPages(server, browser);
    const [ann, bob] = [await watch(pages, "tcp", "ann"), await watch(pages, "tcp", "bob")];
    await say(ann, "over TCP");
    await Promise.all([drawn(bob, "over TCP"), listed(ann, "over TCP")]);
    await sessions(server, 0);
    assert.deepEqual([...ann.problems, ...bob.problems], []);
    await ann.close();
    await bob.close();
    await server.stop();
  });
});
