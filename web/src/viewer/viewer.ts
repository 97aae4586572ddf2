/**
 * The viewer page: joins connection, stage, media and panels. Decides what is shown where; draws nothing and speaks no
 * protocol itself.
 */
import {
  type Api,
  BarrageError,
  type Client,
  CloseCode,
  type Comment,
  type CommentBatch,
  type CommentDraft,
  type CommentPosted,
  type GiftEvent,
  type Room,
  type RoomEvent,
  type RoomInfo,
  type Session,
} from "@barrage/client";
import { h } from "../shared/dom";
import { isWanted, mayFly, toStageItem } from "./choose";
import { Playback } from "./playback";
import { Pointing } from "./pointing";
import { ProbeRecorder } from "./probe";
import type { Settings, SettingsStore } from "./settings";
import { Stage } from "./stage/stage";
import type { StageConfig } from "./stage/messages";
import type { Strings } from "./strings";
import { ChatList } from "./ui/chat-list";
import { Composer } from "./ui/composer";
import { Header, type HeaderHandlers, tokenBox } from "./ui/header";
import { openMenu } from "./ui/menu";
import { Notices } from "./ui/notices";
import { PlayerBar } from "./ui/player-bar";
import { settingsPanel } from "./ui/settings-panel";
import { SidePanel } from "./ui/side-panel";

const ROOM_POLL_MS = 20_000;
const STATS_MS = 500;
const KNOWN_MAX = 3_000;
/** Comments listed again when the wishes change. */
const REFILL = 100;
/** A gift whose moment is longer past than this is not played any more. */
const GIFT_LATE_MS = 10_000;

export interface ViewerParts {
  root: HTMLElement;
  client: Client;
  api: Api;
  roomId: string;
  /** Our user id and name, when we have an identity. */
  me: { user_id: string; username: string } | undefined;
  hasToken: boolean;
  settings: SettingsStore;
  t: Strings;
  identity: HeaderHandlers;
}

export class Viewer {
  readonly #parts: ViewerParts;
  readonly #t: Strings;
  readonly #room: Room;
  readonly #stage: Stage;
  readonly #chat: ChatList;
  readonly #side: SidePanel;
  readonly #composer: Composer;
  readonly #notices: Notices;
  readonly #header: Header;
  readonly #bar: PlayerBar;
  readonly #picture = h("div", { class: "picture" });
  readonly #filterChip = h("div", { class: "filter-chip", hidden: true });
  readonly #stats = h("p", { class: "stats", hidden: true });
  readonly #ended = h("div", { class: "ended", role: "alert", hidden: true });
  readonly #playback: Playback;
  readonly #probe = new ProbeRecorder();
  readonly #reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  /** Recent comments by id, for menus; the oldest are forgotten. */
  readonly #known = new Map<string, Comment>();
  readonly #liked = new Set<string>();
  #me: string | undefined;
  #info: RoomInfo | undefined;
  #sessions: Session[] = [];
  #onlyUser: { id: string; name: string } | undefined;
  #hovering = false;
  #menuOpen = false;

