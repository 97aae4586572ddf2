/** `/overlay`, and `/overlay/{room_id}?builder`: a form that makes the address of an overlay, with a picture of it beside. */
import { languageOf } from "../embed/strings";
import { copyText } from "../shared/clipboard";
import { h } from "../shared/dom";
import { HIDEABLE, type Hideable, MODES, overlayDefaults, type OverlayMode, type OverlayOptions, overlayQuery } from "./options";

const SHOWN_MS = 2_000;

const WORDS = {
  en: {
    title: "Overlay for streaming", room: "Room",
    intro: "Choose how comments look, then add the address as a browser source in OBS.",
    mode: "Style", modes: { fly: "Flying comments", list: "List" },
    size: "Size of letters", opacity: "Opacity", area: "Share of the height", speed: "Speed", max: "Comments a second at most",
    fadeS: "Rows go after (seconds, 0 never)", align: "Side", sides: { left: "Left", right: "Right" },
    hide: "Leave out",
    hideable: { scroll: "Scrolling", top: "At the top", bottom: "At the bottom", coloured: "Coloured", gifts: "Gifts", announcements: "Announcements", pins: "Pinned comment", polls: "Polls", questions: "Answered questions", names: "Names" },
    only: "Only these users (ids, separated by commas)", words: "Not with these words (separated by commas)",
    token: "Token (where the room needs one)", address: "Address of the browser source", copy: "Copy", copied: "Copied", preview: "Preview",
  },
  zh: {
    title: "直播弹幕叠加层", room: "房间",
    intro: "选择弹幕样式，然后把地址添加为 OBS 的浏览器来源。",
    mode: "样式", modes: { fly: "飞行弹幕", list: "列表" },
    size: "字号", opacity: "不透明度", area: "占用高度", speed: "速度", max: "每秒最多评论数",
    fadeS: "列表停留秒数（0 为不消失）", align: "位置", sides: { left: "左侧", right: "右侧" },
    hide: "不显示",
    hideable: { scroll: "滚动", top: "顶部", bottom: "底部", coloured: "彩色", gifts: "礼物", announcements: "公告", pins: "置顶弹幕", polls: "投票", questions: "正在回答的提问", names: "昵称" },
    only: "只显示这些用户（ID，用逗号分隔）", words: "屏蔽词（用逗号分隔）",
    token: "令牌（房间需要时填写）", address: "浏览器来源地址", copy: "复制", copied: "已复制", preview: "预览",
  },
};

export function showBuilder(root: HTMLElement, start: string, given: OverlayOptions): void {
  let roomId = start;
  const t = WORDS[languageOf(given.lang, navigator.language)];
  const options = { ...overlayDefaults(), ...given };
  const frame = h("iframe", { title: t.preview });
  const address = h("input", { readonly: true, id: "address" });
  const copy = h("button", { type: "button", class: "copy" }, t.copy);
  let timer: ReturnType<typeof setTimeout> | undefined;

  const show = (): void => {
    const url = new URL(`/overlay/${encodeURIComponent(roomId)}`, location.origin);
    url.search = overlayQuery(options).toString();
    address.value = url.href;
    clearTimeout(timer);
    timer = setTimeout(() => (frame.src = url.href), 300);
  };
  const changed = (change: () => void): void => {
    change();
    show();
  };
  const field = (label: string, input: HTMLElement): HTMLElement => h("label", {}, h("span", {}, label), input);
  const range = (label: string, key: "size" | "opacity" | "area" | "speed" | "max" | "fadeS", min: number, max: number, step: number): HTMLElement => {
    const input = h("input", { type: "range", min, max, step, value: options[key] });
    const shown = h("output", {}, String(options[key]));
    input.addEventListener("input", () => changed(() => {
      options[key] = Number(input.value);
      shown.textContent = input.value;
    }));
    return h("label", {}, h("span", {}, `${label} `, shown), input);
  };
  const choice = <T extends string>(label: string, values: readonly T[], names: Record<T, string>, current: T, chosen: (value: T) => void): HTMLElement => {
    const select = h("select", {}, ...values.map((value) => h("option", { value, selected: value === current }, names[value])));
    select.addEventListener("change", () => changed(() => chosen(select.value as T)));
    return field(label, select);
  };
  const text = (label: string, value: string, given: (value: string) => void): HTMLElement => {
    const input = h("input", { type: "text", value, autocomplete: "off", spellcheck: "false" });
    input.addEventListener("input", () => changed(() => given(input.value)));
    return field(label, input);
  };
  const split = (value: string): string[] => value.split(",").map((entry) => entry.trim()).filter((entry) => entry !== "");
  const hide = h("fieldset", {}, h("legend", {}, t.hide), ...HIDEABLE.map((name: Hideable) => {
    const box = h("input", { type: "checkbox", checked: options.hide.has(name) });
    box.addEventListener("change", () => changed(() => {
      const next = new Set(options.hide);
      if (box.checked) next.add(name);
      else next.delete(name);
      options.hide = next;
    }));
    return h("label", { class: "check" }, box, t.hideable[name]);
  }));
  copy.addEventListener("click", () => void copyText(address.value).then((done) => {
    if (!done) return address.select();
    copy.textContent = t.copied;
    setTimeout(() => (copy.textContent = t.copy), SHOWN_MS);
  }));
  document.title = t.title;
  document.documentElement.classList.add("builder");
  root.append(
    h("main", { class: "build" },
      h("form", { class: "form" },
        h("h1", {}, t.title), h("p", {}, t.intro),
        text(t.room, roomId, (value) => (roomId = value.trim() || start)),
        choice<OverlayMode>(t.mode, MODES, t.modes, options.mode, (value) => (options.mode = value)),
        range(t.size, "size", 0.5, 4, 0.1), range(t.opacity, "opacity", 0.1, 1, 0.05), range(t.area, "area", 0.1, 1, 0.05),
        range(t.speed, "speed", 0.25, 4, 0.25), range(t.max, "max", 1, 200, 1), range(t.fadeS, "fadeS", 0, 120, 5),
        choice<"left" | "right">(t.align, ["left", "right"], t.sides, options.align, (value) => (options.align = value)),
        hide,
        text(t.only, options.only.join(", "), (value) => (options.only = split(value))),
        text(t.words, options.words.join(", "), (value) => (options.words = split(value))),
        text(t.token, options.token ?? "", (value) => (options.token = value.trim() || undefined)),
      ),
      h("section", { class: "result" }, h("label", { for: "address" }, t.address), h("div", { class: "address" }, address, copy), frame),
    ),
  );
  show();
}
