/**
 * Draws a feed and puts delete, pin, mute, ban and purge on every comment. While the pointer or the focus is inside,
 * or the reader has scrolled up, the lines stand still, so that a button never moves away under the hand.
 */
import type { Comment, RoomEvent } from "@barrage/client";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { deleteComment, pinComment } from "./api";
import type { Feed, Line } from "./feed";
import { has, t } from "./i18n";
import { reasonOfKey, useReasons } from "./reasons";
import type { Draft } from "./sanction";
import { number, when } from "./time";
import { attempt } from "./toast";
import { UserName } from "./user-card";

type OnSanction = (draft: Draft) => void;

interface Hands {
  feed: Feed;
  onSanction: OnSanction;
  onPinned: () => void;
}

export function FeedView({ feed, onSanction, onPinned }: Hands) {
  const list = useRef<HTMLOListElement>(null);
  const hands = useHold(feed, list);
  const lines = feed.lines.value;
  useLayoutEffect(() => {
    if (!hands.scrolledUp) list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [lines]);
  return (
    <div class="card feed">
      <ol ref={list} aria-label={t("live.feed")} tabIndex={-1} {...hands.listeners}>
        {lines.length === 0 && <li class="notice">{t("live.quiet")}</li>}
        {lines.map((line) => (
          <FeedLine key={line.id} line={line} feed={feed} onSanction={onSanction} onPinned={onPinned} />
        ))}
      </ol>
      <div class="feed-foot">
        {feed.waiting.value > 0 ? (
          <button type="button" onClick={hands.resume}>{t("live.held", { n: number(feed.waiting.value) })}</button>
        ) : (
          <>
            <p class="hint small keys">{t("live.keys")}</p>
            <p class="hint small touch">{t("live.tap")}</p>
          </>
        )}
      </div>
    </div>
  );
}

/** Holds the feed while a hand is on it. */
function useHold(feed: Feed, list: { current: HTMLOListElement | null }) {
  const [inside, setInside] = useState(false);
  const [focused, setFocused] = useState(false);
  const [scrolledUp, setScrolledUp] = useState(false);
  useEffect(() => feed.hold(inside || focused || scrolledUp), [feed, inside, focused, scrolledUp]);
  const toEnd = () => list.current?.scrollTo({ top: list.current.scrollHeight });
  const resume = () => {
    if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
    setInside(false);
    setFocused(false);
    setScrolledUp(false);
    feed.hold(false);
    toEnd();
  };
  const listeners = {
    // A moving mouse is a hand; one that merely lies there is not. Touch has no hover: a tap focuses the line instead.
    onPointerMove: (e: PointerEvent) => setInside(e.pointerType === "mouse"),
    onPointerLeave: () => setInside(false),
    onFocusIn: () => setFocused(true),
    onFocusOut: (e: FocusEvent) => setFocused(e.relatedTarget instanceof Node && list.current?.contains(e.relatedTarget) === true),
    onScroll: (e: Event) => setScrolledUp(!atEnd(e.currentTarget as HTMLElement)),
  };
  return { scrolledUp, resume, listeners };
}

const atEnd = (list: HTMLElement): boolean => list.scrollHeight - list.scrollTop - list.clientHeight < 24;

function FeedLine({ line, ...hands }: Hands & { line: Line }) {
  if ("event" in line) return <li class="line event">{eventInWords(line.event)}</li>;
  return <CommentLine comment={line.comment} {...hands} />;
}

function CommentLine({ comment, feed, onSanction, onPinned }: Hands & { comment: Comment }) {
  const [busy, setBusy] = useState(false);
  const gone = feed.deleted.value.has(comment.id);
  const reasons = useReasons();
  const remove = async (reason?: string) => {
    if (busy || gone) return;
    setBusy(true);
    if (await attempt(() => deleteComment(comment.id, reason), t("live.deleted"))) feed.strike([comment.id]);
    setBusy(false);
  };
  const pin = () => void attempt(() => pinComment(feed.room, comment.id), t("pin.on")).then(onPinned);
  const sanction = (kind: Draft["kind"], purge: boolean) =>
    onSanction({ kind, purge, userId: comment.user_id, username: comment.username, room: feed.room });
  const keys: Record<string, () => void> = {
    d: () => void remove(),
    t: pin,
    m: () => sanction("mute", false),
    b: () => sanction("ban", false),
    p: () => sanction("ban", true),
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") return moveFocus(event);
    const reason = reasonOfKey(event.key, reasons);
    const action = reason === undefined ? keys[event.key.toLowerCase()] : () => void remove(reason);
    if (action === undefined) return;
    event.preventDefault();
    action();
  };
  return (
    <li class={`line ${gone ? "gone" : ""} ${busy ? "busy" : ""}`} data-comment={comment.id} tabIndex={0} onKeyDown={onKey}>
      <time class="dim mono" dateTime={comment.created_at}>{when(comment.created_at)}</time>
      <UserName class={`who ${comment.level}`} person={{ userId: comment.user_id, username: comment.username, room: feed.room }} />
      <span class="content">
        {comment.content}
        {(comment.count ?? 1) > 1 && <b class="count">×{comment.count}</b>}
        {comment.like_count > 0 && <span class="dim small"> ♥ {number(comment.like_count)}</span>}
      </span>
      <span class="actions">
        {gone ? (
          <span class="dim small">{t("live.gone")}</span>
        ) : (
          <button type="button" title="d" onClick={() => void remove()}>{t("delete")}</button>
        )}
        {!gone && <button type="button" title="t" onClick={pin}>{t("pin")}</button>}
        <button type="button" title="m" onClick={() => sanction("mute", false)}>{t("mute")}</button>
        <button type="button" title="b" class="warn" onClick={() => sanction("ban", false)}>{t("ban")}</button>
        <button type="button" title="p" class="warn" onClick={() => sanction("ban", true)}>{t("purge")}</button>
      </span>
    </li>
  );
}

function moveFocus(event: KeyboardEvent): void {
  const line = event.currentTarget as HTMLElement;
  const next = event.key === "ArrowDown" ? line.nextElementSibling : line.previousElementSibling;
  event.preventDefault();
  if (next instanceof HTMLElement) next.focus();
}

function eventInWords(event: RoomEvent): string {
  switch (event.kind) {
    case "announcement":
      return t("event.announcement", { content: event.content });
    case "gift":
      return t("event.gift", { user: event.username, gift: event.gift, n: event.count });
    case "user_muted":
      return t("event.user_muted", { user: event.user_id });
    case "room_state":
      return t("event.room_state", { state: t(`state.${event.state}`) });
    case "follow":
      return t("event.follow", { user: event.username ?? event.user_id });
    case "pin":
      return event.comment === null ? t("event.unpinned") : t("event.pinned", { content: event.comment.content });
    case "poll":
      return t(`event.poll.${event.state}`, { question: event.question, votes: event.options.map(({ text, votes }) => `${text} ${votes}`).join(" · ") });
    case "question":
      return t(`event.question.${event.state}`, { user: event.username, content: event.content, n: event.upvotes });
    case "combo":
      return t("event.combo", { user: event.user_id, gift: event.gift, n: event.count });
    case "comments_restored":
      return t("event.comments_restored", { n: event.comments.length });
    case "notice":
      if (has(`notice.${event.code ?? ""}`)) return t(`notice.${event.code ?? ""}`);
      return event.message ?? event.code ?? "";
    default:
      return event.kind;
  }
}
