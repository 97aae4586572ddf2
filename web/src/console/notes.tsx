/**
 * What moderators noted about a person: read and written in the person's card, read beside a held comment. The server keeps
 * them from the person, and from whoever has no right to them.
 */
import { useState } from "preact/hooks";
import { addNote, listNotes, type Note, removeNote } from "./api";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { scope } from "./session";
import { when } from "./time";
import { attempt } from "./toast";

const charsMax = 500;
const shownMax = 50;

/** The notes about somebody met in a room, "" when nowhere in particular; all that this key may read, where it reads everything. */
export function useNotes(userId: string, room: string) {
  const where = scope.value.everything ? "" : room;
  return usePoll(() => listNotes(userId, where, shownMax), null, `notes ${userId} ${where}`);
}

/** With `isWriting` the focus begins in the new note. */
export function Notes({ userId, room, isWriting }: { userId: string; room: string; isWriting: boolean }) {
  const { data, error, reload } = useNotes(userId, room);
  const remove = async (note: Note) => {
    await attempt(() => removeNote(note), t("notes.removed"));
    reload();
  };
  // No right to them: about oneself, or as a helper.
  if (data === null && error !== null) return null;
  return (
    <section class="notes" aria-label={t("notes")}>
      <h3>{t("notes")}</h3>
      <ul>
        {data?.map((note) => (
          <li key={note.id} class="row" data-note={note.id}>
            <NoteText note={note} />
            <button type="button" class="quiet" aria-label={t("notes.remove")} title={t("notes.remove")} onClick={() => void remove(note)}>×</button>
          </li>
        ))}
        {data?.length === 0 && <li class="dim">{t("notes.none")}</li>}
      </ul>
      <NewNote userId={userId} room={room} isWriting={isWriting} onAdded={reload} />
    </section>
  );
}

export function NoteText({ note }: { note: Note }) {
  return (
    <div class="row-main">
      <p class="note-text" dir="auto">{note.text}</p>
      <p class="dim small">
        {[note.created_by === "" ? t("notes.erased") : note.created_by, note.room_id ?? t("everywhere")].join(" · ")} · <time dateTime={note.created_at}>{when(note.created_at)}</time>
      </p>
    </div>
  );
}

function NewNote({ userId, room, isWriting, onAdded }: { userId: string; room: string; isWriting: boolean; onAdded: () => void }) {
  const places = [...(room === "" ? [] : [room]), ...(scope.value.everything ? [""] : [])];
  const [text, setText] = useState("");
  const [where, setWhere] = useState(places[0]);
  const [busy, setBusy] = useState(false);
  if (where === undefined) return null;
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy || text.trim() === "") return;
    setBusy(true);
    if (await attempt(() => addNote(userId, text.trim(), where), t("notes.added"))) setText("");
    setBusy(false);
    onAdded();
  };
  return (
    <form class="new-note" onSubmit={(e) => void submit(e)}>
      <textarea rows={2} maxLength={charsMax} required autofocus={isWriting} aria-label={t("notes.new")} placeholder={t("notes.new")} value={text} onInput={(e) => setText(e.currentTarget.value)} onKeyDown={(e) => sendOnEnter(e)} />
      {places.length > 1 && (
        <select aria-label={t("notes.where")} value={where} onChange={(e) => setWhere(e.currentTarget.value)}>
          {places.map((one) => <option key={one} value={one}>{one === "" ? t("everywhere") : one}</option>)}
        </select>
      )}
      <button type="submit" aria-disabled={busy || text.trim() === ""}>{t("notes.add")}</button>
    </form>
  );
}

/** Enter with Ctrl or ⌘ sends, as elsewhere; Enter alone is a new line. */
function sendOnEnter(event: KeyboardEvent): void {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  (event.currentTarget as HTMLTextAreaElement).form?.requestSubmit();
}
