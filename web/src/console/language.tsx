/**
 * The page's language: chosen once, kept with the viewer page's settings so that all pages speak the same,
 * read by whoever draws text. Reading `locale` while drawing redraws when it changes.
 */
import { effect, signal } from "@preact/signals";
import { readStored, writeStored } from "../shared/storage";

/** As BCP 47 has it, for `lang` and for numbers and dates. */
type Locale = "en" | "zh-CN";

/** Where the viewer page keeps its settings; the language is one of them. */
const SETTINGS_KEY = "barrage.settings";

/** Read afresh each time: another tab may have changed the other settings. */
function settings(): Record<string, unknown> {
  try {
    return (JSON.parse(readStored(SETTINGS_KEY) ?? "{}") ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function chosen(): Locale {
  const { language } = settings();
  const wanted = typeof language === "string" ? language : navigator.language;
  return wanted.startsWith("zh") ? "zh-CN" : "en";
}

export const locale = signal<Locale>(chosen());

effect(() => {
  document.documentElement.lang = locale.value;
});

type Params = Record<string, string | number>;

/** Two dictionaries with the same keys; a key without an entry shows itself, so that a gap is seen. */
export function translator<K extends string>(en: Record<K, string>, zh: Record<K, string>) {
  const look = (key: string): string | undefined =>
    ((locale.value === "en" ? en : zh) as Record<string, string | undefined>)[key];
  const t = (key: string, params: Params = {}): string =>
    (look(key) ?? key).replace(/\{(\w+)\}/g, (whole, name: string) => String(params[name] ?? whole));
  return { t, has: (key: string): boolean => look(key) !== undefined };
}

function choose(next: Locale): void {
  locale.value = next;
  writeStored(SETTINGS_KEY, JSON.stringify({ ...settings(), language: next === "en" ? "en" : "zh" }));
}

/** One button that names the other language in that language. */
export function LanguageSwitch() {
  const other: Locale = locale.value === "en" ? "zh-CN" : "en";
  return (
    <button type="button" class="quiet" lang={other} onClick={() => choose(other)}>
      {other === "en" ? "English" : "简体中文"}
    </button>
  );
}
