/** The stored form of segments, from bytes that a server wrote. */
import { describe, expect, it } from "vitest";
import { decodeSegment, type Segment } from "../src/recording.js";

const bytesOf = (base64: string): Uint8Array => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

/** Imported, in the second six minutes: its creation time is in whole seconds. */
const IMPORTED = "QlNFRwEBU2/HcQRoYWxsgICA5PGKuq0FAQEG5vGKuq0FAQADgOowBaCjm/wMAwF4AAEABAIAAQEBAAEfH2ltcG9ydGVkLCBpbiB0aGUgc2Vjb25kIHNlZ21lbnQAAAA=";
/** Said live: ids near their creation times, a like, a mention, places in the log. */
const LIVE = "QlNFRwECsOwO8gRoYWxsgICAlu+Kuq0FAAMDAAAAAwAAAASqAUI0CJa/mt/FaAAAFwNhbm6BA0FubgNib2IDA2V2ZYADRXZlAwABAg4BAgCAmP8HAAEA////BwMAAQEDDAkFGmhlbGxvIOS4lueVjEBBbm4g8J+QiXRoaXJkAwYCBAIBAQYBAQNhbm4=";

const plain = { mode: "scroll", color: "#FFFFFF", size: "normal" } as const;
const live: Segment = {
  session_id: "385876178231099392", n: 0, from_ms: 0, to_ms: 360_000, count: 3,
  comments: [
    { id: "385876178587615232", user_id: "ann", username: "Ann", level: "vip", content: "hello 世界", style: { mode: "top", color: "#FFCC00", size: "large" }, created_at: "2026-11-30T19:34:10.208Z", offset_ms: 85, like_count: 0 },
    { id: "385876178726027264", user_id: "bob", username: "bob", level: "moderator", content: "@Ann 🐉", style: plain, mentions: ["ann"], created_at: "2026-11-30T19:34:10.241Z", offset_ms: 118, like_count: 1 },
    { id: "385876178835079168", user_id: "eve", username: "Eve", level: "normal", content: "third", style: plain, created_at: "2026-11-30T19:34:10.267Z", offset_ms: 144, like_count: 0 },
  ].map((comment) => ({ room_id: "hall", session_id: "385876178231099392", kind: "comment", ...comment }) as Segment["comments"][number]),
};

describe("a stored segment", () => {
  it("holds what was said, with ids, times, styles, likes and mentions", () => {
    expect(decodeSegment(bytesOf(LIVE))).toEqual(live);
    expect(decodeSegment(bytesOf(IMPORTED))).toMatchObject({
      n: 1, from_ms: 360_000, to_ms: 720_000, count: 1,
      comments: [{ id: "385876178935742464", user_id: "x", username: "x", content: "imported, in the second segment", style: { mode: "bottom", color: "#000001", size: "small" }, kind: "imported", created_at: "2025-03-01T20:06:40.000Z", offset_ms: 400_000 }],
    });
  });

  it("is refused when it is cut, longer, changed, or something else", () => {
    const bytes = bytesOf(LIVE);
    for (let length = 0; length < bytes.length; length++) expect(() => decodeSegment(bytes.subarray(0, length)), `${length} bytes`).toThrow(RangeError);
    expect(() => decodeSegment(new Uint8Array([...bytes, 0]))).toThrow(RangeError);
    for (let at = 0; at < bytes.length; at++) {
      const other = bytes.slice();
      other[at] = (other[at] ?? 0) ^ 0x10;
      expect(() => decodeSegment(other), `byte ${at}`).toThrow(RangeError);
    }
    expect(() => decodeSegment(new TextEncoder().encode('{"comments":[]}'))).toThrow(RangeError);
  });

  it("throws nothing but RangeError or TypeError at whatever passes the checksum", () => {
    // A wrong sum is caught first, so the body is changed and the sum made right again.
    let seed = 7;
    const random = (below: number): number => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) % below;
    for (let round = 0; round < 3_000; round++) {
      const bytes = bytesOf(round % 2 ? LIVE : IMPORTED);
      for (let change = 0; change < 1 + random(3); change++) bytes[10 + random(bytes.length - 10)] = random(256);
      new DataView(bytes.buffer).setUint32(6, crc32(bytes.subarray(10)));
      try {
        decodeSegment(bytes);
      } catch (error) {
        if (!(error instanceof RangeError) && !(error instanceof TypeError)) throw error;
      }
    }
  });
});

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
