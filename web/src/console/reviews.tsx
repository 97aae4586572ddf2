/** The queue of held comments: approve or reject, by hand or with the keys a and r. */
import { useEffect, useRef, useState } from "preact/hooks";
import { decideReview, listReviews, type Review } from "./api";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { useRows, type Rows } from "./rows";
import { scope } from "./session";
import { when } from "./time";
import { Check, Listing, maxRows, Section } from "./ui";
import { waitingReviews } from "./waiting";

type Decision = "approve" | "reject";

export function Reviews() {
  const [room, setRoom] = useState(scope.value.everything ? "" : (scope.value.rooms[0] ?? ""));
  const [status, setStatus] = useState<Review["status"]>("pending");
  const [refreshing, setRefreshing] = useState(true);
  const polled = usePoll(
    () => listReviews(status, room, maxRows),
    refreshing ? 2000 : null,
    `${status} ${room}`,
  );
  const rows = useRows();
  const shown = (polled.data ?? []).filter((review) => status !== "pending" || !rows.gone(review.id));
  const waiting = status === "pending" && room === "" && polled.data !== null ? shown.length : null;
  useEffect(() => {
    if (waiting !== null) waitingReviews.value = waiting;
  }, [waiting]);
  return (
    <Section
      title={t("section.reviews")}
      tools={
        <>
          <select aria-label={t("reviews.status")} value={status} onChange={(e) => setStatus(e.currentTarget.value as Review["status"])}>
            {(["pending", "approved", "rejected"] as const).map((one) => (
              <option key={one} value={one}>{t(`reviews.${one}`)}</option>
            ))}
          </select>
          <input
            type="search"
            class="grow"
            placeholder={t("room.filter")}
            aria-label={t("room.filter")}
            value={room}
            onChange={(e) => setRoom(e.currentTarget.value.trim())}
          />
          <Check label={t("refreshing")} checked={refreshing} onChange={setRefreshing} />
          {!refreshing && <button type="button" onClick={polled.reload}>{t("reload")}</button>}
        </>
      }
    >
      {status === "pending" && shown.length > 0 && <p class="hint wide-only">{t("reviews.keys")}</p>}
      <Listing loaded={polled.data !== null} error={polled.error} count={shown.length} empty={t(`reviews.empty.${status}`)}>
        <Queue reviews={shown.slice(0, maxRows)} rows={rows} />
      </Listing>
    </Section>
  );
}

/** Arrow keys (or j, k) move, a approves, r rejects; then the next one is in focus, so a queue is worked off without the mouse. */
function Queue({ reviews, rows }: { reviews: Review[]; rows: Rows }) {
  const list = useRef<HTMLUListElement>(null);
  const focusAt = (index: number) => {
    const items = list.current?.querySelectorAll<HTMLElement>("li") ?? [];
    items[Math.min(Math.max(index, 0), items.length - 1)]?.focus();
  };
  const decide = (review: Review, decision: Decision) => {
    if (review.status !== "pending") return;
    void rows.run(review.id, () => decideReview(review.id, decision), t(`reviews.done.${decision}`));
  };
  const onKey = (event: KeyboardEvent, review: Review, index: number) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key === "a" || key === "r") {
      decide(review, key === "a" ? "approve" : "reject");
      focusAt(index + 1);
    } else if (key === "j" || key === "arrowdown") focusAt(index + 1);
    else if (key === "k" || key === "arrowup") focusAt(index - 1);
    else return;
    event.preventDefault();
  };
  useFocusHeld(list, reviews.length, focusAt);
  return (
    <ul class="rows" ref={list}>
      {reviews.map((review, index) => (
        <li
          key={review.id}
          class={`row review ${rows.busy(review.id) ? "busy" : ""}`}
          data-review={review.id}
          tabIndex={0}
          onKeyDown={(e) => onKey(e, review, index)}
        >
          <div class="row-main">
            <p class="content">{review.content}</p>
            <p class="dim small">
              <b>{review.username ?? review.user_id}</b> · {review.room_id} · {when(review.created_at)}
              {typeof review.word === "string" && <span class="pill review-word">{review.word}</span>}
              {typeof review.decided_by === "string" && ` · ${t("reviews.by", { who: review.decided_by })}`}
            </p>
          </div>
          {review.status === "pending" && (
            <span class="actions">
              <button type="button" class="good" disabled={rows.busy(review.id)} onClick={() => decide(review, "approve")}>
                {t("approve")}
              </button>
              <button type="button" class="warn" disabled={rows.busy(review.id)} onClick={() => decide(review, "reject")}>
                {t("reject")}
              </button>
            </span>
          )}
        </li>
      ))}
    </ul>
  );
}

/** When the row in focus leaves the list, focus moves to what took its place instead of falling to the page. */
function useFocusHeld(list: { current: HTMLElement | null }, count: number, focusAt: (index: number) => void) {
  const at = useRef(-1);
  useEffect(() => {
    const inside = document.activeElement?.closest("li");
    const items = [...(list.current?.querySelectorAll("li") ?? [])];
    const index = inside === null || inside === undefined ? -1 : items.indexOf(inside);
    if (index < 0 && at.current >= 0 && document.activeElement === document.body) focusAt(at.current);
    else at.current = index;
  });
  useEffect(() => {
    if (count > 0 && document.activeElement === document.body) focusAt(0);
  }, []);
}
