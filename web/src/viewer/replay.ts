/**
 * The recordings of a room as the page shows them: which there are, which one is watched, its list and its curve, its
 * link. The playback plays it; the viewer page shows what is due.
 */
import { type Api, BarrageError, type Comment, type Session } from "@barrage/client";
import type { Recording } from "@barrage/client/recording";
import { readStored, writeStored } from "../shared/storage";
import type { Playback } from "./playback";
import { heatOf, RecordingIndex } from "./recording";

const LISTED_MAX = 1_000;
const MARK_MS = 500;
/** How much later a viewer wants the comments of one recording. */
const SHIFT_KEY = "barrage.shift.";
const SHIFT_MAX_MS = 3_600_000;
const SEARCH_SESSION = "session";
const SEARCH_TIME = "t";

export interface ReplayHandlers {
  /** Another recording, or live again. */
  changed(recording: Session | undefined): void;
  /** The list of the recording, as far as it is here. */
  listed(comments: readonly Comment[]): void;
  heat(heat: readonly number[]): void;
  /** The viewer is at this moment of the recording. */
  at(offsetMs: number): void;
  shifted(ms: number): void;
  failed(error: unknown): void;
}

export class Replay {
  #sessions: Session[] = [];
  #index: RecordingIndex | undefined;

  constructor(
    private readonly api: Api,
    private readonly roomId: string,
    private readonly playback: Playback,
    private readonly handlers: ReplayHandlers,
  ) {
    setInterval(() => this.playback.recording && this.handlers.at(this.playback.offsetMs), MARK_MS);
  }

  /** Newest first. */
  get sessions(): readonly Session[] {
    return this.#sessions;
  }

  /** Reads the list of sessions again. */
  async refresh(): Promise<void> {
    this.#sessions = await this.api.sessions(this.roomId);
  }

  /** The newest that is over and in which somebody spoke. */
  get newest(): Session | undefined {
    return this.#sessions.find(({ ended_at, comment_count }) => ended_at !== undefined && comment_count > 0);
  }

  /** Goes to a recording, or to live. */
  watch(recording: Session | undefined, seconds = 0): void {
    this.#index?.stop();
    this.#index = undefined;
    this.handlers.heat([]);
    this.handlers.listed([]);
    this.playback.watch(recording, seconds);
    this.handlers.changed(recording);
    writeAddress(recording?.session_id);
    if (!recording) return;
    this.shift(storedShift(recording.session_id));
    if (this.playback.comments) this.#load(this.playback.comments);
  }

  /** By its id, also one that is not among the newest. False when the room has none of that id; rejects when that cannot be said. */
  async watchById(sessionId: string, seconds = 0): Promise<boolean> {
    const known = (list: readonly Session[]): Session | undefined => list.find(({ session_id }) => session_id === sessionId);
    const session = known(this.#sessions) ?? known(await this.api.sessions(this.roomId, LISTED_MAX).catch(noneWhereNoRoom));
    if (session) this.watch(session, seconds);
    return session !== undefined;
  }

  shift(ms: number): void {
    const { recording } = this.playback;
    const within = Math.max(-SHIFT_MAX_MS, Math.min(SHIFT_MAX_MS, ms));
    if (within !== this.playback.shiftMs) this.playback.shiftMs = within;
    if (recording && within !== storedShift(recording.session_id)) writeStored(SHIFT_KEY + recording.session_id, String(within));
    this.handlers.shifted(within);
  }

  /** The address of this moment. */
  link(): string {
    const url = new URL(location.href);
    const { recording, media } = this.playback;
    if (recording) {
      url.searchParams.set(SEARCH_SESSION, recording.session_id);
      url.searchParams.set(SEARCH_TIME, String(Math.floor(media.time)));
    }
    for (const key of ["token", "user_id", "username", "level"]) url.searchParams.delete(key);
    return url.href;
  }

  posted(comment: Comment): void {
    this.#index?.insert(comment);
  }

  deleted(ids: ReadonlySet<string>): void {
    this.playback.deleted(ids);
    this.#index?.remove(ids);
  }

  /** Tells the list and the curve anew: what is wanted has changed, or the video has another length. */
  show(): void {
    if (!this.#index) return;
    this.handlers.listed(this.#index.comments);
    const lengthMs = this.playback.media.duration * 1_000;
    const usable = this.#index.complete && Number.isFinite(lengthMs) && lengthMs > 0;
    const offsets = this.#index.comments.map(({ offset_ms }) => offset_ms + this.playback.shiftMs);
    this.handlers.heat(usable ? heatOf(offsets, lengthMs) : []);
  }

  #load(comments: Recording): void {
    const index = new RecordingIndex(comments, () => index === this.#index && this.show());
    this.#index = index;
    index.load().catch((error: unknown) => {
      if (index === this.#index && error instanceof BarrageError) this.handlers.failed(error);
    });
  }
}

/** A room in which nobody has spoken does not exist yet. */
function noneWhereNoRoom(error: unknown): Session[] {
  if (error instanceof BarrageError && error.status === 404) return [];
  throw error;
}

/** What the page's own address asks for. */
export function linkedMoment(): { sessionId: string; seconds: number } | undefined {
  const query = new URLSearchParams(location.search);
  const sessionId = query.get(SEARCH_SESSION);
  const seconds = Number(query.get(SEARCH_TIME) ?? 0);
  return sessionId ? { sessionId, seconds: Number.isFinite(seconds) && seconds > 0 ? seconds : 0 } : undefined;
}

/** A reload stays with the recording; the moment is in links alone. */
function writeAddress(sessionId: string | undefined): void {
  const url = new URL(location.href);
  if (sessionId === undefined) url.searchParams.delete(SEARCH_SESSION);
  else url.searchParams.set(SEARCH_SESSION, sessionId);
  url.searchParams.delete(SEARCH_TIME);
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}

function storedShift(sessionId: string): number {
  const ms = Number(readStored(SHIFT_KEY + sessionId) ?? 0);
  return Number.isFinite(ms) && Math.abs(ms) <= SHIFT_MAX_MS ? ms : 0;
}
