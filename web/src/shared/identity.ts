/**
 * Who this page speaks as. A token comes from `?token=` of the page's own address (taken out of it at once) or from the
 * paste box, and stays in this tab only. A server in `--dev` mode takes names instead: from the address, or a guest's.
 */
import type { DevIdentity, Level } from "@barrage/client";

const TOKEN_KEY = "barrage.token";
const GUEST_KEY = "barrage.guest";
const LEVELS: readonly string[] = ["normal", "vip", "owner", "moderator", "admin"];

export interface PageIdentity {
  token?: string;
  identity?: DevIdentity;
}

/** The identity to use; `guestName` makes the name of a guest where the server is in `--dev` mode, and without it nobody is made up. */
export function pageIdentity(dev: boolean, guestName?: (number: string) => string): PageIdentity {
  const token = takeTokenFromAddress() ?? sessionStorage.getItem(TOKEN_KEY);
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

/** Remembers a pasted token for this tab; undefined forgets it. */
export function keepToken(token: string | undefined): void {
  if (token) sessionStorage.setItem(TOKEN_KEY, token);
  else sessionStorage.removeItem(TOKEN_KEY);
}

function takeTokenFromAddress(): string | null {
  const url = new URL(location.href);
  const token = url.searchParams.get("token");
  if (token === null) return null;
  keepToken(token);
  url.searchParams.delete("token");
  history.replaceState(null, "", url);
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
  const number = sessionStorage.getItem(GUEST_KEY) ?? String(1_000 + Math.floor(Math.random() * 9_000));
  sessionStorage.setItem(GUEST_KEY, number);
  return { user_id: `guest-${number}`, username: guestName(number) };
}
