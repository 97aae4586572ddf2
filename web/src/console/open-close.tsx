/** The one button that opens a room, or closes it after asking. Used in the list of rooms and on a room's page. */
import { useState } from "preact/hooks";
import { closeRoom, openRoom, type Room } from "./api";
import { t } from "./i18n";
import { isNamed } from "./room-order";
import { number } from "./time";
import { attempt } from "./toast";
import { Confirm } from "./ui";

export function OpenClose({ room, changed }: { room: Room; changed: () => void }) {
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const on = room.state === "live" || room.state === "starting";
  const toggle = async () => {
    setBusy(true);
    const change = on ? closeRoom : openRoom;
    await attempt(() => change(room.room_id), t(on ? "rooms.closed" : "rooms.opened"));
    setBusy(false);
    changed();
  };
  // Not `disabled`: that would take the focus away from the button.
  const press = () => {
    if (busy) return;
    if (on) setAsking(true);
    else void toggle();
  };
  return (
    <>
      <button type="button" class={on ? "warn" : "good"} aria-disabled={busy} onClick={press}>
        {t(on ? "rooms.close" : "rooms.open")}
      </button>
      {asking && (
        <Confirm
          title={t("rooms.close.sure", { room: isNamed(room) ? room.name : room.room_id })}
          text={t("rooms.close.what", { n: number(room.viewers) })}
          action={t("rooms.close")}
          onYes={toggle}
          onClose={() => setAsking(false)}
        />
      )}
    </>
  );
}
