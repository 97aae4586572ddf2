/** The few things one does with a flying comment, beside it while it stands still. */
import type { Comment } from "@barrage/client";
import { h, icon } from "../../shared/dom";
import type { Hit } from "@barrage/danmaku";
import type { Strings } from "../strings";
import { ICONS } from "./icons";
import { face, tool } from "./tools";

const GAP_PX = 2;

export interface CardHandlers {
  like(comment: Comment): void;
  copy(comment: Comment): void;
  block(comment: Comment): void;
  more(comment: Comment, opener: HTMLElement): void;
  isLiked(id: string): boolean;
}

export class CommentCard {
  readonly element = h("div", { class: "comment-card", role: "group", hidden: true });
  #comment: Comment | undefined;
  readonly #like: HTMLButtonElement;
  readonly #count = h("span", { class: "count" });

  constructor(
    private readonly t: Strings,
    private readonly handlers: CardHandlers,
  ) {
    const use = (run: (comment: Comment) => void) => () => this.#comment && run(this.#comment);
    this.#like = tool(t.like, ICONS.heart, use((comment) => handlers.like(comment)));
    const more = h("button", { type: "button", class: "tool", "aria-label": t.more, title: t.more }, icon(ICONS.more));
    more.addEventListener("click", () => this.#comment && handlers.more(this.#comment, more));
    this.element.append(
      this.#like, this.#count,
      tool(t.copy, ICONS.copy, use((comment) => handlers.copy(comment))),
      tool(t.blockUser, ICONS.block, use((comment) => handlers.block(comment))),
      more,
    );
  }

  get commentId(): string | undefined {
    return this.#comment?.id;
  }

  /** Beneath the comment, above it where there is no room. */
  show(comment: Comment, hit: Hit): void {
    this.#comment = comment;
    this.element.hidden = false;
    this.element.setAttribute("aria-label", `${comment.username}: ${comment.content}`);
    this.refresh(comment.like_count);
    const { offsetWidth, offsetHeight, parentElement } = this.element;
    const { clientWidth = 0, clientHeight = 0 } = parentElement ?? {};
    const beneath = hit.y + hit.height + GAP_PX;
    const visible = Math.max(0, hit.x) + Math.min(clientWidth, hit.x + hit.width);
    this.element.style.left = `${Math.max(4, Math.min(clientWidth - offsetWidth - 4, visible / 2 - offsetWidth / 2))}px`;
    this.element.style.top = `${beneath + offsetHeight < clientHeight ? beneath : Math.max(0, hit.y - offsetHeight - GAP_PX)}px`;
  }

  refresh(likes: number): void {
    const liked = this.#comment !== undefined && this.handlers.isLiked(this.#comment.id);
    face(this.#like, liked ? this.t.unlike : this.t.like, ICONS.heart);
    this.#like.setAttribute("aria-pressed", String(liked));
    this.#count.textContent = likes > 0 ? String(likes) : "";
  }

  hide(): void {
    this.#comment = undefined;
    this.element.hidden = true;
  }
}
