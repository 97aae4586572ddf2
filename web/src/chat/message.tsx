/** One message: its bubble, its time and ticks, and what can be done with it. Text from people is only ever text. */
import type { ChatMessage, Conversation } from "@barrage/client";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { locale } from "../console/language";
import { Attachment } from "./attachment";
import { clock, hueOf, pieces } from "./format";
import { Icon, IconButton } from "./icons";
import { textOf } from "./sealed";
import { attempt, type Session } from "./session";
import { sentence, t } from "./strings";

/** As long as the server lets a message be taken back. */
const RECALL_MS = 120_000;

interface Props {
  session: Session;
  conversation: Conversation;
  message: ChatMessage;
  /** Comes right after another of the same person. */
  follows: boolean;
}

export function MessageRow({ session, conversation, message, follows }: Props) {
  if (message.state === "recalled") {
    return <li class="recalled">{message.own ? t("msg.recalledOwn") : t("msg.recalled")}</li>;
  }
  const showName = conversation.kind === "group" && !message.own && !follows;
  return (
    <li class={`message ${message.own ? "own" : "other"}${follows ? " follows" : ""}`} data-type={message.msg_type} data-state={message.state}>
      <div class="bubble">
        {showName && (
          <span class="name" style={{ "--hue": hueOf(message.from_user) }}>
            {message.from_name ?? message.from_user}
          </span>
        )}
        <Content session={session} message={message} />
        <Meta conversation={conversation} message={message} />
      </div>
      <Menu session={session} conversation={conversation} message={message} />
      {message.state === "failed" && (
        <p class="why" role="alert">
          {t("msg.failed", { why: sentence(message.error?.code ?? "", message.error?.message ?? "") })}
        </p>
      )}
    </li>
  );
}

function Content({ session, message }: { session: Session; message: ChatMessage }) {
  if (message.msg_type === "text") return <Text text={message.content} />;
  if (message.msg_type === "encrypted") return <Sealed session={session} message={message} />;
  return <Attachment session={session} uploadId={message.content} type={message.msg_type} />;
}

function Sealed({ session, message }: { session: Session; message: ChatMessage }) {
  const text = textOf(session.chat, message);
  return (
    <>
      <span class="seal" role="img" aria-label={t("e2ee.on")} title={t("e2ee.on")}>
        <Icon name="lock" />
      </span>
      {text === undefined ? <p class="text unreadable">{t("msg.encrypted")}</p> : <Text text={text} />}
    </>
  );
}

function Text({ text }: { text: string }) {
  return (
    <p class="text">
      {pieces(text).map((piece, index) =>
        piece.href === undefined ? (
          piece.text
        ) : (
          <a key={index} href={piece.href} target="_blank" rel="noopener noreferrer nofollow">
            {piece.text}
          </a>
        ),
      )}
    </p>
  );
}

/** When, and how far it has come. */
function Meta({ conversation, message }: { conversation: Conversation; message: ChatMessage }) {
  const { own, state, read_count = 0, created_at } = message;
  const readers = conversation.kind === "group" && own && read_count > 0;
  return (
    <span class="meta">
      {readers && <span class="readers">{state === "read" ? t("msg.readByAll") : t("msg.readBy", { n: read_count })}</span>}
      <time dateTime={created_at}>{clock(created_at, locale.value)}</time>
      {own && <Tick state={state} />}
    </span>
  );
}

function Tick({ state }: { state: ChatMessage["state"] }) {
  const name = state === "sending" ? "wait" : state === "failed" ? "failed" : state === "read" ? "ticks" : "tick";
  const label = state === "failed" ? t("msg.failed", { why: "" }) : t(`msg.${state}`);
  return (
    <span class="tick" role="img" aria-label={label} title={label}>
      <Icon name={name} />
    </span>
  );
}

interface Action {
  label: string;
  run: () => void;
}

function actionsFor({ chat }: Session, conversation: Conversation, message: ChatMessage): Action[] {
  const { id, own, state, content, msg_type, created_at, client_msg_id } = message;
  const actions: Action[] = [];
  const text = msg_type === "encrypted" ? textOf(chat, message) : msg_type === "text" ? content : undefined;
  if (text !== undefined) actions.push({ label: t("menu.copy"), run: () => void attempt(() => navigator.clipboard.writeText(text)) });
  if (own && id !== undefined && Date.now() - Date.parse(created_at) < RECALL_MS) {
    actions.push({ label: t("menu.recall"), run: () => void attempt(() => chat.recall(conversation, id)) });
  }
  if (state === "failed") actions.push({ label: t("menu.retry"), run: () => chat.outbox.retry(client_msg_id) });
  if (state === "failed") actions.push({ label: t("menu.discard"), run: () => void chat.outbox.remove(client_msg_id) });
  return actions;
}

/** A button that opens a menu. What it holds is worked out when it opens: two minutes pass. */
function Menu({ session, conversation, message }: Omit<Props, "follows">) {
  const [actions, setActions] = useState<Action[] | undefined>();
  const menu = useRef<HTMLDivElement>(null);
  const close = (): void => {
    // Whoever came by keyboard goes on from here.
    if (menu.current?.contains(document.activeElement)) menu.current.parentElement?.querySelector("button")?.focus();
    setActions(undefined);
  };
  useLayoutEffect(() => {
    if (!actions) return;
    menu.current?.querySelector("button")?.focus();
    menu.current?.scrollIntoView({ block: "nearest" });
    const outside = (event: Event): void => {
      if (!(event.target instanceof Node && menu.current?.parentElement?.contains(event.target))) close();
    };
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [actions]);
  return (
    <div class="menu-anchor" onKeyDown={(e) => onMenuKey(e, close)}>
      <IconButton icon="dots" label={t("menu")} onClick={() => setActions(actions ? undefined : actionsFor(session, conversation, message))} />
      {actions && (
        <div class="menu" role="menu" ref={menu}>
          {actions.map(({ label, run }) => (
            <button key={label} type="button" role="menuitem" onClick={() => (close(), run())}>
              {label}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

function onMenuKey(event: KeyboardEvent & { currentTarget: HTMLElement }, close: () => void): void {
  if (event.key === "Escape") close();
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>("[role=menuitem]")];
  if (items.length === 0) return;
  event.preventDefault();
  const at = items.findIndex((item) => item === document.activeElement);
  items.at((at + (event.key === "ArrowDown" ? 1 : -1)) % items.length)?.focus();
}
