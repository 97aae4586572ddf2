/**
 * Players people already use, unmodified. Those that play into a `<video>` get our own layer over it; those with a renderer
 * of their own are handed comments in its form. Only the members used here are asked of a player, so no player is a dependency.
 */
import type { CommentDraft, Room } from "@barrage/client";
import { feedLive, type FeedOptions } from "./feed.js";
import { colorOf, shownText } from "./presented.js";
import { overVideo, type VideoOptions, type VideoOverlay } from "./video.js";

type JoinedRoom = Pick<Room, "on">;

// ---- hls.js ---------------------------------------------------------------------------------------

/**
 * hls.js 1: `media` is the video it plays into, `latency` its distance from the live edge in seconds, `playingDate` the time
 * of its picture where the playlist says it (`EXT-X-PROGRAM-DATE-TIME`).
 */
export interface HlsLike {
  readonly media: HTMLMediaElement | null;
  readonly latency: number;
  readonly playingDate?: Date | null;
}

/** Comments over the video of hls.js, each when the picture is of its time; by `latency` where the playlist has no times. */
export function overHls(hls: HlsLike, room: JoinedRoom, options: VideoOptions = {}): VideoOverlay {
  if (!hls.media) throw new Error("attach hls.js to its video first");
  return overVideo(hls.media, room, { pictureMs: () => hls.playingDate?.getTime(), delayMs: () => hls.latency * 1_000, ...options });
}

// ---- video.js -------------------------------------------------------------------------------------

/** video.js 7 and 8. */
export interface VideojsLike {
  el(): Element | null;
  on(event: string, listener: () => void): void;
}

/** Comments over the picture of video.js, under its controls. */
export function overVideojs(player: VideojsLike, room: JoinedRoom, options: VideoOptions = {}): VideoOverlay {
  const tech = player.el()?.querySelector<HTMLElement>(".vjs-tech");
  if (!tech) throw new Error("video.js has no picture yet");
  const over = overVideo(tech, room, options);
  player.on("dispose", () => over.destroy());
  return over;
}

// ---- Shaka ----------------------------------------------------------------------------------------

/** Shaka Player 4 and 5. */
export interface ShakaLike {
  getMediaElement(): HTMLMediaElement | null;
  isLive(): boolean;
  seekRange(): { start: number; end: number };
  /** The time of its picture. */
  getPlayheadTimeAsDate?(): Date | null;
}

/** Comments over the video of Shaka, each when the picture is of its time, or held back by as much as a live one is late. */
export function overShaka(player: ShakaLike, room: JoinedRoom, options: VideoOptions = {}): VideoOverlay {
  const video = player.getMediaElement();
  if (!video) throw new Error("attach Shaka to its video first");
  const delayMs = (): number => (player.isLive() ? Math.max(0, player.seekRange().end - video.currentTime) * 1_000 : 0);
  const pictureMs = (): number | undefined => (player.isLive() ? player.getPlayheadTimeAsDate?.()?.getTime() : undefined);
  return overVideo(video, room, { pictureMs, delayMs, ...options });
}

// ---- dash.js --------------------------------------------------------------------------------------

/** dash.js 4 and 5: `timeAsUTC` is the time of its picture in Unix seconds. */
export interface DashLike {
  getVideoElement(): HTMLMediaElement;
  isDynamic(): boolean;
  timeAsUTC(): number;
}

/** Comments over the video of dash.js, each when the picture is of its time. */
export function overDash(player: DashLike, room: JoinedRoom, options: VideoOptions = {}): VideoOverlay {
  const pictureMs = (): number | undefined => (player.isDynamic() && player.timeAsUTC() > 0 ? player.timeAsUTC() * 1_000 : undefined);
  return overVideo(player.getVideoElement(), room, { pictureMs, ...options });
}

// ---- ArtPlayer and its danmuku plugin -------------------------------------------------------------

