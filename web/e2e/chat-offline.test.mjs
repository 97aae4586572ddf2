// The messenger without the network: it opens with what it knew, and keeps nothing that it should not.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { bubble, face, leave, live, menu, messengers, PATIENCE_MS, person, reachable, row, say, texts, turnOnSealing } from "./messenger-page.mjs";
import { startServer } from "./server.mjs";

let server;
let browser;
const { enter, pair } = messengers(() => browser, () => server.url);

before(async () => {
  server = await startServer();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Everything that lies in this browser under this origin, as text, without the page's own files. */
const atRest = (page) =>
  page.evaluate(async () => {
    const kept = [...Object.entries(window.localStorage), ...Object.entries(window.sessionStorage)];
    const done = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    for (const { name } of await window.indexedDB.databases()) {
      const database = await done(window.indexedDB.open(name));
      for (const table of database.objectStoreNames) kept.push([name, table, await done(database.transaction(table).objectStore(table).getAll())]);
      database.close();
    }
    return JSON.stringify(kept);
  });

/** Waits until what lies in this browser is as it should be. */
async function rests(page, isRight, what) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    if (isRight(await atRest(page))) return;
    assert.ok(Date.now() < deadline, what);
    await page.waitForTimeout(100);
  }
}

const mayOpenOffline = (page) => page.evaluate(() => window.navigator.serviceWorker.ready.then(() => undefined));

async function goesOffline({ page }) {
  await page.context().setOffline(true);
  await server.kill();
}

async function comesBack({ page }) {
  await server.start();
  await page.context().setOffline(false);
  await page.getByRole("button", { name: "Connect again" }).click({ timeout: 5_000 }).catch(() => undefined); // it may have come back by itself
  await live(page);
}

describe("without the network", () => {
  test("the messenger opens with its last conversations, and sends once what is written then", async () => {
    const [ann, bob] = await pair();
    await say(ann, "see you at the harbour");
    await face(bob, ann.user);
    await say(bob, "at nine");
    await bubble(ann, "at nine").waitFor();
    await mayOpenOffline(ann.page);
    await rests(ann.page, (kept) => kept.includes("at nine"), "the messages are kept");

    await goesOffline(ann);
    await ann.page.reload();
    await bubble(ann, "see you at the harbour").waitFor();
    assert.deepEqual(await texts(ann), ["see you at the harbour", "at nine"]);
    await row(ann, bob.user).locator(".last", { hasText: "at nine" }).waitFor();
    await ann.page.locator('.connection:not([data-state="connected"])').waitFor({ state: "attached" });
    await ann.page.fill(".thread textarea", "bring the rope");
    await ann.page.locator(".offline-note", { hasText: "kept and sent when the connection is back" }).waitFor();
    await ann.page.keyboard.press("Enter");
    await bubble(ann, "bring the rope", "sending").waitFor();
    await ann.page.reload(); // it outlives that as well
    await bubble(ann, "bring the rope", "sending").waitFor();

    await comesBack(ann);
    await ann.page.locator('.message:is([data-state="delivered"], [data-state="read"])', { hasText: "bring the rope" }).waitFor();
    await ann.page.locator(".edge", { hasText: "This is where it begins." }).waitFor(); // the history before is loaded by itself
    await bubble(bob, "bring the rope").waitFor();
    await say(bob, "I have it");
    await bubble(ann, "I have it").waitFor();
    assert.deepEqual(await texts(bob), ["see you at the harbour", "at nine", "bring the rope", "I have it"]);
    assert.deepEqual(await texts(ann), await texts(bob));
    await leave(ann, bob);
  });

  test("sealed conversations open too, and lie sealed in the browser", async () => {
    const [ann, bob] = await pair();
    await say(ann, "hello");
    await face(bob, ann.user);
    for (const { page, user } of [ann, bob]) {
      await page.reload(); // somebody can write to them now: their keys are published
      await live(page);
      await reachable(server.url, user);
    }
    await turnOnSealing(ann);
    await say(ann, "the key is under the stone");
    await bubble(bob, "the key is under the stone").waitFor();
    await say(bob, "found it there");
    await bubble(ann, "found it there").waitFor();
    await mayOpenOffline(ann.page);
    await rests(ann.page, (kept) => kept.includes(bob.user) && kept.includes("encrypted"), "the messages are kept");
    const kept = await atRest(ann.page);
    for (const secret of ["the key is under the stone", "found it there"]) assert.ok(!kept.includes(secret), secret);

    await goesOffline(ann);
    await ann.page.reload();
    await bubble(ann, "found it there").waitFor();
    await bubble(ann, "the key is under the stone").waitFor();
    await say(ann, "burn this");
    await bubble(ann, "burn this", "sending").waitFor();
    assert.ok(!(await atRest(ann.page)).includes("burn this"));
    await comesBack(ann);
    await bubble(bob, "burn this").waitFor();
    assert.equal(await bob.page.locator(".message", { hasText: "burn this" }).getAttribute("data-type"), "encrypted");
    await leave(ann, bob);
  });

  test("a first visit says that the server cannot be reached", async () => {
    const context = await browser.newContext({ locale: "en-US" });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.goto(`${server.url}/chat`);
    await mayOpenOffline(page);
    await context.setOffline(true);
    await page.reload();
    await page.getByText("cannot be reached").waitFor();
    await context.close();
  });
});

