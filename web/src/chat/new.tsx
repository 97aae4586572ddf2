/** Dialogs that start something: a conversation with a person, or a group. */
import { useState } from "preact/hooks";
import { Field, Modal } from "../shared/pieces";
import { isId, parseIds } from "./format";
import { attempt, type Session, show } from "./session";
import { t } from "./strings";

export function NewDirect({ session: { chat }, onClose }: { session: Session; onClose: () => void }) {
  const [user, setUser] = useState("");
  const submit = (event: Event): void => {
    event.preventDefault();
    show(chat.direct(user.trim()).key);
    onClose();
  };
  return (
    <Modal title={t("newDirect")} onClose={onClose}>
      <form onSubmit={submit}>
        <Field label={t("newDirect.label")} hint={t("idHint")}>
          {(id) => <input id={id} required maxLength={64} pattern="\s*[A-Za-z0-9_.:@\-]+\s*" title={t("idHint")} autocapitalize="off" spellcheck={false} value={user} onInput={(e) => setUser(e.currentTarget.value)} />}
        </Field>
        <div class="row end">
          <button type="button" onClick={onClose}>
            {t("cancel")}
          </button>
          <button type="submit" class="primary">
            {t("newDirect.start")}
          </button>
        </div>
      </form>
    </Modal>
  );
}

export function NewGroup({ session: { chat }, onClose }: { session: Session; onClose: () => void }) {
  const [name, setName] = useState("");
  const [typed, setTyped] = useState("");
  const [busy, setBusy] = useState(false);
  const chosen = parseIds(typed);
  const known = chat.conversations.filter(({ kind, conversationId }) => kind === "direct" && conversationId !== undefined).slice(0, 30);
  const toggle = (id: string, on: boolean): void => setTyped(on ? [...chosen, id].join(" ") : chosen.filter((other) => other !== id).join(" "));
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    await attempt(async () => {
      const { key } = await chat.createGroup(name.trim(), chosen);
      onClose();
      show(key);
    });
    setBusy(false);
  };
  return (
    <Modal title={t("newGroup")} onClose={onClose}>
      <form onSubmit={(e) => void submit(e)}>
        <Field label={t("group.name")}>{(id) => <input id={id} required maxLength={64} value={name} onInput={(e) => setName(e.currentTarget.value)} />}</Field>
        <Field label={t("group.members")} hint={chosen.every(isId) ? t("group.members.hint") : t("idHint")}>
          {(id) => <input id={id} autocapitalize="off" spellcheck={false} value={typed} onInput={(e) => setTyped(e.currentTarget.value)} />}
        </Field>
        {known.length > 0 && (
          <div class="known" role="group" aria-label={t("group.known")}>
            {known.map(({ peer, name: known_as }) => (
              <label key={peer} class="check">
                <input type="checkbox" checked={chosen.includes(peer)} onChange={(e) => toggle(peer, e.currentTarget.checked)} />
                <span>{known_as}</span>
              </label>
            ))}
          </div>
        )}
        <div class="row end">
          <button type="button" onClick={onClose}>
            {t("cancel")}
          </button>
          <button type="submit" class="primary" disabled={busy || !chosen.every(isId)}>
            {t("group.create")}
          </button>
        </div>
      </form>
    </Modal>
  );
}
