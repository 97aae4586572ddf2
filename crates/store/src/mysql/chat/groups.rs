//! Groups: who belongs to them, who may change that, and the audit trail of it. A change locks the group's
//! conversation first, as storing a message in it does: so membership does not change while either is decided.

use model::UserId;
use model::chat::{Group, GroupDone, GroupId, GroupMember, GroupRole, GroupWish};
use sqlx::mysql::MySqlRow;
use sqlx::{MySqlConnection, Result, Row};

use super::changes::forget_mark;
use super::orders::{self, Order};
use super::{NewMember, join, member};
use crate::AuditEntry;
use crate::chat::{GroupAnswer, Membership, NewGroup};
use crate::mysql::moderation;
use crate::mysql::row::{code, coded, int, optional_id, parsed, uint};

pub(super) async fn create(db: &mut MySqlConnection, new: &NewGroup) -> Result<()> {
    let position = orders::newest(db, Order::Positions).await?;
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
    let everybody: Vec<_> = [joining(&new.owner, GroupRole::Owner)].into_iter().chain(others).collect();
    join(db, &everybody, position).await?;
    changed_members(db, new.id).await?;
    audit(db, new.id, &new.owner, "group.create", new.at_ms, Some(new.name.to_string())).await
}

/// One wish, with what it needs to know.
struct Asked<'a> {
    db: &'a mut MySqlConnection,
    group: GroupId,
    /// As it is called.
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
    let mut asked = Asked { db, group, name, actor, role, at_ms };
    match wish {
        GroupWish::Rename(name) => asked.rename(name).await,
        GroupWish::Add { users, members_max } => asked.add(users, *members_max).await,
        GroupWish::Remove(user) if user == actor => asked.leave().await,
        GroupWish::Remove(user) => asked.remove(user).await,
        GroupWish::SetRole(user, role) => asked.set_role(user, *role).await,
        GroupWish::Close => asked.close().await,
    }
}

/// The group's name, if there is such a group. Others who change it, or store a message in it, wait for the commit.
async fn lock(db: &mut MySqlConnection, group: GroupId) -> Result<Option<String>> {
    let sql = "SELECT COALESCE(name, '') FROM conversations WHERE id = ? AND low_user IS NULL FOR UPDATE";
    sqlx::query_scalar(sql).bind(int(group.0.0)).fetch_optional(db).await
}

