/** How times, sizes, names and links are shown. Pure: the language is a parameter. */

/** "14:05" today, the weekday within a week, the date before that. */
export function listTime(iso: string, locale: string, now: number = Date.now()): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return "";
  const days = daysBetween(at, new Date(now));
  if (days === 0) return clock(iso, locale);
  if (days > 0 && days < 7) return at.toLocaleDateString(locale, { weekday: "short" });
  return at.toLocaleDateString(locale, { year: "2-digit", month: "numeric", day: "numeric" });
}

export function clock(iso: string, locale: string): string {
  return new Date(iso).toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit", hour12: false });
}

/** A day's name between messages; `today` and `yesterday` as the page calls them. */
export function dayName(iso: string, locale: string, words: { today: string; yesterday: string }, now: number = Date.now()): string {
  const at = new Date(iso);
  const days = daysBetween(at, new Date(now));
  if (days === 0) return words.today;
  if (days === 1) return words.yesterday;
  const year: Intl.DateTimeFormatOptions = at.getFullYear() === new Date(now).getFullYear() ? {} : { year: "numeric" };
  return at.toLocaleDateString(locale, { weekday: "long", month: "long", day: "numeric", ...year });
}

export function sameDay(a: string, b: string): boolean {
  return new Date(a).toDateString() === new Date(b).toDateString();
}

/** Whole calendar days, in this computer's time zone. */
function daysBetween(from: Date, to: Date): number {
  const midnight = (date: Date): number => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((midnight(to) - midnight(from)) / 86_400_000);
}

const UNITS = ["B", "KiB", "MiB", "GiB"] as const;

export function fileSize(bytes: number): string {
  const step = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const value = bytes / 1024 ** step;
  return `${value >= 10 || step === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[step] ?? ""}`;
}

/** The letter in the circle. */
export function initial(name: string): string {
  return ([...name.trim()][0] ?? "?").toUpperCase();
}

/** A person's colour: the same on every screen. */
export function hueOf(id: string): number {
  let hash = 0;
  for (const char of id) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) % 3_600;
  return hash % 360;
}

export interface Piece {
  text: string;
  /** An http(s) address, when the text is one. */
  href?: string;
}

const ADDRESS = /https?:\/\/[^\s<>"'，。！？、；：（）【】《》]+/gu;

/** Text split at its web addresses. Only http and https become links; the full stop after one is not part of it. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(ADDRESS)) {
    const address = match[0].replace(/[.,!?;:)\]}]+$/, "");
    if (!URL.canParse(address)) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index) });
    found.push({ text: address, href: address });
    end = match.index + address.length;
  }
  if (end < text.length) found.push({ text: text.slice(end) });
  return found;
}

/** User ids out of what somebody typed: separated by spaces, commas or lines; each once. */
export function parseIds(text: string): string[] {
  return [...new Set(text.split(/[\s,，;；、]+/u).filter((id) => id !== ""))];
}

export function isId(text: string): boolean {
  return /^[A-Za-z0-9_\-.:@]{1,64}$/.test(text);
}