interface ArtDanmu {
  text: string;
  mode?: 0 | 1 | 2;
  color?: string;
  border?: boolean;
}

/** `art.plugins.artplayerPluginDanmuku`, 5. */
export interface ArtDanmukuLike {
  emit(danmu: ArtDanmu): unknown;
}

const ART_MODES = { scroll: 0, top: 1, bottom: 2 } as const;

/** Feeds ArtPlayer's own danmuku plugin. */
export function feedArtplayer(plugin: ArtDanmukuLike, room: JoinedRoom, options: FeedOptions & { me?(): string | undefined } = {}): () => void {
  return feedLive(room, {
    show: (comments) => {
      for (const comment of comments) {
        const text = shownText(comment);
        if (text === undefined) continue;
        plugin.emit({ text, mode: ART_MODES[comment.style?.mode ?? "scroll"], color: colorOf(comment.style?.color), border: comment.user_id === options.me?.() });
      }
    },
  }, options);
}

/**
 * For the plugin's `beforeEmit`: says in the room what is written in the player. It answers false, because the comment comes
 * back from the room; `refused` is told why when it does not.
 */
export function artplayerSends(room: Pick<Room, "comment">, refused: (error: unknown) => void = () => undefined): (danmu: ArtDanmu) => boolean {
  const modes = ["scroll", "top", "bottom"] as const;
  return ({ text, mode = 0, color }) => {
    const draft: CommentDraft = { content: text, style: { mode: modes[mode], color: colorOf(color) } };
    room.comment(draft).catch(refused);
    return false;
  };
}

// ---- danmu.js (xgplayer) --------------------------------------------------------------------------

/** danmu.js 1.2: by itself, or as `player.getPlugin("danmu").danmujs` of xgplayer 3. */
export interface DanmuJsLike {
  sendComment(comment: { id: string; txt: string; duration: number; mode: "scroll" | "top" | "bottom"; prior?: boolean; realTime?: boolean; style: Record<string, string> }): unknown;
  removeComment?(id: string): unknown;
}

const DANMUJS_DURATION_MS = 9_000;

/** Feeds danmu.js, which takes what it is sent while its player plays. */
export function feedDanmujs(danmu: DanmuJsLike, room: JoinedRoom, options: FeedOptions = {}): () => void {
  return feedLive(room, {
    show: (comments) => {
      for (const comment of comments) {
        const txt = shownText(comment);
        if (txt === undefined) continue;
        const style = { color: colorOf(comment.style?.color), fontSize: "22px", textShadow: "0 0 2px #000" };
        danmu.sendComment({ id: comment.id, txt, duration: DANMUJS_DURATION_MS, mode: comment.style?.mode ?? "scroll", prior: true, realTime: true, style });
      }
    },
    remove: (ids) => {
      for (const id of ids) danmu.removeComment?.(id);
    },
  }, options);
}

// ---- DPlayer --------------------------------------------------------------------------------------

/** `dp.danmaku` of DPlayer 1. */
export interface DplayerDanmakuLike {
  draw(danmaku: { text: string; color: string; type: "right" | "top" | "bottom" }): unknown;
}

const DPLAYER_TYPES = { scroll: "right", top: "top", bottom: "bottom" } as const;

/** Feeds DPlayer, which writes text as HTML: it is given escaped text. */
export function feedDplayer(danmaku: DplayerDanmakuLike, room: JoinedRoom, options: FeedOptions = {}): () => void {
  return feedLive(room, {
    show: (comments) => {
      for (const comment of comments) {
        const text = shownText(comment);
        if (text !== undefined) danmaku.draw({ text: escapeHtml(text), color: colorOf(comment.style?.color), type: DPLAYER_TYPES[comment.style?.mode ?? "scroll"] });
      }
    },
  }, options);
}

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "/": "&#47;" };

/** Text that is the same text when it is parsed as HTML. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"'/]/g, (character) => ESCAPES[character] ?? "");
}

