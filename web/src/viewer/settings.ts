/**
 * What a viewer chose, kept in the browser's storage. A stored value that no longer makes sense reads as the default.
 * All pages and tabs of a browser share it: a change is laid over what is stored by then, never over what this tab read.
 */

export type Language = "en" | "zh";

export interface Settings {
  /** Off also stops the traffic. */
  on: boolean;
  /** 0.1–1. */
  opacity: number;
  /** 0.5–2; higher flies faster. */
  speed: number;
  /** Share of the picture's height. */
  area: number;
  /** 0.7–1.6; size of letters. */
  scale: number;
  hideScroll: boolean;
  hideTop: boolean;
  hideBottom: boolean;
  hideColoured: boolean;
  blockedWords: string[];
  blockedUsers: string[];
  /** Comments a second asked of the server. */
  budget: number;
  /** 0–1; what the viewer's videos sound like. */
  volume: number;
  /** The picture takes the room of the panel beside it. */
  theatre: boolean;
  /** Whether comments fly: as the system's wish for less motion says, always, or never. */
  motion: Motion;
  language: Language;
}

export const MOTIONS = ["system", "fly", "list"] as const;
export type Motion = (typeof MOTIONS)[number];

const KEY = "barrage.settings";
const LIST_MAX = 200;

export const BUDGETS = [5, 10, 20, 50, 100, 200] as const;
export const AREAS = [0.25, 0.5, 0.75, 1] as const;

export function defaults(language: Language): Settings {
  return {
    on: true, opacity: 0.9, speed: 1, area: 0.75, scale: 1,
    hideScroll: false, hideTop: false, hideBottom: false, hideColoured: false,
    blockedWords: [], blockedUsers: [], budget: 50,
    volume: 0.8, theatre: false, motion: "system", language,
  };
}

/** The stored settings over the defaults, each field checked by itself. */
export function parseSettings(text: string | null, language: Language): Settings {
  const base = defaults(language);
  let stored: Partial<Record<keyof Settings, unknown>>;
  try {
    stored = (JSON.parse(text ?? "{}") ?? {}) as typeof stored;
  } catch {
    return base;
  }
  const flag = (key: keyof Settings): boolean => (typeof stored[key] === "boolean" ? stored[key] : (base[key] as boolean));
  const within = (key: keyof Settings, low: number, high: number): number => {
    const value = stored[key];
    return typeof value === "number" && value >= low && value <= high ? value : (base[key] as number);
  };
  const list = (key: keyof Settings): string[] => {
    const value = stored[key];
    return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string").slice(0, LIST_MAX) : [];
  };
  return {
    on: flag("on"),
    opacity: within("opacity", 0.1, 1),
    speed: within("speed", 0.5, 2),
    area: within("area", 0.25, 1),
    scale: within("scale", 0.7, 1.6),
    hideScroll: flag("hideScroll"),
    hideTop: flag("hideTop"),
    hideBottom: flag("hideBottom"),
    hideColoured: flag("hideColoured"),
    blockedWords: list("blockedWords"),
    blockedUsers: list("blockedUsers"),
    budget: within("budget", 5, 200),
    volume: within("volume", 0, 1),
    theatre: flag("theatre"),
    motion: MOTIONS.find((motion) => motion === stored.motion) ?? base.motion,
    language: stored.language === "en" || stored.language === "zh" ? stored.language : base.language,
  };
}

/** `elsewhere`: another tab changed them. Lists that did not change are the same arrays as before. */
export type SettingsListener = (value: Settings, before: Settings, elsewhere: boolean) => void;

/** Settings that tell whoever listens when they change, here or in another tab. */
export class SettingsStore {
  #value: Settings;
  readonly #listeners: SettingsListener[] = [];

  constructor(
    private readonly storage: Pick<Storage, "getItem" | "setItem">,
    private readonly language: Language,
  ) {
    this.#value = this.#stored();
  }

  get value(): Settings {
    return this.#value;
  }

  change(part: Partial<Settings>): void {
    const next = { ...this.#stored(), ...part };
    this.storage.setItem(KEY, JSON.stringify(next));
    this.#become(next, false);
  }

  onChange(listener: SettingsListener): void {
    this.#listeners.push(listener);
  }

  /** Takes over what other tabs change, from now on. */
  follow(): void {
    addEventListener("storage", ({ key }) => (key === KEY || key === null) && this.#become(this.#stored(), true));
  }

  #stored(): Settings {
    return parseSettings(this.storage.getItem(KEY), this.language);
  }

  #become(next: Settings, elsewhere: boolean): void {
    const before = this.#value;
    const same = (key: "blockedWords" | "blockedUsers"): string[] => (next[key].join("\n") === before[key].join("\n") ? before[key] : next[key]);
    this.#value = { ...next, blockedWords: same("blockedWords"), blockedUsers: same("blockedUsers") };
    for (const listener of this.#listeners) listener(this.#value, before, elsewhere);
  }
}
