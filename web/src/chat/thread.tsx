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
import { MessageRow } from "./message";
import { follow, type Session, watch } from "./session";
import { t } from "./strings";
import { Uploads } from "./uploads";

/** This near the bottom counts as being there. */
const NEAR_PX = 60;
/** This near the top loads what is older. */
const AHEAD_PX = 400;

export function Thread({ session, conversation }: { session: Session; conversation: Conversation }) {
  follow();
  const { messages } = conversation;
  const box = useRef<HTMLDivElement>(null);
  const scroll = useScroll(box, conversation, messages);
  const newAfter = useReading(conversation, scroll.atEnd);
  const fresh = messages.filter((message) => !message.own && isAfter(message.id, newAfter));

  useEffect(() => {
    watch(session);
    if (conversation.kind === "group") void conversation.loadMembers().catch(() => undefined); // read counts stay the server's own
    return () => conversation.release();
  }, [conversation]);

  return (
    <section class="thread" aria-label={conversation.name}>
      <Head session={session} conversation={conversation} />
      <div class="messages" ref={box} onScroll={scroll.moved} tabIndex={0} role="log" aria-live="polite" aria-label={conversation.name}>
        <Older conversation={conversation} failed={scroll.failed} again={scroll.load} />
        <ol>
          {messages.map((message, index) => (
            <Item key={keyOf(message)} session={session} conversation={conversation} message={message} before={messages[index - 1]} firstNew={message === fresh[0]} />
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
      <Composer session={session} conversation={conversation} onSent={scroll.toEnd} />
    </section>
  );
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

/** Keeps the reader's place: at the end as long as they are there, where they were when older messages come in above. */
function useScroll(box: { current: HTMLDivElement | null }, conversation: Conversation, messages: ChatMessage[]) {
  const [atEnd, setAtEnd] = useState(true);
  const [failed, setFailed] = useState(false);
  const anchor = useRef<{ height: number; top: number; first: string | undefined }>({ height: 0, top: 0, first: undefined });
  const first = messages[0] && keyOf(messages[0]);

  const load = (): void => {
    setFailed(false);
    void conversation.loadOlder().catch(() => setFailed(true));
  };
  const moved = (): void => {
    const element = box.current;
    if (!element) return;
    setAtEnd(element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX);
    anchor.current = { ...anchor.current, height: element.scrollHeight, top: element.scrollTop };
    if (element.scrollTop < AHEAD_PX && conversation.hasOlder && !failed) load();
  };
  const toEnd = (): void => {
    setAtEnd(true);
    requestAnimationFrame(() => box.current?.scrollTo({ top: box.current.scrollHeight }));
  };

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const { height, top, first: before } = anchor.current;
    if (atEnd) element.scrollTop = element.scrollHeight;
    else if (before !== undefined && before !== first) element.scrollTop = top + element.scrollHeight - height;
    anchor.current = { height: element.scrollHeight, top: element.scrollTop, first };
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
  return { atEnd, failed, load, moved, toEnd };
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
