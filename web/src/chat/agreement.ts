/**
 * Whether a conversation is encrypted: agreed by what was said in it, so that both people and all their devices come
 * to the same answer without the server's help. Pure.
 *
 * An encrypted message turns encryption on for whoever reads it. Only an encrypted "turn it off" turns it off: a
 * server that slips in a plain message changes nothing.
 */
import { compareIds, type Id } from "@barrage/client";
import type { SealedBody } from "./sealed-body";

export interface Agreement {
  sealed: boolean;
  /** The message that decided it; older ones decide nothing any more. */
  at: Id;
  /** The message that turned it on: plain messages after it stand out. */
  since?: Id;
}

/** An encrypted message as this device could read it; `body` is absent when it could not. */
export interface Heard {
  id: Id;
  body?: SealedBody | undefined;
}

/** The agreement after one more encrypted message. */
export function agree(before: Agreement | undefined, { id, body }: Heard): Agreement | undefined {
  if (before && compareIds(id, before.at) <= 0) return before;
  // What was written for other devices proves that the conversation is encrypted, but not that this was not ended since.
  if (!body) return before ?? { sealed: true, at: "0", since: id };
  if (body.kind === "setting" && !body.sealed) return { sealed: false, at: id };
  return { sealed: true, at: id, since: before?.sealed ? (before.since ?? before.at) : id };
}
