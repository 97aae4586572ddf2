/**
 * `/embed/{room_id}`, made for an `<iframe>`: one `<barrage-room>` that fills it. Options in the query: `token`, `theme`, `lang`,
 * `video` (an address, or `room` for the room's own), `session`. The page around it is asked for a new token with a message
 * `{type: "barrage:token"}` and answers with `{type: "barrage:token", token}`.
 */
import { Api } from "@barrage/client";
import { h } from "../shared/dom";
import { BarrageRoom } from "./element";
import { languageOf } from "./strings";
import "./page.css";

const VIDEO_SCHEMES = ["http:", "https:"];

customElements.define("barrage-room", BarrageRoom);

async function main(): Promise<void> {
  const query = new URLSearchParams(location.search);
  const roomId = decodeURIComponent(location.pathname.split("/")[2] ?? "") || "lobby";
  const theme = query.get("theme");
  document.documentElement.lang = languageOf(query.get("lang"), navigator.language) === "zh" ? "zh-CN" : "en";
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  BarrageRoom.server = location.origin;
  const room = h("barrage-room" as "div", { room: roomId, theme: theme ?? undefined, lang: query.get("lang") ?? undefined, session: query.get("session") ?? undefined }) as unknown as BarrageRoom;
  const token = query.get("token");
  if (token) room.token = token;
  room.renewToken = () => tokenOfParent();
  addEventListener("message", ({ source, data }: MessageEvent<unknown>) => {
    const given = source === parent && parent !== window ? tokenIn(data) : undefined;
    if (given) room.token = given;
  });
  const address = await videoAddress(query.get("video"), roomId, token ?? undefined);
  if (address) room.append(h("video", { src: address, controls: true, playsinline: true, muted: true, autoplay: true }));
  document.body.append(h("main", {}, h("h1", {}, roomId), room));
}

/** Asks the page around this one. Without an answer in time there is none. */
function tokenOfParent(): Promise<string> {
  return new Promise((resolve, reject) => {
    if (parent === window) return reject(new Error("no page around this one"));
    addEventListener("message", function answered({ source, data }: MessageEvent<unknown>) {
      const token = source === parent ? tokenIn(data) : undefined;
      if (!token) return;
      removeEventListener("message", answered);
      resolve(token);
    });
    parent.postMessage({ type: "barrage:token" }, "*");
  });
}

function tokenIn(data: unknown): string | undefined {
  const { type, token } = (data ?? {}) as { type?: unknown; token?: unknown };
  return type === "barrage:token" && typeof token === "string" ? token : undefined;
}

async function videoAddress(wish: string | null, roomId: string, token: string | undefined): Promise<string | undefined> {
  if (!wish) return undefined;
  const asked = wish === "room" ? await new Api(token ? { token } : {}).room(roomId).then(({ video_url }) => video_url, () => null) : wish;
  const url = asked ? URL.parse(asked, location.href) : null;
  return url && VIDEO_SCHEMES.includes(url.protocol) ? url.href : undefined;
}

void main();
