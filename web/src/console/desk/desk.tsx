/**
 * The moderation desk: one page for a safety team. What waits, appeals, a sample of what passes, and how well it all goes,
 * of all rooms that the key moderates, or of one.
 */
import { useState } from "preact/hooks";
import { heldSince } from "../api";
import { t } from "../i18n";
import { usePoll } from "../poll";
import { Raids } from "../raids";
import { myName } from "../session";
import { lasting, number } from "../time";
import { Section } from "../ui";
import { waitingReviews } from "../waiting";
import { Appeals } from "./appeals";
import { type Figures, figuresOf } from "./figures";
import { Passing } from "./passing";
import { QueueView } from "./queue-view";
import { Statistics } from "./statistics";

const tabs = ["queue", "appeals", "passing", "statistics"] as const;
type Tab = (typeof tabs)[number];

/** The past is read anew this often: it is long. */
const lookMs = 60_000;
const dayMs = 86_400_000;

export function Desk() {
  const [room, setRoom] = useState("");
  const [tab, setTab] = useState<Tab>("queue");
  const [spanMs, setSpanMs] = useState(dayMs);
  const past = usePoll(() => heldSince(Date.now() - spanMs, room), lookMs, `past ${spanMs} ${room}`);
  const reviews = past.data?.reviews ?? [];
  return (
    <Section
      title={t("section.desk")}
      tools={
        <input
          type="search"
          class="grow"
          placeholder={t("room.filter")}
          aria-label={t("room.filter")}
          value={room}
          onChange={(e) => setRoom(e.currentTarget.value.trim())}
        />
      }
    >
      <Raids room={room} />
      <Glance figures={figuresOf(reviews)} room={room} />
      <div class="desk-tabs" role="tablist" aria-label={t("section.desk")} onKeyDown={(e) => moveTab(e, tab, setTab)}>
        {tabs.map((one) => (
          <button key={one} type="button" role="tab" id={`tab-${one}`} aria-controls="desk-panel" aria-selected={tab === one} tabIndex={tab === one ? 0 : -1} onClick={() => setTab(one)}>
            {t(`desk.tab.${one}`)}
          </button>
        ))}
      </div>
      <div id="desk-panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
        {tab === "queue" && <QueueView key={room} room={room} me={myName.value} decided={reviews.filter(({ status }) => status !== "pending")} />}
        {tab === "appeals" && <Appeals room={room} />}
        {tab === "passing" && <Passing key={room} room={room} />}
        {tab === "statistics" && <Statistics past={past.data} error={past.error} spanMs={spanMs} setSpanMs={setSpanMs} />}
      </div>
    </Section>
  );
}

function moveTab(event: KeyboardEvent, tab: Tab, setTab: (tab: Tab) => void): void {
  const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
  const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
  if (step === 0 || next === undefined) return;
  event.preventDefault();
  setTab(next);
  document.getElementById(`tab-${next}`)?.focus();
}

/** The queue's state in one line. */
function Glance({ figures, room }: { figures: Figures; room: string }) {
  const { approved, rejected, falseAlarms, p50S, p95S } = figures;
  return (
    <p class="figures">
      {room === "" && <span><b>{number(waitingReviews.value)}</b> {t("desk.wait")}</span>}
      <span><b>{number(approved + rejected)}</b> {t("desk.decided")}</span>
      {p50S !== null && p95S !== null && <span>{t("desk.times", { p50: lasting(p50S), p95: lasting(p95S) })}</span>}
      {approved + rejected > 0 && <span><b>{number(Math.round(falseAlarms * 100))} %</b> {t("desk.falseAlarms")}</span>}
    </p>
  );
}
