/**
 * Who is at the console: the key or token of this tab, and what kind of server it speaks to.
 * The key lives in sessionStorage, so it dies with the tab and never reaches another one.
 */
import type { DevIdentity, ServerInfo } from "@barrage/client";
import { computed, signal } from "@preact/signals";
import { scopeOf } from "./scope";

const slot = "barrage.console.key";

const key = signal(sessionStorage.getItem(slot) ?? "");

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

export function signIn(value: string): void {
  key.value = value;
  sessionStorage.setItem(slot, value);
}

export function signOut(): void {
  key.value = "";
  sessionStorage.removeItem(slot);
}
