// Somebody's messenger in Chromium, and what people do with it. The tests of chat share it.
import assert from "node:assert/strict";

export const PATIENCE_MS = 60_000;

let people = 0;
/** A name nobody else has: tests share one server. */
export const person = (name) => `${name}-${++people}`;

export const live = (page) => page.locator('.connection[data-state="connected"]').waitFor({ state: "attached" });

/** Opens the conversation with somebody, whether there was one or not. */
export async function face({ page }, user) {
  await page.evaluate((key) => (window.location.hash = encodeURIComponent(key)), `direct:${user}`);
  await page.locator(".thread textarea").waitFor();
}

export async function say({ page }, text) {
  await page.fill(".thread textarea", text);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector(".thread textarea").value === "");
}

export const bubble = ({ page }, text, state) => page.locator(`.message${state ? `[data-state="${state}"]` : ""} .text`, { hasText: text }).first();
export const row = ({ page }, name) => page.locator(".item", { hasText: name });
export const texts = ({ page }) => page.locator(".message .text").allInnerTexts();

/** Opens a message's menu and chooses from it. */
export async function menu({ page }, text, action) {
  const message = page.locator(".message", { hasText: text }).first();
  await message.hover();
  await message.locator(".menu-anchor > button").click();
  await page.getByRole("menuitem", { name: action }).click();
}

/** Turns encryption on in the open conversation; the code that both can compare. */
export async function turnOnSealing({ page }) {
  await page.getByRole("button", { name: "Not end-to-end encrypted" }).click();
  await page.locator(".code").waitFor();
  const code = await page.locator(".code").innerText();
  await page.getByLabel("Encrypt this conversation end to end").click();
  await page.locator('dialog input[type="checkbox"]:checked').waitFor();
  await page.getByRole("button", { name: "Close", exact: true }).click();
  await page.locator("dialog").waitFor({ state: "detached" });
  return code;
}

/** Waits until this person's device can be written to. */
export async function reachable(url, user) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const { devices } = await (await fetch(`${url}/api/v1/users/${user}/keys?user_id=nobody`)).json();
    if (devices.length > 0) return;
    assert.ok(Date.now() < deadline, `${user} has no keys`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export async function leave(...all) {
  for (const { problems, close } of all) {
    assert.deepEqual(problems, []);
    await close();
  }
}

/** The ways to enter, in this browser, the server at `url()`. */
export function messengers(browser, url) {
  /** Somebody's messenger, connected and caught up. */
  async function enter(user, { locale = "en-US", viewport = { width: 1280, height: 800 }, device, name = user, ...context } = {}) {
    const opened = await browser().newContext({ locale, viewport, reducedMotion: "reduce", ...context });
    const page = await opened.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    page.on("dialog", (dialog) => void dialog.accept());
    const problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => message.text().includes("Content Security Policy") && problems.push(message.text()));
    const query = new URLSearchParams({ user_id: user, username: name, ...(device ? { device_id: device } : {}) });
    await page.goto(`${url()}/chat?${query}`);
    await live(page);
    return { user, page, problems, close: () => opened.close() };
  }

  async function pair(options = {}) {
    const [a, b] = [person("ann"), person("bob")];
    const [ann, bob] = [await enter(a, options), await enter(b, options)];
    await face(ann, b);
    return [ann, bob];
  }

  return { enter, pair };
}
