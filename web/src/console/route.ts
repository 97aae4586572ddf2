/**
 * Where the console is, kept in the address's hash so that links and the back button work:
 * `#/desk`, `#/rooms`, `#/rooms/{id}` (the room, live), `#/rooms/{id}/settings`.
 */
import { signal } from "@preact/signals";

export const sections = ["desk", "rooms", "words", "bans", "audit", "webhooks", "overview"] as const;
export type SectionName = (typeof sections)[number];

export interface Route {
  section: SectionName;
  room?: string;
  settings?: boolean;
}

export const route = signal<Route>(parseRoute(location.hash));
window.addEventListener("hashchange", () => (route.value = parseRoute(location.hash)));

/** Unknown hashes lead to the rooms; links to the reviews of earlier versions to the desk. */
export function parseRoute(hash: string): Route {
  const [name, room, page] = hash.replace(/^#\/?/, "").split("/");
  const section = sections.find((known) => known === (name === "reviews" ? "desk" : name)) ?? "rooms";
  if (section !== "rooms" || room === undefined || room === "") return { section };
  return { section, room: decode(room), settings: page === "settings" };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const linkTo = (section: SectionName) => `#/${section}`;
export const roomOf = (room: string) => `#/rooms/${encodeURIComponent(room)}`;
export const settingsOf = (room: string) => `${roomOf(room)}/settings`;
