import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readFrame, writeFrame } from "../src/proto/index.js";
import { decode, encode } from "../src/proto/wire.js";
import { schemaText } from "../scripts/proto.mjs";

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");
const server = (fields: Record<string, unknown>): Uint8Array => encode("ServerFrame", fields);

describe("Protobuf", () => {
  it("has the fields of the schema: run `npm run proto -w sdk/ts` when this fails", () => {
    expect(readFileSync(new URL("../src/proto/schema.ts", import.meta.url), "utf8")).toBe(schemaText());
  });

  it("writes a comment byte by byte as the encoding says", () => {
    // ref 5 | comment, 19 bytes { room_id "r" | content "hi" | style, 7 bytes { mode 1 | color 0xFF0000 } | mentions "u" }
    expect(hex(writeFrame({ type: "comment", ref: "5", room_id: "r", content: "hi", style: { mode: "top", color: "#FF0000" }, mentions: ["u"] }))).toBe(
      ["0805", "1213", "0a0172", "12026869", "2207", "0801", "108080fc07", "2a0175"].join(""),
    );
  });

  it("keeps zero where it differs from absent", () => {
    expect(decode("ClientFrame", writeFrame({ type: "join_room", room_id: "r", max_per_s: 0, since_id: "9223372036854775807" }) as Uint8Array)).toEqual({
      join_room: { room_id: "r", max_per_s: 0n, since_id: 9223372036854775807n },
    });
  });

  it("reads a batch as JSON has it", () => {
    const comment = { id: 385782162286182400n, user_id: "u", username: "U", content: "hi", created_at_ms: 1_700_000_000_123n, style: { mode: 1n, color: 0x12ab34n }, level: 1n };
    expect(readFrame(server({ comments: { room_id: "r", comments: [comment] } }))).toEqual({
      type: "comments", room_id: "r",
      comments: [{
        id: "385782162286182400", room_id: "r", user_id: "u", username: "U", content: "hi", created_at: "2023-11-14T22:13:20.123Z", offset_ms: 0,
        level: "vip", style: { mode: "top", color: "#12AB34", size: "normal" }, kind: "comment", mentions: [], like_count: 0,
      }],
    });
  });

  it("reads answers, errors and events", () => {
    expect(readFrame(server({ ref: 7n, error: { code: "rate_limited", message: "slow", retry_after_ms: 900n } }))).toEqual({ type: "error", ref: "7", code: "rate_limited", message: "slow", retry_after_ms: 900 });
    expect(readFrame(server({ event: { event_id: 3n, room_id: "r", critical: true, comment_deleted: { comment_ids: [1n, 2n] } } }))).toEqual({
      type: "event", event_id: "3", room_id: "r", critical: true, kind: "comment_deleted", comment_id: "1", comment_ids: ["1", "2"],
    });
    expect(readFrame(server({ event: { event_id: 4n } }))).toMatchObject({ kind: "unknown" });
    expect(readFrame(server({ presence: { user_id: "u", online: true } }))).toEqual({ type: "presence", user_id: "u", status: "online" });
  });

  it("reads pins, polls, questions and combos as JSON has them", () => {
    const event = (kind: string, fields: Record<string, unknown>) => readFrame(server({ event: { event_id: 5n, room_id: "r", [kind]: fields } }));
    expect(event("pin", { comment: { id: 1n, user_id: "u", username: "U", content: "hi" }, until_ms: 1_700_000_000_123n })).toMatchObject({
      kind: "pin", comment: { id: "1", room_id: "r", content: "hi" }, until: "2023-11-14T22:13:20.123Z",
    });
    expect(event("pin", {})).toMatchObject({ kind: "pin", comment: null });
    const options = [{ text: "red", votes: 2n }, { text: "blue" }];
    const poll = { poll_id: "7", question: "Who?", options: [{ text: "red", votes: 2 }, { text: "blue", votes: 0 }], ends_at: "2023-11-14T22:13:20.123Z" };
    expect(event("poll", { poll_id: 7n, question: "Who?", options, ends_at_ms: 1_700_000_000_123n })).toEqual({ type: "event", event_id: "5", room_id: "r", kind: "poll", state: "open", ...poll });
    expect(event("poll", { poll_id: 7n, question: "Who?", options, closed: true, ends_at_ms: 1_700_000_000_123n })).toMatchObject({ state: "closed", ...poll });
    expect(event("question", { question_id: 9n, user_id: "u", username: "U", content: "why?", upvotes: 3n, answered: true })).toEqual({
      type: "event", event_id: "5", room_id: "r", kind: "question", question_id: "9", user_id: "u", username: "U", content: "why?", upvotes: 3, state: "answered",
    });
    expect(event("combo", { user_id: "u", gift: "rocket", count: 6n, until_ms: 1_700_000_000_123n })).toMatchObject({ kind: "combo", gift: "rocket", count: 6, until: "2023-11-14T22:13:20.123Z" });
    const comment = { id: 1n, user_id: "u", username: "U", content: "back" };
    expect(event("comments_restored", { comments: [comment] })).toMatchObject({ kind: "comments_restored", comments: [{ id: "1", content: "back" }] });
  });

  it("skips fields it does not know and refuses what is cut off", () => {
    const known = server({ heartbeat_ack: { server_time_ms: 5n } });
    expect(readFrame(new Uint8Array([...known, 0xf8, 0x07, 0x01]))).toEqual({ type: "heartbeat_ack", server_time_ms: 5 });
    for (let length = 1; length < known.length; length++) expect(() => readFrame(known.subarray(0, length))).toThrow(RangeError);
    expect(writeFrame({ type: "from_the_future" })).toBeUndefined();
  });
});
