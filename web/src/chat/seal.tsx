/** Turns end-to-end encryption of a direct conversation on and off, and shows the code the two people can compare. */
import type { Conversation } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { Modal } from "../shared/pieces";
import { isSealed, setSealed, verificationCode } from "./sealed";
import { sealProblem, t } from "./strings";

export function SealDialog({ conversation, onClose }: { conversation: Conversation; onClose: () => void }) {
  const [code, setCode] = useState("");
  const [why, setWhy] = useState("");
  useEffect(() => void verificationCode(conversation.peer).then(setCode, (error: unknown) => setWhy(sealProblem(error))), [conversation]);
  return (
    <Modal title={t("e2ee.title")} onClose={onClose}>
      <div class="sheet">
        <label class="check">
          <input type="checkbox" checked={isSealed(conversation)} onChange={(e) => setSealed(conversation, e.currentTarget.checked)} />
          <span>{t("e2ee.turnOn")}</span>
        </label>
        <p class="dim">{t("e2ee.what")}</p>
        {code !== "" && <p>{t("e2ee.code")}</p>}
        {code !== "" && <p class="code mono">{code}</p>}
        {why !== "" && <p class="notice bad">{why}</p>}
        <div class="row end">
          <button type="button" onClick={onClose}>
            {t("close")}
          </button>
        </div>
      </div>
    </Modal>
  );
}
