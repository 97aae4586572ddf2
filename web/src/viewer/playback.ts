/**
 * What plays under the comments, and in a recording which comments are due: owns the media and the timeline and keeps
 * the two in step. Tells the viewer what became due; shows nothing itself.
 */
import { type Api, type Comment, type Session, Timeline } from "@barrage/client";
import { Recording } from "@barrage/client/recording";
import { ClipMedia } from "./media/clip";
import type { Media, MediaFailure } from "./media/media";
import { isHls, VideoMedia } from "./media/video";

const TICK_MS = 50;
/** The clip of a live room starts again every day; its motions stay exact. */
const CLIP_DAY_S = 86_400;

export interface PlaybackHandlers {
  /** Another media took the place of the last one. */
  attached(media: Media): void;
  /** It plays, pauses, waits for data or changes speed: the stage's clock follows. */
  changed(): void;
  /** It jumped, or something else is watched: what is on the screen belongs to the past. */
  jumped(): void;
  /** Comments of the recording whose moment has come. */
  due(comments: Comment[]): void;
  /** It cannot be played; the clip is shown instead. */
  videoFailed(why: MediaFailure): void;
  commentsFailed(): void;
  /** Milliseconds of the server's clock. */
  now(): number;
  /** The user whose comments alone are wanted. */
  onlyUser(): string | undefined;
}

export class Playback {
  #media: Media;
  #roomVideo: string | undefined;
  #chosen: string | File | undefined;
  /** The source that could not be played. */
  #broken: string | File | undefined;
  #recording: Session | undefined;
  #comments: Recording | undefined;
  #timeline: Timeline | undefined;
  #shiftMs = 0;

  constructor(
    private readonly api: Api,
    private readonly roomId: string,
    private readonly handlers: PlaybackHandlers,
  ) {
    this.#media = this.#make(0);
  }

  /** Starts playing. */
  start(): void {
    this.#attach();
    setInterval(() => this.#tick(), TICK_MS);
  }

  get media(): Media {
    return this.#media;
  }

  /** Undefined: live. */
  get recording(): Session | undefined {
    return this.#recording;
  }

  /** Where the comments of the recording come from. */
  get comments(): Recording | undefined {
    return this.#comments;
  }

  /**
   * How fast comments shall fly. A recording's pause, speed and waiting for data are theirs; at its end they finish
   * their way. Live ones do not wait for the picture.
   */
  get rate(): number {
    if (!this.#recording) return 1;
    const { ended, paused, stalled, rate } = this.#media;
    return ended || !(paused || stalled) ? rate : 0;
  }

  /** Of live: when the picture that is shown was recorded, where that is known. */
  get pictureMs(): number | undefined {
    return this.#recording ? undefined : this.#media.pictureMs;
  }

  /** Where in the recording the viewer is. */
  get offsetMs(): number {
    return Math.max(0, Math.round(this.#media.time * 1_000) - this.#shiftMs);
  }

  /** How much later than their own time comments come, in milliseconds; negative: earlier. */
  get shiftMs(): number {
    return this.#shiftMs;
  }

  set shiftMs(ms: number) {
    this.#shiftMs = ms;
    if (this.#timeline) this.#restart();
  }

  /** Goes to a recording, at `seconds`, or back to live. */
  watch(recording: Session | undefined, seconds = 0): void {
    this.#recording = recording;
    this.#comments = recording && new Recording(this.api, this.roomId, recording.session_id);
    this.#timeline = this.#comments && this.#timelineOf(this.#comments);
    this.#replaceMedia(seconds);
    this.#restart();
  }

  /** The media's time at which a moment of the recording is shown. */
  goTo(offsetMs: number): void {
    if (this.#media.seekable) this.#media.time = Math.max(0, (offsetMs + this.#shiftMs) / 1_000);
  }

  /** The video the room itself names. Another one goes on where the last one was. */
  showRoomVideo(url: string | undefined): void {
    if (url === this.#roomVideo) return;
    this.#roomVideo = url;
    if (this.#chosen === undefined) this.#replaceMedia(this.#recording ? this.#media.time : 0);
  }

  /** A URL, a file, or undefined for whatever the room has. */
  choose(source: string | File | undefined): void {
    this.#chosen = source;
    this.#broken = undefined;
    this.#replaceMedia(this.#recording ? this.#media.time : 0);
    if (this.#timeline) this.#restart();
  }

  /** Fetches the recording's comments anew, from where the video is: the wishes changed. */
  refresh(): void {
    this.#timeline?.seek(this.offsetMs);
  }

  /** This viewer just put a comment onto the recording. */
  posted(id: string): void {
    this.#timeline?.posted(id);
  }

  /** These were deleted: they do not come any more. */
  deleted(ids: ReadonlySet<string>): void {
    this.#comments?.remove(ids);
    this.#timeline?.remove(ids);
  }

  #timelineOf(comments: Recording): Timeline {
    return new Timeline(
      (window) => {
        const by_user = this.handlers.onlyUser();
        return comments.window({ ...window, ...(by_user === undefined ? {} : { by_user }) });
      },
      () => this.handlers.commentsFailed(),
    );
  }

  #make(at: number): Media {
    const source = this.#source();
    if (source) return new VideoMedia(source, !this.#recording, at);
    if (!this.#recording) return new ClipMedia(Infinity, () => (this.handlers.now() / 1_000) % CLIP_DAY_S);
    const clip = new ClipMedia(this.#secondsOf(this.#recording));
    if (at > 0) clip.time = at;
    return clip;
  }

  #source(): string | File | undefined {
    const source = this.#chosen ?? this.#roomVideo;
    return source === this.#broken ? undefined : source;
  }

  #secondsOf({ started_at, ended_at }: Session): number {
    const end = ended_at === undefined ? this.handlers.now() : Date.parse(ended_at);
    return Math.max(1, (end - Date.parse(started_at)) / 1_000);
  }

  #replaceMedia(at: number): void {
    this.#media.dispose();
    this.#media.element.remove();
    this.#media = this.#make(at);
    this.#attach();
  }

  #attach(): void {
    const media = this.#media;
    this.handlers.attached(media);
    media.onChange((seeked) => {
      if (media !== this.#media) return;
      if (this.#isStreamOfNow(media)) return this.#giveUp();
      if (media.ended) this.#tick();
      this.handlers.changed();
      if (seeked && this.#timeline) this.#restart();
    });
    media.onError((why) => {
      if (media !== this.#media) return;
      this.#giveUp();
      this.handlers.videoFailed(why);
    });
    media.play();
  }

  /** A room's live stream says nothing about its recordings. */
  #isStreamOfNow(media: Media): boolean {
    const source = this.#source();
    return this.#recording !== undefined && typeof source === "string" && isHls(source) && media.duration === Infinity;
  }

  /** The clip instead, from the same time on. */
  #giveUp(): void {
    this.#broken = this.#source();
    const { time } = this.#media;
    this.#replaceMedia(Number.isFinite(time) ? time : 0);
  }

  #restart(): void {
    this.handlers.jumped();
    this.#timeline?.seek(this.offsetMs);
  }

  #tick(): void {
    const { paused, ended, stalled } = this.#media;
    if (!this.#timeline || stalled || (paused && !ended)) return;
    const due = this.#timeline.advance(this.offsetMs);
    if (due.length > 0) this.handlers.due(due);
  }
}
