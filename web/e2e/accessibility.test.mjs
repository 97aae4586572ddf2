// Every page, sheet and dialog for everyone: axe-core finds nothing in light and dark, nothing has to be pushed sideways
// at 320 CSS pixels, controls have 16 px text, and forced colours and less motion are respected.
//
//   BARRAGE_BIN=target/release/barrage npm run e2e
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { launch } from "./browser.mjs";
import { startServer } from "./server.mjs";

const PATIENCE_MS = 30_000;
const PIXEL = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let server;
let guarded;
let browser;

before(async () => {
  [server, guarded] = await Promise.all([startServer(), startServer({ dev: false })]);
  browser = await launch();
  await admin("/rooms/hall", { name: "The hall" }, "PUT");
  await admin("/rooms/hall/open");
  await admin("/words/review/suspicious");
  await admin("/words/mask/rascal");
  await comment("alice", "hello, hall");
  await comment("bob", "something suspicious");
  await comment("carol", "something else suspicious");
  // One of them is decided in each round.
  for (let n = 0; n < 5; n++) await comment(`held-${n}`, `suspicious number ${n}`);
  const said = await comment("dan", "pin me");
  await admin("/rooms/hall/pin", { comment_id: said.id }, "PUT");
  await post("/rooms/hall/polls?user_id=ann&level=admin", { question: "Who wins?", options: ["red", "blue"], duration_s: 3600 });
  await post("/rooms/hall/questions?user_id=dora&username=Dora&level=vip", { content: "When does it begin?" });
  const joke = await comment("gina", "a suspicious joke");
  await admin(`/reviews/${joke.id}/reject`);
  await post("/appeals?user_id=gina&username=gina", { comment_id: joke.id, text: "it was a joke" });
  await admin("/webhooks", { url: "https://example.com/hook" });
  await admin("/rooms/archive/open");
  const { session_id } = await api("/rooms/archive");
  await admin("/rooms/archive/close");
  await post(`/rooms/archive/comments?user_id=ann`, { content: "at one second", session_id, offset_ms: 0 });
  await admin("/bans", { user_id: "mallory", room_id: "hall", kind: "ban", duration_s: 86_400, reason: "spam" });
  await post("/messages?user_id=bob&username=Bob", { client_msg_id: "m1", to_user: "ann", content: "have a look: https://example.org", msg_type: "text" });
  await post("/messages?user_id=ann&username=Ann", { client_msg_id: "m2", to_user: "bob", content: "I will", msg_type: "text" });
  const group = await post("/groups?user_id=ann&username=Ann", { name: "Choir", members: ["bob", "carol"] });
  await post("/messages?user_id=bob&username=Bob", { client_msg_id: "m3", group_id: group.group_id, content: "who is here?", msg_type: "text" });
});

after(async () => {
  await browser?.close();
  await Promise.all([server?.stop(), guarded?.stop()]);
});

const api = async (path) => (await fetch(`${server.url}/api/v1${path}${path.includes("?") ? "" : "?user_id=reader"}`)).json();

