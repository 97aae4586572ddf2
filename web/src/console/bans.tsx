/** Who is banned or muted, for how long still, and lifting it. */
import { useState } from "preact/hooks";
import { liftBan, listBans, type Ban } from "./api";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { useRows, type Rows } from "./rows";
import { Sanction } from "./sanction";
import { scope } from "./session";
import { lasting, when } from "./time";
import { Listing, maxRows, Section } from "./ui";

export function Bans() {
  const [room, setRoom] = useState(scope.value.everything ? "" : (scope.value.rooms[0] ?? ""));
  const [adding, setAdding] = useState(false);
  const polled = usePoll(() => listBans(room), 5000, room);
  const rows = useRows();
  const shown = (polled.data ?? []).filter((ban) => !rows.gone(ban.id));
  return (
    <Section
      title={t("section.bans")}
      tools={
        <>
          <input
            type="search"
            class="grow"
            placeholder={t("room.filter")}
            aria-label={t("room.filter")}
            value={room}
            onChange={(e) => setRoom(e.currentTarget.value.trim())}
          />
          <button type="button" class="primary" onClick={() => setAdding(true)}>{t("bans.add")}</button>
        </>
      }
    >
      <Listing loaded={polled.data !== null} error={polled.error} count={shown.length} empty={t("bans.empty")}>
        <ul class="rows">
          {shown.slice(0, maxRows).map((ban) => (
            <BanRow key={ban.id} ban={ban} rows={rows} />
          ))}
        </ul>
      </Listing>
      {adding && (
        <Sanction
          draft={{ kind: "ban", userId: "", room, purge: false }}
          onClose={() => setAdding(false)}
          onDone={polled.reload}
        />
      )}
    </Section>
  );
}

function BanRow({ ban, rows }: { ban: Ban; rows: Rows }) {
  const where = ban.room_id ?? t("everywhere");
  return (
    <li class={`row ${rows.busy(ban.id) ? "busy" : ""}`} data-ban={ban.user_id}>
      <div class="row-main">
        <p>
          <span class={`pill ${ban.kind}`}>{t(ban.kind)}</span> <b class="mono">{ban.user_id}</b>{" "}
          <span class="dim">{where}</span>
        </p>
        <p class="dim small">{aside(ban)}</p>
      </div>
      <span class="figure">{left(ban)}</span>
      <span class="actions">
        <button
          type="button"
          disabled={rows.busy(ban.id)}
          onClick={() => void rows.run(ban.id, () => liftBan(ban.id), t("bans.lifted", { user: ban.user_id }))}
        >
          {t("bans.lift")}
        </button>
      </span>
    </li>
  );
}

function aside(ban: Ban): string {
  const made = typeof ban.created_at === "string" ? when(ban.created_at) : "";
  const by = typeof ban.created_by === "string" ? t("reviews.by", { who: ban.created_by }) : "";
  return [ban.reason ?? "", made, by].filter((part) => part !== "").join(" · ");
}

function left(ban: Ban): string {
  if (typeof ban.expires_at !== "string") return t("bans.forever");
  return t("bans.left", { time: lasting((Date.parse(ban.expires_at) - Date.now()) / 1000) });
}
