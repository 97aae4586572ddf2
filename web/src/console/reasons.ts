/** The deployment's reasons for decisions: asked for once, offered wherever something is decided, named in the page's language. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { listReasons } from "./api";
import { has, t } from "./i18n";

const reasons = signal<readonly string[]>([]);
let isAsked = false;

/** In the order in which they are offered; none until the server has answered. */
export function useReasons(): readonly string[] {
  useEffect(() => {
    if (isAsked) return;
    isAsked = true;
    listReasons().then(
      (listed) => (reasons.value = listed),
      () => (isAsked = false),
    );
  }, []);
  return reasons.value;
}

/** A reason that the pages do not know, or a moderator's own words, as they are. */
export const reasonInWords = (reason: string): string => (has(`reason.${reason}`) ? t(`reason.${reason}`) : reason);

/** The key of a reason, by its place in the list; later ones have none. */
export const keyOfReason = (place: number): string | undefined => (place < 9 ? String(place + 1) : undefined);

export const reasonOfKey = (key: string, listed: readonly string[]): string | undefined =>
  /^[1-9]$/.test(key) ? listed[Number(key) - 1] : undefined;
