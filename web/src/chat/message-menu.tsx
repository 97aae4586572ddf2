/** What can be done with a message: a button that opens a menu. What it holds is worked out when it opens: two minutes pass. */
import type { Chat, ChatMessage, Conversation, Id } from "@barrage/client";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { copyText } from "../shared/clipboard";
import { CHANGEABLE_MS, editableText, replyTo, startEdit } from "./about";
import { IconButton } from "./icons";
import { isMine, QUICK, react, ReactionDialog, takesReactions } from "./reactions";
import { bodyOf, sealing } from "./sealed";
import type { SealedBody } from "./sealed-body";
import { attempt, complain, type Session } from "./session";
import { t } from "./strings";
import { textOf } from "./summary";

interface Props {
  session: Session;
  conversation: Conversation;
  message: ChatMessage;
}

interface Action {
  label: string;
  run: () => void;
}

function actionsFor({ chat }: Session, conversation: Conversation, message: ChatMessage): Action[] {
  const { id, own, state, created_at, client_msg_id, draft } = message;
  const actions: Action[] = [];
  const text = textOf(chat, message);
  const editable = editableText(chat, message);
  if (id !== undefined) actions.push({ label: t("menu.reply"), run: () => replyTo(conversation, id) });
  if (text !== undefined) actions.push({ label: t("menu.copy"), run: () => void copy(text) });
  if (id !== undefined && editable !== undefined) actions.push({ label: t("menu.edit"), run: () => startEdit(conversation, id, editable) });
  if (own && id !== undefined && Date.now() - Date.parse(created_at) < CHANGEABLE_MS) {
    actions.push({ label: t("menu.recall"), run: () => void attempt(() => recall(chat, conversation, id, message)) });
  }
  if (state === "failed") actions.push({ label: t("menu.retry"), run: () => chat.outbox.retry(client_msg_id) });
  if (state === "failed") actions.push({ label: t("menu.discard"), run: () => discard(chat, client_msg_id, draft) });
  return actions;
}

function discard(chat: Chat, clientMsgId: string, draft: string | undefined): void {
  chat.outbox.remove(clientMsgId);
  if (draft !== undefined) sealing.sent(draft); // nobody reads it any more
}

async function copy(text: string): Promise<void> {
  complain(t((await copyText(text)) ? "copied" : "copyFailed"));
}

/** Before messages named their uploads themselves, a plain message went with an encrypted file; it goes too. */
async function recall(chat: Chat, conversation: Conversation, id: Id, message: ChatMessage): Promise<void> {
  const body: SealedBody | undefined = message.msg_type === "encrypted" ? bodyOf(chat, message) : undefined;
  const upload = body?.kind === "file" ? conversation.messages.find(({ own, msg_type, content }) => own && msg_type === "file" && content === body.upload_id) : undefined;
  await chat.recall(conversation, id);
  if (upload?.id !== undefined) await chat.recall(conversation, upload.id);
}

export function MessageMenu({ session, conversation, message }: Props) {
  const [actions, setActions] = useState<Action[] | undefined>();
  const [choosing, setChoosing] = useState(false);
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
          {takesReactions(message) && (
            <div class="menu-emoji" role="group" aria-label={t("react.choose")}>
              {QUICK.map((emoji) => (
                <button key={emoji} type="button" role="menuitemcheckbox" aria-checked={isMine(message, emoji)} onClick={() => (close(), void react(session, conversation, message, emoji))}>
                  {emoji}
                </button>
              ))}
              <button type="button" role="menuitem" aria-label={t("react.more")} title={t("react.more")} onClick={() => (close(), setChoosing(true))}>
                +
              </button>
            </div>
          )}
          {actions.map(({ label, run }) => (
            <button key={label} type="button" role="menuitem" onClick={() => (close(), run())}>
              {label}
            </button>
          ))}
        </div>
      )}
      {choosing && <ReactionDialog session={session} conversation={conversation} message={message} onClose={() => setChoosing(false)} />}
    </div>
  );
}

function onMenuKey(event: KeyboardEvent & { currentTarget: HTMLElement }, close: () => void): void {
  if (event.key === "Escape") close();
  const step = event.key === "ArrowDown" || event.key === "ArrowRight" ? 1 : event.key === "ArrowUp" || event.key === "ArrowLeft" ? -1 : 0;
  if (step === 0) return;
  const items = [...event.currentTarget.querySelectorAll<HTMLElement>(".menu [role^=menuitem]")];
  if (items.length === 0) return;
  event.preventDefault();
  const at = items.findIndex((item) => item === document.activeElement);
  items.at((at + step) % items.length)?.focus();
}
