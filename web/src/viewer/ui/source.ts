/** What is watched: live or a recording, and which video lies under the comments. Plays nothing itself. */
import type { Session } from "@barrage/client";
import { h, icon } from "../../shared/dom";
import type { Strings } from "../strings";
import { dropdown } from "./dropdown";
import { ICONS } from "./icons";

const LIVE = "live";

export class SourceSelect {
  readonly element: HTMLSelectElement;

  /** `watch`: undefined means live. */
  constructor(private readonly t: Strings, watch: (sessionId: string | undefined) => void) {
    this.element = h("select", { "aria-label": t.source, title: t.source, class: "source", hidden: true }, h("option", { value: LIVE }, t.live));
    this.element.addEventListener("change", () => watch(this.element.value === LIVE ? undefined : this.element.value));
  }

  /** Rewritten only when it changed: the list may be open. */
  showSessions(sessions: Session[], label: (session: Session) => string, selected: string | undefined): void {
    const wanted = [{ value: LIVE, text: this.t.live }, ...sessions.map((session) => ({ value: session.session_id, text: label(session) }))];
    const now = [...this.element.options].map(({ value, text }) => `${value} ${text}`).join("\n");
    if (now !== wanted.map(({ value, text }) => `${value} ${text}`).join("\n")) {
      this.element.replaceChildren(...wanted.map(({ value, text }) => h("option", { value }, text)));
    }
    this.element.value = selected ?? LIVE;
    this.element.hidden = sessions.length === 0;
  }

  select(sessionId: string | undefined): void {
    this.element.value = sessionId ?? LIVE;
  }
}

/** Opens a video by address or from the device; undefined is whatever the room has. */
export function videoMenu(t: Strings, chosen: (source: string | File | undefined) => void): HTMLElement {
  const button = h("button", { type: "button", class: "tool", "aria-label": t.video, title: t.video }, icon(ICONS.video));
  const url = h("input", { type: "url", placeholder: "https://…", "aria-label": t.videoUrl });
  const open = h("button", { type: "submit", class: "primary" }, t.openUrl);
  const file = h("input", { type: "file", accept: "video/*", class: "visually-hidden", tabindex: -1, "aria-label": t.pickFile });
  const pick = h("button", { type: "button" }, t.pickFile);
  const own = h("button", { type: "button" }, t.useRoomVideo);
  const form = h("form", { class: "row" }, url, open);
  const panel = h("div", { class: "sheet video-sheet", role: "dialog", "aria-label": t.video }, form, pick, own, file);
  const close = dropdown(button, panel);
  const choose = (source: string | File | undefined): void => {
    close();
    chosen(source);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (url.value !== "") choose(url.value);
  });
  pick.addEventListener("click", () => file.click());
  file.addEventListener("change", () => file.files?.[0] && choose(file.files[0]));
  own.addEventListener("click", () => choose(undefined));
  return h("div", { class: "anchor" }, button, panel);
}
