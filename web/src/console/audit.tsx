/** Who did what to what, newest first; by room, by who did it, by what was done and to whom, and by time. */
import type { AuditQuery } from "@barrage/client";
import { useState } from "preact/hooks";
import { type AuditEntry, listAudit } from "./api";
import { auditActions, t } from "./i18n";
import { usePoll } from "./poll";
import { when } from "./time";
import { actionInWords, detailInWords } from "./trail";
import { Field, Listing, Section } from "./ui";

const pageRows = 100;
const everyMs = 5000;

interface Filters {
  room: string;
  actor: string;
  action: string;
  target: string;
  since: string;
  until: string;
}

const none: Filters = { room: "", actor: "", action: "", target: "", since: "", until: "" };

export function Audit() {
  const [filters, setFilters] = useState(none);
  /** Cursors of the pages behind the newest, the one shown last. */
  const [pages, setPages] = useState<readonly string[]>([]);
  const cursor = pages.at(-1);
  const polled = usePoll(() => listAudit(queryOf(filters, cursor)), cursor === undefined ? everyMs : null, JSON.stringify([filters, cursor]));
  const entries = polled.data?.entries ?? [];
  const next = polled.data?.next_cursor;
  const change = (part: Partial<Filters>) => {
    setFilters((old) => ({ ...old, ...part }));
    setPages([]);
  };
  const isFiltered = Object.values(filters).some((value) => value !== "");
  return (
    <Section title={t("section.audit")} tools={isFiltered && <button type="button" onClick={() => change(none)}>{t("trail.clear")}</button>}>
      <Filter filters={filters} change={change} />
      <Listing loaded={polled.data !== null} error={polled.error} count={entries.length} empty={t(isFiltered ? "trail.nothing" : "trail.empty")}>
        <ul class="rows">
          {entries.map((entry, index) => (
            <Entry key={`${entry.at} ${entry.action} ${entry.target} ${index}`} entry={entry} change={change} />
          ))}
        </ul>
      </Listing>
      {(cursor !== undefined || next !== undefined) && (
        <nav class="row between pager" aria-label={t("trail.pages")}>
          <button type="button" disabled={cursor === undefined} onClick={() => setPages(pages.slice(0, -1))}>← {t("trail.newer")}</button>
          <button type="button" disabled={next === undefined} onClick={() => next !== undefined && setPages([...pages, next])}>{t("trail.older")} →</button>
        </nav>
      )}
    </Section>
  );
}

/** What is empty is not asked for; moments are of this screen's time zone. */
function queryOf({ room, actor, action, target, since, until }: Filters, cursor: string | undefined): AuditQuery {
  const query: AuditQuery = { limit: pageRows };
  if (room !== "") query.room_id = room;
  if (actor !== "") query.actor = actor;
  if (action !== "") query.action = action;
  if (target !== "") query.target = target;
  if (since !== "") query.since = new Date(since).toISOString();
  if (until !== "") query.until = new Date(until).toISOString();
  if (cursor !== undefined) query.cursor = cursor;
  return query;
}

function Filter({ filters, change }: { filters: Filters; change: (part: Partial<Filters>) => void }) {
  const text = (name: "room" | "actor" | "target") => (
    <Field label={t(`trail.${name}`)}>
      {(id) => <input id={id} type="search" maxLength={191} placeholder={name === "target" ? t("trail.target.ids") : ""} value={filters[name]} onChange={(e) => change({ [name]: e.currentTarget.value.trim() })} />}
    </Field>
  );
  const moment = (name: "since" | "until") => (
    <Field label={t(`trail.${name}`)}>
      {(id) => <input id={id} type="datetime-local" value={filters[name]} onChange={(e) => change({ [name]: e.currentTarget.value })} />}
    </Field>
  );
  const known = filters.action === "" || auditActions.includes(filters.action) ? auditActions : [filters.action, ...auditActions];
  return (
    <form class="trail-filter" role="search" onSubmit={(e) => e.preventDefault()}>
      {text("target")}
      {text("actor")}
      <Field label={t("trail.action")}>
        {(id) => (
          <select id={id} value={filters.action} onChange={(e) => change({ action: e.currentTarget.value })}>
            <option value="">{t("trail.any")}</option>
            {known.map((action) => <option key={action} value={action}>{actionInWords(action)}</option>)}
          </select>
        )}
      </Field>
      {text("room")}
      {moment("since")}
      {moment("until")}
    </form>
  );
}

function Entry({ entry, change }: { entry: AuditEntry; change: (part: Partial<Filters>) => void }) {
  const { at, actor, action, room_id, target } = entry;
  return (
    <li class="row audit">
      <time class="dim small mono" dateTime={at}>{when(at)}</time>
      <div class="row-main">
        <p>
          <Only value={actor} press={() => change({ actor })} /> {actionInWords(action)} <Only mono value={target} press={() => change({ target })} />
        </p>
        <p class="dim small">{[room_id ?? "", detailInWords(entry)].filter((part) => part !== "").join(" · ")}</p>
      </div>
    </li>
  );
}

/** A name that shows its own entries alone when it is pressed. Empty where a person was erased. */
function Only({ value, press, mono = false }: { value: string; press: () => void; mono?: boolean }) {
  if (value === "") return <span class="dim">{t("notes.erased")}</span>;
  return <button type="button" class={`user-name ${mono ? "mono" : ""}`} title={t("trail.only", { what: value })} onClick={press}>{value}</button>;
}
