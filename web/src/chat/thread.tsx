/**
 * One conversation: its head, its messages with days and the line above what is new, and the place to write.
 * Stays at the newest message as long as the reader does, and keeps the place when older ones are loaded above.
 */
import type { ChatMessage, Conversation, Id } from "@barrage/client";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { locale } from "../console/language";
import { Composer } from "./composer";
import { dayName, sameDay } from "./format";
import { Head } from "./head";
import { Icon } from "./icons";
import { markFound, target } from "./jump";
import { Lightbox } from "./lightbox";
import { MessageRow } from "./message";
import { canSeal, hearAll, sealedUploads } from "./sealed";
import { complain, follow, type Session, watch } from "./session";
import { t } from "./strings";
import { Uploads } from "./uploads";
import { earlier, later, sliceOf } from "./window";

/** This near the bottom counts as being there. */
const NEAR_PX = 60;
/** This near the top loads what is older. */
const AHEAD_PX = 400;
/** Messages drawn below one that was jumped to. */
const AROUND = 30;

export function Thread({ session, conversation }: { session: Session; conversation: Conversation }) {
  follow();
  const all = conversation.messages;
  const uploads = sealedUploads(all);
  const messages = all.filter((message) => !isCarried(message, uploads));
  const box = useRef<HTMLDivElement>(null);
  const scroll = useScroll(box, conversation, messages);
  const { from, to } = scroll.slice;
  const newAfter = useReading(conversation, scroll.atEnd);
  const fresh = messages.filter((message) => !message.own && isAfter(message.id, newAfter));

  useTarget(conversation, messages, scroll.toKey);
  // What could not be loaded without the network.
  useEffect(() => session.chat.on("live", () => scroll.failed && scroll.load()), [session, scroll.failed]);
  useEffect(() => hearAll(session.chat, conversation), [conversation, all.length, canSeal()]);
  useEffect(() => {
    watch(session);
    if (conversation.kind === "group") void conversation.loadMembers().catch(() => undefined); // read counts stay the server's own
    return () => conversation.release();
  }, [conversation]);

  return (
    <section class="thread" aria-label={conversation.name}>
      <Head session={session} conversation={conversation} />
      <div class="messages" ref={box} onScroll={scroll.moved} tabIndex={0} role="log" aria-live="polite" aria-label={conversation.name}>
        {from === 0 ? <Older conversation={conversation} failed={scroll.failed} again={scroll.load} /> : <p class="edge">{t("older")}</p>}
        <ol>
          {messages.slice(from, to).map((message, index) => (
            <Item key={keyOf(message)} session={session} conversation={conversation} message={message} before={messages[from + index - 1]} firstNew={message === fresh[0]} />
          ))}
        </ol>
        <Uploads conversation={conversation} />
      </div>
      {!scroll.atEnd && (
        <button type="button" class="to-end" onClick={scroll.toEnd}>
          <Icon name="down" /> {fresh.length > 0 ? t("newest.n", { n: fresh.length }) : t("newest")}
        </button>
      )}
      <TypingLine session={session} conversation={conversation} />
      <Lightbox session={session} conversation={conversation} />
      <Composer session={session} conversation={conversation} onSent={scroll.toEnd} />
    </section>
  );
}

/** Names an upload whose key came in an encrypted message, which shows the file. */
function isCarried({ msg_type, content }: ChatMessage, uploads: ReadonlySet<string>): boolean {
  return msg_type === "file" && uploads.has(content);
}

/** The same before and after it is stored, so that it is not drawn anew. */
const keyOf = ({ from_user, client_msg_id }: ChatMessage): string => `${from_user} ${client_msg_id}`;

/** Ids of one conversation rise; longer is later. */
function isAfter(id: Id | undefined, mark: Id | undefined): boolean {
  if (id === undefined || mark === undefined) return false;
  return id.length > mark.length || (id.length === mark.length && id > mark);
}

interface ItemProps {
  session: Session;
  conversation: Conversation;
  message: ChatMessage;
  before: ChatMessage | undefined;
  firstNew: boolean;
}

/** A message with what stands above it: the day, and the line above the first new one. */
function Item({ session, conversation, message, before, firstNew }: ItemProps) {
  const newDay = !before || !sameDay(before.created_at, message.created_at);
  const follows = !newDay && !firstNew && before.from_user === message.from_user && before.state !== "recalled";
  return (
    <>
      {newDay && (
        <li class="day">
          <span>{dayName(message.created_at, locale.value, { today: t("today"), yesterday: t("yesterday") })}</span>
        </li>
      )}
      {firstNew && (
        <li class="new-line">
          <span>{t("newMessages")}</span>
        </li>
      )}
      <MessageRow session={session} conversation={conversation} message={message} follows={follows} />
    </>
  );
}

function Older({ conversation, failed, again }: { conversation: Conversation; failed: boolean; again: () => void }) {
  follow();
  if (failed) {
    return (
      <p class="edge">
        {t("olderFailed")} <button type="button" onClick={again}>{t("again")}</button>
      </p>
    );
  }
  if (conversation.conversationId === undefined || !conversation.hasOlder) return <p class="edge">{t("first")}</p>;
  return <p class="edge">{t("older")}</p>;
}

function TypingLine({ session: { chat }, conversation }: { session: Session; conversation: Conversation }) {
  follow();
  const [first, ...others] = conversation.typing;
  const name = conversation.kind === "direct" ? conversation.name : (chat.names.get(first ?? "") ?? first);
  return (
    <p class="typing" role="status">
      {first === undefined ? "" : others.length > 0 ? t("typing.many", { n: others.length + 1 }) : t("typing.one", { name: name ?? "" })}
    </p>
  );
}

