/** Figures about decisions: how many, how fast, how often a rule was wrong. Pure. */
import type { Review } from "../api";

export interface RuleFigures {
  /** What held them; see `ruleOf`. */
  rule: string;
  held: number;
  approved: number;
  rejected: number;
  /** Part of those decided that were approved: the rule was wrong. */
  falseAlarms: number;
}

export interface ModeratorFigures {
  who: string;
  decided: number;
  p50S: number;
  p95S: number;
}

export interface Figures {
  held: number;
  pending: number;
  approved: number;
  rejected: number;
  falseAlarms: number;
  /** Seconds from held to decided; null when nothing was decided. */
  p50S: number | null;
  p95S: number | null;
  byRule: RuleFigures[];
  byModerator: ModeratorFigures[];
}

/** What held a comment, as a name to count by: a reason that tells more than a name is its first words. */
export function ruleOf({ word, reason }: Pick<Review, "word" | "reason">): string {
  if (word !== undefined && word !== "") return "words";
  if (reason === undefined || reason === "") return "other";
  return reason.split(":", 1)[0]?.trim().slice(0, 60) || "other";
}

/** Seconds from held to decided. */
export function decisionS({ created_at, decided_at }: Pick<Review, "created_at" | "decided_at">): number | undefined {
  const seconds = (Date.parse(decided_at ?? "") - Date.parse(created_at)) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

/** The nearest-rank percentile; undefined of nothing. */
export function percentile(values: readonly number[], share: number): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
}

export function figuresOf(reviews: readonly Review[]): Figures {
  const decided = reviews.filter(({ status }) => status !== "pending");
  const count = (list: readonly Review[], status: Review["status"]) => list.filter((review) => review.status === status).length;
  const times = (list: readonly Review[]) => list.map(decisionS).filter((s) => s !== undefined);
  const byRule = [...groups(reviews, ruleOf)].map(([rule, list]) => {
    const [approved, rejected] = [count(list, "approved"), count(list, "rejected")];
    return { rule, held: list.length, approved, rejected, falseAlarms: share(approved, approved + rejected) };
  });
  const byModerator = [...groups(decided, ({ decided_by }) => decided_by ?? "?")].map(([who, list]) => {
    const lasted = times(list);
    return { who, decided: list.length, p50S: percentile(lasted, 0.5) ?? 0, p95S: percentile(lasted, 0.95) ?? 0 };
  });
  const [approved, rejected] = [count(reviews, "approved"), count(reviews, "rejected")];
  const all = times(decided);
  return {
    held: reviews.length,
    pending: count(reviews, "pending"),
    approved,
    rejected,
    falseAlarms: share(approved, approved + rejected),
    p50S: percentile(all, 0.5) ?? null,
    p95S: percentile(all, 0.95) ?? null,
    byRule: byRule.sort((a, b) => b.held - a.held),
    byModerator: byModerator.sort((a, b) => b.decided - a.decided),
  };
}

const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

function groups<T>(list: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const item of list) {
    const group = found.get(key(item));
    if (group) group.push(item);
    else found.set(key(item), [item]);
  }
  return found;
}
