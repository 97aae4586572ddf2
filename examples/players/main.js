// Comments of one room in seven players, each as its makers publish it. `?player=` names one.
import { Client } from "@barrage/client";
import { artplayerSends, feedArtplayer, feedDanmujs, feedDplayer, overHls, overShaka, overVideojs } from "@barrage/players";

const query = new URLSearchParams(location.search);
const box = document.getElementById("player");
const client = new Client({ url: query.get("barrage"), identity: { user_id: "viewer", username: "Viewer" } });
const room = client.room(query.get("room"));

const video = () => Object.assign(document.createElement("video"), { muted: true, autoplay: true, loop: true, playsInline: true });
const inBox = (element) => (box.append(element), element);

const players = {
  async hls() {
    const { default: Hls } = await import("hls.js");
    const hls = new Hls();
    hls.attachMedia(inBox(video()));
    hls.loadSource("/media/stream.m3u8");
    return overHls(hls, room, { delayMs: () => 0 });
  },
  async videojs() {
    const { default: videojs } = await import("video.js");
    const element = inBox(Object.assign(video(), { className: "video-js" }));
    const player = videojs(element, { controls: true, width: 640, height: 360 });
    player.src({ src: "/media/twenty-seconds.webm", type: "video/webm" });
    await new Promise((ready) => player.ready(ready));
    return overVideojs(player, room);
  },
  async shaka() {
    const { default: shaka } = await import("shaka-player");
    const player = new shaka.Player();
    await player.attach(inBox(video()));
    await player.load("/media/twenty-seconds.webm");
    return overShaka(player, room);
  },
  async artplayer() {
    const { default: Artplayer } = await import("artplayer");
    const { default: danmuku } = await import("artplayer-plugin-danmuku");
    const art = new Artplayer({
      container: box, url: "/media/twenty-seconds.webm", muted: true, autoplay: true, loop: true,
      plugins: [danmuku({ danmuku: [], beforeEmit: artplayerSends(room) })],
    });
    await new Promise((ready) => art.on("ready", ready));
    return feedArtplayer(art.plugins.artplayerPluginDanmuku, room);
  },
  async danmujs() {
    const { default: module } = await import("danmu.js");
    // A CommonJS package: bundlers differ in what its default export is.
    const DanmuJs = module.default ?? module;
    const element = inBox(video());
    element.src = "/media/twenty-seconds.webm";
    await element.play();
    const danmu = new DanmuJs({ container: inBox(Object.assign(document.createElement("div"), { className: "layer" })), player: element, comments: [] });
    danmu.start();
    return feedDanmujs(danmu, room);
  },
  async xgplayer() {
    const { default: Player, Danmu } = await import("xgplayer");
    const player = new Player({ el: box, url: "/media/twenty-seconds.webm", width: 640, height: 360, autoplay: true, autoplayMuted: true, plugins: [Danmu], danmu: { comments: [], defaultOpen: true } });
    await new Promise((ready) => player.once("playing", ready));
    return feedDanmujs(player.getPlugin("danmu").danmujs, room);
  },
  async dplayer() {
    const { default: DPlayer } = await import("dplayer");
    const dp = new DPlayer({
      container: box, autoplay: true, mutex: false, loop: true, volume: 0, video: { url: "/media/twenty-seconds.webm", type: "normal" },
      danmaku: { id: "x" }, apiBackend: { read: ({ success }) => success([]), send: ({ success }) => success() },
    });
    return feedDplayer(dp.danmaku, room);
  },
};

client.connect();
window.player = await players[query.get("player")]();
await room.join();
document.title = "ready";
