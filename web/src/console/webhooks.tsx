/** Webhooks out: which services are told of what, a test call, a new secret, and the calls that were given up. */
import type { DeadLetter, Webhook } from "@barrage/client";
import { useRef, useState } from "preact/hooks";
import { addWebhook, listDeadLetters, listWebhooks, removeWebhook, replayWebhook, rotateWebhook, testWebhook } from "./api";
import { useFocusHeld } from "./focus";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { copyText } from "../shared/clipboard";
import { number, when } from "./time";
import { attempt, say } from "./toast";
import { Check, Confirm, Field, Listing, Modal, Section } from "./ui";

const kinds = ["comment", "comment_deleted", "review", "decision", "ban", "appeal", "shield", "nuke", "room_state", "gift", "raid"];

export function Webhooks() {
  const polled = usePoll(listWebhooks, 10_000, "webhooks");
  const [adding, setAdding] = useState(false);
  const [secret, setSecret] = useState("");
  const list = useRef<HTMLUListElement>(null);
  const add = useRef<HTMLButtonElement>(null);
  useFocusHeld(list, add);
  return (
    <Section title={t("section.webhooks")} tools={<button type="button" class="primary" ref={add} onClick={() => setAdding(true)}>{t("webhooks.add")}</button>}>
      <p class="hint">{t("webhooks.hint")}</p>
      <Listing loaded={polled.data !== null} error={polled.error} count={polled.data?.length ?? 0} empty={t("webhooks.empty")}>
        <ul class="rows" ref={list}>
          {polled.data?.map((webhook) => <WebhookRow key={webhook.id} webhook={webhook} changed={polled.reload} tell={setSecret} />)}
        </ul>
      </Listing>
      {adding && <NewWebhook onClose={() => setAdding(false)} onDone={(made) => (polled.reload(), setSecret(made))} />}
      {secret !== "" && <Secret secret={secret} onClose={() => setSecret("")} />}
    </Section>
  );
}

function WebhookRow({ webhook, changed, tell }: { webhook: Webhook; changed: () => void; tell: (secret: string) => void }) {
  const { id, url, room_ids, created_at } = webhook;
  const letters = usePoll(() => listDeadLetters(id), 10_000, `letters ${id}`);
  const [asking, setAsking] = useState(false);
  const [shown, setShown] = useState(false);
  const dead = letters.data?.length ?? 0;
  const test = () => attempt(async () => void (await testWebhook(id)), t("webhooks.tested"));
  const rotate = async () => {
    try {
      tell((await rotateWebhook(id)).secret);
    } catch {
      say(t("error.unknown"), "bad");
    }
  };
  return (
    <li class="row webhook" data-webhook={id}>
      <div class="row-main">
        <p class="mono">{url}</p>
        <p class="dim small">
          {webhook.kinds.length === 0 ? t("webhooks.allKinds") : webhook.kinds.join(", ")} · {room_ids.length === 0 ? t("webhooks.allRooms") : room_ids.join(", ")} · {when(created_at)}
        </p>
      </div>
      <span class="actions">
        <button type="button" class={dead > 0 ? "warn" : ""} data-action="letters" aria-expanded={shown} onClick={() => setShown(!shown)}>
          {t("webhooks.letters", { n: number(dead) })}
        </button>
        <button type="button" data-action="test" onClick={() => void test()}>{t("webhooks.test")}</button>
        <button type="button" data-action="rotate" onClick={() => void rotate()}>{t("webhooks.rotate")}</button>
        <button type="button" class="warn" data-action="remove" onClick={() => setAsking(true)}>{t("webhooks.remove")}</button>
      </span>
      {shown && <Letters id={id} letters={letters.data ?? []} changed={letters.reload} />}
      {asking && (
        <Confirm
          title={t("webhooks.remove.sure")}
          text={t("webhooks.remove.what", { url })}
          action={t("webhooks.remove")}
          onYes={() => attempt(() => removeWebhook(id), t("webhooks.removed")).then(changed)}
          onClose={() => setAsking(false)}
        />
      )}
    </li>
  );
}

function Letters({ id, letters, changed }: { id: string; letters: readonly DeadLetter[]; changed: () => void }) {
  const replay = async () => {
    await attempt(() => replayWebhook(id), t("webhooks.replayed"));
    changed();
  };
  return (
    <div class="letters">
      {letters.length === 0 ? (
        <p class="dim">{t("webhooks.letters.none")}</p>
      ) : (
        <button type="button" onClick={() => void replay()}>{t("webhooks.replay", { n: number(letters.length) })}</button>
      )}
      <ol>
        {letters.map(({ message_id, room_id, attempts, error, payload }) => (
          <li key={message_id}>
            <p class="small"><span class="mono">{message_id}</span> · {room_id ?? t("everywhere")} · {t("webhooks.attempts", { n: attempts })} <span class="dim">{error ?? ""}</span></p>
            <pre class="small" tabIndex={0} aria-label={message_id}>{JSON.stringify(payload)}</pre>
          </li>
        ))}
      </ol>
    </div>
  );
}

function NewWebhook({ onClose, onDone }: { onClose: () => void; onDone: (secret: string) => void }) {
  const [url, setUrl] = useState("");
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const [rooms, setRooms] = useState("");
  const submit = async (event: Event) => {
    event.preventDefault();
    const room_ids = rooms.split(/[\s,]+/).filter((room) => room !== "");
    let secret = "";
    const make = async () => {
      secret = (await addWebhook({ url: url.trim(), ...(chosen.length === 0 ? {} : { kinds: [...chosen] }), ...(room_ids.length === 0 ? {} : { room_ids }) })).secret ?? "";
    };
    if (!(await attempt(make, t("webhooks.added")))) return;
    onClose();
    onDone(secret);
  };
  return (
    <Modal title={t("webhooks.add")} onClose={onClose}>
      <form onSubmit={(e) => void submit(e)}>
        <Field label={t("webhooks.url")}>{(id) => <input id={id} type="url" required autofocus maxLength={2048} placeholder="https://" value={url} onInput={(e) => setUrl(e.currentTarget.value)} />}</Field>
        <fieldset class="kinds">
          <legend>{t("webhooks.kinds")}</legend>
          {kinds.map((kind) => <Check key={kind} label={kind} checked={chosen.includes(kind)} onChange={(on) => setChosen(on ? [...chosen, kind] : chosen.filter((one) => one !== kind))} />)}
        </fieldset>
        <Field label={t("webhooks.rooms")} hint={t("webhooks.rooms.hint")}>{(id) => <input id={id} value={rooms} onInput={(e) => setRooms(e.currentTarget.value)} />}</Field>
        <div class="row end">
          <button type="button" onClick={onClose}>{t("cancel")}</button>
          <button type="submit" class="primary">{t("add")}</button>
        </div>
      </form>
    </Modal>
  );
}

function Secret({ secret, onClose }: { secret: string; onClose: () => void }) {
  const copy = async () => say(t((await copyText(secret)) ? "webhooks.copied" : "webhooks.notCopied"), "good");
  return (
    <Modal title={t("webhooks.secret")} onClose={onClose}>
      <p>{t("webhooks.secret.hint")}</p>
      <p class="mono secret">{secret}</p>
      <div class="row end">
        <button type="button" onClick={() => void copy()}>{t("webhooks.copy")}</button>
        <button type="button" class="primary" autofocus onClick={onClose}>{t("close")}</button>
      </div>
    </Modal>
  );
}
