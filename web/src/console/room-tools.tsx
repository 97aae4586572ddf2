/** Beside the feed: shield, announcements, who may speak, polls and questions, the most liked comments, the ranking, a test gift. */
import { useState } from "preact/hooks";
import { announce, getHot, getRanking, getSettings, putRoom, sendGift, type RoomSettings, type Speakers } from "./api";
import { t } from "./i18n";
import { Polls, Questions } from "./interactions";
import { usePoll } from "./poll";
import { Shield } from "./shield";
import { lasting, number } from "./time";
import { attempt } from "./toast";
import { Field } from "./ui";

const slowModes = [0, 3, 5, 10, 30, 60, 300];
const speakers: Speakers[] = ["everyone", "vip", "moderators", "nobody"];

export function RoomTools({ room }: { room: string }) {
  return (
    <div class="room-tools">
      <Shield room={room} />
      <Announce room={room} />
      <Modes room={room} />
      <Polls room={room} />
      <Questions room={room} />
      <Hot room={room} />
      <Ranking room={room} />
      <GiftTest room={room} />
    </div>
  );
}

function Announce({ room }: { room: string }) {
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    if (await attempt(() => announce(room, text.trim()), t("announce.done"))) setText("");
    setBusy(false);
  };
  return (
    <form class="card" onSubmit={(e) => void submit(e)}>
      <Field label={t("announce")}>
        {(id) => (
          <textarea id={id} rows={2} required maxLength={500} value={text} placeholder={t("announce.placeholder")} onInput={(e) => setText(e.currentTarget.value)} />
        )}
      </Field>
      <div class="row end">
        <button type="submit" disabled={busy || text.trim() === ""}>{t("announce.send")}</button>
      </div>
    </form>
  );
}

/** The two settings changed most often while a room is on, in force the moment they are chosen. */
function Modes({ room }: { room: string }) {
  const polled = usePoll(() => getSettings(room), 10_000, room);
  const settings = polled.data;
  const set = async (change: RoomSettings) => {
    await attempt(() => putRoom(room, change), t("settings.saved"));
    polled.reload();
  };
  if (settings === null) return null;
  const slow = settings.slow_mode_s ?? 0;
  return (
    <div class="card columns two tight">
      <Field label={t("set.speakers")}>
        {(id) => (
          <select id={id} value={settings.speakers ?? "everyone"} onChange={(e) => void set({ speakers: e.currentTarget.value as Speakers })}>
            {speakers.map((who) => (
              <option key={who} value={who}>{t(`speakers.${who}`)}</option>
            ))}
          </select>
        )}
      </Field>
      <Field label={t("set.slow_mode_s")}>
        {(id) => (
          <select id={id} value={String(slow)} onChange={(e) => void set({ slow_mode_s: Number(e.currentTarget.value) })}>
            {[...new Set([...slowModes, slow])].sort((a, b) => a - b).map((s) => (
              <option key={s} value={String(s)}>{s === 0 ? t("off") : lasting(s)}</option>
            ))}
          </select>
        )}
      </Field>
    </div>
  );
}

function Hot({ room }: { room: string }) {
  const hot = usePoll(() => getHot(room), 4000, room).data ?? [];
  return (
    <div class="card">
      <h2>{t("hot")}</h2>
      {hot.length === 0 && <p class="dim">{t("hot.empty")}</p>}
      <ol class="ranked">
        {hot.map((comment) => (
          <li key={comment.id}>
            <span class="ellipsis">{comment.content}</span> <b>♥ {number(comment.like_count)}</b>
          </li>
        ))}
      </ol>
    </div>
  );
}

function Ranking({ room }: { room: string }) {
  const entries = usePoll(() => getRanking(room), 4000, room).data ?? [];
  return (
    <div class="card">
      <h2>{t("ranking")}</h2>
      {entries.length === 0 && <p class="dim">{t("ranking.empty")}</p>}
      <ol class="ranked">
        {entries.map((entry) => (
          <li key={entry.user_id}>
            <span class="ellipsis">{entry.username}</span> <b>{number(entry.score)}</b>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** Sends a gift as the house's paying system would, to see what viewers see. */
function GiftTest({ room }: { room: string }) {
  const [gift, setGift] = useState({ gift: "rocket", user_id: "test", username: "Test", count: 1, value: 1 });
  const text = (name: "gift" | "user_id" | "username", max: number) => (
    <Field label={t(`gift.${name}`)}>
      {(id) => <input id={id} required maxLength={max} value={gift[name]} onInput={(e) => setGift({ ...gift, [name]: e.currentTarget.value })} />}
    </Field>
  );
  const whole = (name: "count" | "value", min: number) => (
    <Field label={t(`gift.${name}`)}>
      {(id) => (
        <input id={id} type="number" required min={min} value={gift[name]} onInput={(e) => setGift({ ...gift, [name]: e.currentTarget.valueAsNumber || 0 })} />
      )}
    </Field>
  );
  const submit = (event: Event) => {
    event.preventDefault();
    void attempt(() => sendGift(room, gift), t("gift.done"));
  };
  return (
    <details class="card">
      <summary>{t("gift.test")}</summary>
      <form onSubmit={submit}>
        <div class="columns two tight">
          {text("gift", 64)}
          {text("user_id", 64)}
          {text("username", 32)}
          {whole("count", 1)}
          {whole("value", 0)}
        </div>
        <div class="row end">
          <button type="submit">{t("gift.send")}</button>
        </div>
      </form>
    </details>
  );
}
