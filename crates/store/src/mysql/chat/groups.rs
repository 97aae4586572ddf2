//! Groups: membership, roles, and their audit trail.
//!
//! A change locks the group's conversation first, as storing a message does. So membership stays the same while either is
//! decided.

use model::UserId;
use model::chat::{Group, GroupDone, GroupId, GroupMember, GroupRole, GroupWish};
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Result, Row};

use super::changes::delete_read_mark;
use super::sequences::{self, Sequence};
use super::{NewMember, join, member};
use crate::AuditEntry;
use crate::chat::{GroupAnswer, Membership, NewGroup};
use crate::mysql::moderation;
use crate::mysql::row::{code, coded, int, optional_id, parsed, uint};

pub(super) async fn create(db: &mut MySqlConnection, new: &NewGroup) -> Result<()> {
    let position = sequences::newest(db, Sequence::Positions).await?;
    sqlx::query(
        "INSERT INTO conversations (id, name, created_at_ms, member_count, last_position) VALUES (?, ?, ?, 0, ?)",
    )
    .bind(int(new.id.0.0))
    .bind(&*new.name)
    .bind(new.at_ms)
    .bind(position)
    .execute(&mut *db)
    .await?;
    let joining = |user: &UserId, role| NewMember {
        conversation: new.id.conversation(),
        user: user.clone(),
        role,
        at_ms: new.at_ms,
    };
    let others = new.members.iter().map(|user| joining(user, GroupRole::Member));
    let members: Vec<_> = [joining(&new.owner, GroupRole::Owner)].into_iter().chain(others).collect();
    join(db, &members, position).await?;
    bump_version(db, new.id).await?;
    audit(db, new.id, &new.owner, "group.create", new.at_ms, Some(new.name.to_string())).await
}

pub(super) async fn addable(
    db: &mut MySqlConnection,
    actor: &UserId,
    users: &[UserId],
    contacts_only: bool,
) -> Result<Vec<UserId>> {
    let blocks = "SELECT EXISTS (SELECT 1 FROM blocks WHERE user_id = ? AND blocked = ?)";
    let wrote = "SELECT EXISTS (SELECT 1 FROM (
             SELECT m.from_user FROM conversations c JOIN messages m ON m.conversation = c.id
             WHERE c.low_user = ? AND c.high_user = ? ORDER BY m.position DESC LIMIT 1000) recent
         WHERE recent.from_user = ?)";
    let mut addable = Vec::with_capacity(users.len());
    for user in users {
        let (low, high) = if user < actor { (user, actor) } else { (actor, user) };
        let blocked: i64 =
            sqlx::query_scalar(blocks).bind(user.as_str()).bind(actor.as_str()).fetch_one(&mut *db).await?;
        let mut may = blocked == 0;
        if may && contacts_only {
            let query = sqlx::query_scalar::<_, i64>(wrote).bind(low.as_str()).bind(high.as_str()).bind(user.as_str());
            may = query.fetch_one(&mut *db).await? != 0;
        }
        if may {
            addable.push(user.clone());
        }
    }
    Ok(addable)
}

/// One change, with what it needs.
struct GroupChange<'a> {
    db: &'a mut MySqlConnection,
    group: GroupId,
    /// Its name before the change.
    name: String,
    actor: &'a UserId,
    role: GroupRole,
    at_ms: i64,
}

pub(super) async fn change(
    db: &mut MySqlConnection,
    group: GroupId,
    actor: &UserId,
    wish: &GroupWish,
    at_ms: i64,
) -> Result<GroupAnswer> {
    let Some(name) = lock(db, group).await? else { return Ok(GroupAnswer::NotFound) };
    let Some(role) = role_in(db, group, actor).await? else { return Ok(GroupAnswer::NotFound) };
    let mut change = GroupChange { db, group, name, actor, role, at_ms };
    match wish {
        GroupWish::Rename(name) => change.rename(name).await,
        GroupWish::Add { users, members_max } => change.add(users, *members_max).await,
        GroupWish::Remove(user) if user == actor => change.leave().await,
        GroupWish::Remove(user) => change.remove(user).await,
        GroupWish::SetRole(user, role) => change.set_role(user, *role).await,
        GroupWish::Close => change.close().await,
    }
}

