/**
 * Who is at the console: the key or token at hand, and what kind of server it speaks to. A token serves all tabs of this
 * browser until somebody signs out; the admin key dies with its tab and never reaches another one.
 */
import type { DevIdentity, ServerInfo } from "@barrage/client";
import { computed, signal } from "@preact/signals";
import { keepToken, keptToken, onTokenChanged } from "../shared/identity";
import { readInTab, removeInTab, writeInTab } from "../shared/storage";
import { isModerators, isToken, scopeOf } from "./scope";

const slot = "barrage.console.key";

/** A viewer's token opens no section, so it is not taken from the other pages; a moderator's is. */
function tokenOfBrowser(): string {
  const token = keptToken() ?? "";
  return isModerators(token) ? token : "";
}

const key = signal(readInTab(slot) ?? tokenOfBrowser());

/** What the server says about itself; null until it has answered. */
export const server = signal<ServerInfo | null>(null);

/** The key sent with every call, or "" for none. */
export const bearer = (): string => key.value;

/** Whom a --dev server shall take the console for; undefined when the server wants a real key. */
export const devIdentity = (): DevIdentity | undefined =>
  server.value?.dev === true ? { user_id: "console", username: "console", level: "admin" } : undefined;

/** Nothing can be shown before the server has said what it is; then a key is needed, unless it runs with --dev. */
export const signedIn = computed(() => server.value !== null && (key.value !== "" || server.value.dev));

/** What the key at hand may moderate. */
export const scope = computed(() => scopeOf(key.value));

/** How the server names whoever is here, in claims and decisions. All who share the admin key are one to it. */
export const myName = computed(() => scope.value.userId ?? (key.value === "" ? (devIdentity()?.user_id ?? "") : "admin key"));

export function signIn(value: string): void {
  key.value = value;
  writeInTab(slot, value);
  if (isToken(value)) keepToken(value);
}

export function signOut(): void {
  if (isToken(key.value)) keepToken(undefined);
  key.value = "";
  removeInTab(slot);
}

onTokenChanged((token) => {
  if (token === undefined && isToken(key.value)) {
    key.value = "";
    removeInTab(slot);
  } else if (key.value === "") key.value = tokenOfBrowser();
});
