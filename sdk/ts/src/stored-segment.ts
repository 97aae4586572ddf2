/**
 * The stored form of a session's segment, version 1: six minutes of comments in columns, as `docs/archive.md` lays them out.
 * Called by `Api`, which has fetched the bytes; the browser has undone their compression. Nothing is taken on trust: whatever
 * does not fit is a `RangeError`, or a `TypeError` where text is not UTF-8.
 */
import type { Comment, CommentMode, CommentSize, CommentStyle, Id, Level } from "./types.js";

/** One content of six minutes of a session. */
export interface Segment {
  session_id: Id;
  n: number;
  from_ms: number;
  /** Excluded. */
  to_ms: number;
  count: number;
  /** By `offset_ms`. */
  comments: Comment[];
}

interface Person {
  user_id: string;
  username: string;
  level: Level;
}

interface Look {
  style: CommentStyle;
  kind: string;
}

const MAGIC = 0x42534547; // BSEG
const HEAD_BYTES = 10;
const COLUMNS = 13;
const WHOLE_SECONDS = 1;
const IDS_BY_TIME = 2;
const NAMED = 0x80;
const LOW_BITS = 22n;
const LOW_MASK = (1n << LOW_BITS) - 1n;
/** Ids count milliseconds from here. */
const EPOCH_MS = Date.UTC(2024, 0, 1);
const SEGMENT_MS = 360_000;
const LEVELS: readonly Level[] = ["normal", "vip", "owner", "moderator", "admin"];
const MODES: readonly CommentMode[] = ["scroll", "top", "bottom"];
const SIZES: readonly CommentSize[] = ["small", "normal", "large"];
const KINDS = ["comment", "imported", "recorded"] as const;

export function decodeSegment(bytes: Uint8Array): Segment {
  if (bytes.length < HEAD_BYTES) throw new RangeError("no segment");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) !== MAGIC || view.getUint8(4) !== 1) throw new RangeError("no segment of version 1");
  const flags = view.getUint8(5);
  const body = new Reader(bytes.subarray(HEAD_BYTES));
  if (flags > (WHOLE_SECONDS | IDS_BY_TIME) || crc32(body.rest) !== view.getUint32(6)) throw new RangeError("a damaged segment");
  const room_id = body.text();
  const session_id = String(body.big());
  const n = body.number();
  const count = body.number();
  const columns = Array.from({ length: COLUMNS }, () => new Reader(body.take(body.number())));
  const comments = [...rows(columns as Columns, count, flags)].map((row): Comment => ({ ...row, room_id, session_id }));
  if (!body.done || columns.some(({ done }) => !done)) throw new RangeError("a segment that is too long");
  const from_ms = n * SEGMENT_MS;
  if (comments.some(({ offset_ms }) => offset_ms < from_ms || offset_ms >= from_ms + SEGMENT_MS)) throw new RangeError("a comment of another segment");
  // Rows are in the order of ids, which sorting keeps among equals.
  comments.sort((a, b) => a.offset_ms - b.offset_ms);
  return { session_id, n, from_ms, to_ms: from_ms + SEGMENT_MS, count, comments };
}

type Columns = [Reader, Reader, Reader, Reader, Reader, Reader, Reader, Reader, Reader, Reader, Reader, Reader, Reader];

function* rows(columns: Columns, count: number, flags: number): Generator<Omit<Comment, "room_id" | "session_id">> {
  const [times, low, offsets, created, people, speakers, looks, styles, lengths, texts, positions, likes, mentions] = columns;
  const [persons, known] = [readPeople(people), readLooks(looks)];
  const hasPositions = !positions.done;
  let nextLike = likes.row();
  let nextMentions = mentions.row();
  let id = 0n;
  let offset_ms = 0;
  let made = 0;
  for (let row = 0; row < count; row++) {
    const time = times.signed();
    offset_ms += offsets.signed();
    made += created.signed();
    const createdMs = flags & WHOLE_SECONDS ? made * 1_000 : made + offset_ms;
    const ms = flags & IDS_BY_TIME ? BigInt(createdMs - time - EPOCH_MS) : (id >> LOW_BITS) + BigInt(time);
    const next = (ms << LOW_BITS) | ((low.big() ^ id) & LOW_MASK);
    if (next <= id) throw new RangeError("ids out of order");
    id = next;
    if (hasPositions) positions.big();
    const person = entry(persons, speakers);
    const { style, kind } = entry(known, styles);
    const content = texts.string(lengths.number());
    let like_count = 0;
    if (nextLike === row) {
      like_count = likes.number();
      nextLike = likes.row();
    }
    let mentioned: string[] = [];
    if (nextMentions === row) {
      mentioned = mentions.list();
      nextMentions = mentions.row();
    }
    yield {
      id: String(id), ...person, content, style: { ...style }, kind, ...(mentioned.length > 0 ? { mentions: mentioned } : {}),
      created_at: new Date(createdMs).toISOString(), offset_ms, like_count,
    };
  }
}

function readPeople(entries: Reader): Person[] {
  const people: Person[] = [];
  while (!entries.done) {
    const user_id = entries.text();
    const first = entries.byte();
    people.push({ user_id, username: first & NAMED ? entries.text() : user_id, level: at(LEVELS, first & ~NAMED) });
  }
  return people;
}

function readLooks(entries: Reader): Look[] {
  const looks: Look[] = [];
  while (!entries.done) {
    const [mode, size, kind] = [at(MODES, entries.byte()), at(SIZES, entries.byte()), at(KINDS, entries.byte())];
    const color = `#${entries.number().toString(16).toUpperCase().padStart(6, "0")}`;
    looks.push({ style: { mode, color, size }, kind });
  }
  return looks;
}

function entry<T>(table: readonly T[], numbers: Reader): T {
  return at(table, numbers.number());
}

function at<T>(table: readonly T[], index: number): T {
  const found = table[index];
  if (found === undefined) throw new RangeError("an entry that is not there");
  return found;
}

/** Bytes yet to be read. */
class Reader {
  #at = 0;
  static readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  constructor(private readonly bytes: Uint8Array) {}

  get done(): boolean {
    return this.#at >= this.bytes.length;
  }

  get rest(): Uint8Array {
    return this.bytes.subarray(this.#at);
  }

  byte(): number {
    const byte = this.bytes[this.#at++];
    if (byte === undefined) throw new RangeError("cut off");
    return byte;
  }

  /** A varint that a number holds exactly. */
  number(): number {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 49; scale *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
    }
    throw new RangeError("a number too large");
  }

  /** A varint of up to 64 bits. */
  big(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError("a number too large");
  }

  signed(): number {
    const zigzag = this.number();
    return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.#at) throw new RangeError("cut off");
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }

  string(length: number): string {
    return Reader.#utf8.decode(this.take(length));
  }

  text(): string {
    return this.string(this.number());
  }

  /** The next row of a column that has something for a few rows only. */
  row(): number | undefined {
    return this.done ? undefined : this.number();
  }

  list(): string[] {
    const length = this.number();
    if (length > this.bytes.length) throw new RangeError("cut off");
    return Array.from({ length }, () => this.text());
  }
}

/** CRC-32 as in Ethernet, zip and PNG. */
function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] ?? 0);
  return ~crc >>> 0;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
