/** Which comments this viewer wants to see, and how they go onto the stage. Pure. */
import type { Comment } from "@barrage/client";
import type { Settings } from "./settings";
import type { StageItem } from "./stage/messages";

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

/** Whether settings let a comment through at all (stage and list alike). */
export function isWanted(comment: Comment, settings: Settings, onlyUser: string | undefined): boolean {
  if (onlyUser !== undefined && comment.user_id !== onlyUser) return false;
  if (settings.blockedUsers.includes(comment.user_id)) return false;
  const text = comment.content.toLowerCase();
  return !settings.blockedWords.some((word) => text.includes(word.toLowerCase()));
}

/** Whether its kind may fly; a hidden kind is still listed. */
export function mayFly({ style }: Comment, settings: Settings): boolean {
  const mode = style?.mode ?? "scroll";
  if (mode === "scroll" && settings.hideScroll) return false;
  if (mode === "top" && settings.hideTop) return false;
  if (mode === "bottom" && settings.hideBottom) return false;
  return !(settings.hideColoured && colorOf(style?.color) !== WHITE);
}

/** The comment as the stage draws it. */
export function toStageItem(comment: Comment, me: string | undefined): StageItem {
  const own = comment.user_id === me;
  const staff = isStaff(comment);
  const mode = comment.style?.mode ?? "scroll";
  const times = comment.count !== undefined && comment.count > 1 ? ` ×${comment.count}` : "";
  return {
    id: comment.id,
    userId: comment.user_id,
    text: oneLine(comment.content) + times,
    color: colorOf(comment.style?.color),
    mode,
    size: comment.style?.size ?? "normal",
    look: own ? "own" : staff ? "staff" : "plain",
    priority: own ? OWN_PRIORITY : staff ? STAFF_PRIORITY : priorityOf(comment, me),
    patienceMs: own ? OWN_PATIENCE_MS : mode === "scroll" ? PATIENCE_MS : STANDING_PATIENCE_MS,
  };
}

export function isStaff({ level }: Comment): boolean {
  return level === "owner" || level === "moderator" || level === "admin";
}

function priorityOf(comment: Comment, me: string | undefined): number {
  if (me !== undefined && comment.mentions?.includes(me)) return MENTION_PRIORITY;
  return comment.level === "vip" ? VIP_PRIORITY : NORMAL_PRIORITY;
}

function colorOf(color: string | undefined): string {
  return color !== undefined && /^#[0-9a-f]{6}$/i.test(color) ? color.toUpperCase() : WHITE;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}