describe("what is kept", () => {
  test("loses what was recalled while this browser was closed", async () => {
    const [ann, bob] = [await enter(person("ann"), { device: "desk" }), await enter(person("bob"))];
    await face(bob, ann.user);
    await say(bob, "this was a mistake");
    await row(ann, bob.user).waitFor();
    await rests(ann.page, (kept) => kept.includes("this was a mistake"), "it is kept");
    const address = ann.page.url();
    await ann.page.goto(`${server.url}/readyz`);
    await menu(bob, "this was a mistake", "Recall");
    await bob.page.locator(".recalled").waitFor();
    assert.ok((await atRest(ann.page)).includes("this was a mistake"));
    await ann.page.goto(address);
    await live(ann.page);
    await rests(ann.page, (kept) => !kept.includes("this was a mistake"), "it is gone");
    await leave(ann, bob);
  });

  test("belongs to one person: another one who uses the browser sees nothing of it", async () => {
    const [ann, bob] = await pair();
    await say(ann, "only for the two of us");
    await bubble(ann, "only for the two of us", "delivered").waitFor();
    await rests(ann.page, (kept) => kept.includes("only for the two of us"), "it is kept");
    await ann.page.goto(`${server.url}/chat?user_id=${person("eve")}`);
    await live(ann.page);
    await ann.page.getByText("Nobody here yet").waitFor();
    assert.equal(await ann.page.getByText("only for the two of us").count(), 0);
    await leave(ann, bob);
  });

  test("goes when somebody signs out, on whatever page", async () => {
    const guarded = await startServer({ dev: false });
    try {
      const context = await browser.newContext({ locale: "en-US" });
      const page = await context.newPage();
      page.setDefaultTimeout(PATIENCE_MS);
      const say = async (text) => {
        await page.goto(`${guarded.url}/chat?token=${guarded.token("ann")}#direct%3Abob`);
        await live(page);
        await page.fill(".thread textarea", text);
        await page.keyboard.press("Enter");
        await page.locator('.message[data-state="delivered"]', { hasText: text }).waitFor();
        await rests(page, (kept) => kept.includes(text), "it is kept");
      };
      await say("gone with the messenger");
      await page.getByRole("button", { name: "You and your settings" }).click();
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByText(/Sign in with your site.s link/).waitFor();
      assert.doesNotMatch(await atRest(page), /gone with|barrage\.chat\.of/);

      await say("gone with the front page");
      await page.goto(`${guarded.url}/`);
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByText(/Sign in with your site.s link/).waitFor();
      await rests(page, (kept) => !/gone with|barrage\.chat\.of/.test(kept), "nothing is left");
      await context.close();
    } finally {
      await guarded.stop();
    }
  });

  test("is nothing where the browser has no room, and the messenger works", async () => {
    const full = () => {
      const refuse = () => {
        throw new window.DOMException("full", "QuotaExceededError");
      };
      window.Storage.prototype.setItem = refuse;
      window.IDBObjectStore.prototype.put = refuse;
    };
    const context = await browser.newContext({ locale: "en-US" });
    await context.addInitScript(full);
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    const ann = person("ann");
    await page.goto(`${server.url}/chat?user_id=${ann}#direct%3Abob`);
    await live(page);
    await say({ page }, "written on a full disk");
    await page.locator('.message[data-state="delivered"]', { hasText: "written on a full disk" }).waitFor();
    await page.waitForTimeout(1_500); // it is kept a second after the last change
    assert.doesNotMatch(await atRest(page), /written on a full disk/);
    assert.deepEqual(problems, []);
    await context.close();
  });
});
