import type { Comment, CommentBatch, RoomEvent } from "@barrage/client";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { artplayerSends, escapeHtml, feedArtplayer, feedDanmujs, feedDplayer, feedLive, toDanmaku } from "../src/index";

const comment = (part: Partial<Comment> = {}): Comment => ({
  id: "1", room_id: "r", user_id: "u", username: "U", level: "normal", content: "hello",
  created_at: "2026-01-01T00:00:00.000Z", offset_ms: 0, like_count: 0, ...part,
});

/** A room that says what it is told to say. */
class FakeRoom {
  readonly #listeners = new Map<string, ((value: never) => void)[]>();

  on(name: string, listener: (value: never) => void): () => void {
    const list = this.#listeners.get(name) ?? [];
    this.#listeners.set(name, [...list, listener]);
    return () => void this.#listeners.set(name, (this.#listeners.get(name) ?? []).filter((one) => one !== listener));
  }

  say(comments: Comment[], source: CommentBatch["source"] = "live"): void {
    this.#tell("comments", { comments, omitted: 0, source });
  }

  delete(id: string): void {
    this.#tell("event", { type: "event", kind: "comment_deleted", event_id: "e", comment_id: id } satisfies RoomEvent);
  }

  #tell(name: string, value: unknown): void {
    for (const listener of this.#listeners.get(name) ?? []) (listener as (value: unknown) => void)(value);
  }
}

let room: FakeRoom;

beforeEach(() => void (room = new FakeRoom()));

describe("a feed", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("shows what is live and wanted, until it is stopped", () => {
    const shown: string[] = [];
    const stop = feedLive(room, { show: (comments) => shown.push(...comments.map(({ content }) => content)) }, { filter: ({ content }) => content !== "no" });
    room.say([comment({ content: "old" })], "history");
    room.say([comment({ content: "yes" }), comment({ content: "no" })]);
    stop();
    room.say([comment({ content: "late" })]);
    expect(shown).toEqual(["yes"]);
  });

  it("holds back as long as the picture is late, and drops what is deleted meanwhile", () => {
    const shown: string[] = [];
    feedLive(room, { show: (comments) => shown.push(...comments.map(({ id }) => id)) }, { delayMs: () => 5_000 });
    room.say([comment({ id: "1" }), comment({ id: "2" })]);
    room.delete("2");
    vi.advanceTimersByTime(4_999);
    expect(shown).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(shown).toEqual(["1"]);
  });
});

describe("comments in step with the picture", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const at = (s: number): Comment => comment({ id: String(s), created_at: new Date(s * 1_000).toISOString() });
  function feed(): { shown: string[]; picture: { s: number | undefined } } {
    const shown: string[] = [];
    const picture: { s: number | undefined } = { s: 100 };
    feedLive(room, { show: (comments) => shown.push(...comments.map(({ id }) => id)) }, { pictureMs: () => picture.s && picture.s * 1_000 });
    return { shown, picture };
  }
  const goesTo = ({ picture }: ReturnType<typeof feed>, s: number | undefined): void => {
    picture.s = s;
    vi.advanceTimersByTime(200);
  };

  it("shows each when the picture is of its time, in that order", () => {
    const viewer = feed();
    room.say([at(121), at(120)]);
    room.say([at(122)]);
    goesTo(viewer, 119);
    expect(viewer.shown).toEqual([]);
    goesTo(viewer, 121);
    expect(viewer.shown).toEqual(["120", "121"]);
    room.delete("122");
    goesTo(viewer, 125);
    expect(viewer.shown).toEqual(["120", "121"]);
  });

  it("shows one's own at once, and everything when the picture's clock cannot be right", () => {
    const shown: string[] = [];
    let picture = 100_000;
    feedLive(room, { show: (comments) => shown.push(...comments.map(({ id }) => id)) }, { pictureMs: () => picture, me: () => "me" });
    room.say([at(110), { ...at(111), user_id: "me" }]);
    expect(shown).toEqual(["111"]);
    picture = -3_600_000;
    room.say([at(112)]);
    expect(shown).toEqual(["111", "112"]);
  });

  it("waits while the player is paused, and shows at once what a comment approved late says", () => {
    const viewer = feed();
    room.say([at(101)]);
    vi.advanceTimersByTime(60_000);
    expect(viewer.shown).toEqual([]);
    room.say([at(5)]);
    expect(viewer.shown).toEqual(["5"]);
  });

  it("skips what a jump to a later picture leaves behind", () => {
    const viewer = feed();
    room.say([at(101), at(155)]);
    goesTo(viewer, 160);
    expect(viewer.shown).toEqual(["155"]);
  });

  it("shows all while the player does not know its time", () => {
    const viewer = feed();
    room.say([at(101)]);
    goesTo(viewer, undefined);
    room.say([at(500)]);
    expect(viewer.shown).toEqual(["101", "500"]);
  });
});

describe("players with a renderer of their own", () => {
  const hostile = comment({ content: '<img src=x onerror="alert(1)">', style: { mode: "top", color: "#ff0000" } });

  it("ArtPlayer's plugin is given its numbers for modes", () => {
    const emit = vi.fn();
    feedArtplayer({ emit }, room, { me: () => "u" });
    room.say([hostile]);
    expect(emit).toHaveBeenCalledWith({ text: hostile.content, mode: 1, color: "#FF0000", border: true });
  });

  it("ArtPlayer's own input says it in the room and draws nothing by itself", async () => {
    const said = vi.fn().mockRejectedValue(new Error("muted"));
    const refused = vi.fn();
    expect(artplayerSends({ comment: said as never }, refused)({ text: "hi", mode: 2, color: "#00ff00" })).toBe(false);
    expect(said).toHaveBeenCalledWith({ content: "hi", style: { mode: "bottom", color: "#00FF00" } });
    await vi.waitFor(() => expect(refused).toHaveBeenCalled());
  });

  it("danmu.js is given live comments by id, and takes deleted ones back", () => {
    const [sendComment, removeComment] = [vi.fn(), vi.fn()];
    feedDanmujs({ sendComment, removeComment }, room);
    room.say([hostile]);
    room.delete("1");
    expect(sendComment.mock.calls[0]?.[0]).toMatchObject({ id: "1", txt: hostile.content, mode: "top", style: { color: "#FF0000" } });
    expect(removeComment).toHaveBeenCalledWith("1");
  });

  it("DPlayer, which writes HTML, is given text that stays text", () => {
    const draw = vi.fn();
    feedDplayer({ draw }, room);
    room.say([hostile]);
    expect(draw).toHaveBeenCalledWith({ text: "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;", color: "#FF0000", type: "top" });
    expect(escapeHtml("a & b's </p>")).toBe("a &amp; b&#39;s &lt;&#47;p&gt;");
  });
});

describe("our own renderer", () => {
  it("is given the comment with its place, colour and count", () => {
    expect(toDanmaku(comment({ count: 3, style: { mode: "bottom", color: "#12ab34" } }))).toMatchObject({ id: "1", text: "hello", count: 3, mode: "bottom", style: { color: "#12AB34" } });
    expect(toDanmaku(comment({ kind: "comment", content: "[0.1,0.2,1,4,1]" }))).toBeUndefined();
  });
});
