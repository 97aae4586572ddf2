/** Reactions to a message: what was given, and the choice of one more. */
import type { ChatMessage, Conversation } from "@barrage/client";
import { Modal } from "../shared/pieces";
import { attempt, type Session } from "./session";
import { t } from "./strings";

/** Offered at once. */
export const QUICK = ["👍", "❤️", "😂", "😮", "😢", "🙏"] as const;
const ALL = [
  ...QUICK, "👎", "🎉", "🔥", "👏", "🤔", "👀", "💯", "✅", "❌", "❓", "😀", "😄", "😊", "😍", "😘", "😎", "🤩", "🥳", "😅", "🤣", "🙂", "🙄",
  "😏", "😴", "🤯", "😡", "😭", "😱", "🤝", "💪", "🙌", "👌", "✌️", "🤞", "👋", "💔", "⭐", "🌹", "🍻", "☕", "🎂", "🚀",
] as const;

export async function react({ chat }: Session, conversation: Conversation, message: ChatMessage, emoji: string): Promise<void> {
  if (message.id === undefined) return;
  const { id } = message;
  await attempt(() => chat.react(conversation, id, emoji, !isMine(message, emoji)));
}

export function isMine({ reactions = [] }: ChatMessage, emoji: string): boolean {
  return reactions.some((reaction) => reaction.mine && reaction.emoji === emoji);
}

/** An encrypted message takes none: the server would read them. */
export function takesReactions({ id, msg_type, state }: ChatMessage): boolean {
  return id !== undefined && msg_type !== "encrypted" && state !== "recalled";
}

export function Reactions({ session, conversation, message }: { session: Session; conversation: Conversation; message: ChatMessage }) {
  const { reactions = [] } = message;
  if (reactions.length === 0) return null;
  return (
    <ul class="reactions" aria-label={t("react.list")}>
      {reactions.map(({ emoji, count, mine }) => (
        <li key={emoji}>
          <button type="button" aria-pressed={mine} title={t(mine ? "react.takeBack" : "react.add")} onClick={() => void react(session, conversation, message, emoji)}>
            {emoji} <span>{count}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

export function ReactionDialog({ session, conversation, message, onClose }: { session: Session; conversation: Conversation; message: ChatMessage; onClose: () => void }) {
  return (
    <Modal title={t("react.choose")} onClose={onClose}>
      <div class="emoji-grid">
        {ALL.map((emoji) => (
          <button key={emoji} type="button" aria-pressed={isMine(message, emoji)} onClick={() => (onClose(), void react(session, conversation, message, emoji))}>
            {emoji}
          </button>
        ))}
      </div>
    </Modal>
  );
}
