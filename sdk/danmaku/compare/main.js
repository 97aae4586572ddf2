// One renderer in an empty page; compare.mjs drives it through `window.bench`.
import { Danmaku as Ours } from "@barrage/danmaku";
import Artplayer from "artplayer";
import artplayerDanmuku from "artplayer-plugin-danmuku";
import Theirs from "danmaku";

const box = document.getElementById("box");
const query = new URLSearchParams(location.search);
const style = { fontSize: "25px", font: "25px sans-serif", color: "#ffffff", fillStyle: "#ffffff" };
/** As fast as the others at their default: a crossing takes about nine seconds. */
const speed = 1280 / 9;
let workerFrames = [];

const makers = {
  ours: () => {
    const danmaku = new Ours({ container: box, speed, motion: "fly", onReport: ({ frames }) => workerFrames.push(...frames) });
    return { emit: (text) => danmaku.emit({ text, style: { color: "#ffffff" } }), stats: () => ({ engine: danmaku.stats.engine, shown: danmaku.stats.shown, refused: danmaku.stats.dropped.late + danmaku.stats.dropped.crowded }) };
  },
  "ours-dom": () => {
    const danmaku = new Ours({ container: box, speed, motion: "fly", engine: "dom" });
    return { emit: (text) => danmaku.emit({ text, style: { color: "#ffffff" } }), stats: () => ({ engine: "dom", shown: danmaku.stats.shown, refused: danmaku.stats.dropped.late + danmaku.stats.dropped.crowded }) };
  },
  "danmaku-canvas": () => {
    const danmaku = new Theirs({ container: box, engine: "canvas", speed });
    return { emit: (text) => danmaku.emit({ text, style }), stats: () => ({}) };
  },
  "danmaku-dom": () => {
    const danmaku = new Theirs({ container: box, engine: "dom", speed });
    return { emit: (text) => danmaku.emit({ text, style }), stats: () => ({}) };
  },
  artplayer: async () => {
    const art = new Artplayer({ container: box, url: "/video.webm", muted: true, autoplay: true, loop: true, plugins: [artplayerDanmuku({ danmuku: [], emitter: false, speed: 9, fontSize: 25 })] });
    await new Promise((ready) => art.on("ready", ready));
    await art.play();
    return { emit: (text) => art.plugins.artplayerPluginDanmuku.emit({ text, color: "#ffffff" }), stats: () => ({}) };
  },
};

const renderer = await makers[query.get("renderer")]();

window.bench = {
  /** Says so many a minute for so long; the second half is measured. */
  async run(texts, perMinute, seconds) {
    const frames = [];
    let last;
    let running = true;
    const frame = (ms) => {
      if (last !== undefined) frames.push(ms - last);
      last = ms;
      if (running) requestAnimationFrame(frame);
    };
    const begin = performance.now();
    let said = 0;
    const due = () => Math.floor(((performance.now() - begin) / 60_000) * perMinute);
    const timer = setInterval(() => {
      for (const limit = Math.min(due(), said + 500); said < limit; said++) renderer.emit(texts[said % texts.length]);
    }, 20);
    const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
    await sleep((seconds * 1000) / 2);
    workerFrames = [];
    requestAnimationFrame(frame);
    await sleep((seconds * 1000) / 2);
    running = false;
    clearInterval(timer);
    return { said, frames, workerFrames, ...renderer.stats() };
  },
};
/** Says so many, as fast as frames come. */
window.bench.flood = async (texts, count) => {
  for (let said = 0; said < count; ) {
    for (let i = 0; i < 250; i++, said++) renderer.emit(`${texts[said % texts.length]} ${said}`);
    await new Promise((done) => requestAnimationFrame(done));
  }
  return renderer.stats();
};
document.title = "ready";
