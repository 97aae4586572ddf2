/** Turns end-to-end encryption of a direct conversation on and off for both people, and shows the code they can compare. */
import type { Conversation } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { Modal } from "../shared/pieces";
import { canSeal, isSealed, setSealed, trustAgain, verificationCode } from "./sealed";
import { sealProblem, t } from "./strings";

export function SealDialog({ conversation, onClose }: { conversation: Conversation; onClose: () => void }) {
  const [code, setCode] = useState("");
  const [problem, setProblem] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const sealed = isSealed(conversation);
  const compare = (): void => {
    setProblem(undefined);
    void verificationCode(conversation.peer).then(setCode, setProblem);
  };
  useEffect(() => {
    if (canSeal()) compare();
  }, [conversation]);
  const change = async (on: boolean): Promise<void> => {
    if (!on && !window.confirm(t("e2ee.turnOff.sure", { name: conversation.name }))) return setBusy((before) => before);
    setBusy(true);
    setProblem(undefined);
    await setSealed(conversation, on).catch(setProblem);
    setBusy(false);
  };
  const trust = async (): Promise<void> => {
    await trustAgain(conversation.peer).then(compare, setProblem);
  };
  return (
    <Modal title={t("e2ee.title")} onClose={onClose}>
      <div class="sheet">
        <label class="check">
          <input
            type="checkbox"
            checked={sealed}
            disabled={!canSeal()}
            aria-busy={busy}
            onClick={(e) => {
              // Drawn from what is agreed, not from what was clicked.
              e.preventDefault();
              if (!busy) void change(!sealed);
            }}
          />
          <span>{t("e2ee.turnOn")}</span>
        </label>
        <p class="dim">{t("e2ee.what")}</p>
        {!canSeal() && <p class="notice bad">{t("e2ee.cannot")}</p>}
        {code !== "" && <p>{t("e2ee.code")}</p>}
        {code !== "" && <p class="code mono">{code}</p>}
        {problem !== undefined && (
          <p class="notice bad" role="alert">
            {sealProblem(problem)}
          </p>
        )}
        <div class="row end">
          {(problem as { code?: unknown } | undefined)?.code === "keys_changed" && (
            <button type="button" class="warn" onClick={() => void trust()}>
              {t("e2ee.trust")}
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
