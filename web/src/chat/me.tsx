/** Who this is, whether others see it online, and whom it has blocked. */
import { useEffect } from "preact/hooks";
import { Modal } from "../shared/pieces";
import { mayNotify, notifies, setNotifies, whyNot } from "./notify";
import { attempt, blocked, leave, loadBlocked, type Session, setBlocked, setVisible, visible } from "./session";
import { t } from "./strings";

export function Me({ session, onClose }: { session: Session; onClose: () => void }) {
  useEffect(() => void attempt(() => loadBlocked(session)), []);
  const forget = async (): Promise<void> => {
    const unsent = session.chat.outbox.entries.length;
    if (unsent > 0 && !window.confirm(t("signOut.unsent", { n: unsent }))) return;
    await leave(session);
    location.reload();
  };
  return (
    <Modal title={t("me.you", { name: session.chat.me })} onClose={onClose}>
      <div class="sheet">
        <p class="dim small">
          {t("me.device")}: <span class="mono">{session.device}</span>
        </p>
        <label class="check">
          <input type="checkbox" checked={visible.value} onChange={(e) => void attempt(() => setVisible(session, e.currentTarget.checked))} />
          <span>{t("me.visible")}</span>
        </label>
        <label class="check">
          <input type="checkbox" checked={notifies()} disabled={!mayNotify()} onChange={(e) => void attempt(() => setNotifies(e.currentTarget.checked))} />
          <span>
            {t("notify")} {whyNot() !== "" && <small>{whyNot()}</small>}
          </span>
        </label>
        <h3>{t("me.blocked")}</h3>
        {blocked.value.size === 0 && <p class="dim">{t("me.blocked.none")}</p>}
        <ul class="people">
          {[...blocked.value].map((user) => (
            <li key={user} class="row between">
              <span>{user}</span>
              <button type="button" onClick={() => void attempt(() => setBlocked(session, user, false))}>
                {t("unblock")}
              </button>
            </li>
          ))}
        </ul>
        <div class="row end">
          {session.hasToken && (
            <button type="button" class="warn" onClick={() => void forget()}>
              {t("signOut")}
            </button>
          )}
          <button type="button" onClick={onClose}>
            {t("close")}
          </button>
        </div>
      </div>
    </Modal>
  );
}
