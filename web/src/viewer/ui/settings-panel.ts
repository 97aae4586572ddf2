/** The settings sheet. Shows the store and changes it; what follows from a change is decided by whoever listens to the store. */
import { h, icon } from "../../shared/dom";
import { expressionOf } from "../choose";
import { AREAS, BUDGETS, type Language, type Motion, MOTIONS, type Settings, type SettingsStore } from "../settings";
import type { Strings } from "../strings";
import { radios } from "./composer";
import { dropdown } from "./dropdown";
import { onEnter } from "./enter";
import { ICONS } from "./icons";

type NumberKey = "opacity" | "speed" | "scale";
type HideKey = "hideScroll" | "hideTop" | "hideBottom" | "hideColoured";

export function settingsPanel(store: SettingsStore, t: Strings, reducedMotion: boolean): HTMLElement {
  const button = h("button", { type: "button", class: "tool", "aria-label": t.settings, title: t.settings }, icon(ICONS.sliders));
  const percent = (value: number): string => `${Math.round(value * 100)}%`;
  const times = (value: number): string => `${value}×`;
  const panel = h(
    "div",
    { class: "sheet settings-sheet", role: "dialog", "aria-label": t.settings },
    reducedMotion ? h("p", { class: "hint" }, t.reducedMotion) : undefined,
    group(store, t.motion, "motion", MOTIONS.map((value) => ({ value, label: t.motions[value] })), (motion) => ({ motion: motion as Motion })),
    slider(store, "opacity", t.opacity, { min: 0.1, max: 1, step: 0.05 }, percent),
    slider(store, "speed", t.speed, { min: 0.5, max: 2, step: 0.25 }, times),
    slider(store, "scale", t.textSize, { min: 0.7, max: 1.6, step: 0.1 }, percent),
    group(store, t.area, "area", AREAS.map((area) => ({ value: String(area), label: fraction(area) })), (area) => ({ area: Number(area) })),
    group(store, t.budget, "budget", BUDGETS.map((n) => ({ value: String(n), label: String(n) })), (n) => ({ budget: Number(n) })),
    hides(store, t),
    list(store, "blockedWords", t.blockedWords, t, true),
    list(store, "blockedUsers", t.blockedUsers, t, false),
    group(store, t.language, "language", [{ value: "en", label: "English" }, { value: "zh", label: "简体中文" }], (language) => ({ language: language as Language })),
  );
  dropdown(button, panel);
  return h("div", { class: "anchor" }, button, panel);
}

/** Radio buttons of one setting, which follow it when it is changed elsewhere. */
function group(store: SettingsStore, legend: string, key: "motion" | "area" | "budget" | "language", choices: { value: string; label: string }[], part: (value: string) => Partial<Settings>): HTMLElement {
  const fieldset = radios(legend, key, choices, String(store.value[key]), (value) => store.change(part(value)));
  store.onChange(({ [key]: value }) => {
    for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === String(value);
  });
  return fieldset;
}

function fraction(area: number): string {
  return { 0.25: "1/4", 0.5: "1/2", 0.75: "3/4" }[area] ?? "1";
}

function slider(store: SettingsStore, key: NumberKey, label: string, range: { min: number; max: number; step: number }, show: (value: number) => string): HTMLElement {
  const input = h("input", { type: "range", ...range, value: store.value[key] });
  const output = h("output", {}, show(store.value[key]));
  input.addEventListener("input", () => store.change({ [key]: Number(input.value) }));
  store.onChange(({ [key]: value }) => {
    if (document.activeElement !== input) input.value = String(value);
    output.textContent = show(value);
  });
  return h("label", { class: "slider" }, h("span", {}, label), input, output);
}

function hides(store: SettingsStore, t: Strings): HTMLElement {
  const keys: HideKey[] = ["hideScroll", "hideTop", "hideBottom", "hideColoured"];
  const boxes = keys.map((key) => {
    const input = h("input", { type: "checkbox", checked: store.value[key] });
    input.addEventListener("change", () => store.change({ [key]: input.checked }));
    store.onChange(({ [key]: hidden }) => (input.checked = hidden));
    return h("label", {}, input, h("span", {}, t.kinds[key]));
  });
  return h("fieldset", { class: "choices" }, h("legend", {}, t.hide), h("div", {}, ...boxes));
}

/** A list of words or users with a cross on each; words can be added here, users are blocked from a comment's menu. */
function list(store: SettingsStore, key: "blockedWords" | "blockedUsers", label: string, t: Strings, canAdd: boolean): HTMLElement {
  const items = h("ul", { class: "chips" });
  const render = ({ [key]: values }: Settings): void => {
    const chips = values.map((value) => {
      const remove = h("button", { type: "button", "aria-label": t.remove(value) }, icon(ICONS.close));
      remove.addEventListener("click", () => store.change({ [key]: store.value[key].filter((other) => other !== value) }));
      return h("li", {}, h("span", {}, value), remove);
    });
    items.replaceChildren(...(chips.length > 0 ? chips : [h("li", { class: "none" }, t.none)]));
  };
  render(store.value);
  store.onChange((now, before) => now[key] === before[key] || render(now));
  return h("fieldset", { class: "choices" }, h("legend", {}, label), items, canAdd ? adder(store, t) : undefined);
}

function adder(store: SettingsStore, t: Strings): HTMLElement {
  const input = h("input", { type: "text", class: "add-word", placeholder: t.addWord, "aria-label": t.addWord, maxlength: 80, enterkeyhint: "done" });
  const problem = h("p", { class: "hint", role: "status" });
  onEnter(input, () => {
    const word = input.value.trim();
    if (word === "") return;
    const broken = /^\/.+\/[a-z]*$/.test(word) && !expressionOf(word);
    problem.textContent = broken ? t.badExpression : "";
    if (broken) return;
    store.change({ blockedWords: [...new Set([...store.value.blockedWords, word])].slice(-200) });
    input.value = "";
  });
  return h("div", {}, input, problem);
}
