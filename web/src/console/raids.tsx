/** What looks like a raid, and the shield against it, one press away. Shown on the desk and on the room's page. */
import { dismissRaid, listRaids, raiseShield } from "./api";
import { has, t } from "./i18n";
import { usePoll } from "./poll";
import { roomOf } from "./route";
import { number, when } from "./time";
import { attempt } from "./toast";

export function Raids({ room }: { room: string }) {
  const { data, reload } = usePoll(() => listRaids(room), 5000, `raids ${room}`);
  return (
    <div role="status">
      {data?.map(({ room_id, kind, at, comments, users }) => (
        <div key={room_id} class="card raid row wrap" data-raid={room_id}>
          <p class="row-main">
            <b>{t("raid")}</b> <a href={roomOf(room_id)}>{room_id}</a> <span>{has(`raid.${kind}`) ? t(`raid.${kind}`) : kind}</span>{" "}
            <span class="dim">{t("raid.size", { comments: number(comments), users: number(users) })} · {when(at)}</span>
          </p>
          <button type="button" class="primary" onClick={() => void attempt(() => raiseShield(room_id, true), t("shield.raised")).then(reload)}>{t("raid.raise")}</button>
          <button type="button" onClick={() => void attempt(() => dismissRaid(room_id), t("raid.dismissed")).then(reload)}>{t("raid.dismiss")}</button>
        </div>
      ))}
    </div>
  );
}
