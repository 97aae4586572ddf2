/** One person as a moderator sees them: what is in force against them, notes, what they wrote, what was decided before. */
import type { Comment } from "@barrage/client";
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { commentsOf, decisionsAbout, liftBan, listBans, type AuditEntry, type Ban } from "./api";
import { t } from "./i18n";
import { Notes } from "./notes";
import { usePoll } from "./poll";
import { reasonInWords } from "./reasons";
import { Sanction, type Draft } from "./sanction";
import { scope } from "./session";
import { number, when } from "./time";
import { attempt } from "./toast";
import { actionInWords, detailInWords } from "./trail";
import { Modal } from "./ui";

export interface Person {
  userId: string;
  username?: string | undefined;
  /** Where they were met; "" when nowhere in particular. */
  room: string;
  /** Whether the card is opened to write a note. */
  isNoted?: boolean;
}

const shown = signal<Person | null>(null);

/** Comments read, and those shown. */
const maxRead = 1000;
const maxShown = 50;

/** A person's name that opens their card. */
export function UserName({ person, class: look = "" }: { person: Person; class?: string }) {
  return (
    <button type="button" class={`user-name ${look}`} title={person.userId} aria-haspopup="dialog" onClick={() => showPerson(person)}>
      {person.username ?? person.userId}
    </button>
  );
}

/** Drawn once by the shell; shows nothing until a name is pressed. */
export function UserCards() {
  const person = shown.value;
  return person && <Card key={person.userId} person={person} onClose={() => (shown.value = null)} />;
}

/** Opens somebody's card. */
export function showPerson(person: Person): void {
  shown.value = person;
}

function Card({ person, onClose }: { person: Person; onClose: () => void }) {
  const { userId, username, room, isNoted = false } = person;
  const [draft, setDraft] = useState<Draft | null>(null);
  const bans = usePoll(() => listBans(scope.value.everything ? "" : room), 5000, `bans ${userId}`);
  const inForce = (bans.data ?? []).filter((ban) => ban.user_id === userId);
  const sanction = (kind: Draft["kind"], purge: boolean) => setDraft({ kind, purge, userId, room, ...(username === undefined ? {} : { username }) });
  return (
    <Modal title={username ?? userId} onClose={onClose}>
      <div class="user-card">
        <p class="dim mono">{userId}</p>
        <div class="row wrap">
          <button type="button" onClick={() => sanction("mute", false)}>{t("mute")}</button>
          <button type="button" class="warn" onClick={() => sanction("ban", false)}>{t("ban")}</button>
          <button type="button" class="warn" onClick={() => sanction("ban", true)}>{t("purge")}</button>
        </div>
        <h3>{t("user.inForce")}</h3>
        {bans.data !== null && inForce.length === 0 && <p class="dim">{t("user.inForce.none")}</p>}
        <ul class="rows">
          {inForce.map((ban) => <InForce key={ban.id} ban={ban} changed={bans.reload} />)}
        </ul>
        <Notes userId={userId} room={room} isWriting={isNoted} />
        {room !== "" && <Wrote room={room} userId={userId} />}
        <Decisions userId={userId} room={room} />
        <div class="row end">
          <button type="button" onClick={onClose}>{t("close")}</button>
        </div>
      </div>
      {draft !== null && <Sanction draft={draft} onClose={() => setDraft(null)} onDone={bans.reload} />}
    </Modal>
  );
}

function InForce({ ban, changed }: { ban: Ban; changed: () => void }) {
  const lift = async () => {
    await attempt(() => liftBan(ban.id), t("bans.lifted", { user: ban.user_id }));
    changed();
  };
  return (
    <li class="row">
      <span class="row-main">
        <span class={`pill ${ban.kind}`}>{t(ban.kind)}</span> {ban.room_id ?? t("everywhere")} <span class="dim">{reasonInWords(ban.reason ?? "")}</span>
      </span>
      <button type="button" onClick={() => void lift()}>{t("bans.lift")}</button>
    </li>
  );
}

function Wrote({ room, userId }: { room: string; userId: string }) {
  const { data } = usePoll(() => commentsOf(room, userId, maxRead), null, `${room} ${userId}`);
  const newest = [...(data ?? [])].sort((a: Comment, b: Comment) => b.created_at.localeCompare(a.created_at));
  return (
    <>
      <h3>
        {t("user.wrote", { room })} {data !== null && <span class="dim">{data.length >= maxRead ? `${number(maxRead)}+` : number(data.length)}</span>}
      </h3>
      {data !== null && data.length === 0 && <p class="dim">{t("user.wrote.none")}</p>}
      <ul class="samples" tabIndex={0} aria-label={t("user.wrote", { room })}>
        {newest.slice(0, maxShown).map((comment) => (
          <li key={comment.id}>
            <time class="dim small mono" dateTime={comment.created_at}>{when(comment.created_at)}</time> {comment.content}
          </li>
        ))}
      </ul>
    </>
  );
}

function Decisions({ userId, room }: { userId: string; room: string }) {
  const where = scope.value.everything ? "" : room;
  const about = usePoll(() => decisionsAbout(userId, where, maxShown), null, `audit ${userId} ${where}`).data ?? [];
  if (about.length === 0) return null;
  return (
    <>
      <h3>{t("user.decisions")}</h3>
      <ul class="samples" tabIndex={0} aria-label={t("user.decisions")}>
        {about.map((entry: AuditEntry) => (
          <li key={`${entry.at} ${entry.action}`}>
            <time class="dim small mono" dateTime={entry.at}>{when(entry.at)}</time> <b>{entry.actor}</b>{" "}
            {actionInWords(entry.action)} <span class="dim">{[entry.room_id ?? "", detailInWords(entry)].filter((part) => part !== "").join(" · ")}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
