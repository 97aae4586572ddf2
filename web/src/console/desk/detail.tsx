/**
 * The comment in hand: why it was held, what was said around it, who wrote it and what was decided about them before. Its
 * buttons stand above what comes later, so that they do not move when it comes.
 */
import type { Comment } from "@barrage/client";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type AuditEntry, type Ban, commentsOf, decisionsAbout, listBans, listNotes, type Note, type Review } from "../api";
import { t } from "../i18n";
import { NoteText } from "../notes";
import { usePoll } from "../poll";
import { keyOfReason, reasonInWords } from "../reasons";
import { scope } from "../session";
import { when } from "../time";
import { actionInWords, detailInWords } from "../trail";
import { UserName } from "../user-card";
import { contextOf } from "./context";
import type { Decision } from "./queue";
import { Why } from "./why";

/** Comments of the person that are read, and those shown. */
const wroteMax = 500;
const wroteShown = 4;
const decisionsShown = 5;
const notesShown = 3;
/** Whoever passes by asks for nothing: a row has to be in hand this long. */
const dwellMs = 250;
/** Bans of a room serve all its rows for this long. */
const fresh = 15_000;

export interface DetailProps {
  review: Review;
  me: string;
  /** Held comments of the same person that were decided lately. */
  before: readonly Review[];
  reasons: readonly string[];
  decide: (decision: Decision, reason?: string) => void;
  note: () => void;
  sanction: (kind: "mute" | "ban") => void;
  /** What became of it, when something has. */
  outcome: ComponentChildren;
}

export function Detail({ review, me, before, reasons, decide, note, sanction, outcome }: DetailProps) {
  const { claimed_by, user_id, username, room_id } = review;
  const stays = useStays();
  const other = claimed_by !== undefined && claimed_by !== me ? claimed_by : undefined;
  return (
    <div class="detail" data-detail={review.id}>
      <p class="said" dir="auto">{review.content}</p>
      <p class="dim small">
        <UserName person={{ userId: user_id, username, room: room_id }} /> · {room_id} · <time dateTime={review.created_at}>{when(review.created_at)}</time>
      </p>
      <p class={`small claim ${other === undefined ? "" : "theirs"} ${outcome === null ? "" : "over"}`} role="status">
        {other !== undefined ? t("desk.theirs", { who: other }) : claimed_by === undefined ? t("desk.free") : t("desk.mine")}
      </p>
      <div class="verdicts">
        {outcome !== null && <p class="row outcome-row">{outcome}</p>}
        {outcome === null && (
          <>
            <Verdict shortcut="a" look="good" label={t("approve")} press={() => decide("approve")} />
            <Verdict shortcut="r" look="warn" label={t("reject")} press={() => decide("reject")} />
          </>
        )}
        <Verdict shortcut="m" label={`${t("mute")}…`} press={() => sanction("mute")} />
        <Verdict shortcut="b" label={`${t("ban")}…`} press={() => sanction("ban")} />
      </div>
      {reasons.length > 0 && <Reasons reasons={reasons} isOver={outcome !== null} press={(reason) => decide("reject", reason)} />}
      <Why review={review} />
      {stays ? <Around review={review} /> : <section class="around"><h2>{t("desk.around")}</h2><ol /></section>}
      {stays && <Author review={review} before={before} note={note} />}
    </div>
  );
}

/** Whether this has been on the screen for a while. */
function useStays(): boolean {
  const [stays, set] = useState(false);
  useEffect(() => {
    const timer = window.setTimeout(() => set(true), dwellMs);
    return () => window.clearTimeout(timer);
  }, []);
  return stays;
}

function Verdict({ shortcut, label, look = "", press }: { shortcut: string; label: string; look?: string; press: () => void }) {
  return (
    <button type="button" class={look} aria-keyshortcuts={shortcut} onClick={press}>
      {label} <kbd aria-hidden="true">{shortcut}</kbd>
    </button>
  );
}

/** Rejects for a reason in one go. */
function Reasons({ reasons, isOver, press }: { reasons: readonly string[]; isOver: boolean; press: (reason: string) => void }) {
  return (
    <div class={`reasons ${isOver ? "over" : ""}`} role="group" aria-label={t("desk.rejectFor")}>
      <span class="dim small">{t("desk.rejectFor")}</span>
      {reasons.map((reason, place) => {
        const key = keyOfReason(place);
        return (
          <button key={reason} type="button" aria-keyshortcuts={key} onClick={() => press(reason)}>
            {reasonInWords(reason)} {key !== undefined && <kbd aria-hidden="true">{key}</kbd>}
          </button>
        );
      })}
    </div>
  );
}

