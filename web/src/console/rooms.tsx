/** The rooms: which are on, how busy they are, and the way to each one's page and settings. */
import { useState } from "preact/hooks";
import { listRooms, type Room } from "./api";
import { t } from "./i18n";
import { OpenClose } from "./open-close";
import { usePace } from "./pace";
import { usePoll } from "./poll";
import { isNamed, sortRooms } from "./room-order";
import { roomOf, settingsOf } from "./route";
import { scope } from "./session";
import { number } from "./time";
import { Field, Listing, maxRows, Modal, Section } from "./ui";

/** Live rooms whose pace is looked at; the list has the busiest first. */
const maxWatched = 12;

export function Rooms() {
  const polled = usePoll(listRooms, 3000, "rooms");
  const [filter, setFilter] = useState("");
  const [adding, setAdding] = useState(false);
  const rooms = mine(polled.data ?? []).filter((room) => matches(room, filter));
  return (
    <Section
      title={t("section.rooms")}
      tools={
        <>
          <input
            type="search"
            class="grow"
            placeholder={t("rooms.find")}
            aria-label={t("rooms.find")}
            value={filter}
            onInput={(e) => setFilter(e.currentTarget.value)}
          />
          <button type="button" class="primary" onClick={() => setAdding(true)}>
            {t("rooms.new")}
          </button>
        </>
      }
    >
      <Listing loaded={polled.data !== null} error={polled.error} count={rooms.length} empty={t("rooms.empty")}>
        <ul class="rows">
          {rooms.slice(0, maxRows).map((room, index) => (
            <RoomRow
              key={room.room_id}
              room={room}
              watched={index < maxWatched && room.state === "live"}
              changed={polled.reload}
            />
          ))}
        </ul>
      </Listing>
      {adding && <NewRoom onClose={() => setAdding(false)} />}
    </Section>
  );
}

/** A moderator sees the rooms of the token and those they own. */
function mine(rooms: Room[]): Room[] {
  const { everything, rooms: named, userId } = scope.value;
  const own = rooms.filter((room) => everything || named.includes(room.room_id) || room.owner_id === userId);
  return sortRooms(own);
}

function matches(room: Room, filter: string): boolean {
  const wanted = filter.trim().toLowerCase();
  return room.room_id.toLowerCase().includes(wanted) || room.name.toLowerCase().includes(wanted);
}

function RoomRow(props: { room: Room; watched: boolean; changed: () => void }) {
  const { room, watched, changed } = props;
  return (
    <li class="row room" data-room={room.room_id}>
      <a class="row-main" href={roomOf(room.room_id)}>
        <strong>{isNamed(room) ? room.name : room.room_id}</strong>
        {isNamed(room) && <span class="dim mono">{room.room_id}</span>}
      </a>
      <StatePill room={room} />
      <span class="figure">
        <b>{number(room.viewers)}</b> <span class="dim">{t("viewers")}</span>
      </span>
      {watched && <RoomPace room={room.room_id} />}
      <span class="actions">
        <a class="button" href={settingsOf(room.room_id)}>
          {t("settings")}
        </a>
        <OpenClose room={room} changed={changed} />
      </span>
    </li>
  );
}

function RoomPace({ room }: { room: string }) {
  const pace = usePace(room);
  if (pace === null) return null;
  return (
    <span class="figure">
      <b>{pace.atLeast ? "≥ " : ""}{number(Math.round(pace.perSecond * 10) / 10)}</b> <span class="dim">{t("rooms.pace")}</span>
    </span>
  );
}

export function StatePill({ room }: { room: Room }) {
  return (
    <span class="pills">
      <span class={`pill ${room.state}`}>{t(`state.${room.state}`)}</span>
      {!room.accepts_comments && <span class="pill">{t("rooms.silent")}</span>}
    </span>
  );
}

/** Asks for the new room's id; its settings page makes it. */
function NewRoom({ onClose }: { onClose: () => void }) {
  const [id, setId] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    onClose();
    location.hash = settingsOf(id.trim());
  };
  return (
    <Modal title={t("rooms.new")} onClose={onClose}>
      <form onSubmit={submit}>
        <Field label={t("rooms.id")} hint={t("rooms.id.hint")}>
          {(field) => (
            <input
              id={field}
              required
              autofocus
              maxLength={64}
              pattern="[A-Za-z0-9_.:@\-]{1,64}"
              value={id}
              onInput={(e) => setId(e.currentTarget.value)}
            />
          )}
        </Field>
        <div class="row end">
          <button type="button" onClick={onClose}>
            {t("cancel")}
          </button>
          <button type="submit" class="primary">
            {t("next")}
          </button>
        </div>
      </form>
    </Modal>
  );
}
