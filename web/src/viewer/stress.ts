/** `?stress=10000`: makes up that many comments a minute on the page itself, to measure drawing without a server. */
import type { Comment } from "@barrage/client";

const TICK_MS = 50;
const WORDS = ["哈哈哈哈", "前方高能", "好听", "来了来了", "这也太美了吧", "弹幕护体", "666666", "what a shot", "love this song", "再看亿遍", "泪目", "awsl", "名场面", "first time here", "打卡"];
const COLOURS = ["#FFFFFF", "#FFFFFF", "#FFFFFF", "#FE4D4D", "#FFD54A", "#5AA9FF", "#8CE05A"];

/** Calls `receive` with what 50 ms bring, until the page goes. */
export function stress(perMinute: number, roomId: string, receive: (comments: Comment[]) => void): void {
  let made = 0;
  const start = performance.now();
  setInterval(() => {
    const due = Math.floor(((performance.now() - start) / 60_000) * perMinute);
    const batch: Comment[] = [];
    while (made < due) batch.push(madeUp(++made, roomId));
    if (batch.length > 0) receive(batch);
  }, TICK_MS);
}

function madeUp(n: number, room_id: string): Comment {
  const word = WORDS[Math.floor(Math.random() * WORDS.length)] ?? "";
  const chance = Math.random();
  return {
    id: String(n), room_id, user_id: `u${n % 997}`, username: `viewer ${n % 997}`,
    level: chance < 0.02 ? "owner" : chance < 0.1 ? "vip" : "normal",
    content: `${word}${chance < 0.3 ? word : ""}${n % 100}`,
    style: {
      mode: chance > 0.97 ? "top" : chance > 0.94 ? "bottom" : "scroll",
      color: COLOURS[n % COLOURS.length] ?? "#FFFFFF",
      size: chance > 0.5 && chance < 0.53 ? "large" : "normal",
    },
    created_at: new Date().toISOString(), offset_ms: 0, like_count: 0,
  };
}
