/** The dialog that bans or mutes somebody. Opened from a comment (user and room known) and from the list of bans. */
import { useState } from "preact/hooks";
import { addBan, liftBan, type SanctionKind } from "./api";
import { t } from "./i18n";
import { reasonInWords, useReasons } from "./reasons";
import { scope } from "./session";
import { lasting } from "./time";
import { attempt } from "./toast";
import { Check, Field, Modal } from "./ui";

const durations = [60, 600, 3600, 86_400, 604_800, 2_592_000, 31_536_000];

export interface Draft {
  kind: SanctionKind;
  userId: string;
  /** Shown beside the id when it is known. */
  username?: string;
  /** "" means everywhere. */
  room: string;
  purge: boolean;
}

/** No reason of the list has this name: it has a space. */
const ownWords = "own words";

/** With `alsoReject`, the held comment that led here can be rejected in one go, for the same reason if it is of the list. */
export function Sanction(props: { draft: Draft; onClose: () => void; onDone?: () => void; alsoReject?: (reason?: string) => void }) {
  const { draft, onClose } = props;
  const reasons = useReasons();
  const [kind, setKind] = useState<SanctionKind>(draft.kind);
  const [userId, setUserId] = useState(draft.userId);
  const [room, setRoom] = useState(draft.room);
  const [seconds, setSeconds] = useState(draft.kind === "mute" ? 600 : 86_400);
  const [cause, setCause] = useState<string>("");
  const [words, setWords] = useState("");
  const [rejects, setRejects] = useState(true);
  const reason = cause === ownWords ? words : cause;
  const [purge, setPurge] = useState(draft.purge);
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    let made = "";
    const lift = () => void attempt(() => liftBan(made), t("bans.lifted", { user: ban.user_id })).then(props.onDone);
    const ban = { user_id: userId.trim(), kind, duration_s: seconds };
    const done = await attempt(
      async () => {
        const answer = await addBan({
          ...ban,
          ...(room.trim() === "" ? {} : { room_id: room.trim() }),
          ...(reason.trim() === "" ? {} : { reason: reason.trim() }),
          ...(purge ? { purge } : {}),
        });
        made = answer.id;
      },
      t(`sanction.done.${kind}`, { user: ban.user_id, for: lasting(seconds) }),
      lift,
    );
    setBusy(false);
    if (!done) return;
    if (rejects) props.alsoReject?.(reasons.includes(cause) ? cause : undefined);
    props.onDone?.();
    onClose();
  };
  return (
    <Modal title={t(`sanction.${kind}`, { user: draft.username ?? draft.userId })} onClose={onClose}>
      <form onSubmit={(e) => void submit(e)}>
        <div class="columns two tight">
          <Field label={t("sanction.kind")}>
            {(id) => (
              <select id={id} value={kind} onChange={(e) => setKind(e.currentTarget.value as SanctionKind)}>
                <option value="mute">{t("mute")}</option>
                <option value="ban">{t("ban")}</option>
              </select>
            )}
          </Field>
          <Field label={t("sanction.for")}>
            {(id) => (
              <select id={id} value={String(seconds)} onChange={(e) => setSeconds(Number(e.currentTarget.value))}>
                {durations.map((s) => (
                  <option key={s} value={String(s)}>{lasting(s)}</option>
                ))}
              </select>
            )}
          </Field>
          <Field label={t("user.id")}>
            {(id) => <input id={id} required maxLength={64} value={userId} onInput={(e) => setUserId(e.currentTarget.value)} />}
          </Field>
          <Field label={t("room.id")} hint={scope.value.everything ? t("sanction.everywhere") : undefined}>
            {(id) => (
              <input id={id} maxLength={64} required={!scope.value.everything} value={room} onInput={(e) => setRoom(e.currentTarget.value)} />
            )}
          </Field>
        </div>
        <Field label={t("sanction.reason")}>
          {(id) => (
            <select id={id} value={cause} onChange={(e) => setCause(e.currentTarget.value)}>
              <option value="">{t("reasons.none")}</option>
              {reasons.map((one) => <option key={one} value={one}>{reasonInWords(one)}</option>)}
              <option value={ownWords}>{t("reasons.own")}</option>
            </select>
          )}
        </Field>
        {cause === ownWords && (
          <Field label={t("reasons.words")}>
            {(id) => <input id={id} maxLength={200} required value={words} onInput={(e) => setWords(e.currentTarget.value)} />}
          </Field>
        )}
        {props.alsoReject !== undefined && <Check label={t("sanction.reject")} checked={rejects} onChange={setRejects} />}
        <Check label={t("sanction.purge")} checked={purge} onChange={setPurge} />
        {purge && <p class="notice bad">{t("sanction.purge.hint")}</p>}
        <div class="row end">
          <button type="button" onClick={onClose}>{t("cancel")}</button>
          <button type="submit" class="primary danger" autofocus={draft.userId !== ""} aria-disabled={busy}>{t(kind)}</button>
        </div>
      </form>
    </Modal>
  );
}