/// Locks the group and returns its name. Other changes of it, and messages to it, wait for the commit.
async fn lock(db: &mut MySqlConnection, group: GroupId) -> Result<Option<String>> {
    let sql = "SELECT COALESCE(name, '') FROM conversations WHERE id = ? AND low_user IS NULL FOR UPDATE";
    sqlx::query_scalar(sql).bind(int(group.0.0)).fetch_optional(db).await
}

impl GroupChange<'_> {
    async fn rename(&mut self, name: &str) -> Result<GroupAnswer> {
        if !self.role.may_manage() {
            return Ok(GroupAnswer::Forbidden);
        }
        if name == self.name {
            return Ok(GroupAnswer::Unchanged);
        }
        let sql = "UPDATE conversations SET name = ? WHERE id = ?";
        sqlx::query(sql).bind(name).bind(int(self.group.0.0)).execute(&mut *self.db).await?;
        let notify = members(self.db, self.group).await?;
        self.done(notify, GroupDone::Renamed { name: name.into() }, Some(name.to_owned())).await
    }

    async fn add(&mut self, users: &[UserId], members_max: u32) -> Result<GroupAnswer> {
        if !self.role.may_manage() {
            return Ok(GroupAnswer::Forbidden);
        }
        let before = members(self.db, self.group).await?;
        let mut new: Vec<UserId> = users.iter().filter(|user| !before.contains(user)).cloned().collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(GroupAnswer::Unchanged);
        }
        if before.len() + new.len() > members_max as usize {
            return Ok(GroupAnswer::Full);
        }
        // The lock keeps messages of this group out: the newest position separates those before from those after.
        let position = sequences::newest(self.db, Sequence::Positions).await?;
        let (conversation, role, at_ms) = (self.group.conversation(), GroupRole::Member, self.at_ms);
        let joining = new.iter().map(|user| NewMember { conversation, user: user.clone(), role, at_ms });
        join(self.db, &joining.collect::<Vec<_>>(), position).await?;
        bump_version(self.db, self.group).await?;
        let names = new.iter().map(UserId::as_str).collect::<Vec<_>>().join(" ");
        let notify = before.into_iter().chain(new.iter().cloned()).collect();
        self.done(notify, GroupDone::MembersAdded { users: new }, Some(names)).await
    }

    async fn remove(&mut self, user: &UserId) -> Result<GroupAnswer> {
        let Some(other) = role_in(self.db, self.group, user).await? else { return Ok(GroupAnswer::NotFound) };
        if !self.role.may_remove(other) {
            return Ok(GroupAnswer::Forbidden);
        }
        let notify = members(self.db, self.group).await?;
        remove_member(self.db, self.group, user).await?;
        self.done(notify, GroupDone::MemberRemoved { user: user.clone() }, Some(user.to_string())).await
    }

    async fn leave(&mut self) -> Result<GroupAnswer> {
        let notify = members(self.db, self.group).await?;
        remove_member(self.db, self.group, self.actor).await?;
        if notify.len() == 1 {
            close(self.db, self.group, self.at_ms).await?;
            return self.done(notify, GroupDone::Closed, None).await;
        }
        let successor = if self.role == GroupRole::Owner { successor(self.db, self.group).await? } else { None };
        if let Some(user) = &successor {
            store_role(self.db, self.group, user, GroupRole::Owner).await?;
        }
        let detail = successor.as_ref().map(|user| format!("owner is now {user}"));
        self.done(notify, GroupDone::MemberLeft { user: self.actor.clone(), successor }, detail).await
    }

    async fn set_role(&mut self, user: &UserId, role: GroupRole) -> Result<GroupAnswer> {
        let Some(before) = role_in(self.db, self.group, user).await? else { return Ok(GroupAnswer::NotFound) };
        if self.role != GroupRole::Owner || (user == self.actor && role != GroupRole::Owner) {
            return Ok(GroupAnswer::Forbidden);
        }
        if role == before {
            return Ok(GroupAnswer::Unchanged);
        }
        if role == GroupRole::Owner {
            store_role(self.db, self.group, self.actor, GroupRole::Admin).await?;
        }
        store_role(self.db, self.group, user, role).await?;
        let detail = Some(format!("{user} {}", role.as_str()));
        let notify = members(self.db, self.group).await?;
        self.done(notify, GroupDone::RoleChanged { user: user.clone(), role }, detail).await
    }

    async fn close(&mut self) -> Result<GroupAnswer> {
        if self.role != GroupRole::Owner {
            return Ok(GroupAnswer::Forbidden);
        }
        let notify = members(self.db, self.group).await?;
        close(self.db, self.group, self.at_ms).await?;
        self.done(notify, GroupDone::Closed, None).await
    }

    async fn done(&mut self, notify: Vec<UserId>, done: GroupDone, detail: Option<String>) -> Result<GroupAnswer> {
        let action = format!("group.{}", done.as_str());
        audit(self.db, self.group, self.actor, &action, self.at_ms, detail).await?;
        Ok(GroupAnswer::Done { done, notify })
    }
}

