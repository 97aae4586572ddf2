/** How a comment of a room looks on a picture: its text, colour, place and rank. Pure; the same for every player. */
import type { Comment } from "@barrage/client";
import type { DanmakuComment, StageItem } from "@barrage/danmaku";
import { isPositioned, readPositioned } from "./positioned.js";

export const WHITE = "#FFFFFF";

const OWN_PRIORITY = 3;
const STAFF_PRIORITY = 2;
const MENTION_PRIORITY = 1;
const VIP_PRIORITY = 0;
const NORMAL_PRIORITY = -1;
/** How long a comment may wait for a lane, in stage milliseconds. */
const PATIENCE_MS = 2_500;
const OWN_PATIENCE_MS = 10_000;
/** Standing ones need a lane without anything in its middle, which takes longer to come by. */
const STANDING_PATIENCE_MS = 6_000;

/** What a comment says to people: undefined when that is nothing, as with a list of places that makes no sense. */
export function shownText({ content, kind }: Comment): string | undefined {
  if (!isPositioned(content)) return content;
  return kind === "imported" ? readPositioned(content)?.text : undefined;
}

/** The comment as a stage draws it. `me` is the viewer, whose own comments stand out. */
export function toStageItem(comment: Comment, me: string | undefined): StageItem {
  const own = comment.user_id === me;
  const staff = isStaff(comment);
  const mode = comment.style?.mode ?? "scroll";
  const positioned = comment.kind === "imported" && isPositioned(comment.content) ? readPositioned(comment.content) : undefined;
  return {
    id: comment.id,
    userId: comment.user_id,
    text: positioned?.text ?? tidy(comment.content),
    ...(comment.count === undefined ? {} : { count: comment.count }),
    ...(positioned ? { path: positioned.path } : {}),
    color: colorOf(comment.style?.color),
    mode,
    size: comment.style?.size ?? "normal",
    look: own ? "own" : mentions(comment, me) ? "mention" : staff ? "staff" : "plain",
    priority: own ? OWN_PRIORITY : staff ? STAFF_PRIORITY : priorityOf(comment, me),
    patienceMs: own ? OWN_PATIENCE_MS : mode === "scroll" ? PATIENCE_MS : STANDING_PATIENCE_MS,
  };
}

/** The comment as `Danmaku.emit` takes it; `data` is the comment itself. Undefined for what is not to be read. */
export function toDanmaku(comment: Comment, me?: string): DanmakuComment | undefined {
  if (shownText(comment) === undefined) return undefined;
  const { mode, color, ...item } = toStageItem(comment, me);
  return { ...item, mode: mode === "top" || mode === "bottom" ? mode : "rtl", style: { color }, data: comment };
}

export function isStaff({ level }: Pick<Comment, "level">): boolean {
  return level === "owner" || level === "moderator" || level === "admin";
}

/** Whether it speaks to this viewer. */
export function mentions(comment: Comment, me: string | undefined): boolean {
  return me !== undefined && comment.user_id !== me && comment.mentions?.includes(me) === true;
}

/** A colour of the form `#RRGGBB`, or white. */
export function colorOf(color: string | undefined): string {
  return color !== undefined && /^#[0-9a-f]{6}$/i.test(color) ? color.toUpperCase() : WHITE;
}

function priorityOf(comment: Comment, me: string | undefined): number {
  if (mentions(comment, me)) return MENTION_PRIORITY;
  return comment.level === "vip" ? VIP_PRIORITY : NORMAL_PRIORITY;
}

/** Art keeps its lines and the spaces that shape it; one line loses what surrounds it. */
function tidy(text: string): string {
  const lines = text.replace(/\r\n?/g, "\n").replace(/[\t\v\f]/g, " ").split("\n");
  if (lines.length === 1) return text.replace(/\s+/g, " ").trim();
  return lines.map((line) => line.trimEnd()).join("\n").replace(/^\n+|\n+$/g, "");
}
