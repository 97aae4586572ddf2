/**
 * The page's language: chosen once, kept with the viewer page's settings so that all pages speak the same,
 * read by whoever draws text. Reading `locale` while drawing redraws when it changes.
 */
import { effect, signal } from "@preact/signals";
import { SettingsStore } from "../viewer/settings";

/** As BCP 47 has it, for `lang` and for numbers and dates. */
type Locale = "en" | "zh-CN";

/** Read afresh each time: another tab may have changed the other settings. */
const settings = () => new SettingsStore(localStorage, navigator.language.startsWith("zh") ? "zh" : "en");

export const locale = signal<Locale>(settings().value.language === "zh" ? "zh-CN" : "en");

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
  settings().change({ language: next === "en" ? "en" : "zh" });
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
