//! Groups: membership, roles, and their audit trail.

use model::chat::{Group, GroupDone, GroupId, GroupMember, GroupRole, GroupWish};
use model::{Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::changes::delete_read_mark;
use super::messages::{join, version_for};
use super::{last_position, member};
use crate::AuditEntry;
use crate::chat::{GroupAnswer, Membership, NewGroup};
use crate::sqlite::code_column::Code;
use crate::sqlite::{column, int, moderation, uint};

pub(super) fn create(db: &Connection, new: &NewGroup) -> Result<()> {
    let position = last_position(db)?;
    db.prepare_cached(
        "INSERT INTO conversations (id, name, created_at_ms, member_count, last_position) VALUES (?, ?, ?, 0, ?)",
    )?
    .execute(params![int(new.id.0.0), new.name, new.at_ms, position])?;
    join(db, new.id.conversation(), &new.owner, GroupRole::Owner, position, new.at_ms)?;
    for user in &new.members {
        join(db, new.id.conversation(), user, GroupRole::Member, position, new.at_ms)?;
    }
    bump_version(db, new.id)?;
    audit(db, new.id, &new.owner, "group.create", new.at_ms, Some(new.name.to_string()))
}

pub(super) fn addable(db: &Connection, actor: &UserId, users: &[UserId], contacts_only: bool) -> Result<Vec<UserId>> {
    let mut blocks = db.prepare_cached("SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = ? AND blocked = ?)")?;
    let mut wrote = db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM (
             SELECT m.from_user FROM conversations c JOIN messages m ON m.conversation = c.id
             WHERE c.low_user = ?1 AND c.high_user = ?2 ORDER BY m.position DESC LIMIT 1000) WHERE from_user = ?3)",
    )?;
    let mut addable = Vec::with_capacity(users.len());
    for user in users {
        let (low, high) = if user < actor { (user, actor) } else { (actor, user) };
        let blocked: bool = blocks.query_row([user.as_str(), actor.as_str()], |row| row.get(0))?;
        let names = [low.as_str(), high.as_str(), user.as_str()];
        if !blocked && (!contacts_only || wrote.query_row(names, |row| row.get(0))?) {
            addable.push(user.clone());
        }
    }
    Ok(addable)
}

/// One change, with what it needs.
struct GroupChange<'a> {
    db: &'a Connection,
    group: GroupId,
    actor: &'a UserId,
    role: GroupRole,
    at_ms: i64,
}

pub(super) fn change(
    db: &Connection,
    group: GroupId,
    actor: &UserId,
    wish: &GroupWish,
    at_ms: i64,
) -> Result<GroupAnswer> {
    let Some(role) = role_in(db, group, actor)? else { return Ok(GroupAnswer::NotFound) };
    let change = GroupChange { db, group, actor, role, at_ms };
    match wish {
        GroupWish::Rename(name) => change.rename(name),
        GroupWish::Add { users, members_max } => change.add(users, *members_max),
        GroupWish::Remove(user) if user == actor => change.leave(),
        GroupWish::Remove(user) => change.remove(user),
        GroupWish::SetRole(user, role) => change.set_role(user, *role),
        GroupWish::Close => change.close(),
    }
}

