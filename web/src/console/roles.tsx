/** Who has a role in a room: given and taken by its owner or an admin. Shown where the key may see it. */
import type { RoomRole } from "@barrage/client";
import { useRef, useState } from "preact/hooks";
import { giveRole, listRoles } from "./api";
import { useFocusHeld } from "./focus";
import { t } from "./i18n";
import { usePoll } from "./poll";
import { attempt } from "./toast";
import { UserName } from "./user-card";
import { Field } from "./ui";

const roles: RoomRole[] = ["moderator", "helper", "auditor"];

export function Roles({ room }: { room: string }) {
  const polled = usePoll(() => listRoles(room), 10_000, `roles ${room}`);
  const list = useRef<HTMLUListElement>(null);
  const name = useRef<HTMLInputElement>(null);
  const [userId, setUserId] = useState("");
  const [role, setRole] = useState<RoomRole>("moderator");
  useFocusHeld(list, name);
  const give = async (user_id: string, wanted: RoomRole | null, undo?: () => void) => {
    const done = wanted === null ? t("roles.taken", { user: user_id }) : t("roles.given", { user: user_id, role: t(`role.${wanted}`) });
    const given = await attempt(() => giveRole({ user_id, room_id: room, role: wanted }), done, undo);
    polled.reload();
    return given;
  };
  const submit = async (event: Event) => {
    event.preventDefault();
    if (await give(userId.trim(), role)) setUserId("");
  };
  if (polled.data === null) return null;
  return (
    <section class="card roles">
      <h2>{t("roles")}</h2>
      <p class="hint">{t(`role.hint`)}</p>
      {polled.data.length === 0 && <p class="dim">{t("roles.none")}</p>}
      <ul class="rows" ref={list}>
        {polled.data.map(({ user_id, role: has }) => has !== null && (
          <li key={user_id} class="row" data-role={user_id}>
            <span class="row-main"><UserName class="mono" person={{ userId: user_id, room }} /></span>
            <select aria-label={t("roles.of", { user: user_id })} value={has} onChange={(e) => void give(user_id, e.currentTarget.value as RoomRole)}>
              {roles.map((one) => <option key={one} value={one}>{t(`role.${one}`)}</option>)}
            </select>
            <button type="button" data-action="take" onClick={() => void give(user_id, null, () => void give(user_id, has))}>{t("roles.take")}</button>
          </li>
        ))}
      </ul>
      <form class="row wrap" onSubmit={(e) => void submit(e)}>
        <Field label={t("user.id")}>{(id) => <input ref={name} id={id} required maxLength={64} value={userId} onInput={(e) => setUserId(e.currentTarget.value)} />}</Field>
        <Field label={t("roles.role")}>
          {(id) => (
            <select id={id} value={role} onChange={(e) => setRole(e.currentTarget.value as RoomRole)}>
              {roles.map((one) => <option key={one} value={one}>{t(`role.${one}`)}</option>)}
            </select>
          )}
        </Field>
        <button type="submit" class="primary">{t("roles.give")}</button>
      </form>
    </section>
  );
}
