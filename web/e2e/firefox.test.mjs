// The viewer page over WebTransport in Firefox. Left out where there is no Firefox.
//
//   BARRAGE_BIN=target/debug/barrage node --test web/e2e/firefox.test.mjs
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { launchFirefox } from "./firefox.mjs";
import { startServer } from "./server.mjs";
import { PATIENCE_MS } from "./viewer-page.mjs";

// The certificates are nobody's.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";

/** A network that lets no WebSockets through. */
const withoutSockets = () => {
  window.WebSocket = class {
    static OPEN = 1;
    readyState = 0;
    close() {}
  };
};

async function eventually(what, ask) {
  for (const until = Date.now() + PATIENCE_MS; Date.now() < until; await new Promise((wake) => setTimeout(wake, 100))) {
    const found = await ask();
    if (found) return found;
  }
  throw new Error(`waited in vain for ${what}`);
}

describe("the viewer in Firefox", { skip: !existsSync(process.env.FIREFOX ?? "/usr/bin/firefox-esr") && "no Firefox" }, () => {
  let browser;
  let server;

  before(async () => {
    server = await startServer({ tls: true, env: { BARRAGE__SERVER__QUIC: "true" } });
    browser = await launchFirefox({ preload: withoutSockets });
  });

  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test("comments go out and come in over WebTransport, by the certificate's hash", async () => {
    await browser.open(`${server.url}/rooms/quic?user_id=ann&username=ann&level=vip`);
    assert.equal(await browser.evaluate("typeof WebTransport"), "function");
    await eventually("the room", () => browser.evaluate("document.querySelector('.composer-input:enabled') !== null"));
    const metrics = () => fetch(`${server.url}/metrics`).then((answer) => answer.text());
    await eventually("a session over WebTransport", async () => /^barrage_webtransport_sessions 1$/m.test(await metrics()));

    await browser.evaluate("document.querySelector('.composer-input').focus()");
    // The last key is Enter.
    await browser.type("from Firefox\uE007");
    const rows = () => browser.evaluate("[...document.querySelectorAll('.chat-row')].map((row) => row.textContent).join('|')");
    await eventually("its own comment", async () => (await rows()).includes("from Firefox"));
    const said = await fetch(`${server.url}/api/v1/rooms/quic/comments`).then((answer) => answer.json());
    assert.deepEqual(said.comments.map(({ content }) => content), ["from Firefox"]);

    const comment = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ content: "to Firefox" }) };
    const answer = await fetch(`${server.url}/api/v1/rooms/quic/comments?user_id=bob&username=bob`, comment);
    assert.ok(answer.ok, String(answer.status));
    await eventually("somebody else's", async () => (await rows()).includes("to Firefox"));
  });
});
