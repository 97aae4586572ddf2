/**
 * Search over one's own messages. The server finds what it can read; what is encrypted is looked for in what this
 * device has decrypted. Pressing a find goes there.
 */
import type { Chat, ChatMessage, Conversation, Id, Message } from "@barrage/client";
import { compareIds } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { locale } from "../console/language";
import { Modal } from "../shared/pieces";
import { listTime } from "./format";
import { jumpTo } from "./jump";
import { isSealed, searchSealed, wasSealed } from "./sealed";
import { matches, snippet, wordsOf } from "./search-text";
import { type Session } from "./session";
import { explain, t } from "./strings";

/** Finds wanted before it stops looking further by itself. */
const WANTED = 20;
/** Pages looked at for one press; each looks back over about a thousand messages. */
const PAGES_MAX = 5;
const SETTLE_MS = 300;

interface Find {
  id: Id;
  conversation: Conversation;
  from: string;
  text: string;
  at: string;
}

interface Finds {
  finds: Find[];
  /** Where to look further. */
  cursor: Id | undefined;
  busy: boolean;
  problem: string;
}

const NOTHING: Finds = { finds: [], cursor: undefined, busy: false, problem: "" };

/** Looks for what is typed once nothing more is, in one conversation or in all. */
function useSearch({ chat }: Session, query: string, conversation: Conversation | undefined): Finds & { further: () => void } {
  const [state, setState] = useState<Finds>(NOTHING);
  const words = wordsOf(query);
  useEffect(() => {
    setState({ ...NOTHING, busy: words.length > 0 });
    if (words.length === 0) return;
    let current = true;
    const tell = (part: Partial<Finds>): void => void (current && setState((before) => ({ ...before, ...part })));
    const timer = window.setTimeout(() => void look(chat, query, words, conversation, undefined, [], tell), SETTLE_MS);
    return () => {
      current = false;
      window.clearTimeout(timer);
    };
  }, [query, conversation]);
  const further = (): void => {
    setState((before) => ({ ...before, busy: true }));
    void look(chat, query, words, conversation, state.cursor, state.finds, (part) => setState((before) => ({ ...before, ...part })));
  };
  return { ...state, further };
}

async function look(chat: Chat, query: string, words: string[], conversation: Conversation | undefined, from: Id | undefined, before: Find[], tell: (part: Partial<Finds>) => void): Promise<void> {
  let [finds, cursor] = [before, from];
  try {
    if (from === undefined && conversation && (isSealed(conversation) || wasSealed(conversation))) {
      const sealed = await searchSealed(chat, conversation, (text) => matches(text, words));
      finds = merge(finds, sealed.map(({ message, text }) => asFind(chat, conversation, message, text)));
      tell({ finds });
    }
    for (let page = 0; page < PAGES_MAX; page++) {
      const found = await chat.api.search(query, { limit: WANTED, ...(conversation?.conversationId ? { conversation_id: conversation.conversationId } : {}), ...(cursor ? { cursor } : {}) });
      finds = merge(finds, found.messages.map((message) => asFind(chat, conversation ?? conversationOf(chat, message), message, message.content)));
      cursor = found.next_cursor;
      tell({ finds, cursor });
      if (cursor === undefined || finds.length - before.length >= WANTED) break;
    }
    tell({ busy: false });
  } catch (error) {
    tell({ busy: false, problem: explain(error) });
  }
}

function conversationOf(chat: Chat, { group_id, from_user, to_user = "" }: Message): Conversation {
  return group_id !== undefined ? chat.group(group_id) : chat.direct(from_user === chat.me ? to_user : from_user);
}

function asFind(chat: Chat, conversation: Conversation, message: Message | ChatMessage, text: string): Find {
  const from = message.from_user === chat.me ? t("you") : (message.from_name ?? message.from_user);
  return { id: message.id ?? "0", conversation, from, text, at: message.created_at };
}

/** Newest first, each once. */
function merge(finds: Find[], more: Find[]): Find[] {
  const known = new Set(finds.map(({ id }) => id));
  return [...finds, ...more.filter(({ id }) => !known.has(id))].sort((a, b) => compareIds(b.id, a.id));
}

/** Within one conversation. */
export function SearchDialog({ session, conversation, onClose }: { session: Session; conversation: Conversation; onClose: () => void }) {
  const [query, setQuery] = useState("");
  return (
    <Modal title={t("search.in", { name: conversation.name })} onClose={onClose}>
      <div class="sheet search">
        <input type="search" autofocus maxLength={100} placeholder={t("search")} aria-label={t("search")} value={query} onInput={(e) => setQuery(e.currentTarget.value)} />
        <Results session={session} query={query} conversation={conversation} onGo={onClose} />
      </div>
    </Modal>
  );
}

/** Everywhere; drawn below the conversations that have the name. */
export function SearchEverywhere({ session, query }: { session: Session; query: string }) {
  if (wordsOf(query).length === 0) return null;
  return (
    <section class="search-all" aria-label={t("search.messages")}>
      <h2>{t("search.messages")}</h2>
      <Results session={session} query={query} conversation={undefined} onGo={() => undefined} />
    </section>
  );
}

function Results({ session, query, conversation, onGo }: { session: Session; query: string; conversation: Conversation | undefined; onGo: () => void }) {
  const { finds, cursor, busy, problem, further } = useSearch(session, query, conversation);
  const words = wordsOf(query);
  return (
    <>
      <ul class="finds">
        {finds.map((find) => (
          <li key={find.id}>
            <button type="button" onClick={() => (onGo(), jumpTo(find.conversation, find.id))}>
              <span class="item-top">
                <strong>{conversation ? find.from : find.conversation.name}</strong>
                <time dateTime={find.at}>{listTime(find.at, locale.value)}</time>
              </span>
              <span class="found-text">
                {!conversation && <em>{find.from}: </em>}
                {snippet(find.text, words).map(({ text, hit }, index) => (hit ? <mark key={index}>{text}</mark> : text))}
              </span>
            </button>
          </li>
        ))}
      </ul>
      <p class="dim" role="status">
        {problem !== "" ? problem : busy ? t("search.busy") : words.length > 0 && finds.length === 0 ? t("search.none") : ""}
      </p>
      {!conversation && words.length > 0 && !busy && <p class="dim">{t("search.sealed")}</p>}
      {!busy && cursor !== undefined && (
        <button type="button" class="quiet" onClick={further}>
          {t("search.further")}
        </button>
      )}
    </>
  );
}
