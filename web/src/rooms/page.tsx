/**
 * The front page: what is on air, a way into any room, and the first lines of a quick start.
 * Reads the server's list of rooms every few seconds, as whoever the address or this tab says is looking.
 */
import { Api, BarrageError, type RoomInfo, type ServerInfo, type Session } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { LanguageSwitch, locale } from "../console/language";
import { usePoll } from "../console/poll";
import { isNamed, sortRooms } from "../console/room-order";
import { chatLink, keepToken, onTokenChanged, type PageIdentity, pageIdentity } from "../shared/identity";
import { QuickStart } from "./quick-start";
import { t } from "./strings";

/** Rooms drawn at most; the rest is found by name. */
const maxCards = 200;
/** Rooms whose recordings are looked up; those further down show theirs once they are entered. */
const maxLookups = 24;

export function RoomsPage() {
  const { data, error, reload } = usePoll(look, 4000, "rooms");
  const server = data?.server ?? null;
  useEffect(() => onTokenChanged(reload), [reload]);
  return (
    <div class="page">
      <header class="bar">
        <span class="brand">Barrage</span>
        <div class="bar-end">
          <a class="button" href={chatLink()}>{t("messages")}</a>
          <a class="button" href="/admin">{t("console")}</a>
          <LanguageSwitch />
          {data?.signedIn === true && <SignOut done={reload} />}
        </div>
      </header>
      <main>
        <h1 class="tagline">{t("tagline")}</h1>
        <Enter />
        {error !== null && <p class="notice bad" role="alert">{t("failed")}</p>}
        {data?.refused !== undefined && <Refused error={data.refused} retry={reload} />}
        {data === null && error === null && <p class="notice wait">{t("loading")}</p>}
        {data !== null && data.refused === undefined && <RoomList rooms={data.rooms} who={data.who} />}
        {server !== null && <QuickStart dev={server.dev} />}
      </main>
    </div>
  );
}

interface Look {
  server: ServerInfo;
  rooms: RoomInfo[];
  who: PageIdentity;
  signedIn: boolean;
  /** Why the server keeps the list to itself. */
  refused?: BarrageError;
}

/** What kind of server this is, and its rooms as far as we may see them. */
async function look(): Promise<Look> {
  const server = await new Api().server();
  const who = pageIdentity(server.dev, (number) => t("guest", { number }));
  const signedIn = who.token !== undefined;
  try {
    return { server, who, signedIn, rooms: sortRooms(await new Api(who).rooms()) };
  } catch (error) {
    if (error instanceof BarrageError && error.code !== "network") return { server, who, signedIn, rooms: [], refused: error };
    throw error;
  }
}

/** A room's address, or that of one of its recordings; a name given to a --dev server in this page's own address goes along. */
function roomLink(room: string, session?: string): string {
  const query = new URLSearchParams(location.search);
  if (!query.has("user_id")) for (const name of [...query.keys()]) query.delete(name);
  if (session !== undefined) query.set("session", session);
  const search = query.toString();
  return `/rooms/${encodeURIComponent(room)}${search === "" ? "" : `?${search}`}`;
}

function SignOut({ done }: { done: () => void }) {
  const out = () => {
    keepToken(undefined);
    done();
  };
  return <button type="button" class="quiet" onClick={out}>{t("signOut")}</button>;
}

/** Without an identity there is no list: the site's link signs in, or a token pasted here. */
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
      <p><strong>{t("signIn.link")}</strong> {t("signIn.why")}</p>
      <label for="token">{t("token.label")}</label>
      <div class="row">
        <input id="token" class="grow" type="password" required autocomplete="off" value={token} onInput={(e) => setToken(e.currentTarget.value)} />
        <button type="submit">{t("token.use")}</button>
      </div>
      <small>{t("token.hint")}</small>
    </form>
  );
}

function Enter() {
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
      <small>{t("enter.hint")}</small>
    </form>
  );
}

function RoomList({ rooms, who }: { rooms: RoomInfo[]; who: PageIdentity }) {
  const recordings = useRecordings(rooms, who);
  const shown = rooms.slice(0, maxCards);
  const live = shown.filter((room) => room.state !== "idle");
  const others = shown.filter((room) => room.state === "idle");
  if (rooms.length === 0) return <p class="notice">{t("none")}</p>;
  return (
    <>
      <h2>{t("live")}</h2>
      {live.length === 0 ? <p class="notice">{t("none.live")}</p> : <Cards rooms={live} recordings={recordings} />}
      {others.length > 0 && <h2>{t("others")}</h2>}
      {others.length > 0 && <Cards rooms={others} recordings={recordings} />}
      {rooms.length > maxCards && <p class="notice">{t("more", { n: rooms.length - maxCards })}</p>}
    </>
  );
}

type Recordings = ReadonlyMap<string, Session>;

/** The newest recording with comments of each of the first rooms, looked up once a minute. */
function useRecordings(rooms: RoomInfo[], who: PageIdentity): Recordings {
  const ids = rooms.slice(0, maxLookups).map(({ room_id }) => room_id);
  const find = async (): Promise<Recordings> => {
    const api = new Api(who);
    const found = await Promise.all(ids.map((id) => api.sessions(id).catch((): Session[] => [])));
    const newest = found.map((sessions) => sessions.find(({ ended_at, comment_count }) => ended_at !== undefined && comment_count > 0));
    return new Map(ids.flatMap((id, at) => (newest[at] ? [[id, newest[at]] as const] : [])));
  };
  return usePoll(find, 60_000, `recordings ${ids.join(" ")}`).data ?? new Map();
}

function Cards({ rooms, recordings }: { rooms: RoomInfo[]; recordings: Recordings }) {
  return (
    <ul class="cards">
      {rooms.map((room) => (
        <li key={room.room_id} class="card">
          <a class="enter-room" href={roomLink(room.room_id)}>
            <strong>{isNamed(room) ? room.name : room.room_id}</strong>
            {isNamed(room) && <span class="dim mono">{room.room_id}</span>}
          </a>
          <span class="pills">
            <span class={`pill ${room.state}`}>{t(`state.${room.state}`)}</span>
            {!room.accepts_comments && <span class="pill">{t("silent")}</span>}
            <span class="dim">{t("viewers", { n: room.viewers.toLocaleString(locale.value) })}</span>
          </span>
          <Replay room={room.room_id} session={recordings.get(room.room_id)} />
        </li>
      ))}
    </ul>
  );
}

/** Always takes its line, so that nothing moves when the recordings are known. */
function Replay({ room, session }: { room: string; session: Session | undefined }) {
  return (
    <span class="replay">
      {session && <a href={roomLink(room, session.session_id)}>{t("replay", { n: session.comment_count.toLocaleString(locale.value) })}</a>}
    </span>
  );
}
