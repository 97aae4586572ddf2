/** The top of a conversation: with whom, whether they are there, and what can be done about it. */
import type { Conversation } from "@barrage/client";
import { useState } from "preact/hooks";
import { locale } from "../console/language";
import { Avatar } from "./avatar";
import { clock, listTime } from "./format";
import { GroupDialog } from "./group";
import { IconButton } from "./icons";
import { SealDialog } from "./seal";
import { canSeal, isSealed } from "./sealed";
import { SearchDialog } from "./search";
import { attempt, blocked, follow, open, type Session, setBlocked } from "./session";
import { t } from "./strings";

export function Head({ session, conversation }: { session: Session; conversation: Conversation }) {
  follow();
  const [group, setGroup] = useState(false);
  const [seal, setSeal] = useState(false);
  const [search, setSearch] = useState(false);
  const { kind, name, peer } = conversation;
  return (
    <header class="head">
      <IconButton icon="back" label={t("back")} class="back" onClick={() => (location.hash = "")} />
      <Avatar id={peer} name={name} />
      <div class="head-text">
        <h1>{name}</h1>
        <small>{kind === "direct" ? presenceText(session, peer) : t("members", { n: conversation.memberCount ?? conversation.members?.length ?? 1 })}</small>
      </div>
      {kind === "direct" && (canSeal() || isSealed(conversation)) && (
        <IconButton icon={isSealed(conversation) ? "lock" : "unlock"} label={t(isSealed(conversation) ? "e2ee.on" : "e2ee.off")} pressed={isSealed(conversation)} onClick={() => setSeal(true)} />
      )}
      {conversation.conversationId !== undefined && <IconButton icon="search" label={t("search")} onClick={() => setSearch(true)} />}
      {search && <SearchDialog session={session} conversation={conversation} onClose={() => setSearch(false)} />}
      {seal && <SealDialog conversation={conversation} onClose={() => setSeal(false)} />}
      {kind === "direct" ? <Block session={session} conversation={conversation} /> : <IconButton icon="group" label={t("group.info")} onClick={() => setGroup(true)} />}
      {group && <GroupDialog session={session} conversation={conversation} onClose={() => setGroup(false)} onGone={() => (open.value = location.hash = "")} />}
    </header>
  );
}

function Block({ session, conversation: { peer, name } }: { session: Session; conversation: Conversation }) {
  const on = blocked.value.has(peer);
  const toggle = (): void => {
    if (on || window.confirm(t("block.sure", { name }))) void attempt(() => setBlocked(session, peer, !on));
  };
  return (
    <>
      {on && <span class="pill bad">{t("blocked")}</span>}
      <IconButton icon="bar" label={on ? t("unblock") : t("block")} pressed={on} onClick={toggle} />
    </>
  );
}

function presenceText({ chat }: Session, user: string): string {
  const presence = chat.presence.get(user);
  if (presence?.status === "online") return t("online");
  if (!presence?.last_seen) return t("offline");
  const day = listTime(presence.last_seen, locale.value);
  const time = clock(presence.last_seen, locale.value);
  return t("lastSeen", { when: day === time ? time : `${day} ${time}` });
}