async function post(path, body, method = "POST") {
  const answer = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  assert.ok(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json().catch(() => undefined);
}

const admin = (path, body, method) => post(`/admin${path}`, body, method);
const comment = (user, content) => post(`/rooms/hall/comments?user_id=${user}&username=${user}&level=vip`, { content });

const button = (page, name) => page.getByRole("button", { name, exact: true });
const dialog = (page) => page.locator("dialog[open]").waitFor();
const chat = (rest = "") => async (page) => {
  await page.goto(`${server.url}/chat?user_id=ann&username=Ann${rest}`);
  await page.locator('.connection[data-state="connected"]').waitFor({ state: "attached" });
  await page.locator(".item").first().waitFor({ state: "attached" });
};
const viewer = async (page) => {
  await page.goto(`${server.url}/rooms/hall?user_id=ann&username=Ann`);
  await page.locator(".chat-row").first().waitFor();
};
const recording = async (page) => {
  const { sessions } = await api("/rooms/archive/sessions");
  await page.goto(`${server.url}/rooms/archive?user_id=ann&session=${sessions[0].session_id}`);
  await page.locator(".seek").waitFor({ state: "attached" });
};
const group = async (page) => {
  await chat()(page);
  await page.locator(".item", { hasText: "Choir" }).click();
  await page.locator(".message").first().waitFor();
};
const part = (hash, ready) => async (page) => {
  await page.goto(`${server.url}/admin#${hash}`);
  await ready(page).first().waitFor();
};
const words = part("/words", (page) => page.locator(".chip"));
const queue = part("/desk", (page) => page.locator("[data-review]"));
const bans = part("/bans", (page) => page.locator("[data-ban]"));
const feed = part("/rooms/hall", (page) => page.locator("[data-comment]"));
const rooms = part("/rooms", (page) => page.locator("[data-room]"));
const thenIn = (open, ...steps) => async (page) => {
  await open(page);
  for (const step of steps) await step(page);
};

/** Each page, sheet and dialog, opened. */
const VIEWS = {
  "rooms": async (page) => {
    await page.goto(server.url);
    await page.getByRole("link", { name: /Watch the replay/ }).waitFor();
  },
  "rooms, not signed in": async (page) => {
    await page.goto(guarded.url);
    await page.getByText("You are not signed in").waitFor();
  },
  "viewer": viewer,
  "viewer, settings": thenIn(viewer, (page) => button(page, "Danmaku settings").click()),
  "viewer, a comment's menu": thenIn(viewer, (page) => page.locator(".chat-row .name").first().click(), (page) => page.getByRole("menu").waitFor()),
  "viewer, a comment's style": thenIn(viewer, (page) => button(page, "Comment style").click(), (page) => page.locator(".style-sheet").waitFor()),
  "viewer, who one is": thenIn(viewer, (page) => button(page, "Identity").click(), (page) => page.locator(".identity-sheet").waitFor()),
  "viewer, another video": thenIn(viewer, (page) => button(page, "Video").click(), (page) => page.locator(".video-sheet").waitFor()),
  "viewer, pin, poll and questions": thenIn(
    viewer,
    (page) => page.locator(".pin").waitFor(),
    (page) => page.locator(".poll-option").first().waitFor(),
    (page) => page.getByRole("tab", { name: "Questions" }).click(),
    (page) => page.locator("[data-question]").waitFor(),
  ),
  "viewer, a recording": recording,
  "viewer, a recording's tools": thenIn(recording, (page) => button(page, "Recording").click(), (page) => page.locator(".recording-sheet").waitFor()),
  "embedded room": async (page) => {
    await page.goto(`${server.url}/embed/hall?lang=en`);
    await page.locator("barrage-room >> .row").first().waitFor();
  },
  "overlay's builder": async (page) => {
    await page.goto(`${server.url}/overlay`);
    await page.getByLabel("Room", { exact: true }).fill("hall");
  },
  "viewer, not signed in": async (page) => {
    await page.goto(`${guarded.url}/rooms/hall`);
    await page.locator(".composer-input").waitFor({ state: "attached" });
  },
  "messenger": chat(),
  "messenger, a conversation": thenIn(chat("#direct%3Abob"), (page) => page.locator(".message").first().waitFor()),
  "messenger, a message's menu": thenIn(
    chat("#direct%3Abob"),
    (page) => page.locator(".message").first().hover(),
    (page) => page.locator(".menu-anchor > button").first().click(),
    (page) => page.locator(".menu").waitFor(),
  ),
  "messenger, more reactions": thenIn(
    chat("#direct%3Abob"),
    (page) => page.locator(".message").first().hover(),
    (page) => page.locator(".menu-anchor > button").first().click(),
    (page) => page.getByRole("menuitem", { name: "More reactions" }).click(),
    dialog,
  ),
  "messenger, an answer and reactions": thenIn(
    chat("#direct%3Abob"),
    (page) => page.locator(".message").first().hover(),
    (page) => page.locator(".menu-anchor > button").first().click(),
    (page) => page.getByRole("menuitem", { name: "Reply" }).click(),
    (page) => page.locator(".about-line").waitFor(),
    (page) => page.fill(".thread textarea", "an answer"),
    (page) => page.keyboard.press("Enter"),
    (page) => page.locator(".quote").first().waitFor(),
  ),
  "messenger, a picture": thenIn(
    group,
    (page) => page.locator('.composer input[type="file"]').setInputFiles({ name: "dot.png", mimeType: "image/png", buffer: PIXEL }),
    (page) => page.getByRole("button", { name: "Show dot.png" }).last().click(),
    (page) => page.locator(".lightbox img").waitFor(),
  ),
  "messenger, search": thenIn(chat("#direct%3Abob"), (page) => button(page, "Search messages").click(), dialog),
  "messenger, search everywhere": thenIn(chat(), (page) => page.getByLabel("Search conversations and messages").fill("e"), (page) => page.locator(".finds button").first().waitFor()),
  "messenger, encryption": thenIn(chat("#direct%3Abob"), (page) => button(page, "Not end-to-end encrypted").click(), dialog),
  "messenger, a group": group,
  "messenger, a group's people": thenIn(group, (page) => button(page, "Group").click(), dialog),
  "messenger, new conversation": thenIn(chat(), (page) => button(page, "New conversation").click(), dialog),
  "messenger, new group": thenIn(chat(), (page) => button(page, "New group").click(), dialog),
  "messenger, settings": thenIn(chat(), (page) => button(page, "You and your settings").click(), dialog),
  "messenger, not signed in": async (page) => {
    await page.goto(`${guarded.url}/chat`);
    await page.getByLabel("Or paste a token").waitFor();
  },
  "console, not signed in": async (page) => {
    await page.goto(`${guarded.url}/admin`);
    await page.getByLabel("Admin key or moderator token").waitFor();
  },
  "console, rooms": rooms,
  "console, new room": thenIn(rooms, (page) => button(page, "New room").click(), dialog),
  "console, closing a room": thenIn(rooms, (page) => page.locator('[data-room="hall"]').getByRole("button", { name: "Close" }).click(), dialog),
  "console, a room": feed,
  "console, a comment in hand": thenIn(feed, (page) => page.locator("[data-comment]").first().focus()),
  "console, a person": thenIn(feed, (page) => page.locator("[data-comment] .user-name").first().click(), dialog),
  "console, a ban": thenIn(feed, (page) => page.locator("[data-comment]").first().focus(), (page) => page.keyboard.press("b"), dialog),
  "console, a room's settings": part("/rooms/hall/settings", (page) => page.getByLabel("Slow mode")),
  "console, a room's rules": thenIn(part("/rooms/hall/settings", (page) => page.getByLabel("Links")), (page) => page.getByLabel("Links").selectOption("hosts"), (page) => page.getByLabel("Label", { exact: true }).fill("spam"), (page) => page.locator(".thresholds button").last().click()),
  "console, hiding many": thenIn(feed, (page) => button(page, "Hide many…").click(), dialog),
  "console, a new poll": thenIn(feed, (page) => button(page, "New poll").click(), dialog),
  "console, the desk": queue,
  "console, the desk with rows chosen": thenIn(queue, (page) => page.getByLabel("Choose all").check()),
  "console, the desk with a row decided": thenIn(queue, (page) => page.locator("[data-action=reject]").first().click(), (page) => page.locator("[data-state=waiting]").waitFor()),
  "console, appeals": thenIn(queue, (page) => page.getByRole("tab", { name: "Appeals" }).click(), (page) => page.locator("[data-appeal]").waitFor()),
  "console, what passes": thenIn(queue, (page) => page.getByRole("tab", { name: "Passing" }).click(), (page) => page.locator("[data-passed]").first().waitFor()),
  "console, figures": thenIn(queue, (page) => page.getByRole("tab", { name: "Statistics" }).click(), (page) => page.locator("[data-decided]").first().waitFor()),
  "console, webhooks": thenIn(part("/webhooks", (page) => page.locator("[data-webhook]")), (page) => page.locator("[data-action=letters]").first().click()),
  "console, a new webhook": thenIn(part("/webhooks", (page) => page.locator("[data-webhook]")), (page) => button(page, "New webhook").click(), dialog),
  "console, words": words,
  "console, a whole list": thenIn(words, (page) => button(page, "Edit all").first().click(), dialog),
  "console, a dry run": thenIn(words, (page) => button(page, "Dry run").click(), dialog),
  "console, bans": bans,
  "console, audit": part("/audit", (page) => page.locator(".audit")),
  "console, overview": part("/overview", (page) => page.getByText("Comments by outcome")),
};

/** A page in these circumstances; what is tested is the page, so the CSP that would keep axe out is left away. */
async function visit(open, { width = 1280, height = 800, ...media }) {
  const context = await browser.newContext({ locale: "en-US", viewport: { width, height }, bypassCSP: true, ...media });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  await open(page);
  return { page, close: () => context.close() };
}

async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.flatMap(({ id, help, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${help}\n  ${html.slice(0, 200)}\n  ${failureSummary.replace(/\s+/g, " ").slice(0, 240)}`));
}

/** What sticks out to the right, by the element's classes; what scrolls in a box of its own is not looked at. */
const sticksOut = (page) =>
  page.evaluate(() => {
    if (document.documentElement.scrollWidth <= window.innerWidth) return [];
    return [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > window.innerWidth + 1).map((element) => `${element.tagName}.${element.className}`).slice(0, 10);
  });

for (const colorScheme of ["dark", "light"]) {
  describe(`axe finds nothing, ${colorScheme}`, () => {
    for (const [name, open] of Object.entries(VIEWS)) {
      test(name, async () => {
        const { page, close } = await visit(open, { colorScheme, reducedMotion: "reduce" });
        const [red, green, blue] = await page.evaluate(() => window.getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
        assert.equal(red + green + blue > 384, colorScheme === "light", "the ground is as light as the reader prefers");
        assert.deepEqual(await violations(page), []);
        await close();
      });
    }
  });
}

describe("at 320 CSS pixels", () => {
  for (const [name, open] of Object.entries(VIEWS)) {
    test(`${name}: nothing sticks out, and controls do not make phones zoom`, async () => {
      const { page, close } = await visit(open, { width: 320, height: 640, hasTouch: true, isMobile: true });
      assert.deepEqual(await sticksOut(page), []);
      const small = await page.evaluate(() =>
        [...document.querySelectorAll("input:not([type=checkbox], [type=radio], [type=range], [type=file], [type=color]), select, textarea")].filter((control) => control.checkVisibility() && parseFloat(window.getComputedStyle(control).fontSize) < 16).map((control) => `${control.localName}.${control.className} ${control.getAttribute("aria-label") ?? control.name}`),
      );
      assert.deepEqual(small, []);
      await close();
    });
  }
});

describe("the system's wishes", () => {
  test("forced colours: buttons have edges, and one's own messages differ by more than colour", async () => {
    const { page, close } = await visit(VIEWS["messenger, a conversation"], { forcedColors: "active" });
    const width = (selector) => page.locator(selector).first().evaluate((element) => window.getComputedStyle(element).borderRightWidth);
    assert.notEqual(await width(".own .bubble"), await width(".other .bubble"));
    assert.notEqual(await page.locator(".other .bubble").first().evaluate((element) => window.getComputedStyle(element).borderTopStyle), "none");
    await close();
  });

  test("less motion: nothing moves by itself", async () => {
    for (const open of [VIEWS["rooms"], VIEWS["viewer"], VIEWS["messenger, a conversation"], VIEWS["console, a room"]]) {
      const { page, close } = await visit(open, { reducedMotion: "reduce" });
      const moving = await page.evaluate(() =>
        [...document.querySelectorAll("*")].filter((element) => {
          const { transitionDuration, animationName } = window.getComputedStyle(element);
          return animationName !== "none" || transitionDuration.split(",").some((duration) => parseFloat(duration) > 0);
        }).map((element) => element.className),
      );
      assert.deepEqual(moving, []);
      await close();
    }
  });
});
