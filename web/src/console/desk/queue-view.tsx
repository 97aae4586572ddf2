/**
 * The queue: held comments at the left, the one in hand beside them, or beneath its row where there is no room. One hand on
 * the keyboard decides; rows keep their places under it.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Review } from "../api";
import { t } from "../i18n";
import { reasonInWords, reasonOfKey, useReasons } from "../reasons";
import { Sanction, type Draft } from "../sanction";
import { Choose, SelectionBar, useSelection, type Selection } from "../selection";
import { lasting, number } from "../time";
import { say } from "../toast";
import { showPerson, UserName } from "../user-card";
import { Listing } from "../ui";
import { waitingReviews } from "../waiting";
import { Detail } from "./detail";
import { type Decision, isOpen, type Mark, type Row } from "./queue";
import { WhyPill } from "./why";
import { type Queue, queueMax, useQueue } from "./use-queue";

const wide = matchMedia("(min-width: 900px)");

function useWide(): boolean {
  const [is, setIs] = useState(wide.matches);
  useEffect(() => {
    const change = () => setIs(wide.matches);
    wide.addEventListener("change", change);
    return () => wide.removeEventListener("change", change);
  }, []);
  return is;
}

/** Somebody to mute or ban, and the comment that goes with them. */
interface Sanctioned {
  draft: Draft;
  reviewId: string;
}

export function QueueView({ room, me, decided }: { room: string; me: string; decided: readonly Review[] }) {
  const isWide = useWide();
  const queue = useQueue(room, me, isWide);
  const { rows, current } = queue;
  const open = rows.filter(isOpen).map(({ review }) => review.id);
  const selection = useSelection(open);
  const reasons = useReasons();
  const [sanctioned, setSanctioned] = useState<Sanctioned | null>(null);
  const frame = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLUListElement>(null);
  useFocus(frame, list, queue);
  useEffect(() => {
    if (room === "" && queue.loaded) waitingReviews.value = open.length;
  }, [room, queue.loaded, open.length]);
  const inHand = rows.find(({ review }) => review.id === current);
  const sanction = (review: Review, kind: "mute" | "ban") => {
    const { user_id: userId, username, room_id } = review;
    setSanctioned({ reviewId: review.id, draft: { kind, purge: false, userId, room: room_id, ...(username === undefined ? {} : { username }) } });
  };
  const note = ({ user_id: userId, username, room_id }: Review) => showPerson({ userId, username, room: room_id, isNoted: true });
  const onKey = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target) || sanctioned !== null) return;
    const review = inHand?.review;
    const key = event.key.toLowerCase();
    const reason = reasonOfKey(key, reasons);
    if (key === "a" || key === "r" || reason !== undefined) {
      const ids = review === undefined || !selection.has(review.id) ? [review?.id ?? ""] : selection.ids;
      queue.decide(ids, key === "a" ? "approve" : "reject", reason);
    } else if (key === "n" && review !== undefined) note(review);
    else if (key === "u") {
      if (!queue.undo()) say(t("desk.nothingToUndo"));
    } else if ((key === "m" || key === "b") && review !== undefined) sanction(review, key === "m" ? "mute" : "ban");
    else if (key === "x" && review !== undefined) selection.set([review.id], !selection.has(review.id));
    else if (key === "j" || key === "arrowdown") queue.move(1);
    else if (key === "k" || key === "arrowup") queue.move(-1);
    else if (key === "home") queue.move(-rows.length);
    else if (key === "end") queue.move(rows.length);
    else return;
    event.preventDefault();
  };
  const detail = inHand !== undefined && (
    <Detail
      key={inHand.review.id}
      review={inHand.review}
      me={me}
      before={decided.filter(({ user_id, id }) => user_id === inHand.review.user_id && id !== inHand.review.id)}
      reasons={reasons}
      decide={(decision, reason) => queue.decide([inHand.review.id], decision, reason)}
      note={() => note(inHand.review)}
      sanction={(kind) => sanction(inHand.review, kind)}
      outcome={inHand.mark === undefined ? null : <Outcome mark={inHand.mark} takeBack={() => queue.takeBack(inHand.review.id)} />}
    />
  );
  const decideChosen = (decision: Decision) => queue.decide(selection.ids, decision);
  return (
    <div ref={frame} class="queue" tabIndex={-1} onKeyDown={onKey}>
      <Listing loaded={queue.loaded} error={queue.error} count={rows.length} empty={t("desk.empty")}>
        <div class="queue-head">
          <SelectionBar selection={selection} shown={open}>
            <button type="button" class="good" onClick={() => decideChosen("approve")}>{t("approve")}</button>
            <button type="button" class="warn" onClick={() => decideChosen("reject")}>{t("reject")}</button>
          </SelectionBar>
          <p class="hint keys">{t("desk.keys")}</p>
        </div>
        <div class="queue-body">
          <ul class="rows" ref={list} aria-label={t("desk.queue")} onPointerMove={queue.touched} onPointerDown={queue.touched} onTouchMove={queue.touched}>
            {rows.map((row) => (
              <QueueRow key={row.review.id} row={row} queue={queue} me={me} selection={selection} isWide={isWide}>
                {!isWide && row.review.id === current ? detail : null}
              </QueueRow>
            ))}
            {open.length >= queueMax && <li class="notice">{t("desk.more", { n: queueMax })}</li>}
          </ul>
          {isWide && <aside class="card in-hand" aria-label={t("desk.inHand")}>{detail}</aside>}
        </div>
      </Listing>
      {sanctioned !== null && (
        <Sanction
          draft={sanctioned.draft}
          alsoReject={(reason) => queue.decide([sanctioned.reviewId], "reject", reason)}
          onClose={() => setSanctioned(null)}
        />
      )}
    </div>
  );
}

