/**
 * `<barrage-room>`: a room on somebody else's page. Comments fly over the element that `for` names, or over what is put
 * inside; beneath is the list and the composer, all in a shadow root. Attributes: `room`, `for`, `token`, `theme`, `lang`,
 * `session` (a recording played along the video) and `server`. Events: `barrage-state`, `barrage-comment`, `barrage-event`,
 * `barrage-token` (answer with `event.respondWith(promise)`), and `barrage-sent`.
 */
import { BarrageError, type Comment, type CommentBatch, type GiftEvent, type Pin, type RoomEvent, type RoomJoined } from "@barrage/client";
import { Danmaku, type DanmakuAction, type DanmakuComment } from "@barrage/danmaku";
import { feedReplay, overlay, shownText, toDanmaku, type VideoOverlay } from "@barrage/players";
import { copyText } from "../shared/clipboard";
import { Combos } from "../shared/combos";
import { h } from "../shared/dom";
import { PollCards } from "../shared/poll-card";
import { claimsOf } from "../shared/token";
import { type ConnectionState, RoomConnection } from "./connection";
import css from "./embed.css?inline";
import layerCss from "./layer.css?inline";
import { CommentRows } from "./list";
import { type EmbedStrings, embedStrings, languageOf } from "./strings";

const CONTENT_MAX = 200;
const HISTORY = 30;
/** A video that `for` names may be put onto the page after the room. */
const TARGET_WAIT_MS = 500;
const TARGET_TRIES = 60;
/** How long a page may take to answer `barrage-token`. */
const RENEW_MS = 10_000;
const NOTE_MS = 6_000;

/** Told when the token is about to end, or was refused. */
export class TokenEvent extends Event {
  answer: Promise<string> | undefined;

  constructor() {
    super("barrage-token", { bubbles: true, composed: true });
  }

  /** The page's own way to a fresh token. */
  respondWith(answer: string | Promise<string>): void {
    this.answer = Promise.resolve(answer);
  }
}

export class BarrageRoom extends HTMLElement {
  static readonly observedAttributes = ["room", "for", "token", "theme", "lang", "server", "session"];
  /** Where rooms are when no attribute says so; set to the address this script came from. */
  static server = "";

  /** Instead of listening to `barrage-token`. */
  renewToken: (() => Promise<string>) | undefined;

  readonly #root: ShadowRoot;
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  #t: EmbedStrings = embedStrings("en");
  #rows: CommentRows | undefined;
  #stage = h("div", { class: "stage", part: "stage" }, h("slot"));
  #title = h("h2", { part: "title" });
  #viewers = h("span", { class: "viewers", part: "viewers" });
  #pin = h("p", { class: "pin", part: "pin", hidden: true });
  #polls: PollCards | undefined;
  /** The row that each run of the same gift has. */
  #combos = new Combos<string>();
  #status = h("p", { class: "status", part: "status", role: "status" });
  #input = h("input", { part: "input", maxlength: CONTENT_MAX, autocomplete: "off", enterkeyhint: "send" });
  #send = h("button", { class: "send", part: "send", type: "submit" });
  #connection: RoomConnection | undefined;
  #over: Pick<VideoOverlay, "danmaku" | "show" | "destroy"> | undefined;
  #stopReplay: (() => void) | undefined;
  #target: HTMLElement | undefined;
  #token: string | undefined;
  #me: string | undefined;
  #accepts = true;
  #expired = false;
  #state: ConnectionState = { name: "connecting" };
  #tries = 0;
  #timers: Partial<Record<"target" | "note" | "restart", ReturnType<typeof setTimeout>>> = {};

  constructor() {
    super();
    this.#root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css + layerCss);
    this.#root.adoptedStyleSheets = [sheet];
  }

  connectedCallback(): void {
    this.#dark.addEventListener("change", this.#applyTheme);
    this.#applyTheme();
    this.#build();
    this.#connect();
  }

  disconnectedCallback(): void {
    this.#dark.removeEventListener("change", this.#applyTheme);
    this.#disconnect();
  }

