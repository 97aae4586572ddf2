/** One message: what it answers, its bubble, its time and ticks, its reactions. Text from people is only ever text. */
import type { ChatMessage, Conversation } from "@barrage/client";
import { locale } from "../console/language";
import { Attachment, Leak } from "./attachment";
import { clock, hueOf, pieces } from "./format";
import { Icon } from "./icons";
import { found } from "./jump";
import { MessageMenu } from "./message-menu";
import { Quote } from "./quote";
import { Reactions } from "./reactions";
import { bodyOf, isLeak } from "./sealed";
import type { SealedBody } from "./sealed-body";
import type { Session } from "./session";
import { sentence, t } from "./strings";
import { settingText } from "./summary";

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
  const body = message.msg_type === "encrypted" ? bodyOf(session.chat, message) : undefined;
  if (body?.kind === "setting" && message.state !== "failed") {
    return (
      <li class="setting">
        <Icon name={body.sealed ? "lock" : "unlock"} /> {settingText(session.chat, message, body.sealed)}
      </li>
    );
  }
  const isFound = message.id !== undefined && found.value === message.id;
  const showName = conversation.kind === "group" && !message.own && !follows;
  return (
    <li class={`message ${message.own ? "own" : "other"}${follows ? " follows" : ""}${isFound ? " found" : ""}`} tabIndex={-1} data-key={`${message.from_user} ${message.client_msg_id}`} data-type={message.msg_type} data-state={message.state}>
      <div class="bubble">
        {showName && (
          <span class="name" style={{ "--hue": hueOf(message.from_user) }}>
            {message.from_name ?? message.from_user}
          </span>
        )}
        {message.reply_to !== undefined && <Quote session={session} conversation={conversation} id={message.reply_to} />}
        <Content session={session} message={message} body={body} leak={isLeak(conversation, message)} />
        <Meta conversation={conversation} message={message} />
      </div>
      <MessageMenu session={session} conversation={conversation} message={message} />
      <Reactions session={session} conversation={conversation} message={message} />
      {message.state === "failed" && (
        <p class="why" role="alert">
          {t("msg.failed", { why: sentence(message.error?.code ?? "", message.error?.message ?? "") })}
        </p>
      )}
    </li>
  );
}

interface ContentProps {
  session: Session;
  message: ChatMessage;
  body: SealedBody | undefined;
  leak: boolean;
}

function Content({ session, message, body, leak }: ContentProps) {
  if (message.msg_type === "text") {
    return (
      <>
        <Text text={message.content} />
        {leak && <Leak />}
      </>
    );
  }
  if (message.msg_type === "encrypted") return <Sealed session={session} message={message} body={body} />;
  return <Attachment session={session} source={{ uploadId: message.content }} type={message.msg_type} message={message} leak={leak} />;
}

function Sealed({ session, message, body }: Omit<ContentProps, "leak">) {
  if (body?.kind === "file") return <Attachment session={session} source={{ sealed: body }} type={body.msg_type} message={message} leak={false} />;
  const text = body?.kind === "text" ? body.text : body?.kind === "setting" ? settingText(session.chat, message, body.sealed) : undefined;
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
  const { own, state, read_count = 0, created_at, edited_at } = message;
  const readers = conversation.kind === "group" && own && read_count > 0;
  return (
    <span class="meta">
      {readers && <span class="readers">{state === "read" ? t("msg.readByAll") : t("msg.readBy", { n: read_count })}</span>}
      {edited_at !== undefined && <span title={clock(edited_at, locale.value)}>{t("msg.edited")}</span>}
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