const isWriting = (target: EventTarget | null): boolean =>
  target instanceof Element && target.closest("input:not([type=checkbox]), textarea, select, dialog, [contenteditable]") !== null;

/** The focus goes with the row in hand while it is in the queue; an empty queue keeps it, so that u still works. */
function useFocus(frame: { current: HTMLElement | null }, list: { current: HTMLElement | null }, { current, rows }: Queue): void {
  const inside = useRef(false);
  const first = useRef(true);
  useEffect(() => {
    const element = frame.current;
    const came = () => (inside.current = true);
    // A row that is taken away tells no one; somebody who leaves on their own goes somewhere.
    const went = (event: FocusEvent) => {
      if (event.target instanceof Node && !element?.contains(event.target)) inside.current = false;
    };
    element?.addEventListener("focusin", came);
    document.addEventListener("focusin", went);
    return () => {
      element?.removeEventListener("focusin", came);
      document.removeEventListener("focusin", went);
    };
  }, []);
  useLayoutEffect(() => {
    if (current === undefined) {
      if (inside.current && document.activeElement === document.body) frame.current?.focus({ preventScroll: true });
      return;
    }
    const row = list.current?.querySelector<HTMLElement>(`[data-review="${CSS.escape(current)}"]`);
    if (row === null || row === undefined) return;
    const idle = document.activeElement === document.body || document.activeElement === null;
    const take = (inside.current && !row.contains(document.activeElement) && !isInDialog()) || (first.current && idle);
    first.current = false;
    if (take) row.focus({ preventScroll: true });
    if (take) row.scrollIntoView({ block: "nearest" });
  }, [current, rows.length === 0]);
}

const isInDialog = (): boolean => document.activeElement !== null && document.activeElement.closest("dialog, .in-hand") !== null;

interface RowProps {
  row: Row;
  queue: Queue;
  me: string;
  selection: Selection;
  isWide: boolean;
  children: ComponentChildren;
}

function QueueRow({ row, queue, me, selection, isWide, children }: RowProps) {
  const { review, mark } = row;
  const { id, content, room_id, user_id, username, claimed_by } = review;
  const isCurrent = queue.current === id;
  const theirs = mark === undefined && claimed_by !== undefined && claimed_by !== me;
  const decide = (decision: Decision) => queue.decide([id], decision);
  // A press on the row itself takes it in hand, or out of it; its buttons do what they say.
  const take = (event: Event) => {
    if (event.target instanceof Element && event.target.closest("button, input, a, .detail") === null) queue.select(isWide || !isCurrent ? id : undefined);
  };
  return (
    <li
      class={`row review ${isCurrent ? "current" : ""} ${mark === undefined ? "" : "settled"} ${theirs ? "theirs" : ""}`}
      data-review={id}
      data-state={mark?.state ?? "open"}
      tabIndex={isCurrent || !isWide ? 0 : -1}
      aria-current={isCurrent ? "true" : undefined}
      onClick={take}
      onFocusIn={() => isWide && queue.select(id)}
    >
      {mark === undefined ? <Choose selection={selection} id={id} label={content} /> : <input type="checkbox" class="choose" disabled aria-label={t("select", { what: content })} />}
      <div class="row-main">
        <p class="content" dir="auto">{content}</p>
        <p class="dim small meta">
          <UserName person={{ userId: user_id, username, room: room_id }} /> · {room_id} · <Age since={review.created_at} /> <Pills row={row} theirs={theirs} />
        </p>
      </div>
      <span class="actions">{mark === undefined ? <Buttons decide={decide} /> : <Outcome mark={mark} takeBack={() => queue.takeBack(id)} />}</span>
      {children}
    </li>
  );
}

function Pills({ row: { review }, theirs }: { row: Row; theirs: boolean }) {
  const top = [...(review.labels ?? [])].sort((a, b) => b.score - a.score)[0];
  return (
    <>
      <WhyPill review={review} />
      {top !== undefined && <span class="pill">{top.name} {number(Math.round(top.score * 100) / 100)}</span>}
      {theirs && <span class="pill claimed">{t("desk.has", { who: review.claimed_by ?? "" })}</span>}
    </>
  );
}

function Buttons({ decide }: { decide: (decision: Decision) => void }) {
  return (
    <>
      <button type="button" class="good" tabIndex={-1} data-action="approve" onClick={() => decide("approve")}>{t("approve")}</button>
      <button type="button" class="warn" tabIndex={-1} data-action="reject" onClick={() => decide("reject")}>{t("reject")}</button>
    </>
  );
}

function Outcome({ mark, takeBack }: { mark: Mark; takeBack: () => void }) {
  if (mark.state === "elsewhere") return <span class="dim small">{mark.by === undefined ? t("desk.elsewhere") : t("desk.elsewhereBy", { who: mark.by })}</span>;
  return (
    <>
      <span class={`outcome ${mark.decision}`}>
        {t(mark.decision === "approve" ? "desk.approved" : "desk.rejected")}
        {mark.reason !== undefined && ` · ${reasonInWords(mark.reason)}`}
      </span>
      {mark.state === "waiting" && <button type="button" data-action="undo" onClick={takeBack}>{t("undo")}</button>}
    </>
  );
}

/** How long it has waited, told afresh now and then. */
function Age({ since }: { since: string }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = window.setInterval(() => tick((n) => n + 1), 5000);
    return () => window.clearInterval(timer);
  }, []);
  return <time dateTime={since}>{lasting((Date.now() - Date.parse(since)) / 1000)}</time>;
}
