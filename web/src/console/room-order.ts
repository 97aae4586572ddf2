/** The order in which rooms are listed, and whether their id says it all. Pure; used by the console and the rooms page. */
import type { RoomInfo, RoomState } from "@barrage/client";

const standing: Record<RoomState, number> = { live: 0, starting: 1, closing: 2, idle: 3 };

/** Has a name of its own beside its id. */
export const isNamed = (room: RoomInfo): boolean => room.name !== "" && room.name !== room.room_id;

/** Live rooms first, then the most watched, then by name. */
export function sortRooms(rooms: readonly RoomInfo[]): RoomInfo[] {
  return [...rooms].sort(
    (a, b) =>
      standing[a.state] - standing[b.state] || b.viewers - a.viewers || a.room_id.localeCompare(b.room_id, "en"),
  );
}
