/** Who did what, newest first. */
import { useState } from "preact/hooks";
import { listAudit, type AuditEntry } from "./api";
import { has, t } from "./i18n";
import { usePoll } from "./poll";
import { when } from "./time";
import { Listing, maxRows, Section } from "./ui";

export function Audit() {
  const [room, setRoom] = useState("");
  const polled = usePoll(() => listAudit(room, 200), 5000, room);
  const entries = polled.data ?? [];
  return (
    <Section
      title={t("section.audit")}
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
      <Listing loaded={polled.data !== null} error={polled.error} count={entries.length} empty={t("audit.empty")}>
        <ul class="rows">
          {entries.slice(0, maxRows).map((entry, index) => (
            <Entry key={`${entry.at} ${entry.action} ${entry.target ?? ""} ${index}`} entry={entry} />
          ))}
        </ul>
      </Listing>
    </Section>
  );
}

function Entry({ entry }: { entry: AuditEntry }) {
  const action = `audit.${entry.action}`;
  return (
    <li class="row audit">
      <time class="dim small mono" dateTime={entry.at}>{when(entry.at)}</time>
      <div class="row-main">
        <p>
          <b>{entry.actor}</b> {has(action) ? t(action) : entry.action.replace(/[._]/g, " ")}{" "}
          <span class="mono">{entry.target ?? ""}</span>
        </p>
        <p class="dim small">{[entry.room_id ?? "", inWords(entry.detail)].filter((part) => part !== "").join(" · ")}</p>
      </div>
    </li>
  );
}

/** Details are whatever the action wrote down; shown as text, cut at a length that fits a row. */
function inWords(detail: unknown): string {
  if (detail === undefined || detail === null) return "";
  const text = typeof detail === "string" ? detail : JSON.stringify(detail);
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
