/** Where one writes: Enter sends, Shift+Enter breaks the line; files come by button, by pasting and by dropping. */
import type { Conversation } from "@barrage/client";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { draftOf, keepDraft } from "./drafts";
import { Icon, IconButton } from "./icons";
import { isSealed, sendSealed } from "./sealed";
import { complain, follow, type Session } from "./session";
import { explain, t } from "./strings";
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

async function say(conversation: Conversation, text: string): Promise<void> {
  if (isSealed(conversation)) await sendSealed(conversation, text);
  else conversation.send(text);
}

export function Composer({ session, conversation, onSent }: { session: Session; conversation: Conversation; onSent: () => void }) {
  follow();
  const field = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const text = draftOf(conversation.key);
  const length = lengthOf(text);

  useLayoutEffect(() => {
    if (!matchMedia("(pointer: coarse)").matches) field.current?.focus();
  }, [conversation]);
  useEffect(() => () => conversation.tellTyping(false), [conversation]);

  const type = (value: string): void => {
    keepDraft(conversation.key, value);
    conversation.tellTyping(value.trim() !== "");
  };
  const send = (): void => {
    const said = draftOf(conversation.key); // newer than what was drawn last, for who types fast
    if (!isReady(said)) return;
    keepDraft(conversation.key, "");
    void say(conversation, said).then(onSent, (error: unknown) => {
      keepDraft(conversation.key, [said, draftOf(conversation.key)].filter((part) => part !== "").join("\n"));
      complain(explain(error));
    });
    field.current?.focus();
  };
  const attach = (files: FileList | null | undefined): void => {
    if (files && files.length > 0) void sendFiles(conversation, [...files]).then(onSent);
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
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
      <div class="composer-row">
        <IconButton icon="clip" label={t("attach")} onClick={() => picker.current?.click()} />
        <input ref={picker} type="file" multiple hidden onChange={(e) => (attach(e.currentTarget.files), (e.currentTarget.value = ""))} />
        <textarea
          ref={field}
          rows={1}
          placeholder={t(isSealed(conversation) ? "write.sealed" : "write")}
          aria-label={t("write")}
          enterkeyhint="send"
          value={text}
          onInput={(e) => type(e.currentTarget.value)}
          onKeyDown={onKey}
          onPaste={onPaste}
        />
        <button type="submit" class="primary send" aria-label={t("send")} title={t("send")} disabled={!isReady(text)}>
          <Icon name="send" />
        </button>
      </div>
    </form>
  );
}
