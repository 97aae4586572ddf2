/**
 * A live sample of what passes every rule and is published, to see what they miss. Read from outside, without joining a room.
 * Stands still while a hand is on it.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import { type Comment, deleteComment, keptSamples, listRooms, readComments } from "../api";
import { t } from "../i18n";
import { usePoll } from "../poll";
import { keyOfReason, reasonInWords, reasonOfKey, useReasons } from "../reasons";
import { roomOf } from "../route";
import { Sanction, type Draft } from "../sanction";
import { number, when } from "../time";
import { attempt } from "../toast";
import { UserName } from "../user-card";
import { sampled } from "./sample";

const everyMs = 4000;
/** The busiest rooms that are looked into, when no room is named. */
const roomsMax = 6;
/** Comments of one look, over all rooms. */
const perLook = 6;
const shownMax = 60;
const dayMs = 86_400_000;
const keptMax = 200;

interface Look {
  comments: Comment[];
  passed: number;
}

export function Passing({ room }: { room: string }) {
  const since = useRef(new Map<string, string>());
  const [shown, setShown] = useState<readonly Comment[]>([]);
  const [waiting, setWaiting] = useState<readonly Comment[]>([]);
  const [passed, setPassed] = useState(0);
  const [held, setHeld] = useState(false);
  const [draft, setDraft] = useState<Draft | null>(null);
  const [gone, setGone] = useState<ReadonlySet<string>>(new Set());
  const { data, error } = usePoll(() => look(room, since.current), everyMs, `passing ${room}`);
  useEffect(() => {
    if (data === null) return;
    setPassed((n) => n + data.passed);
    setWaiting((old) => [...sampled(data.comments, perLook).reverse(), ...old].slice(0, shownMax));
  }, [data]);
  useEffect(() => {
    if (held || waiting.length === 0) return;
    setShown((old) => [...waiting, ...old].slice(0, shownMax));
    setWaiting([]);
  }, [held, waiting]);
  const list = useRef<HTMLUListElement>(null);
  const reasons = useReasons();
  const remove = async ({ id }: Comment, reason?: string) => {
    if (!gone.has(id) && (await attempt(() => deleteComment(id, reason), t("live.deleted")))) setGone((old) => new Set([...old, id]));
  };
  const onKey = (event: KeyboardEvent, comment: Comment) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget) return;
    const row = event.currentTarget as HTMLElement;
    const reason = reasonOfKey(event.key, reasons);
    if (event.key === "d" || reason !== undefined) void remove(comment, reason);
    else if (event.key === "ArrowDown") (row.nextElementSibling as HTMLElement | null)?.focus();
    else if (event.key === "ArrowUp") (row.previousElementSibling as HTMLElement | null)?.focus();
    else return;
    event.preventDefault();
  };
  const resume = () => {
    if (document.activeElement instanceof HTMLElement && list.current?.contains(document.activeElement)) document.activeElement.blur();
    setHeld(false);
  };
  return (
    <>
      <div class="row between wrap">
        <div>
          <p class="hint">{t("passing.hint", { shown: number(shown.length), passed: number(passed) })}</p>
          <ReasonKeys reasons={reasons} what={t("passing.keys")} />
        </div>
        {held && waiting.length > 0 && <button type="button" onClick={resume}>{t("passing.more", { n: number(waiting.length) })}</button>}
      </div>
      {error !== null && <p class="notice bad" role="alert">{t("passing.failed")}</p>}
      {shown.length === 0 && <p class="notice">{t("passing.quiet")}</p>}
      <ul
        class="rows"
        ref={list}
        onPointerEnter={() => setHeld(true)}
        onPointerLeave={(e) => setHeld(e.pointerType === "touch")}
        onFocusIn={() => setHeld(true)}
        onFocusOut={(e) => setHeld(e.relatedTarget instanceof Node && list.current?.contains(e.relatedTarget) === true)}
      >
        {shown.map((comment) => (
          <li key={comment.id} class={`row passed ${gone.has(comment.id) ? "gone" : ""}`} data-passed={comment.id} tabIndex={0} onKeyDown={(e) => onKey(e, comment)}>
            <div class="row-main">
              <p class="content" dir="auto">{comment.content}</p>
              <p class="dim small">
                <UserName person={{ userId: comment.user_id, username: comment.username, room: comment.room_id }} /> · <a href={roomOf(comment.room_id)}>{comment.room_id}</a> · {when(comment.created_at)}
              </p>
            </div>
            <span class="actions">
              {gone.has(comment.id) ? <span class="dim small">{t("live.gone")}</span> : <button type="button" class="warn" onClick={() => void remove(comment)}>{t("delete")}</button>}
              <button type="button" onClick={() => setDraft({ kind: "mute", purge: false, userId: comment.user_id, username: comment.username, room: comment.room_id })}>{t("mute")}…</button>
            </span>
          </li>
        ))}
      </ul>
      <Kept room={room} />
      {draft !== null && <Sanction draft={draft} onClose={() => setDraft(null)} />}
    </>
  );
}

/** The keys of the reasons, where there is a keyboard. */
function ReasonKeys({ reasons, what }: { reasons: readonly string[]; what: string }) {
  const keys = reasons.map((reason, place) => ({ reason, key: keyOfReason(place) })).filter(({ key }) => key !== undefined);
  return <p class="hint keys">{[what, ...keys.map(({ reason, key }) => `${key ?? ""} ${reasonInWords(reason)}`)].join(" · ")}</p>;
}

/** What the server keeps of passed comments for quality control, where it keeps any. */
function Kept({ room }: { room: string }) {
  const { data } = usePoll(() => keptSamples(room, Date.now() - dayMs, keptMax), null, `kept ${room}`);
  if (data === null || data.length === 0) return null;
  return (
    <details class="card kept">
      <summary>{t("passing.kept", { n: number(data.length) })}</summary>
      <ul>
        {data.map(({ id, content, username, room_id, created_at }) => (
          <li key={id}>
            <span dir="auto">{content}</span> <span class="dim small">{username} · {room_id} · {when(created_at)}</span>
          </li>
        ))}
      </ul>
    </details>
  );
}

/** What passed since the last look, in the room named or the busiest ones. The first look shows the newest of each. */
async function look(room: string, since: Map<string, string>): Promise<Look> {
  const rooms = room === "" ? await busiest() : [room];
  const pages = await Promise.all(
    rooms.map(async (one) => {
      const { comments, latest_id } = await readComments(one, since.get(one), 0);
      const isFirst = !since.has(one);
      since.set(one, latest_id ?? "0");
      return { comments, passed: isFirst ? 0 : comments.length };
    }),
  );
  const comments = pages.flatMap((page) => page.comments).sort((a, b) => a.created_at.localeCompare(b.created_at));
  return { comments, passed: pages.reduce((sum, page) => sum + page.passed, 0) };
}

async function busiest(): Promise<string[]> {
  const rooms = (await listRooms()).filter(({ state }) => state === "live");
  return rooms.sort((a, b) => b.viewers - a.viewers).slice(0, roomsMax).map(({ room_id }) => room_id);
}