async fn audit(
    db: &mut MySqlConnection,
    group: GroupId,
    actor: &UserId,
    action: &str,
    at_ms: i64,
    detail: Option<String>,
) -> Result<()> {
    let (actor, action, target) = (actor.to_string(), action.to_owned(), group.to_string());
    moderation::audit(db, &AuditEntry { at_ms, actor, action, room_id: None, target, detail }).await
}

/// The version of a group's membership, if `user` is a member; direct conversations have none.
pub(super) async fn version_for(db: &mut MySqlConnection, group: GroupId, user: &UserId) -> Result<Option<u64>> {
    let sql = "SELECT c.members_version FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.conversation = ? AND m.user_id = ? AND c.low_user IS NULL";
    let row = sqlx::query(sql).bind(int(group.0.0)).bind(user.as_str()).fetch_optional(db).await?;
    row.as_ref().map(|row| uint(row, 0)).transpose()
}

/// A member's role in what is known to be a group.
async fn role_in(db: &mut MySqlConnection, group: GroupId, user: &UserId) -> Result<Option<GroupRole>> {
    Ok(member(db, group.conversation(), user).await?.map(|member| member.role))
}

async fn members(db: &mut MySqlConnection, group: GroupId) -> Result<Vec<UserId>> {
    let sql = "SELECT user_id FROM members WHERE conversation = ? ORDER BY user_id";
    let rows = sqlx::query(sql).bind(int(group.0.0)).fetch_all(db).await?;
    rows.iter().map(|row| parsed(row, 0)).collect()
}

/// Takes somebody out, with the mark that notify others how far they had read.
async fn remove_member(db: &mut MySqlConnection, group: GroupId, user: &UserId) -> Result<()> {
    let sql = "DELETE FROM members WHERE conversation = ? AND user_id = ?";
    sqlx::query(sql).bind(int(group.0.0)).bind(user.as_str()).execute(&mut *db).await?;
    delete_read_mark(db, group.conversation(), user).await?;
    bump_version(db, group).await
}

async fn close(db: &mut MySqlConnection, group: GroupId, at_ms: i64) -> Result<()> {
    let number = int(group.0.0);
    sqlx::query("DELETE FROM members WHERE conversation = ?").bind(number).execute(&mut *db).await?;
    sqlx::query("DELETE FROM changes WHERE conversation = ?").bind(number).execute(&mut *db).await?;
    let sql = "UPDATE conversations SET closed_at_ms = ? WHERE id = ?";
    sqlx::query(sql).bind(at_ms).bind(number).execute(&mut *db).await?;
    bump_version(db, group).await
}

async fn bump_version(db: &mut MySqlConnection, group: GroupId) -> Result<()> {
    let sql = "SELECT COUNT(*) FROM members WHERE conversation = ?";
    let count: i64 = sqlx::query_scalar(sql).bind(int(group.0.0)).fetch_one(&mut *db).await?;
    let sql = "UPDATE conversations SET members_version = members_version + 1, member_count = ? WHERE id = ?";
    sqlx::query(sql).bind(count).bind(int(group.0.0)).execute(db).await.map(drop)
}

