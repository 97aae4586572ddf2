/**
 * The queue of held comments as one moderator works it off. Pure: given what the server lists and what was done here, says
 * which rows stand where. Rows keep their places: new ones come at the end, and those that are settled stay until `swept`.
 */
import type { Review } from "../api";

export type Decision = "approve" | "reject";

/** What became of a row since it was listed. */
export type Mark =
  /** Decided here; it can be taken back until it is sent. */
  | { state: "waiting" | "sending" | "done"; decision: Decision; reason?: string | undefined }
  /** The server lists it no more, and it was not decided here. */
  | { state: "elsewhere"; by: string | undefined };

export interface Row {
  review: Review;
  mark?: Mark;
}

/** Ids of rows that are gone, so that a late answer does not bring them back. */
export type Gone = ReadonlySet<string>;

const goneMax = 2000;

export const isOpen = (row: Row): boolean => row.mark === undefined;
/** Nothing more happens to it. */
const isSettled = ({ mark }: Row): boolean => mark?.state === "done" || mark?.state === "elsewhere";

/** What the server lists now, merged into what is on the screen. */
export function merged(rows: readonly Row[], listed: readonly Review[], gone: Gone): Row[] {
  const fresh = new Map(listed.filter(({ id }) => !gone.has(id)).map((review) => [review.id, review]));
  const kept = rows.map((row): Row => {
    const review = fresh.get(row.review.id);
    fresh.delete(row.review.id);
    if (review !== undefined) return row.mark === undefined || row.mark.state === "elsewhere" ? { review } : { ...row, review };
    return row.mark === undefined ? { ...row, mark: { state: "elsewhere", by: row.review.claimed_by } } : row;
  });
  return [...kept, ...[...fresh.values()].map((review) => ({ review }))];
}

export function marked(rows: readonly Row[], ids: readonly string[], mark: Mark | undefined): Row[] {
  const chosen = new Set(ids);
  return rows.map((row) => {
    if (!chosen.has(row.review.id)) return row;
    return mark === undefined ? { review: row.review } : { review: row.review, mark };
  });
}

/** Somebody else has it, as far as we know. */
export function claimed(rows: readonly Row[], id: string, by: string | undefined): Row[] {
  return rows.map((row) => {
    if (row.review.id !== id) return row;
    return { ...row, review: by === undefined ? row.review : { ...row.review, claimed_by: by } };
  });
}

/** Without the rows about which nothing more happens, but for the one in hand, and the ids of those. */
export function swept(rows: readonly Row[], gone: Gone, current: string | undefined): { rows: readonly Row[]; gone: Gone } {
  const goes = (row: Row) => isSettled(row) && row.review.id !== current;
  const ids = rows.filter(goes).map(({ review }) => review.id);
  if (ids.length === 0) return { rows, gone };
  return { rows: rows.filter((row) => !goes(row)), gone: new Set([...gone, ...ids].slice(-goneMax)) };
}

/** The next row to decide about: after this one, else before it; those that others have only when there is nothing else. */
export function nextOpen(rows: readonly Row[], after: string | undefined, me: string): string | undefined {
  const at = rows.findIndex(({ review }) => review.id === after);
  const order = [...rows.slice(at + 1), ...rows.slice(0, Math.max(0, at)).reverse()].filter(isOpen);
  const free = order.find(({ review }) => review.claimed_by === undefined || review.claimed_by === me);
  return (free ?? order[0])?.review.id;
}

/** The row that many steps away, whatever became of it. */
export function stepped(rows: readonly Row[], from: string | undefined, steps: number): string | undefined {
  const at = rows.findIndex(({ review }) => review.id === from);
  const to = at === -1 ? 0 : Math.min(Math.max(at + steps, 0), rows.length - 1);
  return rows[to]?.review.id;
}
