/** Appeals: authors ask for another look at what was held, rejected or removed. The decision reaches them as a notice. */
import { useRef, useState } from "preact/hooks";
import { type Appeal, decideAppeal, type Decided, listAppeals } from "../api";
import { useFocusHeld } from "../focus";
import { t } from "../i18n";
import { usePoll } from "../poll";
import { reasonInWords, reasonOfKey, useReasons } from "../reasons";
import { useRows } from "../rows";
import { when } from "../time";
import { undoLast } from "../toast";
import { UserName } from "../user-card";
import { Listing, maxRows } from "../ui";
import type { Decision } from "./queue";

const states: Decided[] = ["pending", "approved", "rejected"];

export function Appeals({ room }: { room: string }) {
  const [status, setStatus] = useState<Decided>("pending");
  const polled = usePoll(() => listAppeals(status, room, maxRows), 3000, `appeals ${status} ${room}`);
  const rows = useRows();
  const shown = (polled.data ?? []).filter(({ id }) => status !== "pending" || !rows.gone(id));
  const list = useRef<HTMLUListElement>(null);
  useFocusHeld(list);
  /** The author is told at once, so it waits a little and can be undone. */
  const decide = ({ id }: Appeal, decision: Decision, reason?: string) =>
    rows.runLater([id], () => decideAppeal(id, decision, reason), [t(`appeals.done.${decision}`), ...(reason === undefined ? [] : [reasonInWords(reason)])].join(" "));
  const reasons = useReasons();
  const onKey = (event: KeyboardEvent, appeal: Appeal) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLSelectElement) return;
    const key = event.key.toLowerCase();
    const row = event.currentTarget as HTMLElement;
    const reason = reasonOfKey(key, reasons);
    if (key === "u") undoLast();
    else if (reason !== undefined && status === "pending") decide(appeal, "reject", reason);
    else if ((key === "a" || key === "r") && status === "pending") decide(appeal, key === "a" ? "approve" : "reject");
    else if (key === "arrowdown") (row.nextElementSibling as HTMLElement | null)?.focus();
    else if (key === "arrowup") (row.previousElementSibling as HTMLElement | null)?.focus();
    else return;
    event.preventDefault();
  };
  return (
    <>
      <div class="row between wrap">
        <p class="hint keys">{t("appeals.keys")}</p>
        <select aria-label={t("appeals.status")} value={status} onChange={(e) => setStatus(e.currentTarget.value as Decided)}>
          {states.map((one) => <option key={one} value={one}>{t(`appeals.${one}`)}</option>)}
        </select>
      </div>
      <Listing loaded={polled.data !== null} error={polled.error} count={shown.length} empty={t(`appeals.empty.${status}`)}>
        <ul class="rows" ref={list}>
          {shown.map((appeal) => (
            <li key={appeal.id} class="row review" data-appeal={appeal.id} tabIndex={0} onKeyDown={(e) => onKey(e, appeal)}>
              <div class="row-main">
                <p class="content" dir="auto">{appeal.content ?? <span class="dim">{t("appeals.erased")}</span>}</p>
                <p class="plea" dir="auto">“{appeal.text}”</p>
                <p class="dim small">
                  <UserName person={{ userId: appeal.user_id, room: appeal.room_id }} /> · {appeal.room_id} · {when(appeal.created_at)}
                  {appeal.decided_by !== undefined && ` · ${t("reviews.by", { who: appeal.decided_by })}`}
                </p>
              </div>
              {appeal.status === "pending" && (
                <span class="actions">
                  <button type="button" class="good" data-action="approve" onClick={() => decide(appeal, "approve")}>{t("appeals.approve")}</button>
                  <button type="button" class="warn" data-action="reject" onClick={() => decide(appeal, "reject")}>{t("appeals.reject")}</button>
                  {reasons.length > 0 && (
                    <select aria-label={t("appeals.rejectFor")} value="" onChange={(e) => decide(appeal, "reject", e.currentTarget.value)}>
                      <option value="">{t("appeals.rejectFor")}</option>
                      {reasons.map((reason) => <option key={reason} value={reason}>{reasonInWords(reason)}</option>)}
                    </select>
                  )}
                </span>
              )}
            </li>
          ))}
        </ul>
      </Listing>
    </>
  );
}
