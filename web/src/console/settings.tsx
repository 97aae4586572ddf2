/** One room's settings: every field an operator may set, saved together. A room that does not exist yet is made by saving. */
import { BarrageError } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { getSettings, putRoom, type RoomSettings, type Speakers } from "./api";
import { changes, merge } from "./changes";
import { explain } from "./errors";
import { t } from "./i18n";
import { Roles } from "./roles";
import { roomOf } from "./route";
import { Rules } from "./rules";
import { attempt } from "./toast";
import { Text, Whole } from "./fields";
import { Check, Field, Section } from "./ui";

const speakers: Speakers[] = ["everyone", "vip", "moderators", "nobody"];
const limits = ["user_per_s", "room_per_s", "comment_chars_max", "viewer_per_s_max"] as const;

/** What a room is made with; the server's own defaults, shown before the first save. */
const fresh: RoomSettings = { enabled: true, speakers: "everyone", store: true, reader_groups: 1, priority: 0, slow_mode_s: 0 };

export function Settings({ room }: { room: string }) {
  const [stored, setStored] = useState<RoomSettings | null>(null);
  const [isNew, setNew] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  useEffect(() => {
    getSettings(room).then(setStored, (error: unknown) => {
      if (!(error instanceof BarrageError && error.code === "not_found")) return setProblem(error);
      setNew(true);
      setStored(fresh);
    });
  }, [room]);
  const title = isNew ? t("settings.new", { room }) : t("settings.of", { room });
  return (
    <Section title={title} tools={<a class="button" href={roomOf(room)}>{t("live")}</a>}>
      {problem !== null && <p class="notice bad" role="alert">{explain(problem)}</p>}
      {stored === null && problem === null && <p class="notice">{t("loading")}</p>}
      {stored !== null && <SettingsForm room={room} stored={stored} />}
      {stored !== null && !isNew && <Roles room={room} />}
    </Section>
  );
}

/** Saves only what was changed, so that two people at two fields do not undo each other. */
function SettingsForm({ room, stored }: { room: string; stored: RoomSettings }) {
  const [form, setForm] = useState(stored);
  const [busy, setBusy] = useState(false);
  const set = (change: RoomSettings) => setForm({ ...form, ...change });
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    const { moderation, ...rest } = changes(stored, form);
    const rules = moderation === undefined ? {} : { moderation: merge(stored.moderation ?? {}, moderation) };
    const saved = await attempt(() => putRoom(room, { ...rest, ...rules }), t("settings.saved"));
    setBusy(false);
    if (saved) location.hash = roomOf(room);
  };
  return (
    <form class="settings" onSubmit={(e) => void submit(e)}>
      <div>
        <fieldset>
          <legend>{t("settings.room")}</legend>
          <Text name="name" max={64} value={form.name ?? ""} onInput={(name) => set({ name })} />
          <Text name="owner_id" max={64} value={form.owner_id ?? ""} onInput={(id) => set({ owner_id: orNull(id) })} />
          <Text name="video_url" max={2048} value={form.video_url ?? ""} onInput={(url) => set({ video_url: orNull(url) })} />
          <Check label={t("set.enabled")} checked={form.enabled ?? true} onChange={(enabled) => set({ enabled })} />
          <Check label={t("set.private")} checked={form.private ?? false} onChange={(on) => set({ private: on })} />
        </fieldset>
        <fieldset>
          <legend>{t("settings.speaking")}</legend>
          <Field label={t("set.speakers")}>
            {(id) => (
              <select id={id} value={form.speakers ?? "everyone"} onChange={(e) => set({ speakers: e.currentTarget.value as Speakers })}>
                {speakers.map((who) => (
                  <option key={who} value={who}>{t(`speakers.${who}`)}</option>
                ))}
              </select>
            )}
          </Field>
          <div class="columns two tight">
            <Whole name="slow_mode_s" min={0} max={86_400} value={form.slow_mode_s ?? 0} onInput={(n) => set({ slow_mode_s: n ?? 0 })} />
            {limits.map((name) => (
              <Whole
                key={name}
                name={name}
                min={1}
                max={name === "comment_chars_max" ? 2000 : 1_000_000}
                empty="default"
                value={form.limits?.[name] ?? null}
                onInput={(n) => set({ limits: withLimit(form.limits ?? {}, name, n) })}
              />
            ))}
          </div>
        </fieldset>
        <Rules rules={form.moderation ?? {}} set={(moderation) => set({ moderation })} />
        <fieldset>
          <legend>{t("settings.delivery")}</legend>
          <div class="columns two tight">
            <Whole name="priority" min={-100} max={100} value={form.priority ?? 0} onInput={(n) => set({ priority: n ?? 0 })} />
            <Whole name="window_ms_max" min={0} max={100} empty="default" value={form.window_ms_max ?? null} onInput={(n) => set({ window_ms_max: n })} />
            <Whole name="reader_groups" min={1} max={64} value={form.reader_groups ?? 1} onInput={(n) => set({ reader_groups: n ?? 1 })} />
          </div>
        </fieldset>
        <fieldset>
          <legend>{t("settings.keeping")}</legend>
          <Check label={t("set.store")} checked={form.store ?? true} onChange={(store) => set({ store })} />
          <Whole name="retention_days" min={1} max={36_500} empty="default" value={form.retention_days ?? null} onInput={(n) => set({ retention_days: n })} />
        </fieldset>
      </div>
      <div class="row end">
        <a class="button" href={roomOf(room)}>{t("cancel")}</a>
        <button type="submit" class="primary" disabled={busy}>{t("save")}</button>
      </div>
    </form>
  );
}

const orNull = (text: string): string | null => (text.trim() === "" ? null : text.trim());

function withLimit(all: Record<string, number>, name: string, value: number | null) {
  const next = Object.fromEntries(Object.entries(all).filter(([key]) => key !== name));
  return value === null ? next : { ...next, [name]: value };
}
