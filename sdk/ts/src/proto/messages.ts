/**
 * The messages of `barrage.v1.proto` as those of `barrage.v1.json`, and back. PROTOCOL.md tells how the two differ: ids are
 * numbers, times are milliseconds, a field with its default is absent.
 */
import type { AnyMessage } from "../types.js";
import { decode, encode, enumOf, type Field, fieldsOf, isMessage, type Value } from "./wire.js";

/** JSON leaves these out when they are zero or empty; others are there with their default. */
const ABSENT_WHEN_ZERO = new Set(["count", "omitted", "retry_after_ms", "read_count", "member_count"]);
/** These are there even when empty. */
const PRESENT_WHEN_EMPTY = new Set(["content"]);
/** Milliseconds in JSON too. */
const MILLISECONDS = new Set(["server_time_ms", "offset_ms", "retry_after_ms", "play_at_ms"]);

/** One binary frame of the server. Throws when it is none; undefined for a message that this version does not know. */
export function readFrame(bytes: Uint8Array): AnyMessage | undefined {
  const frame = decode("ServerFrame", bytes);
  const field = fieldsOf("ServerFrame").find(({ group, name }) => group === "message" && frame[name] !== undefined);
  if (!field) return undefined;
  const ref = frame.ref === undefined ? {} : { ref: String(frame.ref) };
  return { ...toJson(field.type, frame[field.name] as Value), type: field.name, ...ref };
}

/** One message of the client. Undefined when the schema has no such message. */
export function writeFrame(message: AnyMessage): Uint8Array | undefined {
  const { type, ref, ...fields } = message;
  const field = fieldsOf("ClientFrame").find(({ name }) => name === type);
  if (!field) return undefined;
  return encode("ClientFrame", { ref: ref === undefined ? 0n : BigInt(ref), [type]: fromJson(field.type, fields) });
}

// ---- to JSON ------------------------------------------------------------------------------------

function toJson(type: string, value: Value): Value {
  if (type === "Event") return eventToJson(value);
  const json: Value = {};
  for (const field of fieldsOf(type)) Object.assign(json, fieldToJson(field, value[field.name]));
  return adjusted(type, json);
}

function adjusted(type: string, json: Value): Value {
  if (type === "Presence") {
    const { online, ...rest } = json;
    return { ...rest, status: online ? "online" : "offline" };
  }
  // The message around comments names their room.
  for (const key of ["comments", "history"]) {
    if (json.room_id !== undefined && Array.isArray(json[key])) json[key] = (json[key] as Value[]).map((comment) => ({ ...comment, room_id: json.room_id }));
  }
  if (type === "CommentDeleted") json.comment_id = (json.comment_ids as string[])[0];
  if (typeof json.until_ms === "number") json.until = new Date(json.until_ms).toISOString();
  if (type === "Pin") json.comment ??= null;
  if (type === "Poll") return stateOf(json, "closed");
  if (type === "Question") return stateOf(json, "answered");
  if (json.kind === "pin") return inRoom(json, json.room_id);
  if (type === "RoomJoined" && json.pin) json.pin = inRoom(json.pin as Value, json.room_id);
  return json;
}

/** A pin whose comment names its room. */
function inRoom(pin: Value, room_id: unknown): Value {
  return pin.comment ? { ...pin, comment: { ...(pin.comment as Value), room_id } } : pin;
}

/** JSON has a word where Protobuf has a flag. */
function stateOf(json: Value, flag: "closed" | "answered"): Value {
  const { [flag]: on, ...rest } = json;
  return { ...rest, state: on ? flag : "open" };
}

/** What happened stands beside when and where. */
function eventToJson(value: Value): Value {
  const kind = fieldsOf("Event").find(({ group, name }) => group === "kind" && value[name] !== undefined);
  const base: Value = {};
  for (const field of fieldsOf("Event")) if (field.group === "") Object.assign(base, fieldToJson(field, value[field.name]));
  if (!base.critical) delete base.critical;
  if (!kind) return { ...base, kind: "unknown" };
  const said = toJson(kind.type, { ...(value[kind.name] as Value) });
  return adjusted("", { ...base, kind: kind.name, ...said });
}

function fieldToJson(field: Field, value: unknown): Value {
  const { name, type, repeated, optional, group } = field;
  if (repeated) return { [name]: ((value ?? []) as unknown[]).map((one) => oneToJson(field, one)) };
  if (value === undefined && (optional || group !== "" || isMessage(type))) return {};
  if (/(^|_)at_ms$|^last_seen_ms$/.test(name) && !MILLISECONDS.has(name)) {
    return value === undefined ? {} : { [name.replace(/_ms$/, "")]: new Date(Number(value)).toISOString() };
  }
  if (value === undefined) return defaultOf(field);
  return { [name]: oneToJson(field, value) };
}

function defaultOf({ name, type }: Field): Value {
  if (type === "string") return PRESENT_WHEN_EMPTY.has(name) ? { [name]: "" } : {};
  if (type === "bool") return { [name]: false };
  const values = enumOf(type);
  if (values) return { [name]: values[0] };
  return isId(name) ? (name === "latest_id" ? { [name]: "0" } : {}) : ABSENT_WHEN_ZERO.has(name) ? {} : { [name]: 0 };
}

function oneToJson({ name, type }: Field, value: unknown): unknown {
  if (isMessage(type)) return toJson(type, value as Value);
  if (type === "string" || type === "bool") return value;
  const values = enumOf(type);
  if (values) return values[Number(value)] ?? values[0];
  if (name === "color") return `#${Number(value).toString(16).padStart(6, "0").toUpperCase()}`;
  return isId(name) ? String(value) : Number(value);
}

function isId(name: string): boolean {
  return name === "id" || name === "reply_to" || name === "uploads" || /_ids?$/.test(name);
}

// ---- from JSON ----------------------------------------------------------------------------------

function fromJson(type: string, json: Value): Value {
  const value: Value = {};
  for (const field of fieldsOf(type)) {
    const given = json[field.name];
    if (given === undefined || given === null) continue;
    value[field.name] = field.repeated ? (given as unknown[]).map((one) => oneFromJson(field, one)) : oneFromJson(field, given);
  }
  return value;
}

function oneFromJson({ name, type }: Field, value: unknown): unknown {
  if (isMessage(type)) return fromJson(type, value as Value);
  const values = enumOf(type);
  if (values) return Math.max(0, values.indexOf(String(value)));
  if (name === "color" && typeof value === "string") return Number.parseInt(value.slice(1), 16);
  return value;
}
