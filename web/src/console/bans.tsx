/** Who is banned or muted, for how long still, and lifting it. */
import { useRef, useState } from "preact/hooks";
import { addBan, liftBan, listBans, type Ban } from "./api";
import { useFocusHeld } from "./focus";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { reasonInWords } from "./reasons";
import { useRows, type Rows } from "./rows";
import { Sanction } from "./sanction";
import { Choose, SelectionBar, useSelection, type Selection } from "./selection";
import { scope } from "./session";
import { lasting, when } from "./time";
import { attempt } from "./toast";
import { UserName } from "./user-card";
import { Listing, maxRows, Section } from "./ui";

export function Bans() {
  const [room, setRoom] = useState(scope.value.everything ? "" : (scope.value.rooms[0] ?? ""));
  const [adding, setAdding] = useState(false);
  const polled = usePoll(() => listBans(room), 5000, room);
  const rows = useRows();
  const shown = (polled.data ?? []).filter((ban) => !rows.gone(ban.id)).slice(0, maxRows);
  const ids = shown.map(({ id }) => id);
  const selection = useSelection(ids);
  const list = useRef<HTMLUListElement>(null);
  const add = useRef<HTMLButtonElement>(null);
  useFocusHeld(list, add);
  const lift = (wanted: readonly string[]) => {
    const bans = shown.filter(({ id }) => wanted.includes(id));
    const [first] = bans;
    if (!first) return;
    const done = bans.length > 1 ? t("bans.lifted.n", { n: bans.length }) : t("bans.lifted", { user: first.user_id });
    void rows.run(wanted, liftBan, done, () => void restore(bans).then(polled.reload));
  };
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
          <button type="button" class="primary" ref={add} onClick={() => setAdding(true)}>{t("bans.add")}</button>
        </>
      }
    >
      <Listing loaded={polled.data !== null} error={polled.error} count={shown.length} empty={t("bans.empty")}>
        <SelectionBar selection={selection} shown={ids}>
          <button type="button" onClick={() => lift(selection.ids)}>{t("bans.lift")}</button>
        </SelectionBar>
        <ul class="rows" ref={list}>
          {shown.map((ban) => (
            <BanRow key={ban.id} ban={ban} rows={rows} selection={selection} lift={lift} />
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

/** Puts lifted ones back in force for what was left of them. */
async function restore(bans: readonly Ban[]): Promise<void> {
  for (const { user_id, kind, room_id, reason, expires_at } of bans) {
    const left = typeof expires_at === "string" ? Math.ceil((Date.parse(expires_at) - Date.now()) / 1000) : foreverS;
    if (left < 1) continue;
    const ban = { user_id, kind, duration_s: left, ...(room_id ? { room_id } : {}), ...(reason ? { reason } : {}) };
    await attempt(() => addBan(ban), t(`sanction.done.${kind}`, { user: user_id, for: lasting(left) }));
  }
}

/** What stands for "until lifted" where a duration is asked for. */
const foreverS = 10 * 31_536_000;

interface RowProps {
  ban: Ban;
  rows: Rows;
  selection: Selection;
  lift: (ids: readonly string[]) => void;
}

function BanRow({ ban, rows, selection, lift }: RowProps) {
  const where = ban.room_id ?? t("everywhere");
  return (
    <li class={`row ${rows.busy(ban.id) ? "busy" : ""}`} data-ban={ban.user_id}>
      <Choose selection={selection} id={ban.id} label={ban.user_id} />
      <div class="row-main">
        <p>
          <span class={`pill ${ban.kind}`}>{t(ban.kind)}</span> <UserName class="mono" person={{ userId: ban.user_id, room: ban.room_id ?? "" }} />{" "}
          <span class="dim">{where}</span>
        </p>
        <p class="dim small">{aside(ban)}</p>
      </div>
      <span class="figure">{left(ban)}</span>
      <span class="actions">
        <button type="button" data-action="lift" aria-disabled={rows.busy(ban.id)} onClick={() => lift([ban.id])}>
          {t("bans.lift")}
        </button>
      </span>
    </li>
  );
}

function aside(ban: Ban): string {
  const made = typeof ban.created_at === "string" ? when(ban.created_at) : "";
  const by = typeof ban.created_by === "string" ? t("reviews.by", { who: ban.created_by }) : "";
  return [reasonInWords(ban.reason ?? ""), made, by].filter((part) => part !== "").join(" · ");
}

function left(ban: Ban): string {
  if (typeof ban.expires_at !== "string") return t("bans.forever");
  return t("bans.left", { time: lasting((Date.parse(ban.expires_at) - Date.now()) / 1000) });
}
