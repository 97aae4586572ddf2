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
  type CommentAck,
  type CommentBatch,
  type CommentDraft,
  CommentOutbox,
  type GiftEvent,
  type Level,
  type NoticeEvent,
  type PinEvent,
  type PollEvent,
  type QuestionEvent,
  type Room,
  type RoomEvent,
  type RoomInfo,
  type Session,
} from "@barrage/client";
import { Stage, type StageConfig } from "@barrage/danmaku";
import { isStaff, PICTURE_TICK_MS, PictureQueue, shownText, toStageItem } from "@barrage/players";
import { copyText } from "../shared/clipboard";
import { h } from "../shared/dom";
import { randomId } from "../shared/ids";
import { unsentStorage } from "../shared/unsent";
import { isWanted, mayFly } from "./choose";
import { CommentActions } from "./comment-actions";
import { FullScreen } from "./fullscreen";
import { listenToKeys } from "./keyboard";
import { Playback } from "./playback";
import { Pointing } from "./pointing";
import { ProbeRecorder } from "./probe";
import { linkedMoment, Replay } from "./replay";
import type { Settings, SettingsStore } from "./settings";
import type { Strings } from "./strings";
import { Activity } from "./ui/activity";
import { ChatList } from "./ui/chat-list";
import { Composer, type Rules, type Sent } from "./ui/composer";
import { Header, type HeaderHandlers, tokenBox } from "./ui/header";
import { Notices } from "./ui/notices";
import { PictureCard } from "./ui/picture-card";
import { PlayerBar, STEP_S, VOLUME_STEP } from "./ui/player-bar";
import { RecordedBoard } from "./recorded-board";
import { RoomBoard } from "./ui/room-board";
import { RecordingPanel } from "./ui/recording-panel";
import { settingsPanel } from "./ui/settings-panel";
import { SidePanel } from "./ui/side-panel";
import { SourceSelect, videoMenu } from "./ui/source";
import { TimelineList } from "./ui/timeline-list";

const ROOM_POLL_MS = 20_000;
const STATS_MS = 500;
const KNOWN_MAX = 3_000;
/** Comments listed again when the wishes change. */
const REFILL = 100;
/** A gift whose moment is longer past than this is not played any more. */
const GIFT_LATE_MS = 10_000;
/** Pictures narrower than this have the composer in a row of its own; a recording has more to show beside it. */
const ONE_ROW_PX = 760;
const ONE_ROW_RECORDING_PX = 1_020;
/** An upright window: the composer is at its lower end, near the thumbs. */
const UPRIGHT = "(max-aspect-ratio: 1/1), (max-width: 640px) and (min-height: 501px)";
/** Comments kept while there is no connection: more than that nobody means any more. */
const UNSENT_MAX = 10;
/** What a lost connection or a server in trouble answers; anything else is a refusal. */
const OUTAGE = ["disconnected", "closed", "timeout", "network", "unavailable", "overloaded"];
const STANDING: readonly Level[] = ["normal", "vip", "owner", "moderator", "admin"];

export interface Me {
  user_id: string;
  username: string;
  level: Level;
}

export interface ViewerParts {
  root: HTMLElement;
  client: Client;
  api: Api;
  roomId: string;
  /** Who we are, when we have an identity. */
  me: Me | undefined;
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
  readonly #timelineList: TimelineList;
  readonly #side: SidePanel;
  readonly #board: RoomBoard;
  readonly #recorded: RecordedBoard;
  readonly #composer: Composer;
  readonly #outbox: CommentOutbox;
  readonly #notices: Notices;
  readonly #card: PictureCard;
  /** Why the clip is shown instead of the video; stays until another video is there. */
  readonly #problem: PictureCard;
  readonly #header: Header;
  readonly #source: SourceSelect;
  readonly #recordingPanel: RecordingPanel;
  readonly #bar: PlayerBar;
  readonly #actions: CommentActions;
  readonly #activity: Activity;
  readonly #pointing: Pointing;
  readonly #fullscreen: FullScreen;
  readonly #picture = h("div", { class: "picture" });
  readonly #filterChip = h("div", { class: "filter-chip", hidden: true });
  readonly #stats = h("p", { class: "stats", hidden: true });
  readonly #ended = h("div", { class: "ended", role: "alert", hidden: true });
  readonly #playback: Playback;
  readonly #replay: Replay;
  readonly #probe = new ProbeRecorder();
  readonly #reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
  readonly #upright = matchMedia(UPRIGHT);
  /** Comments on what this viewer's picture has not shown yet. */
  readonly #unseen = new PictureQueue();
  /** Recent comments by id, for menus; the oldest are forgotten. */
  readonly #known = new Map<string, Comment>();
  #me: string | undefined;
  #info: RoomInfo | undefined;
  #onlyUser: { id: string; name: string } | undefined;
  /** The address names a recording that is not found yet: what is live is not shown meanwhile. */
  #opening = linkedMoment();
  #wasConnected = false;
  /** The session on air when last looked; null: none. */
  #onAir: string | null | undefined;

