/** What an overlay's address says, read and written. Pure. A value that makes no sense reads as the default. */

export const MODES = ["fly", "list"] as const;
export type OverlayMode = (typeof MODES)[number];

/** What can be left out. */
export const HIDEABLE = ["scroll", "top", "bottom", "coloured", "gifts", "announcements", "pins", "polls", "questions", "names"] as const;
export type Hideable = (typeof HIDEABLE)[number];

export interface OverlayOptions {
  mode: OverlayMode;
  token: string | undefined;
  lang: string | undefined;
  /** Size of letters; 1 is usual. */
  size: number;
  /** 0.1–1. */
  opacity: number;
  /** Share of the height that comments fly in. */
  area: number;
  /** 0.5–2; higher flies faster. */
  speed: number;
  /** Comments a second asked of the server. */
  max: number;
  /** Seconds after which a row of the list goes; 0: it stays until others push it out. */
  fadeS: number;
  align: "left" | "right";
  hide: ReadonlySet<Hideable>;
  /** Only these users. */
  only: string[];
  /** Comments with one of these are left out. */
  words: string[];
}

const ONLY_MAX = 20;
const WORDS_MAX = 100;

export function overlayDefaults(): OverlayOptions {
  return {
    mode: "fly", token: undefined, lang: undefined, size: 1, opacity: 1, area: 1, speed: 1, max: 50, fadeS: 0, align: "left",
    hide: new Set(), only: [], words: [],
  };
}

export function parseOverlay(query: URLSearchParams): OverlayOptions {
  const base = overlayDefaults();
  const within = (name: string, fallback: number, low: number, high: number): number => {
    const text = query.get(name);
    const value = Number(text);
    return text !== null && text !== "" && value >= low && value <= high ? value : fallback;
  };
  const list = (name: string, max: number): string[] => (query.get(name) ?? "").split(",").map((entry) => entry.trim()).filter((entry) => entry !== "").slice(0, max);
  const hidden = list("hide", HIDEABLE.length);
  return {
    mode: MODES.find((mode) => mode === query.get("mode")) ?? base.mode,
    token: query.get("token") ?? undefined,
    lang: query.get("lang") ?? undefined,
    size: within("size", base.size, 0.5, 4),
    opacity: within("opacity", base.opacity, 0.1, 1),
    area: within("area", base.area, 0.1, 1),
    speed: within("speed", base.speed, 0.25, 4),
    max: within("max", base.max, 1, 200),
    fadeS: within("fade_s", base.fadeS, 0, 3_600),
    align: query.get("align") === "right" ? "right" : "left",
    hide: new Set(HIDEABLE.filter((name) => hidden.includes(name))),
    only: list("only", ONLY_MAX),
    words: list("words", WORDS_MAX),
  };
}

/** The query that says this; what is usual is left out. */
export function overlayQuery(options: OverlayOptions): URLSearchParams {
  const base = overlayDefaults();
  const query = new URLSearchParams({ mode: options.mode });
  const say = (name: string, value: string | number | undefined, usual: string | number | undefined): void => {
    if (value !== undefined && value !== "" && value !== usual) query.set(name, String(value));
  };
  say("size", options.size, base.size);
  say("opacity", options.opacity, base.opacity);
  say("area", options.area, base.area);
  say("speed", options.speed, base.speed);
  say("max", options.max, base.max);
  say("fade_s", options.fadeS, base.fadeS);
  say("align", options.align, base.align);
  say("hide", [...options.hide].join(","), "");
  say("only", options.only.join(","), "");
  say("words", options.words.join(","), "");
  say("lang", options.lang, undefined);
  say("token", options.token, undefined);
  return query;
}
