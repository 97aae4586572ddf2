/**
 * Draws a feed and puts delete, mute, ban and purge on every comment. While the pointer or the focus is inside,
 * or the reader has scrolled up, the lines stand still, so that a button never moves away under the hand.
 */
import type { Comment, RoomEvent } from "@barrage/client";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { deleteComment } from "./api";
import type { Feed, Line } from "./feed";
import { t } from "./i18n";
import type { Draft } from "./sanction";
import { number, when } from "./time";
import { attempt } from "./toast";

type OnSanction = (draft: Draft) => void;

export function FeedView({ feed, onSanction }: { feed: Feed; onSanction: OnSanction }) {
  const list = useRef<HTMLOListElement>(null);
  const hands = useHold(feed, list);
  const lines = feed.lines.value;
  useLayoutEffect(() => {
    if (!hands.scrolledUp) list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [lines]);
  return (
    <div class="card feed">
      <ol ref={list} aria-label={t("desk.feed")} tabIndex={-1} {...hands.listeners}>
        {lines.length === 0 && <li class="notice">{t("desk.quiet")}</li>}
        {lines.map((line) => (
          <FeedLine key={line.id} line={line} feed={feed} onSanction={onSanction} />
        ))}
      </ol>
      <div class="feed-foot">
        {feed.waiting.value > 0 ? (
          <button type="button" onClick={hands.resume}>{t("desk.held", { n: number(feed.waiting.value) })}</button>
        ) : (
          <>
            <p class="hint small keys">{t("desk.keys")}</p>
            <p class="hint small touch">{t("desk.tap")}</p>
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

function FeedLine({ line, feed, onSanction }: { line: Line; feed: Feed; onSanction: OnSanction }) {
  if ("event" in line) return <li class="line event">{eventInWords(line.event)}</li>;
  return <CommentLine comment={line.comment} feed={feed} onSanction={onSanction} />;
}

function CommentLine({ comment, feed, onSanction }: { comment: Comment; feed: Feed; onSanction: OnSanction }) {
  const [busy, setBusy] = useState(false);
  const gone = feed.deleted.value.has(comment.id);
  const remove = async () => {
    if (busy || gone) return;
    setBusy(true);
    if (await attempt(() => deleteComment(comment.id), t("desk.deleted"))) feed.strike([comment.id]);
    setBusy(false);
  };
  const sanction = (kind: Draft["kind"], purge: boolean) =>
    onSanction({ kind, purge, userId: comment.user_id, username: comment.username, room: feed.room });
  const keys: Record<string, () => void> = {
    d: () => void remove(),
    m: () => sanction("mute", false),
    b: () => sanction("ban", false),
    p: () => sanction("ban", true),
  };
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") return moveFocus(event);
    const action = keys[event.key.toLowerCase()];
    if (action === undefined) return;
    event.preventDefault();
    action();
  };
  return (
    <li class={`line ${gone ? "gone" : ""} ${busy ? "busy" : ""}`} data-comment={comment.id} tabIndex={0} onKeyDown={onKey}>
      <time class="dim mono" dateTime={comment.created_at}>{when(comment.created_at)}</time>
      <span class={`who ${comment.level}`} title={comment.user_id}>{comment.username}</span>
      <span class="content">
        {comment.content}
        {(comment.count ?? 1) > 1 && <b class="count">×{comment.count}</b>}
        {comment.like_count > 0 && <span class="dim small"> ♥ {number(comment.like_count)}</span>}
      </span>
      <span class="actions">
        {gone ? (
          <span class="dim small">{t("desk.gone")}</span>
        ) : (
          <button type="button" title="d" onClick={() => void remove()}>{t("delete")}</button>
        )}
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
    case "notice":
      return event.message ?? event.code ?? "";
    default:
      return event.kind;
  }
}
