/** Recordings against the real binary, hot and archived: what segments say is what `replay` says. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { Api, BarrageError, type Comment, Timeline } from "../src/index.js";
import { readManifest, Recording } from "../src/recording.js";
import { startServer } from "../../../web/e2e/server.mjs";
import { record } from "./record.js";

interface Running {
  url: string;
  stop(): Promise<void>;
}

const MINUTE = 60_000;
const PATIENCE = { timeout: 60_000, interval: 200 };

let server: Running;
let api: Api;
let rooms = 0;

beforeAll(async () => {
  server = (await startServer({ env: { BARRAGE__ARCHIVE__AFTER_DAYS: "0" } })) as Running;
  api = new Api({ url: server.url, identity: { user_id: "ann", username: "Ann", level: "admin" } });
}, 90_000);
afterAll(() => server.stop());
afterEach(() => void vi.restoreAllMocks());

/** A session of fifteen minutes, in which somebody speaks every few seconds. */
function session(roomId: string): Promise<string> {
  const styles = [{ mode: "top", color: "#12ab34", size: "large" }, {}, { mode: "bottom", color: "#000001" }];
  const comments = Array.from({ length: 200 }, (_, n) => ({
    offset_ms: n * 4_500 + (n % 3), content: `第 ${n} 条 <b>\u{1f409}`, user_id: `user-${n % 17}`, username: n % 2 ? `名 ${n % 17}` : `user-${n % 17}`, style: styles[n % 3],
  }));
  return record(server.url, roomId, comments);
}

const isArchived = async (roomId: string, id: string): Promise<boolean> => (await api.sessions(roomId)).some(({ session_id, archived }) => session_id === id && archived === true);

async function replay(roomId: string, session_id: string): Promise<Comment[]> {
  const comments: Comment[] = [];
  let cursor: string | undefined;
  do {
    const page = await api.replay(roomId, { session_id, limit: 1_000, ...(cursor === undefined ? {} : { cursor }) });
    comments.push(...page.comments);
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return comments;
}

async function segments(roomId: string, session_id: string): Promise<Comment[]> {
  const comments: Comment[] = [];
  for await (const piece of new Recording(api, roomId, session_id).all()) comments.push(...piece);
  return comments;
}

/** Paths that are asked for from now on. */
function listen(): string[] {
  const asked: string[] = [];
  const real = fetch;
  vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
    asked.push(new URL(String(input)).pathname.replace(/.*\/rooms\/[^/]+/, "").replace(/\/sessions\/[^/]+/, "").replace(/(segments\/\d+)\/.*/, "$1"));
    return real(input, init);
  });
  return asked;
}

describe("an archived recording", () => {
  it("is what `replay` says, comment by comment, hot and cold", async () => {
    const r = `recording-${++rooms}`;
    const id = await session(r);
    const hot = await replay(r, id);
    expect(hot).toHaveLength(200);
    expect(await segments(r, id)).toEqual(hot);
    await expect.poll(() => isArchived(r, id), PATIENCE).toBe(true);
    expect(await segments(r, id)).toEqual(hot);
    expect(await replay(r, id)).toEqual(hot);
  });

  it("is watched with one request for six minutes, which any cache may keep", async () => {
    const r = `recording-${++rooms}`;
    const id = await session(r);
    await expect.poll(() => isArchived(r, id), PATIENCE).toBe(true);
    const asked = listen();
    const timeline = new Timeline(new Recording(api, r, id).window);
    const due: Comment[] = [];
    timeline.seek(0);
    for (let ms = 0; ms <= 13 * MINUTE; ms += 1_000) {
      await vi.waitFor(() => expect(timeline.loadedMs).toBeGreaterThan(ms), PATIENCE);
      due.push(...timeline.advance(ms));
    }
    expect(due.length).toBe(1 + Math.floor((13 * MINUTE) / 4_500));
    expect(asked).toEqual(["/segments", "/segments/0", "/segments/1", "/segments/2"]);
    const { segments: [first], is_public } = await readManifest(api, r, id);
    const answer = await fetch(new URL(first?.url ?? "", server.url), { headers: { accept: "application/vnd.barrage.segment.v1" } });
    expect([is_public, answer.headers.get("cache-control"), answer.headers.get("content-type")]).toEqual([true, "public, max-age=31536000, immutable", "application/vnd.barrage.segment.v1"]);
  });

  it("loses what is deleted, also for who holds an older manifest", async () => {
    const r = `recording-${++rooms}`;
    const id = await session(r);
    await expect.poll(() => isArchived(r, id), PATIENCE).toBe(true);
    const recording = new Recording(api, r, id);
    const minute = { from_ms: 0, to_ms: MINUTE };
    const later = { from_ms: 7 * MINUTE, to_ms: 8 * MINUTE };
    const [gone, goneLater] = [(await replay(r, id))[1], (await replay(r, id)).find(({ offset_ms }) => offset_ms >= later.from_ms)];
    expect((await recording.window(minute)).comments.map((comment) => comment.id)).toContain(gone?.id);
    for (const comment of [gone, goneLater]) await api.admin.deleteComment(comment?.id ?? "");
    await expect.poll(async () => (await segments(r, id)).map((comment) => comment.id), PATIENCE).not.toContain(gone?.id);
    // Its manifest names a segment that is there no more.
    expect((await recording.window(later)).comments.map((comment) => comment.id)).not.toContain(goneLater?.id);
    recording.remove([gone?.id ?? ""]);
    expect((await recording.window(minute)).comments.map((comment) => comment.id)).not.toContain(gone?.id);
  });

  it("comes page by page from a session that is not there as segments", async () => {
    const r = `recording-${++rooms}`;
    const id = await session(r);
    const asked = listen();
    vi.spyOn(api, "read").mockRejectedValue(new BarrageError("unavailable", "none", undefined, 503));
    const { comments } = await new Recording(api, r, id).window({ from_ms: 0, to_ms: MINUTE });
    expect(comments).toHaveLength(14);
    expect(asked).toEqual(["/replay"]);
  });
});
