/** The message that another one answers, in two lines; a press goes there. */
import type { Conversation, Id } from "@barrage/client";
import { hueOf } from "./format";
import { jumpTo } from "./jump";
import { follow, type Session } from "./session";
import { t } from "./strings";
import { summary } from "./summary";

export function Quote({ session, conversation, id }: { session: Session; conversation: Conversation; id: Id }) {
  follow();
  const answered = conversation.message(id);
  return (
    <button type="button" class="quote" title={t("reply.show")} onClick={() => jumpTo(conversation, id)}>
      {answered && <strong style={{ "--hue": hueOf(answered.from_user) }}>{answered.own ? t("you") : (answered.from_name ?? answered.from_user)}</strong>}
      <span>{answered ? summary(session.chat, answered, false) : t("reply.earlier")}</span>
    </button>
  );
}
