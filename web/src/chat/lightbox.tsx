/** One picture of a conversation in full size, and the way to the ones before and after it. */
import type { Chat, ChatMessage, Conversation } from "@barrage/client";
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { pictureOf, type Source } from "./attachment";
import { IconButton } from "./icons";
import { bodyOf } from "./sealed";
import type { Session } from "./session";
import { t } from "./strings";

/** The message whose picture is open. */
const shown = signal<ChatMessage | undefined>(undefined);

export function showPicture(message: ChatMessage): void {
  shown.value = message;
}

function sourceOf(chat: Chat, message: ChatMessage): Source | undefined {
  if (message.msg_type === "image") return { uploadId: message.content };
  const body = message.msg_type === "encrypted" ? bodyOf(chat, message) : undefined;
  return body?.kind === "file" && body.msg_type === "image" ? { sealed: body } : undefined;
}

const same = (a: ChatMessage, b: ChatMessage): boolean => a.client_msg_id === b.client_msg_id && a.from_user === b.from_user;

/** Drawn once by the thread; shows nothing until a picture is opened. */
export function Lightbox({ session, conversation }: { session: Session; conversation: Conversation }) {
  useEffect(() => () => void (shown.value = undefined), [conversation]);
  const message = shown.value;
  const pictures = message ? conversation.messages.filter((one) => one.state !== "recalled" && sourceOf(session.chat, one)) : [];
  const at = message ? pictures.findIndex((one) => same(one, message)) : -1;
  const open = pictures[at];
  if (!open) return null;
  const step = (by: number): void => void (shown.value = pictures[at + by] ?? open);
  return <Box session={session} source={sourceOf(session.chat, open) as Source} step={step} first={at === 0} last={at === pictures.length - 1} />;
}

function Box({ session, source, step, first, last }: { session: Session; source: Source; step: (by: number) => void; first: boolean; last: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [picture, setPicture] = useState<{ url: string; name: string } | undefined>();
  const id = "sealed" in source ? source.sealed.upload_id : source.uploadId;
  useLayoutEffect(() => {
    dialog.current?.showModal();
    const box = dialog.current;
    return () => box?.close();
  }, []);
  useEffect(() => {
    let current = true;
    pictureOf(session, source).then((found) => current && setPicture(found), () => undefined);
    return () => void (current = false);
  }, [id]);
  const close = (): void => void (shown.value = undefined);
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  };
  return (
    <dialog class="lightbox" ref={dialog} aria-label={picture?.name ?? t("msg.image")} onClose={close} onKeyDown={onKey} onClick={(e) => e.target === e.currentTarget && close()}>
      <div class="lightbox-bar">
        <span class="grow">{picture?.name}</span>
        <IconButton icon="back" label={t("picture.before")} disabled={first} onClick={() => step(-1)} />
        <IconButton icon="next" label={t("picture.after")} disabled={last} onClick={() => step(1)} />
        {picture && (
          <a class="tool button" href={picture.url} download={picture.name} aria-label={t("download", { name: picture.name })} title={t("download", { name: picture.name })}>
            ↓
          </a>
        )}
        <IconButton icon="close" label={t("close")} onClick={close} />
      </div>
      {picture && <img src={picture.url} alt={picture.name} onClick={close} />}
    </dialog>
  );
}
