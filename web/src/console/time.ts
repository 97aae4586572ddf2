/** Times and durations as people read them, in the chosen language. Pure apart from the language it reads. */
import { locale, t } from "./i18n";

/** Clock time of a recent moment, with the date when it was another day. */
export function when(iso: string, now: number = Date.now()): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const today = at.toDateString() === new Date(now).toDateString();
  const clock: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };
  const date: Intl.DateTimeFormatOptions = { year: "numeric", month: "2-digit", day: "2-digit" };
  return at.toLocaleString(locale.value, today ? clock : { ...date, ...clock });
}

/** "3 d 4 h", "12 min", "45 s": the two largest units that matter. */
export function lasting(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  const [d, h, m] = [Math.floor(s / 86_400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d > 0) return h > 0 ? `${t("unit.d", { n: d })} ${t("unit.h", { n: h })}` : t("unit.d", { n: d });
  if (h > 0) return m > 0 ? `${t("unit.h", { n: h })} ${t("unit.min", { n: m })}` : t("unit.h", { n: h });
  return m > 0 ? t("unit.min", { n: m }) : t("unit.s", { n: s });
}

export const number = (value: number): string => value.toLocaleString(locale.value);
