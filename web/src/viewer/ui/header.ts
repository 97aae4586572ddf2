/** The top of the page: room, state, viewers, connection, and who we are. */
import { type ClientState, CloseCode, type RoomState } from "@barrage/client";
import { h, icon } from "../../shared/dom";
import { chatLink } from "../../shared/identity";
import type { Strings } from "../strings";
import { dropdown } from "./dropdown";
import { ICONS } from "./icons";

export interface HeaderHandlers {
  useToken(token: string): void;
  forgetToken(): void;
}

export class Header {
  readonly element: HTMLElement;
  readonly #title = h("h1", {});
  readonly #state = h("span", { class: "state" });
  readonly #viewers = h("span", {});
  readonly #connection = h("span", { class: "connection", role: "status" });
  #countdown: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly t: Strings,
    private readonly who: string | undefined,
    hasToken: boolean,
    source: HTMLElement[],
    handlers: HeaderHandlers,
  ) {
    this.element = h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: "/", title: t.allRooms }, "Barrage"),
      this.#title,
      this.#state,
      h("span", { class: "viewers" }, icon(ICONS.eye), this.#viewers, h("span", { class: "word" }, t.watching)),
      h("span", { class: "grow" }),
      h("div", { class: "watching" }, ...source),
      this.#connection,
      h("a", { class: "tool", href: chatLink(), "aria-label": t.messages, title: t.messages }, icon(ICONS.letters)),
      this.#identity(who, hasToken, handlers),
    );
  }

  showRoom(name: string, state: RoomState): void {
    this.#title.textContent = name;
    document.title = `${name} · Barrage`;
    this.#state.textContent = this.t.state[state];
    this.#state.dataset.state = state;
  }

  showViewers(n: number): void {
    this.#viewers.textContent = n.toLocaleString("en");
  }

  showConnection(state: ClientState): void {
    clearInterval(this.#countdown);
    this.#connection.dataset.state = state.name;
    // Somebody unknown may read where the room lets them; that is no reason to say that all is well.
    const signIn = this.who === undefined ? state.name === "connected" || state.name === "closed" : state.name === "closed" && state.code === CloseCode.Unauthorized;
    this.#connection.textContent = signIn ? this.t.notSignedIn : this.t.connection[state.name];
    if (state.name !== "waiting") return;
    const until = performance.now() + state.retryInMs;
    const tell = (): void => {
      const seconds = Math.ceil((until - performance.now()) / 1_000);
      this.#connection.textContent = seconds > 0 ? this.t.reconnectIn(seconds) : this.t.connection.waiting;
    };
    this.#countdown = setInterval(tell, 500);
    tell();
  }

  #identity(who: string | undefined, hasToken: boolean, handlers: HeaderHandlers): HTMLElement {
    const button = h("button", { type: "button", class: "tool", "aria-label": this.t.identity, title: who ? this.t.youAre(who) : this.t.identity }, icon(ICONS.person));
    const forget = h("button", { type: "button", hidden: !hasToken }, this.t.forgetToken);
    forget.addEventListener("click", handlers.forgetToken);
    const panel = h(
      "div",
      { class: "sheet identity-sheet", role: "dialog", "aria-label": this.t.identity },
      h("p", {}, who ? this.t.youAre(who) : this.t.anonymous),
      tokenBox(this.t, handlers.useToken),
      forget,
    );
    dropdown(button, panel);
    return h("div", { class: "anchor" }, button, panel);
  }
}

/** Where a token is pasted. */
export function tokenBox(t: Strings, use: (token: string) => void): HTMLElement {
  const input = h("input", { type: "password", placeholder: t.pasteToken, "aria-label": t.pasteToken, autocomplete: "off", spellcheck: "false" });
  const button = h("button", { type: "submit", class: "primary" }, t.useToken);
  const form = h("form", { class: "row" }, input, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim() !== "") use(input.value.trim());
  });
  return form;
}
