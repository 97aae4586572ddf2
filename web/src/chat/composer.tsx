/** Where one writes: Enter sends, Shift+Enter breaks the line; files come by button, by pasting and by dropping. */
import type { Conversation } from "@barrage/client";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { type About, aboutOf, editableText, resumeAbout, startEdit, stopAbout } from "./about";
import { draftOf, keepDraft } from "./drafts";
import { Icon, IconButton } from "./icons";
import { allowPlain, canSeal, isSealed, mustAsk, say, sayAnew, setSealed, wasSealed } from "./sealed";
import { attempt, complain, follow, type Session } from "./session";
import { explain, t } from "./strings";
import { summary } from "./summary";
import { sendFiles } from "./uploads";

/** Unicode characters, as the server counts. */
const MAX = 4_000;
const WARN_FROM = 3_600;

/** Counted by character only when it matters. */
function lengthOf(text: string): number {
  return text.length > WARN_FROM ? [...text].length : text.length;
}

function isReady(text: string): boolean {
  return text.trim() !== "" && lengthOf(text) <= MAX;
}

export function Composer({ session, conversation, onSent }: { session: Session; conversation: Conversation; onSent: () => void }) {
  follow();
  const field = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const text = draftOf(conversation.key);
  const held = mustAsk(conversation);
  const length = lengthOf(text);

  useLayoutEffect(() => {
    if (!matchMedia("(pointer: coarse)").matches) field.current?.focus();
  }, [conversation]);
  useEffect(() => () => conversation.tellTyping(false), [conversation]);
  const about = aboutOf(conversation);
  useEffect(() => {
    if (about) field.current?.focus();
  }, [about]);

  const type = (value: string): void => {
    keepDraft(conversation.key, value);
    conversation.tellTyping(value.trim() !== "");
  };
  const send = (): void => {
    const said = draftOf(conversation.key); // newer than what was drawn last, for who types fast
    const about = aboutOf(conversation);
    if (!isReady(said) || (mustAsk(conversation) && about?.kind !== "edit")) return;
    stopAbout(conversation);
    if (about?.kind !== "edit") keepDraft(conversation.key, "");
    void saying(session, conversation, said, about).then(about?.kind === "edit" ? undefined : onSent, (error: unknown) => {
      const meanwhile = draftOf(conversation.key);
      resumeAbout(conversation, about?.kind === "edit" ? { ...about, before: meanwhile } : about);
      keepDraft(conversation.key, about?.kind === "edit" ? said : [said, meanwhile].filter((part) => part !== "").join("\n"));
      complain(explain(error));
    });
    field.current?.focus();
  };
  const editLast = (): void => {
    const last = conversation.messages.findLast((message) => editableText(session.chat, message) !== undefined);
    const editable = last && editableText(session.chat, last);
    if (last?.id !== undefined && editable !== undefined) startEdit(conversation, last.id, editable);
  };
  const attach = (files: FileList | null | undefined): void => {
    if (files && files.length > 0 && !mustAsk(conversation)) void sendFiles(conversation, [...files]).then(onSent);
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && aboutOf(conversation)) return stopAbout(conversation);
    if (event.key === "ArrowUp" && text === "" && !event.isComposing) return (event.preventDefault(), editLast());
    // Safari ends the composition before it tells of the Enter that did so; 229 is how that one is known.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    send();
  };
  const onPaste = (event: ClipboardEvent): void => {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    attach(event.clipboardData.files);
  };
  const onDrop = (event: DragEvent): void => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    attach(event.dataTransfer.files);
  };

  return (
    <form class="composer" onSubmit={(e) => (e.preventDefault(), send())} onDrop={onDrop} onDragOver={(e) => e.preventDefault()}>
      {!session.client.connected && text !== "" && <p class="offline-note">{t("offlineNote")}</p>}
      {length > WARN_FROM && <p class={`offline-note ${length > MAX ? "over" : ""}`}>{t("tooLong", { n: length, max: MAX })}</p>}
      <Plain conversation={conversation} />
      <AboutLine session={session} conversation={conversation} />
      <div class="composer-row">
        <IconButton icon="clip" label={t("attach")} disabled={held} onClick={() => picker.current?.click()} />
        <input ref={picker} type="file" multiple hidden onChange={(e) => (attach(e.currentTarget.files), (e.currentTarget.value = ""))} />
        <textarea
          ref={field}
          rows={1}
          placeholder={t(isSealed(conversation) && canSeal() ? "write.sealed" : "write")}
          aria-label={t("write")}
          enterkeyhint="send"
          value={text}
          onInput={(e) => type(e.currentTarget.value)}
          onKeyDown={onKey}
          onPaste={onPaste}
        />
        <button type="submit" class="primary send" aria-label={t("send")} title={t("send")} disabled={!isReady(text) || held}>
          <Icon name="send" />
        </button>
      </div>
    </form>
  );
}

/** Sends what was written: a message, an answer, or another wording. */
async function saying({ chat }: Session, conversation: Conversation, text: string, about: About | undefined): Promise<void> {
  if (about?.kind !== "edit") return say(conversation, text, about?.id);
  const message = conversation.message(about.id);
  if (message) await sayAnew(chat, conversation, message, text);
}

/** What the text answers or replaces, and the way out of that. */
function AboutLine({ session, conversation }: { session: Session; conversation: Conversation }) {
  const about = aboutOf(conversation);
  if (!about) return null;
  const message = conversation.message(about.id);
  const name = message?.own ? t("you") : (message?.from_name ?? message?.from_user ?? "");
  return (
    <div class="about-line" role="status">
      <Icon name={about.kind === "edit" ? "pen" : "reply"} />
      <span class="grow">
        <strong>{about.kind === "edit" ? t("edit.now") : t("reply.now", { name })}</strong>
        <small>{message && summary(session.chat, message, false)}</small>
      </span>
      <IconButton icon="close" label={t("cancel")} onClick={() => stopAbout(conversation)} />
    </div>
  );
}

/** Says before anything is written that it would go out in plain where that is not expected. */
function Plain({ conversation }: { conversation: Conversation }) {
  if (isSealed(conversation) && !canSeal()) {
    const ask = mustAsk(conversation);
    return (
      <p class="plain-note" role="status">
        <Icon name="unlock" /> <span class="grow">{t(ask ? "plain.cannot" : "plain.allowed")}</span>
        {ask && (
          <button type="button" onClick={() => allowPlain(conversation)}>
            {t("plain.anyway")}
          </button>
        )}
      </p>
    );
  }
  if (!wasSealed(conversation)) return null;
  return (
    <p class="plain-note" role="status">
      <Icon name="unlock" /> <span class="grow">{t("plain.off")}</span>
      {canSeal() && (
        <button type="button" onClick={() => void attempt(() => setSealed(conversation, true))}>
          {t("plain.on")}
        </button>
      )}
    </p>
  );
}