  constructor(parts: ViewerParts) {
    this.#parts = parts;
    this.#t = parts.t;
    this.#me = parts.me?.user_id;
    this.#room = parts.client.room(parts.roomId);
    this.#notices = new Notices(this.#t);
    this.#card = new PictureCard(this.#t, "picture-card");
    this.#problem = new PictureCard(this.#t, "picture-problem");
    this.#actions = this.#makeActions();
    this.#chat = new ChatList(this.#t, () => this.#me, (comment, opener) => this.#actions.openMenu(comment, opener));
    this.#timelineList = new TimelineList(this.#t, (comment) => this.#playback.goTo(comment.offset_ms));
    this.#board = this.#makeBoard();
    this.#recorded = new RecordedBoard({ clear: () => this.#board.clear(), show: (event) => this.#showOnBoard(event, true) });
    this.#side = new SidePanel(this.#t, this.#chat.element, this.#timelineList.element, this.#board.questions, {
      shown: (tab) => void (tab === "hot" || tab === "ranking" ? this.#refreshBoards() : undefined),
      like: (comment) => void this.#actions.like(comment),
      isLiked: (id) => this.#actions.isLiked(id),
    });
    this.#composer = new Composer(this.#t, { send: (draft) => this.#send(draft), connect: () => this.#connectAgain() });
    this.#outbox = this.#makeOutbox();
    this.#source = new SourceSelect(this.#t, (sessionId) => this.#watch(this.#replay.sessions.find(({ session_id }) => session_id === sessionId)));
    const video = videoMenu(this.#t, (source) => this.#playback.choose(source));
    this.#header = new Header(this.#t, parts.me?.username, parts.hasToken, [this.#source.element, video], parts.identity);
    this.#recordingPanel = new RecordingPanel(this.#t, { shift: (ms) => this.#replay.shift(ms), copyLink: () => void this.#copyLink() });
    const panel = settingsPanel(parts.settings, this.#t, this.#reducedMotion.matches);
    this.#bar = new PlayerBar(this.#t, parts.settings, panel, this.#recordingPanel.element, { fullscreen: () => this.#fullscreen.toggle() });
    this.#build();
    this.#playback = this.#makePlayback();
    this.#replay = this.#makeReplay();
    this.#stage = new Stage(this.#picture, this.#stageConfig(), { report: (report) => this.#probe.record(report) });
    this.#picture.append(this.#notices.element, this.#card.element, this.#problem.element, this.#stats, this.#bar.element, this.#actions.card.element);
    this.#playback.start();
    this.#fullscreen = new FullScreen(this.#picture, (on) => this.#windowChanged(on));
    this.#activity = new Activity(this.#picture, this.#bar.element, () => this.#barMayHide());
    this.#pointing = this.#makePointing();
    this.#listen();
    this.#apply(parts.settings.value);
    this.#placeComposer();
    this.#showRules();
    this.#probe.expose(() => ({ time: this.#playback.media.time, pictureMs: this.#playback.pictureMs }));
  }

  /** Connects, joins and keeps the page fresh. */
  start(): void {
    this.#parts.client.connect();
    void this.#join();
    void this.#refreshRoom().then(() => this.#openLinked());
    void this.#refreshBoards();
    void this.#refreshInteractions();
    if (this.#asksForLessMotion()) {
      this.#notices.note(this.#t.reducedMotion, { label: this.#t.flyAnyway, run: () => this.#parts.settings.change({ motion: "fly" }) });
    }
    setInterval(() => document.hidden || void this.#refreshRoom(), ROOM_POLL_MS);
    setInterval(() => this.#showStats(), STATS_MS);
    setInterval(() => this.#showDue(), PICTURE_TICK_MS);
  }

  /** Comments that arrived, from whatever source. */
  receive({ comments, omitted, source }: CommentBatch): void {
    this.#probe.received += comments.length;
    this.#probe.omitted += source === "live" ? omitted : 0;
    if (this.#playback.recording || this.#opening) return;
    const wanted = this.#wanted(comments);
    if (source === "live" && wanted.length > 0) this.#card.hide();
    if (source === "live") this.#inStep(wanted);
    else this.#chat.fill(wanted);
  }

  /** Shows what is said now, or when this viewer's own picture is of its time; one's own comments at once. */
  #inStep(comments: Comment[]): void {
    const { pictureMs } = this.#playback;
    if (pictureMs === undefined) return this.#show(comments);
    const own = comments.filter(({ user_id }) => user_id === this.#me);
    const others = comments.filter(({ user_id }) => user_id !== this.#me);
    this.#show([...own, ...this.#unseen.add(others, pictureMs)]);
  }

  #showDue(): void {
    if (this.#unseen.size > 0) this.#show(this.#unseen.due(this.#playback.pictureMs).filter((comment) => this.#isWanted(comment)));
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
    const main = h("main", { class: "watch" }, this.#picture);
    const side = this.#side.element;
    side.prepend(this.#ended, this.#filterChip, this.#board.element);
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
      if (state.name === "connected" && this.#wasConnected) void this.#refreshInteractions();
      this.#wasConnected ||= state.name === "connected";
      this.#showOutage();
    });
    client.on("identified", ({ user_id }) => {
      this.#me = user_id;
      this.#showRules();
    });
    client.on("event", (event) => this.#happened(event));
    this.#room.on("joined", ({ state, viewers, pin }) => {
      if (!this.#playback.recording) this.#board.showPin(pin);
      this.#header.showViewers(viewers);
      this.#header.showRoom(this.#info?.name ?? this.#parts.roomId, state);
    });
    this.#room.on("comments", (batch) => this.receive(batch));
    this.#room.on("refused", (error) => this.#notices.note(`${this.#t.refused} ${this.#words(error)}`));
    settings.onChange((now, before, elsewhere) => this.#changed(now, before, elsewhere));
    settings.follow();
    addEventListener("online", () => client.state.name === "waiting" && client.connect());
    client.on("error", ({ code }) => code === "unauthorized" && this.#showEnd(CloseCode.Unauthorized, ""));
    this.#reducedMotion.addEventListener("change", () => this.#flies() || this.#stage.clear());
    this.#upright.addEventListener("change", () => this.#placeComposer());
    this.#listenToPlayer();
  }

  #listenToPlayer(): void {
    listenToKeys(
      {
        play: () => this.#bar.toggle(),
        step: (seconds) => this.#bar.step(seconds),
        volume: (by) => this.#bar.changeVolume(by),
        fullscreen: () => this.#fullscreen.toggle(),
        mute: () => this.#bar.switchSound(),
        danmaku: () => this.#parts.settings.change({ on: !this.#parts.settings.value.on }),
        theatre: () => this.#parts.settings.change({ theatre: !this.#parts.settings.value.theatre }),
        write: () => this.#write(),
      },
      { seconds: STEP_S, volume: VOLUME_STEP },
    );
    document.addEventListener("keydown", () => this.#activity.wake());
    new ResizeObserver(() => this.#showSize()).observe(this.#picture);
  }

  #makeActions(): CommentActions {
    const { api, roomId, settings } = this.#parts;
    return new CommentActions({
      api, roomId, settings, t: this.#t, notices: this.#notices, picture: this.#picture,
      known: (id) => this.#known.get(id),
      hold: (id) => this.#stage.hold(id),
      mayModerate: () => this.#runsTheRoom(),
      me: () => this.#me,
      mention: ({ user_id, username }) => this.#composer.mention(user_id, username),
      onlyUser: ({ user_id, username }) => this.#only({ id: user_id, name: username }),
      liked: (comment, mine) => {
        this.#chat.showLikes(comment.id, comment.like_count, mine);
        this.#side.showLikes(comment.id, comment.like_count);
      },
      deleted: (id) => this.#deleted([id]),
    });
  }

  #makeBoard(): RoomBoard {
    const { api, roomId } = this.#parts;
    const attempt = async (action: () => Promise<unknown>): Promise<boolean> => {
      try {
        await action();
        return true;
      } catch (error) {
        this.#notices.note(this.#words(error));
        return error instanceof BarrageError && error.code === "already_voted";
      }
    };
    return new RoomBoard(this.#t, {
      vote: (poll, option) => void attempt(async () => this.#board.showPoll(await api.vote(roomId, poll, option))).then((voted) => voted && this.#board.voted(poll, option)),
      ask: (content) => attempt(async () => {
        this.#board.showQuestion(await api.ask(roomId, content));
        this.#notices.note(this.#t.questionSent);
      }),
      upvote: ({ question_id }) => void attempt(() => api.upvote(roomId, question_id)).then((voted) => voted && this.#board.upvoted(question_id)),
      answered: ({ question_id }) => void attempt(() => api.answer(roomId, question_id)),
      mayAnswer: () => this.#runsTheRoom(),
    });
  }

  /** What stood in the recording, or what stands now. A server that records none of it has nothing to show. */
  async #loadBoard(recording: Session | undefined): Promise<void> {
    const { api, roomId } = this.#parts;
    this.#recorded.load([]);
    if (!recording) {
      this.#board.showPin(this.#info?.pin);
      return this.#refreshInteractions();
    }
    const events = await api.recordedEvents(roomId, recording.session_id).catch(() => []);
    if (this.#playback.recording === recording) this.#recorded.load(events);
  }

  /** What runs already when one comes, or comes back. */
  async #refreshInteractions(): Promise<void> {
    const { api, roomId } = this.#parts;
    if (this.#playback.recording) return;
    await Promise.allSettled([
      api.polls(roomId).then((polls) => polls.forEach((poll) => this.#board.showPoll(poll))),
      api.questions(roomId).then((questions) => this.#board.showQuestions(questions)),
    ]);
  }

  #makeOutbox(): CommentOutbox {
    const { client, roomId, me } = this.#parts;
    const outbox = new CommentOutbox(client, { max: UNSENT_MAX, ...(me ? { storage: unsentStorage(roomId, me.user_id) } : {}) });
    outbox.on("changed", () => this.#showOutage());
    outbox.on("sent", ({ comment, ack }) => this.#accepted(comment.draft, ack));
    outbox.on("refused", ({ comment, error }) => this.#composer.giveBack(comment.draft.content, error));
    return outbox;
  }

  #makePointing(): Pointing {
    const pointing = new Pointing(this.#picture, {
      hit: (x, y) => this.#stage.hit(x, y),
      pointed: (hit) => this.#actions.pointed(hit),
      clicked: (id, at) => {
        const comment = this.#known.get(id);
        if (comment) this.#actions.openMenu(comment, undefined, at);
      },
      missed: (touch) => {
        if (touch) this.#activity.tapped();
        else if (this.#playback.recording) this.#bar.toggle();
      },
      doubleClicked: () => this.#fullscreen.toggle(),
    });
    return pointing;
  }

  #makePlayback(): Playback {
    return new Playback(this.#parts.api, this.#parts.roomId, {
      attached: (media) => {
        this.#picture.prepend(media.element);
        this.#bar.attach(media, this.#playback.recording === undefined);
        if (media.hasSound) this.#problem.hide();
        media.onChange(() => this.#mediaChanged());
      },
      changed: () => this.#configureStage(),
      jumped: () => {
        this.#pointing.release();
        this.#unseen.clear();
        this.#stage.clear();
        this.#chat.clear();
        this.#known.clear();
        this.#configureStage();
      },
      due: (comments) => {
        this.#probe.received += comments.length;
        this.#show(this.#wanted(comments));
      },
      videoFailed: (why) => this.#problem.show(this.#t.videoFailed[why]),
      commentsFailed: () => this.#notices.note(this.#t.replayFailed),
      now: () => this.#parts.client.clock.now(),
      onlyUser: () => this.#onlyUser?.id,
    });
  }

  #makeReplay(): Replay {
    return new Replay(this.#parts.api, this.#parts.roomId, this.#playback, {
      changed: (recording) => this.#watching(recording),
      listed: (comments) => this.#showTimeline(comments),
      heat: (heat) => this.#bar.showHeat(heat),
      at: (offsetMs) => {
        this.#timelineList.mark(offsetMs);
        this.#recorded.at(offsetMs);
      },
      shifted: (ms) => this.#recordingPanel.show(ms),
      failed: () => this.#notices.note(this.#t.replayFailed),
    });
  }

  // ---- live -------------------------------------------------------------------------------------

  async #join(): Promise<void> {
    const only = this.#onlyUser ? { only_user_ids: [this.#onlyUser.id] } : {};
    // Watching a recording: events still come, comments do not.
    const max_per_s = this.#playback.recording ? 0 : this.#parts.settings.value.budget;
    await this.#room.join({ max_per_s, ...only }).catch(() => undefined); // told by `refused`
  }

  #show(comments: Comment[]): void {
    const settings = this.#parts.settings.value;
    this.#chat.add(comments);
    // A hidden page draws no frames: what would wait there is old when the viewer comes back.
    if (!settings.on || !this.#flies() || document.hidden) return;
    this.#stage.add(comments.filter((comment) => mayFly(comment, settings)).map((comment) => toStageItem(comment, this.#me)));
  }

  #flies(): boolean {
    const { motion } = this.#parts.settings.value;
    return motion === "fly" || (motion === "system" && !this.#reducedMotion.matches);
  }

  #asksForLessMotion(): boolean {
    return this.#parts.settings.value.motion === "system" && this.#reducedMotion.matches;
  }

  /** Now, or when the network is back. A comment onto a recording is of the moment at which it was said. */
  async #send(draft: CommentDraft): Promise<Sent> {
    const { recording } = this.#playback;
    const position = recording ? { session_id: recording.session_id, offset_ms: this.#playback.offsetMs } : {};
    const whole = { ...draft, ...position, client_msg_id: randomId() };
    if (this.#parts.client.connected || !this.#wasConnected) {
      try {
        const ack = await this.#room.comment(whole);
        this.#accepted(whole, ack);
        return ack.status;
      } catch (error) {
        if (!isOutage(error)) throw error;
      }
    }
    this.#outbox.add(this.#parts.roomId, whole);
    return "kept";
  }

  /** A comment onto the recording that is watched is shown at once: its moment is now. */
  #accepted(draft: CommentDraft, { id, status, created_at = new Date().toISOString() }: CommentAck): void {
    const { session_id, offset_ms } = draft;
    if (session_id === undefined || offset_ms === undefined || status !== "accepted" || this.#playback.recording?.session_id !== session_id) return;
    this.#playback.posted(id);
    const { user_id, username, level } = this.#parts.me ?? { user_id: this.#me ?? "", username: this.#me ?? "", level: "normal" };
    const comment: Comment = { ...draft, id, room_id: this.#parts.roomId, user_id, username, level, created_at, offset_ms, like_count: 0 };
    this.#remember(comment);
    this.#show([comment]);
    this.#replay.posted(comment);
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
      case "comments_restored":
        return this.#restored(event.comments);
      case "pin":
      case "poll":
      case "question":
        return this.#playback.recording ? undefined : this.#showOnBoard(event);
      case "combo":
        return this.#notices.combo(event.user_id, event.gift, event.count);
      case "user_muted":
        return event.user_id === this.#me ? this.#notices.note(this.#t.mutedNotice(this.#reason(event.reason))) : undefined;
      case "room_state":
        if (this.#info && event.accepts_comments !== undefined) this.#info.accepts_comments = event.accepts_comments;
        this.#showRules();
        return void this.#refreshRoom();
      case "ranking":
        return this.#side.showRanking(event.entries);
      case "hot_comments":
        return this.#showHot(event.comments);
      case "notice":
        return this.#notices.note(this.#noticeWords(event));
    }
  }

  /** On every screen at the same moment of the server's clock. */
  #playGift({ user_id, username, gift, count, play_at_ms }: GiftEvent): void {
    const delay = play_at_ms === undefined ? 0 : this.#parts.client.clock.until(play_at_ms);
    if (delay < -GIFT_LATE_MS) return;
    setTimeout(() => this.#notices.gift({ user_id, username }, gift, count), Math.max(0, delay));
  }

  #showOnBoard(event: PinEvent | PollEvent | QuestionEvent, recorded = false): void {
    if (event.kind === "pin") this.#board.showPin(event, recorded);
    else if (event.kind === "poll") this.#board.showPoll(event);
    else this.#board.showQuestion(event);
  }

  /** Why somebody was muted, banned or declined, in the page's language where the page knows it. */
  #reason(reason: string | null | undefined): string {
    return reason ? (this.#t.reasons[reason] ?? reason) : "";
  }

  #noticeWords({ code, message = "", reason }: NoticeEvent): string {
    switch (code) {
      case "too_many_comments":
        return this.#t.tooMany;
      case "appeal_approved":
        return this.#t.appealApproved;
      case "appeal_rejected":
        return this.#t.appealRejected(this.#reason(reason));
      case "raid_alarm":
        return this.#t.raidAlarm;
      default:
        return message;
    }
  }

  /** Hidden comments come back into the list, in their old places. */
  #restored(comments: Comment[]): void {
    if (this.#playback.recording) return;
    const all = [...this.#known.values(), ...this.#wanted(comments)].sort((a, b) => a.created_at.localeCompare(b.created_at));
    this.#known.clear();
    for (const comment of all) this.#remember(comment);
    this.#chat.clear();
    this.#chat.fill(all.filter((comment) => this.#isWanted(comment)).slice(-REFILL));
  }

  #deleted(ids: string[]): void {
    this.#unseen.remove(ids);
    this.#stage.remove(ids);
    this.#chat.remove(ids);
    this.#replay.deleted(new Set(ids));
    for (const id of ids) this.#known.delete(id);
  }

  async #refreshRoom(): Promise<void> {
    const { api, roomId } = this.#parts;
    try {
      const info = await api.room(roomId);
      this.#info = info;
      if (!this.#playback.recording) this.#board.showPin(info.pin);
      this.#header.showRoom(info.name || roomId, info.state);
      this.#header.showViewers(info.viewers);
      this.#showRules();
      this.#playback.showRoomVideo(info.video_url ?? undefined);
      await this.#replay.refresh();
      this.#showSessions();
      this.#showAir(info.session_id ?? null);
    } catch {
      // The connection's own state tells when the server is away; a room nobody has spoken in does not exist yet.
    }
  }

  async #refreshBoards(): Promise<void> {
    const { api, roomId } = this.#parts;
    await Promise.allSettled([
      api.hot(roomId, 20).then((comments) => this.#showHot(comments)),
      api.ranking(roomId).then((entries) => this.#side.showRanking(entries)),
    ]);
  }

  #showHot(comments: Comment[]): void {
    this.#side.showHot(comments.filter((comment) => shownText(comment) !== undefined));
    for (const { id, like_count } of comments) {
      const known = this.#known.get(id);
      if (known) known.like_count = like_count;
      this.#chat.showLikes(id, like_count, this.#actions.isLiked(id));
    }
  }

  // ---- what the room allows -----------------------------------------------------------------------

  #runsTheRoom(): boolean {
    const { me } = this.#parts;
    if (!me) return false;
    return isStaff(me) || (this.#info?.owner_id !== undefined && this.#info.owner_id === me.user_id);
  }

  #showRules(): void {
    this.#composer.showRules(this.#rules());
  }

  #rules(): Rules {
    const t = this.#t;
    if (this.#me === undefined) return { placeholder: t.write, closed: t.writeSignedOut };
    if (this.#playback.recording) return { placeholder: t.writeAt };
    const { accepts_comments = true, speakers = "everyone", slow_mode_s = 0 } = this.#info ?? {};
    const staff = this.#runsTheRoom();
    const level = STANDING.indexOf(this.#parts.me?.level ?? "normal");
    if (!accepts_comments) return { placeholder: t.write, closed: t.writeClosed };
    if (speakers === "moderators" && !staff) return { placeholder: t.write, closed: t.writeStaff };
    if (speakers === "vip" && level < 1) return { placeholder: t.write, closed: t.writeVip };
    if (slow_mode_s > 0 && !staff) return { placeholder: t.write, hint: t.slowMode(slow_mode_s), slowModeS: slow_mode_s };
    return { placeholder: t.write };
  }

  // ---- recordings -------------------------------------------------------------------------------

  #showSessions(): void {
    const language = this.#parts.settings.value.language === "zh" ? "zh-CN" : "en-GB";
    const thisYear = new Date().getFullYear();
    const label = ({ title, started_at, comment_count }: Session): string => {
      const started = new Date(started_at);
      const year = started.getFullYear() === thisYear ? {} : { year: "numeric" as const };
      const date = new Intl.DateTimeFormat(language, { ...year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
      return this.#t.recording(title, date.format(started), comment_count);
    };
    const { recording } = this.#playback;
    const sessions = [...this.#replay.sessions];
    // A linked one may be older than the list goes back.
    if (recording && !sessions.some(({ session_id }) => session_id === recording.session_id)) sessions.push(recording);
    this.#source.showSessions(sessions, label, recording?.session_id);
  }

  async #openLinked(): Promise<void> {
    const linked = this.#opening;
    if (!linked) return;
    try {
      const found = await this.#replay.watchById(linked.sessionId, linked.seconds);
      this.#opening = undefined;
      if (!found) this.#card.show(this.#t.noSuchRecording);
    } catch (error) {
      const open = (): void => (this.#card.hide(), void this.#openLinked());
      this.#card.show(this.#words(error), { label: this.#t.tryAgain, run: open });
    }
  }

  #watch(recording: Session | undefined, seconds = 0): void {
    this.#replay.watch(recording, seconds);
  }

  #watching(recording: Session | undefined): void {
    void this.#loadBoard(recording);
    this.#source.select(recording?.session_id);
    this.#showSessions();
    this.#side.showRecording(recording !== undefined);
    this.#picture.classList.toggle("is-recording", recording !== undefined);
    this.#showSize();
    this.#card.hide();
    this.#showRules();
    void this.#join();
  }

  #showTimeline(comments: readonly Comment[]): void {
    const rows = comments.flatMap((comment) => {
      const text = this.#isWanted(comment) ? shownText(comment) : undefined;
      return text === undefined ? [] : [{ comment, text }];
    });
    this.#timelineList.show(rows);
  }

  /** Says when the room goes on or off air, and what can be watched instead. */
  #showAir(session: string | null): void {
    const before = this.#onAir;
    this.#onAir = session;
    if (before === session || this.#opening) return;
    if (this.#playback.recording) {
      if (session !== null && before === null) this.#card.show(this.#t.onAirAgain, { label: this.#t.watchLive, run: () => this.#watch(undefined) });
      return;
    }
    if (session !== null) return this.#card.hide();
    const ended = typeof before === "string" ? this.#replay.sessions.find(({ session_id }) => session_id === before) : undefined;
    const offered = ended ?? this.#replay.newest;
    if (!offered) return;
    const label = ended ? this.#t.watchAgain : this.#t.watchReplay(offered.comment_count);
    this.#card.show(ended ? this.#t.hasEnded : this.#t.notOnAir, { label, run: () => this.#watch(offered) });
  }

  async #copyLink(): Promise<void> {
    this.#notices.note((await copyText(this.#replay.link())) ? this.#t.linkCopied : this.#t.copyFailed);
  }

  // ---- the player -------------------------------------------------------------------------------

  #mediaChanged(): void {
    if (this.#playback.media.ended) this.#activity.wake();
  }

  /** The clip of a page in a window loses nothing to the bar; anything else is given all of the picture. */
  #barMayHide(): boolean {
    const { media } = this.#playback;
    if (media.paused) return false;
    return media.hasSound || this.#fullscreen.on || this.#parts.settings.value.theatre || matchMedia("(pointer: coarse)").matches;
  }

  #showSize(): void {
    const { clientWidth, clientHeight } = this.#picture;
    this.#picture.style.setProperty("--picture-height", `${clientHeight}px`);
    this.#picture.classList.toggle("narrow", clientWidth < (this.#playback.recording ? ONE_ROW_RECORDING_PX : ONE_ROW_PX));
  }

  #windowChanged(full: boolean): void {
    this.#bar.showFullscreen(full);
    this.#placeComposer();
    this.#activity.wake();
  }

  /** Over the picture, but in an upright window at its lower end. */
  #placeComposer(): void {
    const { element, hasFocus } = this.#composer;
    const beneath = this.#upright.matches && !this.#fullscreen.on;
    const place = beneath ? this.#parts.root : this.#bar.composerPlace;
    if (element.parentElement === place) return;
    place.append(element);
    if (hasFocus) this.#composer.focus();
  }

  #write(): void {
    this.#activity.wake();
    this.#composer.focus();
  }

  // ---- settings ---------------------------------------------------------------------------------

  #changed(now: Settings, before: Settings, elsewhere: boolean): void {
    // Another tab's language waits for the next visit: a page that somebody writes on is not thrown away.
    if (now.language !== before.language && !elsewhere) return location.reload();
    this.#apply(now);
    if (now.budget !== before.budget) void this.#join();
    if ((!now.on && before.on) || !this.#flies()) this.#stage.clear();
    const lists = now.blockedUsers !== before.blockedUsers || now.blockedWords !== before.blockedWords;
    const kinds = (["hideScroll", "hideTop", "hideBottom", "hideColoured"] as const).some((key) => now[key] !== before[key]);
    if (lists || kinds) this.#takeAway(now);
    if (lists) this.#replay.show();
  }

  /** What flies or is listed and is wanted no more goes at once. */
  #takeAway(settings: Settings): void {
    const known = [...this.#known.values()];
    const unwanted = known.filter((comment) => !this.#isWanted(comment)).map(({ id }) => id);
    this.#chat.remove(unwanted);
    this.#stage.remove([...unwanted, ...known.filter((comment) => !mayFly(comment, settings)).map(({ id }) => id)]);
  }

  #apply({ theatre }: Settings): void {
    this.#bar.showSettings();
    this.#parts.root.classList.toggle("theatre-mode", theatre);
    this.#configureStage();
  }

  #stageConfig(): StageConfig {
    const { area, scale, speed, opacity } = this.#parts.settings.value;
    return { area, scale, opacity, rate: speed * this.#playback.rate };
  }

  #configureStage(): void {
    this.#stage.configure(this.#stageConfig());
  }

  // ---- one comment ------------------------------------------------------------------------------

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
    this.#replay.show();
    void this.#join();
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

  #showOutage(): void {
    const { name } = this.#parts.client.state;
    const away = this.#wasConnected && name !== "connected";
    this.#composer.showOutage(away || this.#outbox.entries.length > 0 ? this.#outbox.entries.length : undefined);
  }

  #connectAgain(): void {
    this.#parts.client.connect();
    void this.#join();
  }

  #showEnd(code: number | undefined, reason: string): void {
    const words = this.#endWords(code, reason);
    const again = h("button", { type: "button" }, this.#t.reconnect);
    again.addEventListener("click", () => this.#connectAgain());
    // The panel beside the picture cannot be seen.
    if (this.#fullscreen.on || this.#parts.settings.value.theatre) this.#card.show(words, { label: this.#t.reconnect, run: () => this.#connectAgain() });
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
        return ended.banned(this.#reason(reason));
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

/** Whether the comment never got an answer, or the server could not take it. */
function isOutage(error: unknown): boolean {
  return error instanceof BarrageError && OUTAGE.includes(error.code);
}
