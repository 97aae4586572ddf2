/** Close codes and error codes of the protocol, and the one error class this package throws. */

/** WebSocket close codes a Barrage server uses beside the standard ones. */
export const CloseCode = {
  MessageTooBig: 1009,
  /** The server drains; the close reason is a delay in milliseconds to wait before reconnecting. */
  Reconnect: 1012,
  Unauthorized: 4001,
  Banned: 4003,
  TooSlow: 4008,
  /** The same device connected again elsewhere; reconnecting would only throw that one out. */
  Replaced: 4009,
  TooManyProtocolErrors: 4010,
} as const;

const FATAL: ReadonlySet<number> = new Set([
  CloseCode.Unauthorized,
  CloseCode.Banned,
  CloseCode.Replaced,
  CloseCode.TooManyProtocolErrors,
]);

/** True when reconnecting by itself cannot help. */
export function isFatalClose(code: number): boolean {
  return FATAL.has(code);
}

/** Codes the server puts into `error` messages and HTTP error bodies. */
export type ServerErrorCode =
  | "invalid_request"
  | "unauthorized"
  | "forbidden"
  | "banned"
  | "muted"
  | "room_closed"
  | "not_found"
  | "already_liked"
  | "already_voted"
  | "claimed"
  | "content_empty"
  | "content_too_long"
  | "content_blocked"
  | "rate_limited"
  | "duplicate_comment"
  | "too_late"
  | "group_full"
  | "overloaded"
  | "unavailable";

/** Codes made on this side of the wire. */
export type LocalErrorCode = "timeout" | "disconnected" | "closed" | "network" | "damaged" | "outbox_full";

/** A newer server may send codes this version does not know, so any string is possible. */
export type ErrorCode = ServerErrorCode | LocalErrorCode | (string & {});

/** The only error this package throws or rejects with. */
export class BarrageError extends Error {
  override readonly name = "BarrageError";

  constructor(
    readonly code: ErrorCode,
    message: string,
    /** How long to wait before the same request may succeed. */
    readonly retryAfterMs?: number,
    /** HTTP status, when the answer came over HTTP. */
    readonly status?: number,
    /** What refused, where a rule of the room did: a key of its `moderation`, or `words`, `hook`, `classifier`, … */
    readonly rule?: string,
  ) {
    super(message);
  }
}

const PASSING: ReadonlySet<string> = new Set(["overloaded", "unavailable", "timeout", "rate_limited", "network"]);

/** True when the same request may well succeed a little later. */
export function isPassing({ code }: BarrageError): boolean {
  return PASSING.has(code);
}
