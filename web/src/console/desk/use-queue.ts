/**
 * The queue's life: asks the server for what is held, claims what is in hand, and carries decisions out when nobody has
 * taken them back for a while, or leaves. What is settled goes from the list only while no hand is on it.
 */
import { BarrageError } from "@barrage/client";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { claimReview, decideReview, listReviews } from "../api";
import { explain } from "../errors";
import { t } from "../i18n";
import { usePoll } from "../poll";
import { say } from "../toast";
import { claimed, type Decision, type Gone, isOpen, marked, merged, nextOpen, type Row, stepped, swept } from "./queue";

/** Rows asked for; more come as these are decided. */
export const queueMax = 200;
const everyMs = 2000;
/** A decision can be taken back for this long. */
export const takeBackMs = 6000;
/** A row is claimed when it has been in hand this long: whoever only passes by keeps nobody out. */
const dwellMs = 400;
/** Claims end after a minute, or what the deployment says; what is in hand is claimed again well before. */
const renewMs = 20_000;
/** A hand that has not moved for this long has left. */
const handMs = 2500;
const sweepMs = 700;

interface Waiting {
  ids: string[];
  timer: number;
  send: () => void;
}

export interface Queue {
  rows: readonly Row[];
  loaded: boolean;
  error: unknown;
  /** The row in hand. */
  current: string | undefined;
  select: (id: string | undefined) => void;
  move: (steps: number) => void;
  decide: (ids: readonly string[], decision: Decision, reason?: string) => void;
  /** Takes the last decision back; tells whether there was one. */
  undo: () => boolean;
  /** Takes one row's decision back. */
  takeBack: (id: string) => void;
  /** A pointer or a finger is on the list. */
  touched: () => void;
  reload: () => void;
}

/** With `advances` some row is always in hand: the next one after each decision. Else rows are taken in hand one by one. */
export function useQueue(room: string, me: string, advances: boolean): Queue {
  const [rows, setRows] = useState<readonly Row[]>([]);
  const [current, select] = useState<string | undefined>(undefined);
  const gone = useRef<Gone>(new Set());
  const waiting = useRef<Waiting[]>([]);
  const lastHand = useRef(0);
  const polled = usePoll(() => listReviews("pending", room, queueMax), everyMs, `queue ${room}`);
  const { data } = polled;
  useEffect(() => {
    setRows([]);
    gone.current = new Set();
  }, [room]);
  useEffect(() => {
    if (data !== null) setRows((old) => merged(old, data, gone.current));
  }, [data]);
  useSweeping(setRows, gone, lastHand, current);
  useCurrent(rows, current, select, me, advances);
  useClaim(rows, current, setRows);

  const send = async (ids: readonly string[], decision: Decision, reason?: string) => {
    setRows((old) => marked(old, ids, { state: "sending", decision, reason }));
    for (const id of ids) {
      try {
        await decideReview(id, decision, reason);
        setRows((old) => marked(old, [id], { state: "done", decision, reason }));
      } catch (error) {
        giveBack(id, error);
      }
    }
    polled.reload();
  };
  /** It was not decided here: open again, or settled by somebody else. */
  const giveBack = (id: string, error: unknown) => {
    const tooLate = isCode(error, "too_late", "not_found");
    setRows((old) => marked(old, [id], tooLate ? { state: "elsewhere", by: undefined } : undefined));
    say(tooLate ? t("desk.tooLate") : isCode(error, "claimed") ? t("desk.claimedNow") : explain(error), "bad");
  };
  const decide: Queue["decide"] = (ids, decision, reason) => {
    const open = rows.filter((row) => isOpen(row) && ids.includes(row.review.id)).map(({ review }) => review.id);
    const last = open.at(-1);
    if (last === undefined) return;
    const after = marked(rows, open, { state: "waiting", decision, reason });
    setRows(after);
    if (advances && (current === undefined || open.includes(current))) select(nextOpen(after, last, me));
    const batch: Waiting = {
      ids: open,
      send: () => {
        window.clearTimeout(batch.timer);
        if (!drop(waiting.current, batch) || batch.ids.length === 0) return;
        void send(batch.ids, decision, reason);
      },
      timer: window.setTimeout(() => batch.send(), takeBackMs),
    };
    waiting.current.push(batch);
    for (const id of open) void hold(id);
  };
  /** Nobody else decides about it while it waits here. */
  const hold = (id: string) =>
    claimReview(id).catch((error: unknown) => {
      if (!isCode(error, "claimed", "too_late")) return; // told when it is sent
      forget(id);
      giveBack(id, error);
      polled.reload();
    });
  const forget = (id: string) => {
    for (const batch of waiting.current) batch.ids = batch.ids.filter((one) => one !== id);
  };
  const undo = () => {
    const batch = waiting.current.filter(({ ids }) => ids.length > 0).at(-1);
    if (batch === undefined) return false;
    window.clearTimeout(batch.timer);
    drop(waiting.current, batch);
    setRows((old) => marked(old, batch.ids, undefined));
    if (advances) select(batch.ids[0]);
    return true;
  };
  const takeBack = (id: string) => {
    forget(id);
    setRows((old) => marked(old, [id], undefined));
    if (advances) select(id);
  };
  useEffect(() => {
    const leave = () => [...waiting.current].forEach((batch) => batch.send());
    addEventListener("pagehide", leave);
    return () => {
      removeEventListener("pagehide", leave);
      leave();
    };
  }, []);
  const touched = useCallback(() => void (lastHand.current = performance.now()), []);
  const move = (steps: number) => select(stepped(rows, current, steps));
  return { rows, loaded: data !== null || rows.length > 0, error: polled.error, current, select, move, decide, undo, takeBack, touched, reload: polled.reload };
}

