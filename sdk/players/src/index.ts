/** Comments of a room in the players people already use. `overVideo` serves any `<video>`. */
export * from "./adapters.js";
export { feedLive, feedReplay, PICTURE_TICK_MS } from "./feed.js";
export type { CommentSink, FeedOptions, ReplayOptions } from "./feed.js";
export { PictureQueue } from "./picture-queue.js";
export { VideoLayer } from "./layer.js";
export { isPositioned, readPositioned } from "./positioned.js";
export type { Positioned } from "./positioned.js";
export { colorOf, isStaff, mentions, shownText, toDanmaku, toStageItem, WHITE } from "./presented.js";
export { overlay, overVideo } from "./video.js";
export type { VideoOptions, VideoOverlay } from "./video.js";
