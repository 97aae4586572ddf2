/** What a search finds in a text, and how it is shown. Pure. The server follows the same rule for what it can read. */

export interface Part {
  text: string;
  /** It is what was looked for. */
  hit: boolean;
}

/** Characters shown before the first hit, and in all. */
const BEFORE = 24;
const SHOWN = 120;

/** The words of a search, each once. */
export function wordsOf(query: string): string[] {
  return [...new Set(query.toLowerCase().split(/\s+/u).filter((word) => word !== ""))];
}

/** Whether a text has every word, in any case, also inside its own words. */
export function matches(text: string, words: readonly string[]): boolean {
  const folded = text.toLowerCase();
  return words.length > 0 && words.every((word) => folded.includes(word));
}

/** One line around the first hit, split where words were found. */
export function snippet(text: string, words: readonly string[]): Part[] {
  const line = text.replace(/\s+/gu, " ").trim();
  const first = hitsIn(line, words)[0];
  const from = first === undefined || first.from <= BEFORE ? 0 : wholeFrom(line, first.from - BEFORE);
  const shown = cut(line.slice(from));
  const parts: Part[] = from > 0 ? [{ text: "…", hit: false }] : [];
  let end = 0;
  for (const { from: start, to } of hitsIn(shown, words)) {
    if (start < end) continue;
    if (start > end) parts.push({ text: shown.slice(end, start), hit: false });
    parts.push({ text: shown.slice(start, to), hit: true });
    end = to;
  }
  if (end < shown.length) parts.push({ text: shown.slice(end), hit: false });
  return parts;
}

/** Where the words stand, in order. A text whose lower case has another length is shown without marks. */
function hitsIn(text: string, words: readonly string[]): { from: number; to: number }[] {
  const folded = text.toLowerCase();
  if (folded.length !== text.length) return [];
  const hits: { from: number; to: number }[] = [];
  for (const word of words) {
    for (let from = folded.indexOf(word); from >= 0; from = folded.indexOf(word, from + word.length)) hits.push({ from, to: from + word.length });
  }
  return hits.sort((a, b) => a.from - b.from || b.to - a.to);
}

function cut(text: string): string {
  return text.length <= SHOWN ? text : `${text.slice(0, wholeFrom(text, SHOWN))}…`;
}

/** Not between the halves of one character. */
function wholeFrom(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code >= 0xdc00 && code <= 0xdfff ? at - 1 : at;
}