  attributeChangedCallback(name: string, before: string | null, now: string | null): void {
    if (before === now || !this.isConnected || !this.#rows) return;
    if (name === "theme") return this.#applyTheme();
    if (name === "token") return this.#useToken(now ?? undefined);
    // Several attributes may change in one go.
    this.#timers.restart ??= setTimeout(() => {
      this.#timers.restart = undefined;
      this.#disconnect();
      this.#build();
      this.#connect();
    }, 0);
  }

  /** The token in use. Setting it takes it over without losing the connection, and leaves the attribute alone. */
  get token(): string | undefined {
    return this.#token ?? this.getAttribute("token") ?? undefined;
  }

  set token(token: string | undefined) {
    this.#useToken(token);
  }

  /** Says something as the viewer. Rejects with a `BarrageError`. */
  async say(content: string): Promise<void> {
    const room = this.#connection?.room;
    if (!room) throw new BarrageError("disconnected", "there is no connection");
    const session_id = this.getAttribute("session");
    const media = this.#target;
    if (session_id && media instanceof HTMLMediaElement) return this.#sayOnRecording(content, session_id, media.currentTime * 1_000);
    const ack = await room.comment({ content });
    this.#dispatch("barrage-sent", { id: ack.id, status: ack.status });
    if (ack.status === "pending_review") return this.#note(this.#t.pending);
    // What is said comes back from the room as well; whichever is first is shown.
    this.#received({ comments: [this.#own(ack.id, content)], omitted: 0, source: "live" });
  }

  async #sayOnRecording(content: string, session_id: string, positionMs: number): Promise<void> {
    const offset_ms = Math.round(positionMs);
    const api = this.#connection?.api;
    const roomId = this.getAttribute("room") ?? "";
    if (!api) throw new BarrageError("disconnected", "there is no connection");
    const { id, status } = await api.postComment(roomId, { content, session_id, offset_ms });
    this.#dispatch("barrage-sent", { id, status });
    if (status === "pending_review") return this.#note(this.#t.pending);
    const own = this.#own(id, content);
    this.#rows?.add([own], this.#me);
    this.#over?.show([own]);
  }

  #own(id: string, content: string): Comment {
    const name = claimsOf(this.token ?? "")?.name;
    return {
      id, room_id: this.getAttribute("room") ?? "", user_id: this.#me ?? "", username: typeof name === "string" ? name : (this.#me ?? ""),
      level: "normal", content, created_at: new Date().toISOString(), offset_ms: 0, like_count: 0,
    };
  }

  // ---- building -----------------------------------------------------------------------------------

  #build(): void {
    const { lang } = this;
    this.#t = embedStrings(languageOf(lang, document.documentElement.lang, navigator.language));
    const t = this.#t;
    this.#rows = new CommentRows(t, (comment, button) => void this.#like(comment, button));
    this.#input.placeholder = t.write;
    this.#input.setAttribute("aria-label", t.write);
    this.#send.textContent = t.send;
    this.#title.textContent = t.room;
    this.#polls = new PollCards(t.polls, (poll, option) => void this.#vote(poll, option));
    const form = h("form", { part: "composer" }, this.#input, this.#send);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    const head = h("div", { class: "head", part: "header" }, h("slot", { name: "header" }, this.#title), this.#viewers);
    this.#root.replaceChildren(this.#stage, head, this.#pin, this.#polls.element, this.#rows.element, this.#status, form, h("slot", { name: "footer" }));
    this.setAttribute("role", this.getAttribute("role") ?? "region");
    if (!this.hasAttribute("aria-label")) this.setAttribute("aria-label", t.room);
    this.#showState();
  }

  readonly #applyTheme = (): void => {
    const theme = this.getAttribute("theme");
    this.classList.toggle("dark", theme === "dark" || (theme !== "light" && this.#dark.matches));
  };

  // ---- coming and going -------------------------------------------------------------------------------

  #connect(): void {
    const roomId = this.getAttribute("room");
    if (!roomId) return this.#say("room=?", true);
    this.#findTarget();
    const server = this.getAttribute("server") ?? BarrageRoom.server;
    this.#connection = new RoomConnection(
      { server, roomId, token: this.token, join: { history: HISTORY }, renew: () => this.#askForToken() },
      {
        state: (state) => this.#changed(state),
        identified: ({ userId, expired }) => {
          this.#me = userId;
          this.#expired = expired;
          this.#showState();
        },
        joined: (room) => this.#joined(room),
        comments: (batch) => this.#received(batch),
        event: (event) => this.#happened(event),
      },
    );
  }

  #disconnect(): void {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
    this.#connection?.close();
    this.#connection = undefined;
    this.#stopReplay?.();
    this.#stopReplay = undefined;
    this.#over?.destroy();
    this.#over = undefined;
    this.#target = undefined;
    this.#tries = 0;
  }

  #useToken(token: string | undefined): void {
    this.#token = token;
    this.#connection?.useToken(token);
  }

  /** Asks the page, by its function or by the event. */
  async #askForToken(): Promise<string | undefined> {
    const event = new TokenEvent();
    if (!this.renewToken) this.dispatchEvent(event);
    const answer = this.renewToken ? this.renewToken() : event.answer;
    const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), RENEW_MS));
    const token = await Promise.race([answer, late]);
    if (token) this.#token = token;
    return token;
  }

  // ---- the picture --------------------------------------------------------------------------------------

  /** Over the element that `for` names; else over what is inside this one; else nothing flies. */
  #findTarget(): void {
    const selector = this.getAttribute("for");
    this.#stage.hidden = selector !== null || this.#slotted().length === 0;
    if (!selector) return this.#stage.hidden ? undefined : this.#flyInside();
    const target = find(this.getRootNode() as ParentNode, selector) ?? find(document, selector);
    if (target) return this.#flyOver(target);
    if (this.#tries++ < TARGET_TRIES) this.#timers.target = setTimeout(() => this.#findTarget(), TARGET_WAIT_MS);
  }

  #slotted(): Element[] {
    return [...this.children].filter((child) => !child.hasAttribute("slot"));
  }

  #flyOver(target: HTMLElement): void {
    this.#target = target;
    const over = overlay(target, { me: () => this.#me, actions: this.#actions(), merge: true });
    const sheet = h("style", {}, layerCss);
    over.layer.append(sheet);
    this.#over = over;
    this.#replay();
  }

  #flyInside(): void {
    const danmaku = new Danmaku({ container: this.#stage, actions: this.#actions(), merge: true });
    this.#target = this.querySelector("video") ?? undefined;
    this.#over = {
      danmaku,
      show: (comments) => {
        if (document.hidden) return;
        for (const comment of comments) {
          const item = toDanmaku(comment, this.#me);
          if (item) danmaku.emit(item);
        }
      },
      destroy: () => void danmaku.destroy(),
    };
    this.#replay();
  }

  #actions(): DanmakuAction[] {
    const of = ({ data }: DanmakuComment): Comment => data as Comment;
    return [
      { label: this.#t.like, run: (comment) => void this.#like(of(comment)) },
      { label: this.#t.copy, run: (comment) => void copyText(of(comment).content) },
    ];
  }

  /** A recording's comments come when the video reaches them. */
  #replay(): void {
    const session = this.getAttribute("session");
    const over = this.#over;
    const roomId = this.getAttribute("room");
    const media = this.#target;
    if (!session || !over || !roomId || !(media instanceof HTMLMediaElement) || this.#stopReplay) return;
    const wait = (): void => {
      const api = this.#connection?.api;
      if (!api) return void (this.#timers.target = setTimeout(wait, TARGET_WAIT_MS));
      const sink = { show: (comments: Comment[]) => (over.show(comments), this.#rows?.add(comments, this.#me)), clear: () => void over.danmaku.clear() };
      this.#stopReplay = feedReplay(api, roomId, session, media, sink, { room: this.#connection?.room });
    };
    wait();
  }

  // ---- what happens ---------------------------------------------------------------------------------------

  #changed(state: ConnectionState): void {
    this.#state = state;
    this.#showState();
    this.#dispatch("barrage-state", state);
  }

  #joined({ viewers, pin }: RoomJoined): void {
    this.#showPin(pin);
    this.#viewers.textContent = this.#t.viewers(viewers);
    const connection = this.#connection;
    const roomId = this.getAttribute("room") ?? "";
    connection?.api.polls(roomId).then((polls) => connection === this.#connection && polls.forEach((poll) => this.#polls?.show(poll)), () => undefined);
    // The name and whether comments are taken; without them the room works as well.
    connection?.api.room(roomId).then((info) => {
      if (connection !== this.#connection) return;
      this.#title.textContent = info.name || roomId;
      this.#accepts = info.accepts_comments;
      this.#showState();
    }, () => undefined);
  }

  #received({ comments, omitted, source }: CommentBatch): void {
    if (this.hasAttribute("session")) return;
    const rows = this.#rows;
    if (!rows) return;
    const fresh = comments.filter(({ id }) => !rows.has(id));
    rows.add(fresh, this.#me);
    if (source === "resumed" && omitted > 0) rows.note(`omitted ${Date.now()}`, "omitted", this.#t.omitted(omitted));
    if (source === "live") this.#over?.show(fresh);
    for (const comment of fresh) this.#dispatch("barrage-comment", comment);
  }

  #happened(event: RoomEvent): void {
    this.#dispatch("barrage-event", event);
    switch (event.kind) {
      case "announcement":
        return this.#rows?.note(event.event_id, "announcement", `${this.#t.announcement}: ${event.content}`);
      case "gift":
        return this.#gift(event);
      case "combo": {
        const known = this.#combos.line(event);
        if (known) this.#rows?.note(known.line, "gift", this.#t.gift(known.name, event.gift, event.count));
        if (known) this.#combos.shown(event, { ...known, count: event.count });
        return;
      }
      case "pin":
        return this.#showPin(event);
      case "poll":
        return this.#polls?.show(event);
      case "question":
        return this.#rows?.note(`question ${event.question_id}`, "question", `${this.#t.question(event.username, event.content)} ${event.state === "answered" ? "✓" : `▲ ${event.upvotes}`}`);
      case "comments_restored":
        return this.#rows?.add(event.comments, this.#me);
      case "comment_deleted": {
        const ids = event.comment_ids ?? [event.comment_id];
        this.#rows?.remove(ids);
        this.#over?.danmaku.remove(ids);
        return;
      }
      case "room_state":
        this.#accepts = event.accepts_comments ?? this.#accepts;
        return this.#showState();
    }
  }

  /** The same gift of the same user again stays in its row. */
  #gift(event: GiftEvent): void {
    const known = this.#combos.line(event);
    const shown = { line: known?.line ?? event.event_id, name: event.username, count: Math.max(event.count, known?.count ?? 0) };
    this.#rows?.note(shown.line, "gift", this.#t.gift(shown.name, event.gift, shown.count));
    this.#combos.shown(event, shown);
  }

  #showPin(pin: Pin | null | undefined): void {
    const { comment } = pin ?? {};
    const said = comment ? shownText(comment) : undefined;
    this.#pin.hidden = said === undefined;
    if (comment && said !== undefined) this.#pin.replaceChildren(h("span", { class: "name", dir: "auto" }, `${this.#t.pinned} · ${comment.username || comment.user_id}`), h("span", { class: "text", dir: "auto" }, said));
  }

  async #vote(pollId: string, option: number): Promise<void> {
    const roomId = this.getAttribute("room") ?? "";
    try {
      const poll = await (this.#connection?.api.vote(roomId, pollId, option) ?? Promise.reject(new BarrageError("disconnected", "")));
      this.#polls?.show(poll);
      this.#polls?.voted(pollId, option);
    } catch (error) {
      if (error instanceof BarrageError && error.code === "already_voted") this.#polls?.voted(pollId);
      this.#note(this.#words(error), true);
    }
  }

  async #submit(): Promise<void> {
    const content = this.#input.value.trim();
    if (content === "") return;
    this.#send.disabled = true;
    try {
      await this.say(content);
      this.#input.value = "";
    } catch (error) {
      this.#note(this.#words(error), true);
    } finally {
      this.#showState();
      this.#input.focus();
    }
  }

  async #like(comment: Comment, button?: HTMLButtonElement): Promise<void> {
    try {
      const { like_count } = await (this.#connection?.api.like(comment.id) ?? Promise.reject(new BarrageError("disconnected", "")));
      button?.setAttribute("aria-pressed", "true");
      button?.setAttribute("aria-label", this.#t.liked);
      if (button) button.textContent = `♥ ${like_count}`;
    } catch (error) {
      if (error instanceof BarrageError && error.code === "already_liked") button?.setAttribute("aria-pressed", "true");
      this.#note(this.#words(error), true);
    }
  }

  // ---- telling ------------------------------------------------------------------------------------------

  #showState(): void {
    const t = this.#t;
    const writes = this.#me !== undefined && this.#accepts && this.#state.name !== "ended";
    this.#input.disabled = !writes;
    this.#send.disabled = !writes;
    this.#input.placeholder = writes || this.#state.name !== "connected" ? t.write : this.#accepts ? t.writeSignedOut : t.writeClosed;
    switch (this.#state.name) {
      case "connecting":
        return this.#say(t.connecting);
      case "reconnecting":
        return this.#say(t.reconnecting);
      case "ended":
        return this.#say(t.ended(this.#state.reason), true);
      case "connected":
        return this.#say(this.#expired ? t.expired : "");
    }
  }

  #say(text: string, bad = false): void {
    if (this.#timers.note !== undefined) return;
    this.#status.textContent = text;
    this.#status.classList.toggle("bad", bad);
  }

  /** For a while, whatever else is to be told. */
  #note(text: string, bad = false): void {
    clearTimeout(this.#timers.note);
    this.#status.textContent = text;
    this.#status.classList.toggle("bad", bad);
    this.#timers.note = setTimeout(() => {
      this.#timers.note = undefined;
      this.#showState();
    }, NOTE_MS);
  }

  #words(error: unknown): string {
    if (!(error instanceof BarrageError)) return String(error);
    return this.#t.errors[error.code] ?? error.message;
  }

  #dispatch(name: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

function find(root: ParentNode, selector: string): HTMLElement | undefined {
  try {
    const found = root.querySelector(selector);
    return found instanceof HTMLElement ? found : undefined;
  } catch {
    return undefined; // not a selector
  }
}