impl Asked<'_> {
    async fn rename(&mut self, name: &str) -> Result<GroupAnswer> {
        if !self.role.may_manage() {
            return Ok(GroupAnswer::Forbidden);
        }
        if name == self.name {
            return Ok(GroupAnswer::Unchanged);
        }
        let sql = "UPDATE conversations SET name = ? WHERE id = ?";
        sqlx::query(sql).bind(name).bind(int(self.group.0.0)).execute(&mut *self.db).await?;
        let told = everybody(self.db, self.group).await?;
        self.done(told, GroupDone::Renamed { name: name.into() }, Some(name.to_owned())).await
    }

    async fn add(&mut self, users: &[UserId], members_max: u32) -> Result<GroupAnswer> {
        if !self.role.may_manage() {
            return Ok(GroupAnswer::Forbidden);
        }
        let before = everybody(self.db, self.group).await?;
        let mut new: Vec<UserId> = users.iter().filter(|user| !before.contains(user)).cloned().collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return Ok(GroupAnswer::Unchanged);
        }
        if before.len() + new.len() > members_max as usize {
            return Ok(GroupAnswer::Full);
        }
        // No message of this group is on its way in: the newest number stands between those before and those after.
        let position = orders::newest(self.db, Order::Positions).await?;
        let (conversation, role, at_ms) = (self.group.conversation(), GroupRole::Member, self.at_ms);
        let joining = new.iter().map(|user| NewMember { conversation, user: user.clone(), role, at_ms });
        join(self.db, &joining.collect::<Vec<_>>(), position).await?;
        changed_members(self.db, self.group).await?;
        let names = new.iter().map(UserId::as_str).collect::<Vec<_>>().join(" ");
        let told = before.into_iter().chain(new.iter().cloned()).collect();
        self.done(told, GroupDone::MembersAdded { users: new }, Some(names)).await
    }

    async fn remove(&mut self, user: &UserId) -> Result<GroupAnswer> {
        let Some(other) = role_in(self.db, self.group, user).await? else { return Ok(GroupAnswer::NotFound) };
        if !self.role.may_remove(other) {
            return Ok(GroupAnswer::Forbidden);
        }
        let told = everybody(self.db, self.group).await?;
        part(self.db, self.group, user).await?;
        self.done(told, GroupDone::MemberRemoved { user: user.clone() }, Some(user.to_string())).await
    }

    async fn leave(&mut self) -> Result<GroupAnswer> {
        let told = everybody(self.db, self.group).await?;
        part(self.db, self.group, self.actor).await?;
        if told.len() == 1 {
            close(self.db, self.group, self.at_ms).await?;
            return self.done(told, GroupDone::Closed, None).await;
        }
        let successor = if self.role == GroupRole::Owner { successor(self.db, self.group).await? } else { None };
        if let Some(user) = &successor {
            put_role(self.db, self.group, user, GroupRole::Owner).await?;
        }
        let detail = successor.as_ref().map(|user| format!("owner is now {user}"));
        self.done(told, GroupDone::MemberLeft { user: self.actor.clone(), successor }, detail).await
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
            put_role(self.db, self.group, self.actor, GroupRole::Admin).await?;
        }
        put_role(self.db, self.group, user, role).await?;
        let detail = Some(format!("{user} {}", role.as_str()));
        let told = everybody(self.db, self.group).await?;
        self.done(told, GroupDone::RoleChanged { user: user.clone(), role }, detail).await
    }

    async fn close(&mut self) -> Result<GroupAnswer> {
        if self.role != GroupRole::Owner {
            return Ok(GroupAnswer::Forbidden);
        }
        let told = everybody(self.db, self.group).await?;
        close(self.db, self.group, self.at_ms).await?;
        self.done(told, GroupDone::Closed, None).await
    }

    async fn done(&mut self, told: Vec<UserId>, done: GroupDone, detail: Option<String>) -> Result<GroupAnswer> {
        let action = format!("group.{}", done.as_str());
        audit(self.db, self.group, self.actor, &action, self.at_ms, detail).await?;
        Ok(GroupAnswer::Done { done, told })
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

/// The state of a group's membership, for one who belongs to it; conversations of two have none.
pub(super) async fn version_for(db: &mut MySqlConnection, group: GroupId, user: &UserId) -> Result<Option<u64>> {
    let sql = "SELECT c.members_version FROM members m JOIN conversations c ON c.id = m.conversation
         WHERE m.conversation = ? AND m.user_id = ? AND c.low_user IS NULL";
    let row = sqlx::query(sql).bind(int(group.0.0)).bind(user.as_str()).fetch_optional(db).await?;
    row.as_ref().map(|row| uint(row, 0)).transpose()
}

/// What somebody may do in what is known to be a group.
async fn role_in(db: &mut MySqlConnection, group: GroupId, user: &UserId) -> Result<Option<GroupRole>> {
    Ok(member(db, group.conversation(), user).await?.map(|member| member.role))
}

async fn everybody(db: &mut MySqlConnection, group: GroupId) -> Result<Vec<UserId>> {
    let sql = "SELECT user_id FROM members WHERE conversation = ? ORDER BY user_id";
    let rows = sqlx::query(sql).bind(int(group.0.0)).fetch_all(db).await?;
    rows.iter().map(|row| parsed(row, 0)).collect()
}

/// Takes somebody out, with the mark that told others how far they had read.
async fn part(db: &mut MySqlConnection, group: GroupId, user: &UserId) -> Result<()> {
    let sql = "DELETE FROM members WHERE conversation = ? AND user_id = ?";
    sqlx::query(sql).bind(int(group.0.0)).bind(user.as_str()).execute(&mut *db).await?;
    forget_mark(db, group.conversation(), user).await?;
    changed_members(db, group).await
}

async fn close(db: &mut MySqlConnection, group: GroupId, at_ms: i64) -> Result<()> {
    let number = int(group.0.0);
    sqlx::query("DELETE FROM members WHERE conversation = ?").bind(number).execute(&mut *db).await?;
    sqlx::query("DELETE FROM changes WHERE conversation = ?").bind(number).execute(&mut *db).await?;
    let sql = "UPDATE conversations SET closed_at_ms = ? WHERE id = ?";
    sqlx::query(sql).bind(at_ms).bind(number).execute(&mut *db).await?;
    changed_members(db, group).await
}

async fn changed_members(db: &mut MySqlConnection, group: GroupId) -> Result<()> {
    let sql = "SELECT COUNT(*) FROM members WHERE conversation = ?";
    let count: i64 = sqlx::query_scalar(sql).bind(int(group.0.0)).fetch_one(&mut *db).await?;
    let sql = "UPDATE conversations SET members_version = members_version + 1, member_count = ? WHERE id = ?";
    sqlx::query(sql).bind(count).bind(int(group.0.0)).execute(db).await.map(drop)
}

async fn put_role(db: &mut MySqlConnection, group: GroupId, user: &UserId, role: GroupRole) -> Result<()> {
    let sql = "UPDATE members SET role = ? WHERE conversation = ? AND user_id = ?";
    sqlx::query(sql).bind(code(role)).bind(int(group.0.0)).bind(user.as_str()).execute(db).await.map(drop)
}

/// Who owns a group after its owner: the oldest admin, else the oldest member.
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

/// One question, so that version and members belong together.
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