  constructor(parts: ViewerParts) {
    this.#parts = parts;
    this.#t = parts.t;
    this.#me = parts.me?.user_id;
    this.#room = parts.client.room(parts.roomId);
    this.#notices = new Notices(this.#t);
    this.#chat = new ChatList(this.#t, () => this.#me, (comment, opener) => this.#openMenuOf(comment, opener));
    this.#side = new SidePanel(this.#t, this.#chat.element, {
      shown: (tab) => void (tab === "chat" || this.#refreshBoards()),
      like: (comment) => void this.#like(comment),
    });
    this.#composer = new Composer(this.#t, {
      send: (draft) => this.#send(draft),
      toggle: () => parts.settings.change({ on: !parts.settings.value.on }),
    });
    this.#header = new Header(this.#t, parts.me?.username, parts.hasToken, settingsPanel(parts.settings, this.#t, this.#reducedMotion.matches), parts.identity);
    this.#bar = new PlayerBar(this.#t, {
      watch: (sessionId) => this.#watch(sessionId),
      video: (source) => this.#playback.choose(source),
      fullscreen: () => this.#toggleFullscreen(),
    });
    this.#build();
    this.#playback = this.#makePlayback();
    this.#stage = new Stage(this.#picture, this.#stageConfig(), { report: (report) => this.#probe.record(report) });
    this.#picture.append(this.#notices.element);
    this.#playback.start();
    this.#listen();
    this.#apply(parts.settings.value);
    this.#probe.expose(() => this.#playback.media.time);
  }

  /** Connects, joins and keeps the page fresh. */
  start(): void {
    this.#parts.client.connect();
    void this.#join();
    void this.#refreshRoom();
    void this.#refreshBoards();
    setInterval(() => document.hidden || void this.#refreshRoom(), ROOM_POLL_MS);
    setInterval(() => this.#showStats(), STATS_MS);
  }

  /** Comments that arrived, from whatever source. */
  receive({ comments, omitted, source }: CommentBatch): void {
    this.#probe.received += comments.length;
    this.#probe.omitted += source === "live" ? omitted : 0;
    if (this.#playback.recording) return;
    const wanted = this.#wanted(comments);
    if (source === "live") this.#show(wanted);
    else this.#chat.fill(wanted);
  }

  /** Those this viewer wants to see, remembered for their menus. */
  #wanted(comments: Comment[]): Comment[] {
    const wanted = comments.filter((comment) => this.#isWanted(comment));
    for (const comment of wanted) this.#remember(comment);
    return wanted;
  }

  #isWanted(comment: Comment): boolean {
    return isWanted(comment, this.#parts.settings.value, this.#onlyUser?.id);
  }

  // ---- building ---------------------------------------------------------------------------------

  #build(): void {
    const main = h("main", { class: "watch" }, this.#picture, this.#bar.element, this.#stats, this.#composer.element);
    const side = this.#side.element;
    side.prepend(this.#ended, this.#filterChip);
    this.#parts.root.append(this.#header.element, main, side);
    this.#header.showRoom(this.#parts.roomId, "idle");
    this.#header.showViewers(0);
  }

  #listen(): void {
    const { client, settings } = this.#parts;
    client.on("state", (state) => {
      this.#header.showConnection(state);
      if (state.name === "closed") this.#showEnd(state.code, state.reason ?? "");
      else this.#ended.hidden = true;
    });
    client.on("identified", ({ user_id }) => (this.#me = user_id));
    client.on("event", (event) => this.#happened(event));
    this.#room.on("joined", ({ state, viewers }) => {
      this.#header.showViewers(viewers);
      this.#header.showRoom(this.#info?.name ?? this.#parts.roomId, state);
    });
    this.#room.on("comments", (batch) => this.receive(batch));
    this.#room.on("refused", (error) => this.#notices.note(`${this.#t.refused} ${this.#words(error)}`));
    settings.onChange((now, before) => this.#changed(now, before));
    addEventListener("online", () => client.state.name === "waiting" && client.connect());
    client.on("error", ({ code }) => code === "unauthorized" && this.#showEnd(CloseCode.Unauthorized, ""));
    new Pointing(this.#picture, {
      hit: (x, y) => this.#stage.hit(x, y),
      hovering: (yes) => {
        this.#hovering = yes;
        this.#configureStage();
      },
      clicked: (id, at) => this.#clicked(id, at),
      missed: () => this.#playback.recording && this.#bar.toggle(),
    });
  }

  #makePlayback(): Playback {
    return new Playback(this.#parts.api, this.#parts.roomId, {
      attached: (media) => {
        this.#picture.prepend(media.element);
        this.#bar.attach(media, this.#playback.recording === undefined);
      },
      changed: () => this.#configureStage(),
      jumped: () => {
        this.#stage.clear();
        this.#chat.clear();
        this.#known.clear();
        this.#configureStage();
      },
      due: (comments) => {
        this.#probe.received += comments.length;
        this.#show(this.#wanted(comments));
      },
      videoFailed: () => this.#notices.note(this.#t.videoFailed),
      commentsFailed: () => this.#notices.note(this.#t.replayFailed),
      now: () => this.#parts.client.clock.now(),
      onlyUser: () => this.#onlyUser?.id,
    });
  }

  // ---- live -------------------------------------------------------------------------------------

  async #join(): Promise<void> {
    const { on, budget } = this.#parts.settings.value;
    const only = this.#onlyUser ? { only_user_ids: [this.#onlyUser.id] } : {};
    // Off, or watching a recording: events still come, comments do not.
    const max_per_s = on && !this.#playback.recording ? budget : 0;
    await this.#room.join({ max_per_s, ...only }).catch(() => undefined); // told by `refused`
  }

  #show(comments: Comment[]): void {
    const settings = this.#parts.settings.value;
    this.#chat.add(comments);
    // A hidden page draws no frames: what would wait there is old when the viewer comes back.
    if (!settings.on || this.#reducedMotion.matches || document.hidden) return;
    this.#stage.add(comments.filter((comment) => mayFly(comment, settings)).map((comment) => toStageItem(comment, this.#me)));
  }

  async #send(draft: CommentDraft): Promise<CommentPosted["status"]> {
    const { recording } = this.#playback;
    if (recording) return this.#sendOnto(recording, draft);
    return (await this.#room.comment(draft)).status;
  }

  /** A comment onto a recording is shown at once: its moment is now. */
  async #sendOnto({ session_id }: Session, draft: CommentDraft): Promise<CommentPosted["status"]> {
    const offset_ms = this.#playback.offsetMs;
    const { id, status, created_at } = await this.#parts.api.postComment(this.#parts.roomId, { ...draft, session_id, offset_ms });
    if (status === "accepted") {
      this.#playback.posted(id);
      const { user_id, username } = this.#parts.me ?? { user_id: this.#me ?? "", username: this.#me ?? "" };
      const comment: Comment = { ...draft, id, room_id: this.#parts.roomId, user_id, username, level: "normal", created_at, offset_ms, like_count: 0 };
      this.#remember(comment);
      this.#show([comment]);
    }
    return status;
  }

  #happened(event: RoomEvent): void {
    if (event.room_id !== undefined && event.room_id !== this.#parts.roomId) return;
    switch (event.kind) {
      case "announcement":
        return this.#notices.announce(event.content);
      case "gift":
        return this.#playGift(event);
      case "comment_deleted":
        return this.#deleted(event.comment_ids ?? [event.comment_id]);
      case "user_muted":
        return event.user_id === this.#me ? this.#notices.note(this.#t.mutedNotice) : undefined;
      case "room_state":
        return void this.#refreshRoom();
      case "ranking":
        return this.#side.showRanking(event.entries);
      case "hot_comments":
        return this.#side.showHot(event.comments);
      case "notice":
        return this.#notices.note(event.code === "too_many_comments" ? this.#t.tooMany : (event.message ?? ""));
    }
  }

  /** On every screen at the same moment of the server's clock. */
  #playGift({ username, gift, count, play_at_ms }: GiftEvent): void {
    const delay = play_at_ms === undefined ? 0 : this.#parts.client.clock.until(play_at_ms);
    if (delay < -GIFT_LATE_MS) return;
    setTimeout(() => this.#notices.gift(username, gift, count), Math.max(0, delay));
  }

  #deleted(ids: string[]): void {
    this.#stage.remove(ids);
    for (const id of ids) {
      this.#chat.remove(id);
      this.#known.delete(id);
    }
  }

  async #refreshRoom(): Promise<void> {
    const { api, roomId } = this.#parts;
    try {
      const info = await api.room(roomId);
      this.#info = info;
      this.#header.showRoom(info.name || roomId, info.state);
      this.#header.showViewers(info.viewers);
      this.#playback.showRoomVideo(info.video_url ?? undefined);
      this.#showSessions(await api.sessions(roomId));
    } catch {
      // The connection's own state tells when the server is away; a room nobody has spoken in does not exist yet.
    }
  }

  async #refreshBoards(): Promise<void> {
    const { api, roomId } = this.#parts;
    await Promise.allSettled([
      api.hot(roomId, 20).then((comments) => this.#side.showHot(comments)),
      api.ranking(roomId).then((entries) => this.#side.showRanking(entries)),
    ]);
  }

  // ---- recordings -------------------------------------------------------------------------------

  #showSessions(sessions: Session[]): void {
    this.#sessions = sessions;
    const language = this.#parts.settings.value.language === "zh" ? "zh-CN" : "en-GB";
    const date = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
    this.#bar.showSessions(sessions, ({ started_at, comment_count }) => this.#t.recording(date.format(new Date(started_at)), comment_count));
  }

  /** Switches between live (undefined) and a recording. */
  #watch(sessionId: string | undefined): void {
    const recording = this.#sessions.find(({ session_id }) => session_id === sessionId);
    this.#playback.watch(recording);
    this.#composer.showPlaceholder(recording ? this.#t.writeAt : this.#t.write);
    void this.#join();
  }

  #toggleFullscreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.#picture.requestFullscreen().catch(() => undefined);
  }

  // ---- settings ---------------------------------------------------------------------------------

  #changed(now: Settings, before: Settings): void {
    if (now.language !== before.language) return location.reload();
    this.#apply(now);
    if (now.on !== before.on || now.budget !== before.budget) void this.#join();
    if (!now.on && before.on) this.#stage.clear();
    const blocked = now.blockedUsers.filter((user) => !before.blockedUsers.includes(user));
    for (const user of blocked) this.#stage.removeUser(user);
    if (blocked.length > 0) this.#chat.removeWhere((user) => blocked.includes(user));
  }

  #apply({ on }: Settings): void {
    this.#composer.showOn(on);
    this.#configureStage();
  }

  #stageConfig(): StageConfig {
    const { area, scale, speed, opacity } = this.#parts.settings.value;
    return { area, scale, opacity, rate: this.#hovering || this.#menuOpen ? 0 : speed * this.#playback.rate };
  }

  #configureStage(): void {
    this.#stage.configure(this.#stageConfig());
  }

  // ---- one comment ------------------------------------------------------------------------------

  #clicked(id: string, at: { x: number; y: number }): void {
    const comment = this.#known.get(id);
    if (comment) this.#openMenuOf(comment, undefined, at);
  }

  #openMenuOf(comment: Comment, opener?: HTMLElement, at?: { x: number; y: number }): void {
    const box = opener?.getBoundingClientRect();
    const { settings } = this.#parts;
    const t = this.#t;
    this.#menuOpen = true;
    this.#configureStage();
    const entries = [
      { label: this.#liked.has(comment.id) ? t.unlike : t.like, run: () => void this.#like(comment) },
      { label: t.mention, run: () => this.#composer.mention(comment.user_id, comment.username) },
      { label: t.onlyUser, run: () => this.#only({ id: comment.user_id, name: comment.username }) },
      { label: t.blockUser, run: () => settings.change({ blockedUsers: [...new Set([...settings.value.blockedUsers, comment.user_id])].slice(-200) }) },
      { label: t.copy, run: () => void navigator.clipboard?.writeText(comment.content).then(() => this.#notices.note(t.copied)) },
    ];
    openMenu(at ?? { x: box?.left ?? 0, y: box?.bottom ?? 0 }, `${comment.username}: ${comment.content}`, entries, opener, () => {
      this.#menuOpen = false;
      this.#configureStage();
    });
  }

  #only(user: { id: string; name: string } | undefined): void {
    this.#onlyUser = user;
    this.#filterChip.hidden = user === undefined;
    if (user) {
      const all = h("button", { type: "button" }, this.#t.showEveryone);
      all.addEventListener("click", () => this.#only(undefined));
      this.#filterChip.replaceChildren(h("span", {}, this.#t.onlyShowing(user.name)), all);
      this.#stage.clear();
    }
    this.#chat.clear();
    this.#chat.fill([...this.#known.values()].filter((comment) => this.#isWanted(comment)).slice(-REFILL));
    this.#playback.refresh();
    void this.#join();
  }

  async #like(comment: Comment): Promise<void> {
    const liked = this.#liked.has(comment.id);
    try {
      await (liked ? this.#parts.api.unlike(comment.id) : this.#parts.api.like(comment.id));
      if (liked) this.#liked.delete(comment.id);
      else this.#liked.add(comment.id);
    } catch (error) {
      if (error instanceof BarrageError && error.code === "already_liked") this.#liked.add(comment.id);
      this.#notices.note(this.#words(error));
    }
    void this.#refreshBoards();
  }

  #remember(comment: Comment): void {
    this.#known.set(comment.id, comment);
    if (this.#known.size <= KNOWN_MAX) return;
    const oldest = this.#known.keys().next();
    if (!oldest.done) this.#known.delete(oldest.value);
  }

  // ---- telling ----------------------------------------------------------------------------------

  #showStats(): void {
    const { omitted, unshown } = this.#probe;
    this.#stats.hidden = omitted + unshown === 0;
    const text = this.#t.omitted(omitted, unshown);
    if (this.#stats.textContent !== text) this.#stats.textContent = text;
  }

  #showEnd(code: number | undefined, reason: string): void {
    const words = this.#endWords(code, reason);
    const again = h("button", { type: "button" }, this.#t.reconnect);
    again.addEventListener("click", () => {
      this.#parts.client.connect();
      void this.#join();
    });
    const token = code === CloseCode.Unauthorized ? tokenBox(this.#t, this.#parts.identity.useToken) : undefined;
    this.#ended.replaceChildren(h("p", {}, words), ...(token ? [token] : [again]));
    this.#ended.hidden = false;
  }

  #endWords(code: number | undefined, reason: string): string {
    const { ended } = this.#t;
    switch (code) {
      case CloseCode.Unauthorized:
        return ended.unauthorized;
      case CloseCode.Banned:
        return ended.banned(reason);
      case CloseCode.Replaced:
        return ended.replaced;
      default:
        return ended.other(reason);
    }
  }

  #words(error: unknown): string {
    if (!(error instanceof BarrageError)) return String(error);
    return this.#t.errors[error.code] ?? error.message;
  }
}
