/** A group's name and people: renaming, adding, removing, roles, leaving, closing; each as far as one's own role goes. */
import type { Conversation, GroupMember, GroupRole } from "@barrage/client";
import { useEffect, useState } from "preact/hooks";
import { Field, Modal } from "../shared/pieces";
import { Avatar } from "./avatar";
import { isId, parseIds } from "./format";
import { attempt, follow, type Session } from "./session";
import { t } from "./strings";

interface Props {
  session: Session;
  conversation: Conversation;
  onClose: () => void;
  /** Left or closed: there is nothing to come back to. */
  onGone: () => void;
}

const ROLES: readonly GroupRole[] = ["owner", "admin", "member"];

export function GroupDialog({ session, conversation, onClose, onGone }: Props) {
  follow();
  const { api, me } = session.chat;
  const { peer: group, members } = conversation;
  useEffect(() => void attempt(() => conversation.loadMembers()), [group]);
  const role = members?.find(({ user_id }) => user_id === me)?.role ?? conversation.role ?? "member";
  const change = async (action: () => Promise<unknown>): Promise<void> => {
    if (await attempt(action)) await attempt(() => conversation.loadMembers());
  };
  const go = async (question: string, action: () => Promise<unknown>): Promise<void> => {
    if (window.confirm(t(question, { name: conversation.name })) && (await attempt(action))) onGone();
  };
  return (
    <Modal title={t("group.info")} onClose={onClose}>
      <div class="sheet">
        {role === "member" ? <p class="group-name">{conversation.name}</p> : <Rename key={conversation.name} name={conversation.name} save={(name) => attempt(() => api.renameGroup(group, name))} />}
        {role !== "member" && <Add add={(ids) => change(() => api.addMembers(group, ids))} />}
        <p class="dim small">{t("group.plain")}</p>
        <h3>{t("members", { n: members?.length ?? conversation.memberCount ?? 0 })}</h3>
        <ul class="people">
          {members?.map((member) => <Member key={member.user_id} session={session} group={group} member={member} role={role} change={change} />)}
        </ul>
        <div class="row end">
          <button type="button" class="warn" onClick={() => void go("group.leave.sure", () => api.removeMember(group, me))}>
            {t("group.leave")}
          </button>
          {role === "owner" && (
            <button type="button" class="warn" onClick={() => void go("group.close.sure", () => api.closeGroup(group))}>
              {t("group.close")}
            </button>
          )}
          <button type="button" onClick={onClose}>
            {t("close")}
          </button>
        </div>
      </div>
    </Modal>
  );
}

function Rename({ name, save }: { name: string; save: (name: string) => Promise<unknown> }) {
  const [typed, setTyped] = useState(name);
  return (
    <form onSubmit={(e) => (e.preventDefault(), void save(typed.trim()))}>
      <Field label={t("group.name")}>
        {(id) => (
          <div class="row">
            <input id={id} class="grow" required maxLength={64} value={typed} onInput={(e) => setTyped(e.currentTarget.value)} />
            <button type="submit" disabled={typed.trim() === "" || typed.trim() === name}>
              {t("group.rename")}
            </button>
          </div>
        )}
      </Field>
    </form>
  );
}

function Add({ add }: { add: (ids: string[]) => Promise<void> }) {
  const [typed, setTyped] = useState("");
  const ids = parseIds(typed);
  const submit = (event: Event): void => {
    event.preventDefault();
    setTyped("");
    void add(ids);
  };
  return (
    <form onSubmit={submit}>
      <Field label={t("group.addLabel")} hint={ids.every(isId) ? undefined : t("idHint")}>
        {(id) => (
          <div class="row">
            <input id={id} class="grow" autocapitalize="off" spellcheck={false} value={typed} onInput={(e) => setTyped(e.currentTarget.value)} />
            <button type="submit" disabled={ids.length === 0 || !ids.every(isId)}>
              {t("group.add")}
            </button>
          </div>
        )}
      </Field>
    </form>
  );
}

interface MemberProps {
  session: Session;
  group: string;
  member: GroupMember;
  /** One's own. */
  role: GroupRole;
  change: (action: () => Promise<unknown>) => Promise<void>;
}

function Member({ session: { chat }, group, member, role, change }: MemberProps) {
  const { user_id: user } = member;
  const name = member.username ?? user;
  const mine = user === chat.me;
  const removable = !mine && (role === "owner" || (role === "admin" && member.role === "member"));
  const setRole = (next: GroupRole): void => {
    if (next === "owner" && !window.confirm(t("group.owner.sure", { name }))) return void change(() => Promise.resolve());
    void change(() => chat.api.setRole(group, user, next));
  };
  const remove = (): void => {
    if (window.confirm(t("group.remove.sure", { name }))) void change(() => chat.api.removeMember(group, user));
  };
  return (
    <li class="row">
      <Avatar id={user} name={name} />
      <span class="grow">
        {name} {name !== user && <small class="mono">{user}</small>} {mine && <small>({t("you")})</small>}
      </span>
      {role === "owner" && !mine ? (
        <select aria-label={t("group.role", { name })} value={member.role} onChange={(e) => setRole(e.currentTarget.value as GroupRole)}>
          {ROLES.map((one) => (
            <option key={one} value={one}>
              {t(`role.${one}`)}
            </option>
          ))}
        </select>
      ) : (
        <span class="pill">{t(`role.${member.role}`)}</span>
      )}
      {removable && (
        <button type="button" class="quiet" aria-label={t("group.remove", { name })} title={t("group.remove", { name })} onClick={remove}>
          ×
        </button>
      )}
    </li>
  );
}
