/** The one button that opens a room or closes it. Used in the list of rooms and on a room's desk. */
import { useState } from "preact/hooks";
import { closeRoom, openRoom, type Room } from "./api";
import { t } from "./i18n";
import { attempt } from "./toast";

export function OpenClose({ room, changed }: { room: Room; changed: () => void }) {
  const [busy, setBusy] = useState(false);
  const on = room.state === "live" || room.state === "starting";
  const toggle = async () => {
    setBusy(true);
    const change = on ? closeRoom : openRoom;
    await attempt(() => change(room.room_id), t(on ? "rooms.closed" : "rooms.opened"));
    setBusy(false);
    changed();
  };
  return (
    <button type="button" class={on ? "warn" : "good"} disabled={busy} onClick={() => void toggle()}>
      {t(on ? "rooms.close" : "rooms.open")}
    </button>
  );
}