const isCode = (error: unknown, ...codes: string[]): boolean => error instanceof BarrageError && codes.includes(error.code);

function drop<T>(list: T[], item: T): boolean {
  const at = list.indexOf(item);
  if (at !== -1) list.splice(at, 1);
  return at !== -1;
}

/** When the row in hand is gone, what stands in its place is taken in hand. */
function useCurrent(rows: readonly Row[], current: string | undefined, select: (id: string | undefined) => void, me: string, advances: boolean): void {
  const place = useRef(0);
  useEffect(() => {
    const at = rows.findIndex(({ review }) => review.id === current);
    if (at !== -1) place.current = at;
    else if (!advances) select(undefined);
    else select(nextOpen(rows, rows[place.current - 1]?.review.id, me));
  }, [rows, current, me, advances]);
}

type SetRows = (change: (old: readonly Row[]) => readonly Row[]) => void;

function useSweeping(setRows: SetRows, gone: { current: Gone }, lastHand: { current: number }, current: string | undefined): void {
  useEffect(() => {
    const timer = window.setInterval(() => {
      if (performance.now() - lastHand.current < handMs) return;
      setRows((old) => {
        const left = swept(old, gone.current, current);
        gone.current = left.gone;
        return left.rows;
      });
    }, sweepMs);
    return () => window.clearInterval(timer);
  }, [current]);
}

/** Claims the row in hand for as long as it is in hand and the page is seen. */
function useClaim(rows: readonly Row[], current: string | undefined, setRows: SetRows): void {
  const open = rows.some((row) => row.review.id === current && isOpen(row));
  useEffect(() => {
    if (current === undefined || !open) return;
    const claim = () => {
      if (document.visibilityState !== "visible") return;
      claimReview(current).then(
        ({ claimed_by }) => setRows((old) => claimed(old, current, claimed_by)),
        () => undefined, // another moderator's claim is seen with the next look
      );
    };
    const first = window.setTimeout(claim, dwellMs);
    const again = window.setInterval(claim, renewMs);
    return () => {
      window.clearTimeout(first);
      window.clearInterval(again);
    };
  }, [current, open]);
}
