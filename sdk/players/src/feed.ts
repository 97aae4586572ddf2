/**
 * Hands the comments of a joined room to a player, live or along the time of a recording. Every adapter is a sink of it.
 * It never joins or leaves: the page does.
 */
import { type Api, type Comment, type CommentBatch, type Room, type RoomEvent, Timeline } from "@barrage/client";
import { Recording } from "@barrage/client/recording";
import { PictureQueue } from "./picture-queue.js";

/** What shows comments. */
export interface CommentSink {
  show(comments: Comment[]): void;
  /** Deleted by a moderator. A player that cannot take a drawn comment back leaves this out. */
  remove?(ids: string[]): void;
}

export interface FeedOptions {
  /** Comments for which it says no are not shown. */
  filter?(comment: Comment): boolean;
  /** Who watches: one's own comments are held back by nothing. */
  me?(): string | undefined;
  /** How long each live comment is held back, such as the player's distance from the live edge. */
  delayMs?(): number;
  /**
   * The time of the picture that this viewer sees now, on the server's clock in Unix milliseconds. Each live comment waits
   * until the picture is as late as its `created_at`, so that nobody is told what they have not seen. Undefined while the
   * player does not know: then `delayMs` holds.
   */
  pictureMs?(): number | undefined;
}

/** A delay that grows while many wait must not fill the memory. */
const DELAYED_MAX = 10_000;
const REPLAY_TICK_MS = 250;
export const PICTURE_TICK_MS = 100;

/** Shows what is said in the room from now on; the returned function stops it. */
export function feedLive(room: Pick<Room, "on">, sink: CommentSink, options: FeedOptions = {}): () => void {
  const timers = new Set<ReturnType<typeof setTimeout>>();
  const gone = new Set<string>();
  const show = (comments: Comment[]): void => {
    const left = comments.filter(({ id }) => !gone.has(id));
    if (left.length > 0) sink.show(left);
  };
  const later = (comments: Comment[], delayMs: number): void => {
    if (timers.size >= DELAYED_MAX) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      show(comments);
    }, delayMs);
    timers.add(timer);
  };
  const waiting = new PictureQueue();
  const look = options.pictureMs && setInterval(() => show(waiting.due(options.pictureMs?.())), PICTURE_TICK_MS);
  const offComments = room.on("comments", ({ comments, source }: CommentBatch) => {
    if (source !== "live") return;
    const all = options.filter ? comments.filter(options.filter) : comments;
    const me = options.me?.();
    const wanted = me === undefined ? all : all.filter(({ user_id }) => user_id !== me);
    if (wanted.length < all.length) show(all.filter(({ user_id }) => user_id === me));
    const pictureMs = options.pictureMs?.();
    if (pictureMs !== undefined) return show(waiting.add(wanted, pictureMs));
    const delayMs = Math.max(0, options.delayMs?.() ?? 0);
    if (delayMs > 0) later(wanted, delayMs);
    else show(wanted);
  });
  const offEvents = room.on("event", (event: RoomEvent) => {
    if (event.kind !== "comment_deleted") return;
    const ids = event.comment_ids ?? [event.comment_id];
    waiting.remove(ids);
    if (timers.size > 0) for (const id of ids) gone.add(id);
    else gone.clear();
    sink.remove?.(ids);
  });
  return () => {
    offComments();
    offEvents();
    clearInterval(look);
    for (const timer of timers) clearTimeout(timer);
  };
}

export interface ReplayOptions extends Pick<FeedOptions, "filter"> {
  /** The joined room, which tells what is deleted while the recording plays. */
  room?: Pick<Room, "on"> | undefined;
}

/** Shows a recording's comments when the media's time reaches them; the returned function stops it. */
export function feedReplay(api: Api, roomId: string, sessionId: string, media: HTMLMediaElement, sink: CommentSink & { clear?(): void }, options: ReplayOptions = {}): () => void {
  const recording = new Recording(api, roomId, sessionId);
  const timeline = new Timeline(recording.window);
  const seek = (): void => {
    sink.clear?.();
    timeline.seek(media.currentTime * 1_000);
  };
  const tick = (): void => {
    if (media.paused) return;
    const due = timeline.advance(media.currentTime * 1_000);
    const wanted = options.filter ? due.filter(options.filter) : due;
    if (wanted.length > 0) sink.show(wanted);
  };
  const offEvents = options.room?.on("event", (event: RoomEvent) => {
    if (event.kind !== "comment_deleted") return;
    const ids = new Set(event.comment_ids ?? [event.comment_id]);
    recording.remove(ids);
    timeline.remove(ids);
    sink.remove?.([...ids]);
  });
  media.addEventListener("seeking", seek);
  const timer = setInterval(tick, REPLAY_TICK_MS);
  timeline.seek(media.currentTime * 1_000);
  return () => {
    media.removeEventListener("seeking", seek);
    offEvents?.();
    clearInterval(timer);
  };
}