impl GroupChange<'_> {
    fn rename(&self, name: &str) -> Result<GroupAnswer> {
        if !self.role.may_manage() {
            return Ok(GroupAnswer::Forbidden);
        }
        let mut sql = self.db.prepare_cached("UPDATE conversations SET name = ?1 WHERE id = ?2 AND name <> ?1")?;
        if sql.execute(params![name, int(self.group.0.0)])? == 0 {
            return Ok(GroupAnswer::Unchanged);
        }
        self.done(members(self.db, self.group)?, GroupDone::Renamed { name: name.into() }, Some(name.to_owned()))
    }

    fn add(&self, users: &[UserId], members_max: u32) -> Result<GroupAnswer> {
        if !self.role.may_manage() {
            return Ok(GroupAnswer::Forbidden);
        }
        let before = members(self.db, self.group)?;
        let mut new: Vec<UserId> = users.iter().filter(|user| !before.contains(user)).cloned().collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(GroupAnswer::Unchanged);
        }
        if before.len() + new.len() > members_max as usize {
            return Ok(GroupAnswer::Full);
        }
        let position = last_position(self.db)?;
        for user in &new {
            join(self.db, self.group.conversation(), user, GroupRole::Member, position, self.at_ms)?;
        }
        bump_version(self.db, self.group)?;
        let names = new.iter().map(UserId::as_str).collect::<Vec<_>>().join(" ");
        let notify = before.into_iter().chain(new.iter().cloned()).collect();
        self.done(notify, GroupDone::MembersAdded { users: new }, Some(names))
    }

    fn remove(&self, user: &UserId) -> Result<GroupAnswer> {
        let Some(other) = role_in(self.db, self.group, user)? else { return Ok(GroupAnswer::NotFound) };
        if !self.role.may_remove(other) {
            return Ok(GroupAnswer::Forbidden);
        }
        let notify = members(self.db, self.group)?;
        remove_member(self.db, self.group, user)?;
        self.done(notify, GroupDone::MemberRemoved { user: user.clone() }, Some(user.to_string()))
    }

    fn leave(&self) -> Result<GroupAnswer> {
        let notify = members(self.db, self.group)?;
        remove_member(self.db, self.group, self.actor)?;
        if notify.len() == 1 {
            close(self.db, self.group, self.at_ms)?;
            return self.done(notify, GroupDone::Closed, None);
        }
        let successor = if self.role == GroupRole::Owner { successor(self.db, self.group)? } else { None };
        if let Some(user) = &successor {
            store_role(self.db, self.group, user, GroupRole::Owner)?;
        }
        let detail = successor.as_ref().map(|user| format!("owner is now {user}"));
        self.done(notify, GroupDone::MemberLeft { user: self.actor.clone(), successor }, detail)
    }

    fn set_role(&self, user: &UserId, role: GroupRole) -> Result<GroupAnswer> {
        let Some(before) = role_in(self.db, self.group, user)? else { return Ok(GroupAnswer::NotFound) };
        if self.role != GroupRole::Owner || (user == self.actor && role != GroupRole::Owner) {
            return Ok(GroupAnswer::Forbidden);
        }
        if role == before {
            return Ok(GroupAnswer::Unchanged);
        }
        if role == GroupRole::Owner {
            store_role(self.db, self.group, self.actor, GroupRole::Admin)?;
        }
        store_role(self.db, self.group, user, role)?;
        let detail = Some(format!("{user} {}", role.as_str()));
        self.done(members(self.db, self.group)?, GroupDone::RoleChanged { user: user.clone(), role }, detail)
    }

    fn close(&self) -> Result<GroupAnswer> {
        if self.role != GroupRole::Owner {
            return Ok(GroupAnswer::Forbidden);
        }
        let notify = members(self.db, self.group)?;
        close(self.db, self.group, self.at_ms)?;
        self.done(notify, GroupDone::Closed, None)
    }

    fn done(&self, notify: Vec<UserId>, done: GroupDone, detail: Option<String>) -> Result<GroupAnswer> {
        let action = format!("group.{}", done.as_str());
        audit(self.db, self.group, self.actor, &action, self.at_ms, detail)?;
        Ok(GroupAnswer::Done { done, notify })
    }
}

fn audit(
    db: &Connection,
    group: GroupId,
    actor: &UserId,
    action: &str,
    at_ms: i64,
    detail: Option<String>,
) -> Result<()> {
    let (actor, action, target) = (actor.to_string(), action.to_owned(), group.to_string());
    moderation::audit(db, &AuditEntry { at_ms, actor, action, room_id: None, target, detail })
}

/// A member's role; direct conversations have none.
fn role_in(db: &Connection, group: GroupId, user: &UserId) -> Result<Option<GroupRole>> {
    if version_for(db, group, user)?.is_none() {
        return Ok(None);
    }
    Ok(member(db, group.conversation(), user)?.map(|member| member.role))
}

fn members(db: &Connection, group: GroupId) -> Result<Vec<UserId>> {
    let mut sql = db.prepare_cached("SELECT user_id FROM members WHERE conversation = ? ORDER BY user_id")?;
    sql.query_map([int(group.0.0)], |row| column(row, 0))?.collect()
}

/// Takes somebody out, with the mark that notify others how far they had read.
fn remove_member(db: &Connection, group: GroupId, user: &UserId) -> Result<()> {
    db.prepare_cached("DELETE FROM members WHERE conversation = ? AND user_id = ?")?
        .execute(params![int(group.0.0), user.as_str()])?;
    delete_read_mark(db, group.conversation(), user)?;
    bump_version(db, group)
}

