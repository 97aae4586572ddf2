/**
 * What plays under the comments, and in a recording which comments are due: owns the media and the timeline and keeps
 * the two in step. Tells the viewer what became due; shows nothing itself.
 */
import type { Api, Comment, Session } from "@barrage/client";
import { ClipMedia } from "./media/clip";
import type { Media } from "./media/media";
import { VideoMedia } from "./media/video";
import { Timeline } from "./timeline";

const TICK_MS = 50;

export interface PlaybackHandlers {
  /** Another media took the place of the last one. */
  attached(media: Media): void;
  /** It plays, pauses or changes speed: the stage's clock follows. */
  changed(): void;
  /** It jumped, or something else is watched: what is on the screen belongs to the past. */
  jumped(): void;
  /** Comments of the recording whose moment has come. */
  due(comments: Comment[]): void;
  videoFailed(): void;
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
  #recording: Session | undefined;
  #timeline: Timeline | undefined;

  constructor(
    private readonly api: Api,
    private readonly roomId: string,
    private readonly handlers: PlaybackHandlers,
  ) {
    this.#media = this.#make();
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

  /** How fast comments shall fly. A recording's pause and speed are theirs; live ones do not wait for the picture. */
  get rate(): number {
    if (!this.#recording) return 1;
    return this.#media.paused ? 0 : this.#media.rate;
  }

  /** Where in the recording the video is. */
  get offsetMs(): number {
    return Math.round(this.#media.time * 1_000);
  }

  /** Goes to a recording, or back to live. */
  watch(recording: Session | undefined): void {
    this.#recording = recording;
    this.#timeline = recording && this.#timelineOf(recording);
    this.#replaceMedia();
    this.#restart(0);
  }

  /** The video the room itself names. */
  showRoomVideo(url: string | undefined): void {
    if (url === this.#roomVideo) return;
    this.#roomVideo = url;
    if (this.#chosen === undefined) this.#replaceMedia();
  }

  /** A URL, a file, or undefined for whatever the room has. */
  choose(source: string | File | undefined): void {
    this.#chosen = source;
    this.#replaceMedia();
    if (this.#timeline) this.#restart(0);
  }

  /** Fetches the recording's comments anew, from where the video is: the wishes changed. */
  refresh(): void {
    this.#timeline?.seek(this.offsetMs);
  }

  /** This viewer just put a comment onto the recording. */
  posted(id: string): void {
    this.#timeline?.posted(id);
  }

  #timelineOf({ session_id }: Session): Timeline {
    return new Timeline(
      (window) => {
        const by_user = this.handlers.onlyUser();
        return this.api.replay(this.roomId, { session_id, ...window, ...(by_user === undefined ? {} : { by_user }) });
      },
      () => this.handlers.commentsFailed(),
    );
  }

  #make(): Media {
    const source = this.#chosen ?? this.#roomVideo;
    if (source) return new VideoMedia(source, !this.#recording);
    return new ClipMedia(this.#recording ? this.#secondsOf(this.#recording) : Infinity);
  }

  #secondsOf({ started_at, ended_at }: Session): number {
    const end = ended_at === undefined ? this.handlers.now() : Date.parse(ended_at);
    return Math.max(1, (end - Date.parse(started_at)) / 1_000);
  }

  #replaceMedia(): void {
    this.#media.dispose();
    this.#media.element.remove();
    this.#media = this.#make();
    this.#attach();
  }

  #attach(): void {
    const media = this.#media;
    this.handlers.attached(media);
    media.onChange((seeked) => {
      this.handlers.changed();
      if (seeked && this.#timeline) this.#restart(this.offsetMs);
    });
    media.onError(() => this.handlers.videoFailed());
    media.play();
  }

  #restart(ms: number): void {
    this.handlers.jumped();
    this.#timeline?.seek(ms);
  }

  #tick(): void {
    if (!this.#timeline || this.#media.paused) return;
    const due = this.#timeline.advance(this.offsetMs);
    if (due.length > 0) this.handlers.due(due);
  }
}
