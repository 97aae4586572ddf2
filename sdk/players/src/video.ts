/** Comments over any `<video>`: our own renderer on a layer that follows the element. hls.js and Shaka play into one as well. */
import type { Comment, Room } from "@barrage/client";
import { Danmaku, type DanmakuOptions } from "@barrage/danmaku";
import { feedLive, type FeedOptions } from "./feed.js";
import { VideoLayer } from "./layer.js";
import { toDanmaku } from "./presented.js";

export interface VideoOptions extends FeedOptions, Omit<DanmakuOptions, "container" | "media" | "comments" | "pointers"> {
  /** Who watches: one's own comments stand out, and are held back by nothing. */
  me?(): string | undefined;
}

export interface VideoOverlay {
  readonly danmaku: Danmaku;
  readonly layer: HTMLElement;
  /** Shows comments that come from elsewhere, such as the viewer's own before the server has sent it back. */
  show(comments: Comment[]): void;
  destroy(): void;
}

/** An empty overlay; `show` fills it. */
export function overlay(video: HTMLElement, options: VideoOptions = {}): VideoOverlay {
  const layer = new VideoLayer(video);
  const danmaku = new Danmaku({ ...options, container: layer.element, pointers: video });
  const show = (comments: Comment[]): void => {
    // A hidden page draws no frames: what would wait there is old when the viewer comes back.
    if (document.hidden) return;
    for (const comment of comments) {
      const item = toDanmaku(comment, options.me?.());
      if (item) danmaku.emit(item);
    }
  };
  return {
    danmaku,
    layer: layer.element,
    show,
    destroy() {
      danmaku.destroy();
      layer.destroy();
    },
  };
}

/** Draws what is said in a joined room over a video. */
export function overVideo(video: HTMLElement, room: Pick<Room, "on">, options: VideoOptions = {}): VideoOverlay {
  const over = overlay(video, options);
  const stop = feedLive(room, { show: over.show, remove: (ids) => over.danmaku.remove(ids) }, options);
  return {
    ...over,
    destroy() {
      stop();
      over.destroy();
    },
  };
}