async fn store_role(db: &mut MySqlConnection, group: GroupId, user: &UserId, role: GroupRole) -> Result<()> {
    let sql = "UPDATE members SET role = ? WHERE conversation = ? AND user_id = ?";
    sqlx::query(sql).bind(code(role)).bind(int(group.0.0)).bind(user.as_str()).execute(db).await.map(drop)
}

/// The next owner: the oldest admin, else the oldest member.
async fn successor(db: &mut MySqlConnection, group: GroupId) -> Result<Option<UserId>> {
    let sql = "SELECT user_id FROM members WHERE conversation = ? ORDER BY role DESC, joined_at_ms, user_id LIMIT 1";
    let row = sqlx::query(sql).bind(int(group.0.0)).fetch_optional(db).await?;
    row.as_ref().map(|row| parsed(row, 0)).transpose()
}

pub(super) async fn group(db: &mut MySqlConnection, user: &UserId, group: GroupId) -> Result<Option<Group>> {
    let sql = "SELECT c.name, o.user_id, c.member_count, m.role, c.created_at_ms
         FROM conversations c JOIN members m ON m.conversation = c.id AND m.user_id = ?
             JOIN members o ON o.conversation = c.id AND o.role = ?
         WHERE c.id = ? AND c.low_user IS NULL";
    let query = sqlx::query(sql).bind(user.as_str()).bind(code(GroupRole::Owner)).bind(int(group.0.0));
    let row = query.fetch_optional(db).await?;
    let seen = |row: &MySqlRow| {
        Ok(Group {
            id: group,
            name: row.try_get::<&str, _>(0)?.into(),
            owner_id: parsed(row, 1)?,
            member_count: u32::try_from(uint(row, 2)?).unwrap_or(u32::MAX),
            role: coded(row, 3)?,
            created_at_ms: row.try_get(4)?,
        })
    };
    row.as_ref().map(seen).transpose()
}

pub(super) async fn page(
    db: &mut MySqlConnection,
    user: &UserId,
    group: GroupId,
    after: Option<&UserId>,
    limit: usize,
) -> Result<Option<Vec<GroupMember>>> {
    if version_for(db, group, user).await?.is_none() {
        return Ok(None);
    }
    let sql = "SELECT m.user_id, u.username, m.role, m.joined_at_ms, m.read_id
         FROM members m LEFT JOIN users u ON u.user_id = m.user_id
         WHERE m.conversation = ? AND m.user_id > ? ORDER BY m.user_id LIMIT ?";
    let query = sqlx::query(sql).bind(int(group.0.0)).bind(after.map_or("", UserId::as_str)).bind(int(limit));
    let rows = query.fetch_all(db).await?;
    rows.iter().map(member_row).collect::<Result<_>>().map(Some)
}

fn member_row(row: &MySqlRow) -> Result<GroupMember> {
    Ok(GroupMember {
        user_id: parsed(row, 0)?,
        username: row.try_get::<Option<&str>, _>(1)?.map(Into::into),
        role: coded(row, 2)?,
        joined_at_ms: row.try_get(3)?,
        read_id: optional_id(row, 4)?,
    })
}

/// One query, so that version and members belong together.
pub(super) async fn membership(db: &mut MySqlConnection, group: GroupId) -> Result<Membership> {
    let sql = "SELECT c.members_version, m.user_id, m.joined_position
         FROM conversations c LEFT JOIN members m ON m.conversation = c.id
         WHERE c.id = ? AND c.low_user IS NULL ORDER BY m.user_id";
    let rows = sqlx::query(sql).bind(int(group.0.0)).fetch_all(db).await?;
    let version = rows.first().map_or(Ok(0), |row| uint(row, 0))?;
    let nobody = |row: &&MySqlRow| row.try_get::<Option<i64>, _>(2).is_ok_and(|joined| joined.is_none());
    let members = rows.iter().filter(|row| !nobody(row)).map(|row| Ok((parsed(row, 1)?, uint(row, 2)?)));
    Ok(Membership { version, members: members.collect::<Result<_>>()? })
}