fn close(db: &Connection, group: GroupId, at_ms: i64) -> Result<()> {
    let number = int(group.0.0);
    db.prepare_cached("DELETE FROM members WHERE conversation = ?")?.execute([number])?;
    db.prepare_cached("DELETE FROM changes WHERE conversation = ?")?.execute([number])?;
    db.prepare_cached("UPDATE conversations SET closed_at_ms = ? WHERE id = ?")?.execute([at_ms, number])?;
    bump_version(db, group)
}

fn bump_version(db: &Connection, group: GroupId) -> Result<()> {
    db.prepare_cached(
        "UPDATE conversations SET members_version = members_version + 1,
             member_count = (SELECT count(*) FROM members WHERE conversation = ?1) WHERE id = ?1",
    )?
    .execute([int(group.0.0)])?;
    Ok(())
}

fn store_role(db: &Connection, group: GroupId, user: &UserId, role: GroupRole) -> Result<()> {
    db.prepare_cached("UPDATE members SET role = ? WHERE conversation = ? AND user_id = ?")?.execute(params![
        Code(role),
        int(group.0.0),
        user.as_str()
    ])?;
    Ok(())
}

/// The next owner: the oldest admin, else the oldest member.
fn successor(db: &Connection, group: GroupId) -> Result<Option<UserId>> {
    let mut sql = db.prepare_cached(
        "SELECT user_id FROM members WHERE conversation = ? ORDER BY role DESC, joined_at_ms, user_id LIMIT 1",
    )?;
    sql.query_row([int(group.0.0)], |row| column(row, 0)).optional()
}

pub(super) fn group(db: &Connection, user: &UserId, group: GroupId) -> Result<Option<Group>> {
    let mut sql = db.prepare_cached(
        "SELECT c.name, o.user_id, c.member_count, m.role, c.created_at_ms
         FROM conversations c JOIN members m ON m.conversation = c.id AND m.user_id = ?2
             JOIN members o ON o.conversation = c.id AND o.role = 2
         WHERE c.id = ?1 AND c.low_user IS NULL",
    )?;
    let row = |row: &Row<'_>| {
        Ok(Group {
            id: group,
            name: row.get(0)?,
            owner_id: column(row, 1)?,
            member_count: row.get(2)?,
            role: row.get::<_, Code<_>>(3)?.0,
            created_at_ms: row.get(4)?,
        })
    };
    sql.query_row(params![int(group.0.0), user.as_str()], row).optional()
}

pub(super) fn page(
    db: &Connection,
    user: &UserId,
    group: GroupId,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Option<Vec<GroupMember>>> {
    if role_in(db, group, user)?.is_none() {
        return Ok(None);
    }
    let mut sql = db.prepare_cached(
        "SELECT m.user_id, u.username, m.role, m.joined_at_ms, m.read_id
         FROM members m LEFT JOIN users u ON u.user_id = m.user_id
         WHERE m.conversation = ? AND m.user_id > ? ORDER BY m.user_id LIMIT ?",
    )?;
    let after = after.map_or("", UserId::as_str);
    sql.query_map(params![int(group.0.0), after, int(limit)], member_row)?.collect::<Result<_>>().map(Some)
}

fn member_row(row: &Row<'_>) -> Result<GroupMember> {
    Ok(GroupMember {
        user_id: column(row, 0)?,
        username: row.get(1)?,
        role: row.get::<_, Code<_>>(2)?.0,
        joined_at_ms: row.get(3)?,
        read_id: row.get::<_, Option<i64>>(4)?.map(|id| Snowflake(uint(id))),
    })
}

pub(super) fn membership(db: &Connection, group: GroupId) -> Result<Membership> {
    let mut version =
        db.prepare_cached("SELECT members_version FROM conversations WHERE id = ? AND low_user IS NULL")?;
    let version: Option<i64> = version.query_row([int(group.0.0)], |row| row.get(0)).optional()?;
    let Some(version) = version.map(uint) else { return Ok(Membership { version: 0, members: Vec::new() }) };
    let mut sql =
        db.prepare_cached("SELECT user_id, joined_position FROM members WHERE conversation = ? ORDER BY user_id")?;
    let members = sql.query_map([int(group.0.0)], |row| Ok((column(row, 0)?, uint(row.get(1)?))))?;
    Ok(Membership { version, members: members.collect::<Result<_>>()? })
}
