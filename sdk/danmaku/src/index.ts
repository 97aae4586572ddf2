/** Flying comments over a video. Start at `Danmaku`; `Stage` is what it is made of, for pages that decide more themselves. */
export { Danmaku, Danmaku as default } from "./danmaku.js";
export type { DanmakuAction, DanmakuComment, DanmakuMode, DanmakuOptions, DanmakuStats } from "./danmaku.js";
export { Stage } from "./stage.js";
export type { EngineKind, StageHandlers } from "./stage.js";
export type { Hit, Mask, Path, Picture, StageConfig, StageItem, StageReport, StageSize } from "./messages.js";
export type { Mode } from "./lanes.js";
export type { DropReason } from "./waiting.js";
export { isRightToLeft } from "./text.js";
