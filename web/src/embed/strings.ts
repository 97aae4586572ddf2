/** What an embedded room says, in English and Chinese. */
import type { PollWords } from "../shared/poll-card";

export interface EmbedStrings {
  room: string;
  comments: string;
  write: string;
  writeSignedOut: string;
  writeClosed: string;
  send: string;
  like: string;
  liked: string;
  copy: string;
  empty: string;
  viewers(count: number): string;
  connecting: string;
  reconnecting: string;
  readOnly: string;
  expired: string;
  ended(reason: string): string;
  pending: string;
  announcement: string;
  gift(name: string, gift: string, count: number): string;
  pinned: string;
  question(name: string, content: string): string;
  polls: PollWords;
  omitted(count: number): string;
  errors: Record<string, string>;
}

const en: EmbedStrings = {
  room: "Live comments",
  comments: "Comments",
  write: "Say something…",
  writeSignedOut: "Sign in to comment",
  writeClosed: "Comments are closed",
  send: "Send",
  like: "Like",
  liked: "Liked",
  copy: "Copy",
  empty: "Nobody has said anything yet.",
  viewers: (count) => `${count.toLocaleString("en")} watching`,
  connecting: "Connecting…",
  reconnecting: "Connection lost. Connecting again…",
  readOnly: "You can read along.",
  expired: "Your sign-in has expired. You can still read along.",
  ended: (reason) => (reason ? `Disconnected: ${reason}` : "Disconnected."),
  pending: "A moderator will look at your comment first.",
  announcement: "Announcement",
  gift: (name, gift, count) => `${name} sent ${gift} ×${count}`,
  pinned: "Pinned",
  question: (name, content) => `❓ ${name}: ${content}`,
  polls: { poll: "Poll", votes: (count) => (count === 1 ? "1 vote" : `${count.toLocaleString("en")} votes`), closed: "closed", share: (percent) => `${percent} %` },
  omitted: (count) => `${count.toLocaleString("en")} more comments were not shown`,
  errors: {
    rate_limited: "Too fast. Wait a moment.",
    duplicate_comment: "You have just said that.",
    content_blocked: "This text is not allowed here.",
    content_too_long: "Too long.",
    muted: "You cannot comment here for now.",
    banned: "You have been banned.",
    room_closed: "Comments are closed.",
    forbidden: "You may not do that here.",
    unauthorized: "Sign in first.",
    already_liked: "You have liked it already.",
    already_voted: "You have voted already.",
    too_late: "That is over.",
    disconnected: "There is no connection right now.",
    timeout: "The server did not answer.",
  },
};

const zh: EmbedStrings = {
  room: "实时弹幕",
  comments: "评论",
  write: "发条弹幕…",
  writeSignedOut: "登录后即可发言",
  writeClosed: "评论已关闭",
  send: "发送",
  like: "点赞",
  liked: "已赞",
  copy: "复制",
  empty: "还没有人发言。",
  viewers: (count) => `${count.toLocaleString("zh")} 人在看`,
  connecting: "正在连接…",
  reconnecting: "连接已断开，正在重新连接…",
  readOnly: "你可以浏览评论。",
  expired: "登录已过期，你仍可浏览评论。",
  ended: (reason) => (reason ? `已断开：${reason}` : "已断开。"),
  pending: "你的评论需要审核后才会显示。",
  announcement: "公告",
  gift: (name, gift, count) => `${name} 送出 ${gift} ×${count}`,
  pinned: "置顶",
  question: (name, content) => `❓ ${name}：${content}`,
  polls: { poll: "投票", votes: (count) => `${count.toLocaleString("zh")} 票`, closed: "已结束", share: (percent) => `${percent}%` },
  omitted: (count) => `另有 ${count.toLocaleString("zh")} 条评论未显示`,
  errors: {
    rate_limited: "发送太快，请稍候。",
    duplicate_comment: "你刚刚说过这句话。",
    content_blocked: "此内容不允许发布。",
    content_too_long: "内容过长。",
    muted: "你暂时不能在此发言。",
    banned: "你已被封禁。",
    room_closed: "评论已关闭。",
    forbidden: "你没有此权限。",
    unauthorized: "请先登录。",
    already_liked: "你已经点过赞了。",
    already_voted: "你已经投过票了。",
    too_late: "已经结束了。",
    disconnected: "当前没有连接。",
    timeout: "服务器没有响应。",
  },
};

export type EmbedLanguage = "en" | "zh";

/** The first of these that names a language we speak; English otherwise. */
export function languageOf(...wishes: (string | null | undefined)[]): EmbedLanguage {
  const wish = wishes.find((value) => value);
  return wish?.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function embedStrings(language: EmbedLanguage): EmbedStrings {
  return language === "zh" ? zh : en;
}
