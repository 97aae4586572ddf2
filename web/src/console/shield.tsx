/** What a moderator does to a whole room at once: the shield, and hiding many comments. */
import type { NukeRequest } from "@barrage/client";
import { useState } from "preact/hooks";
import { getSettings, nuke, raiseShield, undoNuke } from "./api";
import { explain } from "./errors";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { reasonInWords, useReasons } from "./reasons";
import { lasting, number } from "./time";
import { attempt, say } from "./toast";
import { Field, Modal } from "./ui";

export function Shield({ room }: { room: string }) {
  const polled = usePoll(() => getSettings(room), 5000, `shield ${room}`);
  const [nuking, setNuking] = useState(false);
  const on = polled.data?.moderation?.shield === true;
  const toggle = async () => {
    await attempt(() => raiseShield(room, !on), t(on ? "shield.lowered" : "shield.raised"));
    polled.reload();
  };
  return (
    <div class={`card shield ${on ? "on" : ""}`}>
      <div class="row between">
        <h2>{t("shield")}</h2>
        {on && <span class="pill warn">{t("shield.on")}</span>}
      </div>
      <p class="dim small">{t("shield.hint")}</p>
      <div class="row wrap">
        <button type="button" class={on ? "" : "warn"} aria-pressed={on} onClick={() => void toggle()}>{t(on ? "shield.lower" : "shield.raise")}</button>
        <button type="button" onClick={() => setNuking(true)}>{t("nuke")}…</button>
      </div>
      {nuking && <Nuke room={room} onClose={() => setNuking(false)} />}
    </div>
  );
}

const kinds = ["text", "said", "regex", "user_id", "account_age_s"] as const;
type Kind = (typeof kinds)[number];
const spans = [1, 5, 15, 60, 360, 1440];
const mutesS = [0, 600, 3600, 86_400];

/** Counts first. What is hidden comes back as one, for as long as the note offers it, and by the API later. */
function Nuke({ room, onClose }: { room: string; onClose: () => void }) {
  const [kind, setKind] = useState<Kind>("text");
  const [what, setWhat] = useState("");
  const [minutes, setMinutes] = useState(5);
  const [muteS, setMuteS] = useState(0);
  const [reason, setReason] = useState("");
  const reasons = useReasons();
  const [found, setFound] = useState<{ comments: number; users: number } | null>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const value = kind === "account_age_s" ? Number(what) : what.trim();
  const request = (preview: boolean): NukeRequest => ({ match: { [kind]: value } as NukeRequest["match"], minutes, preview, ...(muteS > 0 ? { mute_s: muteS } : {}), ...(reason === "" ? {} : { reason }) });
  const change = (act: () => void) => {
    act();
    setFound(null);
    setProblem("");
  };
  const run = async (event: Event) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    try {
      const { comments, users = 0, action_id } = await nuke(room, request(found === null));
      if (found === null) setFound({ comments, users });
      else {
        const undo = action_id === undefined ? undefined : () => void attempt(() => undoNuke(room, action_id), t("nuke.undone"));
        say(t("nuke.done", { comments: number(comments), users: number(users) }), "good", undo);
        onClose();
      }
    } catch (error) {
      setProblem(explain(error));
    }
    setBusy(false);
  };
  return (
    <Modal title={t("nuke.title")} onClose={onClose}>
      <form onSubmit={(e) => void run(e)}>
        <div class="columns two tight">
          <Field label={t("nuke.by")}>
            {(id) => (
              <select id={id} value={kind} onChange={(e) => change(() => (setKind(e.currentTarget.value as Kind), setWhat("")))}>
                {kinds.map((one) => <option key={one} value={one}>{t(`nuke.${one}`)}</option>)}
              </select>
            )}
          </Field>
          <Field label={t("nuke.minutes")}>
            {(id) => (
              <select id={id} value={String(minutes)} onChange={(e) => change(() => setMinutes(Number(e.currentTarget.value)))}>
                {spans.map((one) => <option key={one} value={String(one)}>{lasting(one * 60)}</option>)}
              </select>
            )}
          </Field>
        </div>
        <Field label={t(`nuke.${kind}`)}>
          {(id) =>
            kind === "account_age_s" ? (
              <input id={id} type="number" min={1} max={31_622_400} required value={what} onInput={(e) => change(() => setWhat(e.currentTarget.value))} />
            ) : (
              <input id={id} required autofocus maxLength={kind === "user_id" ? 64 : 500} value={what} onInput={(e) => change(() => setWhat(e.currentTarget.value))} />
            )
          }
        </Field>
        <div class="columns two tight">
          <Field label={t("nuke.mute")}>
            {(id) => (
              <select id={id} value={String(muteS)} onChange={(e) => setMuteS(Number(e.currentTarget.value))}>
                {mutesS.map((s) => <option key={s} value={String(s)}>{s === 0 ? t("nuke.mute.no") : lasting(s)}</option>)}
              </select>
            )}
          </Field>
          <Field label={t("reasons.words")}>
            {(id) => (
              <select id={id} value={reason} onChange={(e) => setReason(e.currentTarget.value)}>
                <option value="">{t("reasons.none")}</option>
                {reasons.map((one) => <option key={one} value={one}>{reasonInWords(one)}</option>)}
              </select>
            )}
          </Field>
        </div>
        <p role="status">{found !== null && t("nuke.found", { comments: number(found.comments), users: number(found.users) })}</p>
        {problem !== "" && <p class="notice bad" role="alert">{problem}</p>}
        <div class="row end">
          <button type="button" onClick={onClose}>{t("cancel")}</button>
          <button type="submit" class={found === null ? "primary" : "primary danger"} aria-disabled={busy || found?.comments === 0}>{t(found === null ? "nuke.preview" : "nuke.hide")}</button>
        </div>
      </form>
    </Modal>
  );
}
