/**
 * Protobuf by a table of fields (https://protobuf.dev/programming-guides/encoding): objects with the schema's own names in and
 * out, 64-bit numbers as bigints. Knows nothing of what the messages mean. Unknown fields are skipped.
 */
import { ENUMS, MESSAGES } from "./schema.js";

export interface Field {
  number: number;
  name: string;
  type: string;
  repeated: boolean;
  optional: boolean;
  /** Name of its oneof, or "". */
  group: string;
}

export type Value = Record<string, unknown>;

const VARINT = 0;
const FIXED64 = 1;
const LENGTH = 2;
const FIXED32 = 5;
/** Messages inside messages; the schema needs four. */
const DEPTH_MAX = 8;

const tables = new Map<string, Field[]>();

export function fieldsOf(message: string): Field[] {
  const known = tables.get(message);
  if (known) return known;
  const fields = (MESSAGES[message] ?? "").split(",").filter((text) => text !== "").map((text) => {
    const [, number, name, type, mark = "", group = ""] = /^(\d+) (\w+) (\w+)([*?]?)(?:@(\w+))?$/.exec(text) ?? [];
    return { number: Number(number), name: name ?? "", type: type ?? "", repeated: mark === "*", optional: mark === "?", group };
  });
  tables.set(message, fields);
  return fields;
}

export function enumOf(type: string): string[] | undefined {
  return ENUMS[type]?.split(",");
}

export function isMessage(type: string): boolean {
  return type in MESSAGES;
}

// ---- reading ------------------------------------------------------------------------------------

/** Throws when the bytes are cut off or no message. */
export function decode(message: string, bytes: Uint8Array, depth = 0): Value {
  if (depth > DEPTH_MAX) throw new RangeError("too deep");
  const reader = new Reader(bytes);
  const value: Value = {};
  const fields = fieldsOf(message);
  while (!reader.done) {
    const tag = Number(reader.varint());
    const field = fields.find(({ number }) => number === tag >> 3);
    if (!field) reader.skip(tag & 7);
    else readField(field, tag & 7, reader, value, depth);
  }
  return value;
}

function readField(field: Field, wire: number, reader: Reader, value: Value, depth: number): void {
  // Repeated numbers come packed, or one by one.
  if (field.repeated && wire === LENGTH && !isMessage(field.type) && field.type !== "string") {
    const packed = new Reader(reader.bytes());
    const list = (value[field.name] ??= []) as unknown[];
    while (!packed.done) list.push(packed.scalar(field.type));
    return;
  }
  const read = isMessage(field.type) ? decode(field.type, reader.bytes(), depth + 1) : reader.scalar(field.type);
  if (field.repeated) ((value[field.name] ??= []) as unknown[]).push(read);
  else value[field.name] = read;
}

class Reader {
  readonly #view: DataView;
  #at = 0;

  constructor(private readonly data: Uint8Array) {
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  get done(): boolean {
    return this.#at >= this.data.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#view.getUint8(this.#at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new RangeError("a varint too long");
  }

  bytes(): Uint8Array {
    const length = Number(this.varint());
    if (length > this.data.length - this.#at) throw new RangeError("cut off");
    this.#at += length;
    return this.data.subarray(this.#at - length, this.#at);
  }

  scalar(type: string): unknown {
    switch (type) {
      case "string":
        return new TextDecoder().decode(this.bytes());
      case "bool":
        return this.varint() !== 0n;
      case "fixed64":
        this.#at += 8;
        return this.#view.getBigUint64(this.#at - 8, true);
      case "int64":
        return BigInt.asIntN(64, this.varint());
      default:
        return this.varint();
    }
  }

  skip(wire: number): void {
    if (wire === VARINT) this.varint();
    else if (wire === FIXED64) this.#at += 8;
    else if (wire === LENGTH) this.bytes();
    else if (wire === FIXED32) this.#at += 4;
    else throw new RangeError("an unknown wire type");
    if (this.#at > this.data.length) throw new RangeError("cut off");
  }
}

// ---- writing ------------------------------------------------------------------------------------

export function encode(message: string, value: Value): Uint8Array {
  const writer = new Writer();
  for (const field of fieldsOf(message)) {
    const given = value[field.name];
    if (given === undefined || given === null) continue;
    for (const one of field.repeated ? (given as unknown[]) : [given]) writeField(field, one, writer);
  }
  return writer.finish();
}

function writeField(field: Field, value: unknown, writer: Writer): void {
  const { number, type, repeated, optional } = field;
  if (isMessage(type)) return writer.bytes(number, encode(type, value as Value));
  if (type === "string") return value === "" && !repeated && !optional ? undefined : writer.bytes(number, new TextEncoder().encode(String(value)));
  const scalar = typeof value === "boolean" ? BigInt(value) : BigInt(value as bigint | number | string);
  if (scalar === 0n && !repeated && !optional) return;
  if (type === "fixed64") writer.fixed64(number, scalar);
  else writer.varint(number, scalar);
}

class Writer {
  #data = new Uint8Array(64);
  #length = 0;

  varint(number: number, value: bigint): void {
    this.#tag(number, VARINT);
    this.#number(BigInt.asUintN(64, value));
  }

  fixed64(number: number, value: bigint): void {
    this.#tag(number, FIXED64);
    this.#room(8);
    new DataView(this.#data.buffer).setBigUint64(this.#length, BigInt.asUintN(64, value), true);
    this.#length += 8;
  }

  bytes(number: number, bytes: Uint8Array): void {
    this.#tag(number, LENGTH);
    this.#number(BigInt(bytes.length));
    this.#room(bytes.length);
    this.#data.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  finish(): Uint8Array {
    return this.#data.slice(0, this.#length);
  }

  #tag(number: number, wire: number): void {
    this.#number(BigInt((number << 3) | wire));
  }

  #number(value: bigint): void {
    this.#room(10);
    for (; value > 0x7fn; value >>= 7n) this.#data[this.#length++] = Number(value & 0x7fn) | 0x80;
    this.#data[this.#length++] = Number(value);
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#data.length) return;
    const larger = new Uint8Array(Math.max(this.#data.length * 2, this.#length + bytes));
    larger.set(this.#data);
    this.#data = larger;
  }
}
