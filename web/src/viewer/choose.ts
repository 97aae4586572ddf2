/** Which comments this viewer wants to see. Pure. */
import type { Comment } from "@barrage/client";
import { colorOf, shownText, WHITE } from "@barrage/players";
import type { Settings } from "./settings";

/** Whether settings let a comment through at all (stage and list alike). */
export function isWanted(comment: Comment, settings: Settings, onlyUser: string | undefined): boolean {
  if (onlyUser !== undefined && comment.user_id !== onlyUser) return false;
  if (settings.blockedUsers.includes(comment.user_id)) return false;
  const text = shownText(comment);
  return text !== undefined && !settings.blockedWords.some((word) => blocks(word, text));
}

/** Words in any case; `/a|b/` and `/a|b/i` are regular expressions. */
export function blocks(word: string, text: string): boolean {
  const expression = expressionOf(word);
  return expression ? expression.test(text) : text.toLowerCase().includes(word.toLowerCase());
}

const expressions = new Map<string, RegExp | undefined>();

/** The regular expression an entry stands for; undefined for a word, and for what cannot be compiled. */
export function expressionOf(word: string): RegExp | undefined {
  if (!expressions.has(word)) expressions.set(word, compile(word));
  return expressions.get(word);
}

function compile(word: string): RegExp | undefined {
  const [, source, flags] = /^\/(.+)\/([imsu]*)$/.exec(word) ?? [];
  if (source === undefined) return undefined;
  try {
    return new RegExp(source, flags);
  } catch {
    return undefined;
  }
}

/** Whether its kind may fly; a hidden kind is still listed. */
export function mayFly({ style }: Comment, settings: Settings): boolean {
  const mode = style?.mode ?? "scroll";
  if (mode === "scroll" && settings.hideScroll) return false;
  if (mode === "top" && settings.hideTop) return false;
  if (mode === "bottom" && settings.hideBottom) return false;
  return !(settings.hideColoured && colorOf(style?.color) !== WHITE);
}