/**
 * Draws a window of the history around the reader and keeps their place: at the end as long as they are there, and
 * otherwise at the message they look at, whatever comes and goes above and below.
 */
function useScroll(box: { current: HTMLDivElement | null }, conversation: Conversation, messages: ChatMessage[]) {
  const [end, setEnd] = useState<string | undefined>();
  const [near, setNear] = useState(true);
  const [failed, setFailed] = useState(false);
  const anchor = useRef<{ key: string; top: number } | undefined>(undefined);
  const keys = messages.map(keyOf);
  const slice = sliceOf(keys, end);
  const atEnd = near && slice.to === keys.length;

  const load = (): void => {
    setFailed(false);
    void conversation.loadOlder().catch(() => setFailed(true));
  };
  const moved = (): void => {
    const element = box.current;
    if (!element) return;
    const below = element.scrollHeight - element.scrollTop - element.clientHeight;
    setNear(below < NEAR_PX);
    anchor.current = anchorIn(element);
    if (element.scrollTop < AHEAD_PX) {
      if (slice.from > 0) setEnd(earlier(keys, slice));
      else if (conversation.hasOlder && !failed) {
        setEnd(keys[slice.to - 1]); // what is loaded goes above; what is drawn stays
        load();
      }
    } else if (below < AHEAD_PX && slice.to < keys.length) setEnd(later(keys, slice));
    else if (below < NEAR_PX && slice.to === keys.length) setEnd(undefined);
  };
  const toEnd = (): void => {
    setEnd(undefined);
    setNear(true);
    requestAnimationFrame(() => box.current?.scrollTo({ top: box.current.scrollHeight }));
  };

  const toKey = (key: string): void => {
    setEnd(keys[Math.min(keys.indexOf(key) + AROUND, keys.length - 1)]);
    setNear(false);
    anchor.current = undefined;
    // Once it is drawn.
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const row = box.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(key)}"]`);
      row?.scrollIntoView({ block: "center" });
      row?.focus({ preventScroll: true });
    }));
  };

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    if (atEnd) element.scrollTop = element.scrollHeight;
    else if (anchor.current) element.scrollTop += offsetOf(element, anchor.current.key, anchor.current.top) - anchor.current.top;
    anchor.current = anchorIn(element);
  });
  // What is empty has no scroll bar to ask with: a thread just opened, or emptied because it had a gap.
  const short = messages.length < 20 && conversation.hasOlder && conversation.conversationId !== undefined;
  useEffect(() => {
    if (short && !failed) load();
  }, [short, messages.length, failed]);
  // Pictures that arrive and keyboards that open change the height without anybody scrolling.
  useEffect(() => {
    const element = box.current;
    if (!element || !atEnd) return;
    const watcher = new ResizeObserver(() => (element.scrollTop = element.scrollHeight));
    watcher.observe(element);
    for (const child of element.children) watcher.observe(child);
    return () => watcher.disconnect();
  }, [atEnd]);
  return { atEnd, failed, load, moved, toEnd, toKey, slice };
}

/** Goes to the message that was asked for, loading history until it is there. */
function useTarget(conversation: Conversation, messages: ChatMessage[], toKey: (key: string) => void): void {
  const wanted = target.value?.key === conversation.key ? target.value.id : undefined;
  const row = wanted === undefined ? undefined : messages.find(({ id }) => id === wanted);
  useEffect(() => {
    if (wanted === undefined) return;
    if (row) {
      target.value = undefined;
      markFound(wanted);
      return toKey(keyOf(row));
    }
    let current = true;
    const missed = (): void => {
      if (!current || target.peek()?.id !== wanted) return;
      target.value = undefined;
      complain(t("reply.gone"));
    };
    conversation.seek(wanted).then((here) => here || missed(), missed);
    return () => void (current = false);
  }, [wanted, row?.id]);
}

/** The topmost message on screen and where it is. */
function anchorIn(box: HTMLElement): { key: string; top: number } | undefined {
  const edge = box.getBoundingClientRect().top;
  for (const row of box.querySelectorAll<HTMLElement>("[data-key]")) {
    const { top, bottom } = row.getBoundingClientRect();
    if (bottom > edge) return { key: row.dataset["key"] ?? "", top: top - edge };
  }
  return undefined;
}

function offsetOf(box: HTMLElement, key: string, otherwise: number): number {
  const row = box.querySelector(`[data-key="${CSS.escape(key)}"]`);
  return row ? row.getBoundingClientRect().top - box.getBoundingClientRect().top : otherwise;
}

/** Marks as read what is on screen; the line above what is new stays where it was when the reader came. */
function useReading(conversation: Conversation, atEnd: boolean): Id | undefined {
  const [newAfter, setNewAfter] = useState<Id | undefined>(() => (conversation.unread > 0 ? (conversation.readId ?? "0") : undefined));
  const [seen, setSeen] = useState(document.visibilityState === "visible");
  const { readId, unread } = conversation;
  useEffect(() => {
    const changed = (): void => setSeen(document.visibilityState === "visible");
    document.addEventListener("visibilitychange", changed);
    return () => document.removeEventListener("visibilitychange", changed);
  }, []);
  const away = useRef(false);
  useEffect(() => {
    const reading = seen && atEnd;
    if (!reading && !away.current) setNewAfter(readId ?? "0");
    away.current = !reading;
    if (reading && unread > 0) conversation.markRead();
  });
  return newAfter;
}
