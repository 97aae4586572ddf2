/** The conversations, newest activity first, with what was said last and what is unread. */
import type { Chat, Conversation } from "@barrage/client";
import { useState } from "preact/hooks";
import { locale } from "../console/language";
import { draftOf } from "./drafts";
import { Avatar } from "./avatar";
import { listTime } from "./format";
import { Icon, IconButton } from "./icons";
import { NewDirect, NewGroup } from "./new";
import { SearchEverywhere } from "./search";
import { attempt, follow, type Session, show } from "./session";
import { t } from "./strings";
import { summary } from "./summary";

export function List({ session, open }: { session: Session; open: string | undefined }) {
  follow();
  const { chat } = session;
  const [dialog, setDialog] = useState<"direct" | "group" | undefined>();
  const [search, setSearch] = useState("");
  const listed = chat.conversations.filter((conversation) => isListed(conversation, open));
  const wanted = search.trim().toLowerCase();
  const found = listed.filter(({ name, peer }) => name.toLowerCase().includes(wanted) || peer.toLowerCase().includes(wanted));
  return (
    <nav class="list" aria-label={t("list")}>
      <div class="list-tools">
        <input type="search" maxLength={100} placeholder={t("list.search")} aria-label={t("list.search")} value={search} onInput={(e) => setSearch(e.currentTarget.value)} />
        <IconButton icon="pen" label={t("newDirect")} onClick={() => setDialog("direct")} />
        <IconButton icon="group" label={t("newGroup")} onClick={() => setDialog("group")} />
      </div>
      <ul class="rows-list">
        {found.map((conversation) => (
          <Row key={conversation.key} chat={chat} conversation={conversation} open={conversation.key === open} />
        ))}
      </ul>
      {listed.length === 0 && <p class="notice">{chat.live ? t("list.empty") : t("loading")}</p>}
      {listed.length > 0 && found.length === 0 && <p class="notice">{t("list.none")}</p>}
      <SearchEverywhere session={session} query={search} />
      {chat.hasMore && (
        <button type="button" class="quiet" onClick={() => void attempt(() => chat.loadMore())}>
          {t("list.more")}
        </button>
      )}
      {dialog === "direct" && <NewDirect session={session} onClose={() => setDialog(undefined)} />}
      {dialog === "group" && <NewGroup session={session} onClose={() => setDialog(undefined)} />}
    </nav>
  );
}

/** One that was only looked at, and nothing said, is not kept in the list. */
function isListed(conversation: Conversation, open: string | undefined): boolean {
  return conversation.conversationId !== undefined || conversation.key === open || conversation.lastMessage !== undefined || draftOf(conversation.key) !== "";
}

function Row({ chat, conversation, open }: { chat: Chat; conversation: Conversation; open: boolean }) {
  follow();
  const { name, unread, lastMessage, key } = conversation;
  return (
    <li>
      <a class="item" href={`#${encodeURIComponent(key)}`} aria-current={open ? "true" : undefined} onClick={() => show(key)}>
        <Avatar id={conversation.peer} name={name} online={isOnline(chat, conversation)} />
        <span class="item-text">
          <span class="item-top">
            <strong>{name}</strong>
            {lastMessage && <time dateTime={lastMessage.created_at}>{listTime(lastMessage.created_at, locale.value)}</time>}
          </span>
          <span class="item-bottom">
            <LastLine chat={chat} conversation={conversation} />
            {unread > 0 && (
              <b class="count" aria-label={t("unread", { n: unread })}>
                {unread > 99 ? "99+" : unread}
              </b>
            )}
          </span>
        </span>
      </a>
    </li>
  );
}

function LastLine({ chat, conversation }: { chat: Chat; conversation: Conversation }) {
  follow();
  const draft = draftOf(conversation.key);
  const last = conversation.lastMessage;
  if (conversation.typing.length > 0) return <span class="last active">{t("typing")}</span>;
  if (draft !== "") {
    return (
      <span class="last">
        <em>{t("draft")}</em> {draft}
      </span>
    );
  }
  if (!last) return <span class="last">{conversation.memberCount === undefined ? "" : t("members", { n: conversation.memberCount })}</span>;
  return (
    <span class="last">
      {last.own && last.state !== "recalled" && <Icon name={last.state === "read" ? "ticks" : last.state === "sending" ? "wait" : last.state === "failed" ? "failed" : "tick"} />}
      {summary(chat, last, conversation.kind === "group")}
    </span>
  );
}

function isOnline(chat: Chat, { kind, peer }: Conversation): boolean | undefined {
  return kind === "direct" ? chat.presence.get(peer)?.status === "online" : undefined;
}
