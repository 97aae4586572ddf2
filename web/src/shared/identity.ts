/**
 * Who this page speaks as. A token comes from `?token=` of the page's own address (taken out of it at once) or from the
 * paste box, and serves all tabs of this browser until somebody signs out. A server in `--dev` mode takes names instead:
 * from the address, or a guest's.
 */
import type { DevIdentity, Level } from "@barrage/client";
import { eraseKept } from "./kept";
import { readInTab, readStored, removeStored, writeInTab, writeStored } from "./storage";

const TOKEN_KEY = "barrage.token";
const GUEST_KEY = "barrage.guest";
const LEVELS: readonly string[] = ["normal", "vip", "owner", "moderator", "admin"];

export interface PageIdentity {
  token?: string;
  identity?: DevIdentity;
}

/** The identity to use; `guestName` makes the name of a guest where the server is in `--dev` mode, and without it nobody is made up. */
export function pageIdentity(dev: boolean, guestName?: (number: string) => string): PageIdentity {
  const token = takeTokenFromAddress() ?? keptToken();
  if (token) return { token };
  if (!dev) return {};
  const identity = fromAddress(new URLSearchParams(location.search)) ?? (guestName && guest(guestName));
  return identity ? { identity } : {};
}

/** The messenger's address; a name given to a `--dev` server in this page's own address goes along. */
export function chatLink(): string {
  const here = new URLSearchParams(location.search);
  const named = ["user_id", "username", "level"].flatMap((key): [string, string][] => {
    const value = here.get(key);
    return value === null ? [] : [[key, value]];
  });
  return named.length > 0 ? `/chat?${new URLSearchParams(named).toString()}` : "/chat";
}

/** The token this browser was given; null for none. */
export function keptToken(): string | null {
  return readStored(TOKEN_KEY) ?? tokenOfVisit();
}

/** Remembers a token for this browser; undefined signs out, in its other tabs too, and begins to erase what was kept for its holder. */
export function keepToken(token: string | undefined): void {
  if (token) writeStored(TOKEN_KEY, token);
  else {
    removeStored(TOKEN_KEY);
    erasing = eraseKept();
  }
  // A browser that denies storage still keeps this with the visit, so that a reload does not sign out.
  history.replaceState(token && !isStored(token) ? { [TOKEN_KEY]: token } : null, "");
}

let erasing = Promise.resolve();

/** Signs out, in this browser's other tabs too. Resolves when the messages and unsent texts that it kept are erased. */
export function signOut(): Promise<void> {
  keepToken(undefined);
  return erasing;
}

/** Calls back when another tab signs in or out. */
export function onTokenChanged(changed: (token: string | undefined) => void): void {
  addEventListener("storage", ({ key, newValue }) => {
    if (key === TOKEN_KEY || key === null) changed((key === null ? null : newValue) ?? undefined);
  });
}

function isStored(token: string): boolean {
  try {
    return localStorage.getItem(TOKEN_KEY) === token;
  } catch {
    return false;
  }
}

function tokenOfVisit(): string | null {
  const token = (history.state as Record<string, unknown> | null)?.[TOKEN_KEY];
  return typeof token === "string" ? token : null;
}

function takeTokenFromAddress(): string | null {
  const url = new URL(location.href);
  const token = url.searchParams.get("token");
  if (token === null) return null;
  url.searchParams.delete("token");
  history.replaceState(history.state, "", url);
  keepToken(token);
  return token;
}

function fromAddress(query: URLSearchParams): DevIdentity | undefined {
  const user_id = query.get("user_id");
  if (!user_id) return undefined;
  const level = query.get("level") ?? "";
  return {
    user_id,
    username: query.get("username") ?? user_id,
    ...(LEVELS.includes(level) ? { level: level as Level } : {}),
  };
}

function guest(guestName: (number: string) => string): DevIdentity {
  const number = readInTab(GUEST_KEY) ?? String(1_000 + Math.floor(Math.random() * 9_000));
  writeInTab(GUEST_KEY, number);
  return { user_id: `guest-${number}`, username: guestName(number) };
}
