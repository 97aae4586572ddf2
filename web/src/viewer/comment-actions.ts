/**
 * What a viewer does with one comment: like, copy, mention, block, and, for those who run the room, delete and mute.
 * Owns the menu and the card beside a comment that stands still. The viewer page tells it what is pointed at.
 */
import { type Api, BarrageError, type Comment } from "@barrage/client";
import type { Hit } from "@barrage/danmaku";
import { shownText } from "@barrage/players";
import { copyText } from "../shared/clipboard";
import type { SettingsStore } from "./settings";
import type { Strings } from "./strings";
import { CommentCard } from "./ui/comment-card";
import { type MenuEntry, openMenu } from "./ui/menu";
import type { Notices } from "./ui/notices";

const MUTE_S = 600;
const BLOCKED_MAX = 200;

export interface CommentActionsParts {
  api: Api;
  roomId: string;
  settings: SettingsStore;
  t: Strings;
  notices: Notices;
  picture: HTMLElement;
  /** A comment by its id, while it is still remembered. */
  known(id: string): Comment | undefined;
  /** This one stands still, or none. */
  hold(id: string | null): void;
  mayModerate(): boolean;
  me(): string | undefined;
  mention(comment: Comment): void;
  onlyUser(comment: Comment): void;
  /** Its likes are now these. */
  liked(comment: Comment, mine: boolean): void;
  deleted(id: string): void;
}

export class CommentActions {
  readonly card: CommentCard;
  readonly #parts: CommentActionsParts;
  readonly #liked = new Set<string>();
  #menuOpen = false;

  constructor(parts: CommentActionsParts) {
    this.#parts = parts;
    this.card = new CommentCard(parts.t, {
      like: (comment) => void this.like(comment),
      copy: (comment) => void this.#copy(comment),
      block: (comment) => this.#block(comment),
      more: (comment, opener) => this.openMenu(comment, opener),
      isLiked: (id) => this.isLiked(id),
    });
  }

  isLiked(id: string): boolean {
    return this.#liked.has(id);
  }

  /** The comment under the mouse or the finger stands still and gets its card; the others go on. */
  pointed(hit: Hit | null): void {
    if (this.#menuOpen) return;
    const comment = hit ? this.#parts.known(hit.id) : undefined;
    this.#parts.hold(comment?.id ?? null);
    if (comment && hit) this.card.show(comment, hit);
    else this.card.hide();
  }

  openMenu(comment: Comment, opener?: HTMLElement, at?: { x: number; y: number }): void {
    const { picture } = this.#parts;
    const box = opener?.getBoundingClientRect();
    const inPicture = at !== undefined || (opener !== undefined && picture.contains(opener));
    this.#menuOpen = true;
    const place = at ?? { x: box?.left ?? 0, y: box?.bottom ?? 0 };
    // Beside the picture it stays in the part of the page it belongs to.
    const host = { element: inPicture ? picture : (opener?.closest<HTMLElement>("aside") ?? document.body), confining: inPicture };
    openMenu(host, place, `${comment.username}: ${shownText(comment) ?? ""}`, this.#entries(comment), opener, () => {
      this.#menuOpen = false;
      this.pointed(null);
    });
  }

  /** Shown at once; taken back when the server will not have it. */
  async like(comment: Comment): Promise<void> {
    const liked = this.#liked.has(comment.id);
    this.#showLike(comment, !liked, comment.like_count + (liked ? -1 : 1));
    try {
      const { like_count } = await (liked ? this.#parts.api.unlike(comment.id) : this.#parts.api.like(comment.id));
      this.#showLike(comment, !liked, like_count);
    } catch (error) {
      const already = error instanceof BarrageError && error.code === "already_liked";
      this.#showLike(comment, liked || already, comment.like_count - (liked ? -1 : 1));
      this.#parts.notices.note(this.#words(error));
    }
  }

  #showLike(comment: Comment, mine: boolean, likes: number): void {
    comment.like_count = Math.max(0, likes);
    if (mine) this.#liked.add(comment.id);
    else this.#liked.delete(comment.id);
    if (this.card.commentId === comment.id) this.card.refresh(comment.like_count);
    this.#parts.liked(comment, mine);
  }

  #entries(comment: Comment): MenuEntry[] {
    const { t, mention, onlyUser, mayModerate, me } = this.#parts;
    const entries: MenuEntry[] = [
      { label: this.isLiked(comment.id) ? t.unlike : t.like, run: () => void this.like(comment) },
      { label: t.mention, run: () => mention(comment) },
      { label: t.onlyUser, run: () => onlyUser(comment) },
      { label: t.blockUser, run: () => this.#block(comment) },
      { label: t.copy, run: () => void this.#copy(comment) },
    ];
    if (!mayModerate()) return entries;
    entries.push({ label: t.pinComment, run: () => void this.#pin(comment) });
    entries.push({ label: t.deleteComment, grave: true, run: () => void this.#delete(comment) });
    if (comment.user_id !== me()) entries.push({ label: t.muteUser, grave: true, run: () => void this.#mute(comment) });
    return entries;
  }

  #block({ user_id }: Comment): void {
    const { settings } = this.#parts;
    settings.change({ blockedUsers: [...new Set([...settings.value.blockedUsers, user_id])].slice(-BLOCKED_MAX) });
    this.pointed(null);
  }

  async #copy(comment: Comment): Promise<void> {
    const { notices, t } = this.#parts;
    notices.note((await copyText(shownText(comment) ?? "")) ? t.copied : t.copyFailed);
  }

  async #pin({ id }: Comment): Promise<void> {
    const { api, roomId, notices, t } = this.#parts;
    try {
      await api.admin.pin(roomId, id);
      notices.note(t.pinnedNote, { label: t.undo, run: () => void api.admin.unpin(roomId).then(() => notices.note(t.unpinnedNote), () => undefined) });
    } catch (error) {
      notices.note(this.#words(error));
    }
  }

  async #delete({ id }: Comment): Promise<void> {
    const { api, notices, t, deleted } = this.#parts;
    try {
      await api.admin.deleteComment(id);
      deleted(id);
      notices.note(t.deletedNote);
    } catch (error) {
      notices.note(this.#words(error));
    }
  }

  async #mute({ user_id, username }: Comment): Promise<void> {
    const { api, notices, t, roomId } = this.#parts;
    try {
      const { id } = await api.admin.ban({ user_id, room_id: roomId, kind: "mute", duration_s: MUTE_S });
      const undo = (): void => void api.admin.unban(id).catch((error: unknown) => notices.note(this.#words(error)));
      notices.note(t.mutedUser(username), { label: t.undo, run: undo });
    } catch (error) {
      notices.note(this.#words(error));
    }
  }

  #words(error: unknown): string {
    if (!(error instanceof BarrageError)) return String(error);
    return this.#parts.t.errors[error.code] ?? error.message;
  }
}
