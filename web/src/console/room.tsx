/** One room, live: its feed with a hand on every comment, and beside it what a moderator does to the room. */
import { useEffect, useState } from "preact/hooks";
import { getRoom, type Room } from "./api";
import { RoomTools } from "./room-tools";
import { Feed } from "./feed";
import { FeedView } from "./feed-view";
import { explain } from "./errors";
import { t } from "./i18n";
import { Pinned } from "./interactions";
import { OpenClose } from "./open-close";
import { usePoll } from "./poll";
import { Raids } from "./raids";
import { StatePill } from "./rooms";
import { linkTo, settingsOf } from "./route";
import { Sanction, type Draft } from "./sanction";
import { number } from "./time";

export function RoomPage({ room }: { room: string }) {
  const polled = usePoll(() => getRoom(room), 3000, room);
  const feed = useFeed(room);
  const [draft, setDraft] = useState<Draft | null>(null);
  return (
    <section class="section">
      <header class="section-head">
        <div class="row">
          <a class="back" href={linkTo("rooms")} aria-label={t("section.rooms")}>←</a>
          <h1>{polled.data === null || polled.data.name === "" ? room : polled.data.name}</h1>
        </div>
        <div class="tools">
          <a class="button" href={`/rooms/${encodeURIComponent(room)}`} target="_blank" rel="noreferrer">{t("live.watch")}</a>
          <a class="button" href={settingsOf(room)}>{t("settings")}</a>
          {polled.data !== null && <OpenClose room={polled.data} changed={polled.reload} />}
        </div>
      </header>
      {polled.error !== null && <p class="notice bad" role="alert">{explain(polled.error)}</p>}
      {polled.data !== null && feed !== null && <Figures room={polled.data} feed={feed} />}
      <Raids room={room} />
      {polled.data !== null && <Pinned room={polled.data} changed={polled.reload} />}
      <div class="room-body">
        {feed !== null && <FeedView feed={feed} onSanction={setDraft} onPinned={polled.reload} />}
        <RoomTools room={room} />
      </div>
      {draft !== null && <Sanction draft={draft} onClose={() => setDraft(null)} />}
    </section>
  );
}

/** One feed for as long as the room is on screen. */
function useFeed(room: string): Feed | null {
  const [feed, setFeed] = useState<Feed | null>(null);
  useEffect(() => {
    const opened = new Feed(room);
    setFeed(opened);
    return () => opened.stop();
  }, [room]);
  return feed;
}

function Figures({ room, feed }: { room: Room; feed: Feed }) {
  return (
    <p class="figures">
      <StatePill room={room} />
      <span><b>{number(room.viewers)}</b> {t("viewers")}</span>
      <span><b>{number(Math.round(feed.perSecond.value * 10) / 10)}</b> {t("live.pace")}</span>
      <span><b>{number(feed.omitted.value)}</b> {t("live.omitted")}</span>
      <span class={`status ${feed.status.value}`} role="status">{t(`feed.${feed.status.value}`)}</span>
    </p>
  );
}
