/**
 * What a key may moderate, as far as it says so itself. Pure. Read only to choose what to show:
 * the server alone decides what is allowed.
 */
import { claimsOf } from "../shared/token";

export interface Scope {
  /** May see every room and the deployment's own lists. */
  everything: boolean;
  /** Rooms a moderator's token names. */
  rooms: string[];
  /** The token's user, who may also moderate the rooms they own. */
  userId: string | null;
}

/** An admin key or level `admin` sees everything; any other token its own rooms. */
export function scopeOf(key: string): Scope {
  const claims = claimsOf(key);
  if (claims === null || claims.level === "admin") return { everything: true, rooms: [], userId: claims?.sub ?? null };
  const rooms = Array.isArray(claims.rooms) ? claims.rooms.filter((room) => typeof room === "string") : [];
  return { everything: false, rooms, userId: claims.sub ?? null };
}

/** True for a token (rather than the admin key): only tokens are an identity on a socket. */
export const isToken = (key: string): boolean => claimsOf(key) !== null;

/** True for a token whose level makes its holder a moderator wherever it is valid. */
export const isModerators = (key: string): boolean => ["moderator", "admin"].includes(claimsOf(key)?.level ?? "");