function Around({ review }: { review: Review }) {
  const { data, error } = usePoll(() => contextOf(review), null, `around ${review.id}`);
  const nothing = data !== null && data.before.length + data.after.length === 0;
  return (
    <section class="around">
      <h2>{t("desk.around")}</h2>
      {error !== null && <p class="dim">{t("desk.around.failed")}</p>}
      {nothing && <p class="dim">{t("desk.around.none")}</p>}
      {!nothing && (
        <ol>
          {data?.before.map((comment) => <Said key={comment.id} comment={comment} author={review.user_id} />)}
          <li class="here">
            <b class="who">{review.username ?? review.user_id}</b> <span dir="auto">{review.content}</span>
          </li>
          {data?.after.map((comment) => <Said key={comment.id} comment={comment} author={review.user_id} />)}
        </ol>
      )}
    </section>
  );
}

function Said({ comment, author }: { comment: Comment; author: string }) {
  return (
    <li class={comment.user_id === author ? "same" : ""}>
      <b class="who">{comment.username}</b> <span dir="auto">{comment.content}</span>
    </li>
  );
}

interface Known {
  inForce: Ban[];
  wrote: Comment[];
  decisions: AuditEntry[];
  notes: Note[];
}

const bansOf = new Map<string, { at: number; bans: Promise<Ban[]> }>();

/** What is in force in a room, or everywhere. */
function bansIn(room: string): Promise<Ban[]> {
  const known = bansOf.get(room);
  if (known && Date.now() - known.at < fresh) return known.bans;
  const bans = listBans(room).catch(() => []);
  if (bansOf.size > 50) bansOf.clear();
  bansOf.set(room, { at: Date.now(), bans });
  return bans;
}

/** What this key may not read counts as nothing known. */
async function knownOf({ user_id, room_id }: Review): Promise<Known> {
  const where = scope.value.everything ? "" : room_id;
  const [bans, wrote, decisions, notes] = await Promise.all([
    bansIn(where),
    commentsOf(room_id, user_id, wroteMax).catch(() => []),
    decisionsAbout(user_id, where, decisionsShown).catch(() => []),
    listNotes(user_id, where, notesShown).catch(() => []),
  ]);
  return {
    inForce: bans.filter((ban) => ban.user_id === user_id),
    wrote: [...wrote].sort((a, b) => b.created_at.localeCompare(a.created_at)),
    decisions,
    notes,
  };
}

function Author({ review, before, note }: { review: Review; before: readonly Review[]; note: () => void }) {
  const { data } = usePoll(() => knownOf(review), null, `author ${review.id}`);
  const count = (status: Review["status"]) => before.filter((one) => one.status === status).length;
  return (
    <section class="author">
      <h2>{t("desk.author")}</h2>
      <p class="pills">
        {data?.inForce.map((ban) => <span key={`${ban.kind} ${ban.room_id ?? ""}`} class={`pill ${ban.kind}`}>{t(ban.kind)} · {ban.room_id ?? t("everywhere")}</span>)}
        {data !== null && data.inForce.length === 0 && <span class="dim">{t("user.inForce.none")}</span>}
        {before.length > 0 && <span class="dim">{t("desk.before", { n: before.length, rejected: count("rejected"), approved: count("approved") })}</span>}
      </p>
      {data !== null && data.notes.length > 0 && (
        <ul class="notes">
          {data.notes.map((one) => <li key={one.id}><NoteText note={one} /></li>)}
        </ul>
      )}
      <p><button type="button" aria-keyshortcuts="n" onClick={note}>{t("notes.write")}… <kbd aria-hidden="true">n</kbd></button></p>
      <ol>
        {data?.wrote.slice(0, wroteShown).map((comment) => (
          <li key={comment.id}>
            <time class="dim small mono" dateTime={comment.created_at}>{when(comment.created_at)}</time> <span dir="auto">{comment.content}</span>
          </li>
        ))}
        {data !== null && data.wrote.length === 0 && <li class="dim">{t("desk.wroteNothing")}</li>}
      </ol>
      {data !== null && data.decisions.length > 0 && (
        <ol>
          {data.decisions.map((entry) => (
            <li key={`${entry.at} ${entry.action}`}>
              <time class="dim small mono" dateTime={entry.at}>{when(entry.at)}</time> <b>{entry.actor}</b> {actionInWords(entry.action)} <span class="dim">{detailInWords(entry)}</span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
