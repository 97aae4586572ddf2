/**
 * The front page: what is on air, a way into any room, and the first lines of a quick start.
 * Reads the server's list of rooms every few seconds, as whoever the address or this tab says is looking.
 */
import { Api, BarrageError, type RoomInfo, type ServerInfo } from "@barrage/client";
import { useState } from "preact/hooks";
import { LanguageSwitch, locale } from "../console/language";
import { usePoll } from "../console/poll";
import { isNamed, sortRooms } from "../console/room-order";
import { chatLink, keepToken, pageIdentity } from "../shared/identity";
import { QuickStart } from "./quick-start";
import { t } from "./strings";

/** Rooms drawn at most; the rest is found by name. */
const maxCards = 200;

export function RoomsPage() {
  const { data, error, reload } = usePoll(look, 4000, "rooms");
  const server = data?.server ?? null;
  return (
    <div class="page">
      <header class="bar">
        <span class="brand">Barrage</span>
        <div class="bar-end">
          <a class="button" href={chatLink()}>{t("messages")}</a>
          <a class="button" href="/admin">{t("console")}</a>
          <LanguageSwitch />
        </div>
      </header>
      <main>
        <p class="tagline">{t("tagline")}</p>
        <Enter dev={server?.dev === true} />
        {error !== null && <p class="notice bad" role="alert">{t("failed")}</p>}
        {data?.refused !== undefined && <Refused error={data.refused} retry={reload} />}
        {data !== null && data.refused === undefined && <RoomList rooms={data.rooms} />}
        <QuickStart dev={server?.dev === true} />
      </main>
    </div>
  );
}

interface Look {
  server: ServerInfo;
  rooms: RoomInfo[];
  /** Why the server keeps the list to itself. */
  refused?: BarrageError;
}

/** What kind of server this is, and its rooms as far as we may see them. */
async function look(): Promise<Look> {
  const server = await new Api().server();
  const api = new Api(pageIdentity(server.dev, (number) => t("guest", { number })));
  try {
    return { server, rooms: sortRooms((await api.call<{ rooms: RoomInfo[] }>("GET", "/rooms")).rooms) };
  } catch (error) {
    if (error instanceof BarrageError && error.code !== "network") return { server, rooms: [], refused: error };
    throw error;
  }
}

/** A room's address; a name given to a --dev server in this page's own address goes along. */
function roomLink(room: string): string {
  const search = new URLSearchParams(location.search).has("user_id") ? location.search : "";
  return `/rooms/${encodeURIComponent(room)}${search}`;
}

/** Without an identity there is no list: a place to paste a token, kept for this tab and its rooms. */
function Refused({ error, retry }: { error: BarrageError; retry: () => void }) {
  const [token, setToken] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    keepToken(token.trim());
    retry();
  };
  if (error.status !== 401) return <p class="notice bad">{t("refused", { why: error.message })}</p>;
  return (
    <form class="card enter" onSubmit={submit}>
      <label for="token">{t("token.label")}</label>
      <div class="row">
        <input id="token" class="grow" type="password" required autocomplete="off" value={token} onInput={(e) => setToken(e.currentTarget.value)} />
        <button type="submit">{t("token.use")}</button>
      </div>
      <small>{t("token.hint")}</small>
    </form>
  );
}

function Enter({ dev }: { dev: boolean }) {
  const [room, setRoom] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    location.assign(roomLink(room.trim()));
  };
  return (
    <form class="enter" onSubmit={submit}>
      <label for="enter">{t("enter.label")}</label>
      <div class="row">
        <input
          id="enter"
          class="grow"
          required
          maxLength={64}
          pattern="\s*[A-Za-z0-9_.:@\-]{1,64}\s*"
          title={t("enter.hint")}
          autocapitalize="off"
          spellcheck={false}
          placeholder={t("enter.placeholder")}
          value={room}
          onInput={(e) => setRoom(e.currentTarget.value)}
        />
        <button type="submit" class="primary">{t("enter")}</button>
      </div>
      <small>{dev ? t("enter.dev") : t("enter.hint")}</small>
    </form>
  );
}

function RoomList({ rooms }: { rooms: RoomInfo[] }) {
  const shown = rooms.slice(0, maxCards);
  const live = shown.filter((room) => room.state !== "idle");
  const others = shown.filter((room) => room.state === "idle");
  if (rooms.length === 0) return <p class="notice">{t("none")}</p>;
  return (
    <>
      <h2>{t("live")}</h2>
      {live.length === 0 ? <p class="notice">{t("none.live")}</p> : <Cards rooms={live} />}
      {others.length > 0 && <h2>{t("others")}</h2>}
      {others.length > 0 && <Cards rooms={others} />}
      {rooms.length > maxCards && <p class="notice">{t("more", { n: rooms.length - maxCards })}</p>}
    </>
  );
}

function Cards({ rooms }: { rooms: RoomInfo[] }) {
  return (
    <ul class="cards">
      {rooms.map((room) => (
        <li key={room.room_id}>
          <a class="card" href={roomLink(room.room_id)}>
            <strong>{isNamed(room) ? room.name : room.room_id}</strong>
            {isNamed(room) && <span class="dim mono">{room.room_id}</span>}
            <span class="pills">
              <span class={`pill ${room.state}`}>{t(`state.${room.state}`)}</span>
              {!room.accepts_comments && <span class="pill">{t("silent")}</span>}
              <span class="dim">{t("viewers", { n: room.viewers.toLocaleString(locale.value) })}</span>
            </span>
          </a>
        </li>
      ))}
    </ul>
  );
}
