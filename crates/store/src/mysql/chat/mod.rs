//! Private and group chat for many nodes: the port, method by method.
//!
//! Each noun has a file with its SQL; what several of them need is here. [`sequences`] explains in which order messages and
//! changes become visible, and which locks that takes.

mod append;
mod changes;
mod conversations;
mod erasing;
mod groups;
mod member_view;
mod messages;
mod outbox;
pub(super) mod people;
mod reactions;
mod search;
mod sequences;
mod sync;
mod upkeep;

pub(super) use self::erasing::{erase_messages, erase_reactions};

use std::sync::Arc;

use async_trait::async_trait;
use model::chat::{
    Conversation, ConversationCursor, ConversationId, Group, GroupId, GroupMember, GroupRole, GroupWish, Message, Seen,
};
use model::{DeviceId, Snowflake, UserId};
use sqlx::{Encode, MySql, MySqlConnection, QueryBuilder, Type};

use super::batches::{batches, padded};
use super::row::{code, coded, int, uint};
use super::{MySqlStore, read, snapshot, write};
use crate::Result;
use crate::chat::{
    Appended, ChatStore, Edit, Edited, GroupAnswer, HistoryPage, Marked, Membership, NewGroup, NewMessage, OutboxCall,
    Profile, React, Reacted, Recalled, SearchPage, SearchQuery, Sighting, SyncPage, SyncQuery,
};

#[async_trait]
impl ChatStore for MySqlStore {
    async fn append_messages(&self, batch: Vec<NewMessage>) -> Result<Vec<Appended>> {
        write!(self, "append_messages", db => append::append(db, &batch))
    }

    async fn first_message(&self, user: &UserId, client_msg_id: &str) -> Result<Option<Arc<Message>>> {
        read!(self, "first_message", db => messages::first(db, user, client_msg_id))
    }

    async fn message(&self, user: &UserId, id: Snowflake) -> Result<Option<Seen>> {
        snapshot!(self, "message", db => messages::seen(db, user, id))
    }

    async fn mark_read(&self, user: &UserId, message: Snowflake, at_ms: i64) -> Result<Option<Marked>> {
        write!(self, "mark_read", db => changes::mark(db, user, message, at_ms))
    }

    async fn recall(
        &self,
        user: &UserId,
        message: Snowflake,
        at_ms: i64,
        not_before_ms: i64,
        keep_content: bool,
    ) -> Result<Recalled> {
        write!(self, "recall", db => changes::recall(db, user, message, at_ms, not_before_ms, keep_content))
    }

    async fn edit(&self, edit: Edit) -> Result<Edited> {
        write!(self, "edit_message", db => changes::edit(db, &edit))
    }

    async fn react(&self, react: React) -> Result<Reacted> {
        write!(self, "react", db => reactions::react(db, &react))
    }

    async fn sync(&self, query: SyncQuery) -> Result<SyncPage> {
        snapshot!(self, "sync", db => sync::sync(db, &query))
    }

    async fn reached_since(&self, users: &[UserId], since_ms: i64) -> Result<Vec<UserId>> {
        read!(self, "reached_since", db => sync::reached_since(db, users, since_ms))
    }

    async fn device_cursor(&self, user: &UserId, device: &DeviceId) -> Result<Option<Snowflake>> {
        read!(self, "device_cursor", db => people::device_cursor(db, user, device))
    }

    async fn set_device_cursor(&self, user: &UserId, device: &DeviceId, since: Snowflake, at_ms: i64) -> Result<()> {
        write!(self, "set_device_cursor", db => people::set_device_cursor(db, user, device, since, at_ms))
    }

    async fn conversations(
        &self,
        user: &UserId,
        before: Option<ConversationCursor>,
        limit: usize,
    ) -> Result<Vec<Conversation>> {
        snapshot!(self, "conversations", db => conversations::list(db, user, before, limit))
    }

    async fn history(
        &self,
        user: &UserId,
        conversation: ConversationId,
        before: Option<Snowflake>,
        limit: usize,
    ) -> Result<Option<HistoryPage>> {
        snapshot!(self, "history", db => messages::history(db, user, conversation, before, limit))
    }

    async fn addable(&self, actor: &UserId, users: &[UserId], contacts_only: bool) -> Result<Vec<UserId>> {
        read!(self, "addable", db => groups::addable(db, actor, users, contacts_only))
    }

    async fn search(&self, query: SearchQuery) -> Result<Option<SearchPage>> {
        snapshot!(self, "search", db => search::search(db, &query))
    }

    async fn create_group(&self, group: NewGroup) -> Result<()> {
        write!(self, "create_group", db => groups::create(db, &group))
    }

    async fn change_group(&self, group: GroupId, actor: &UserId, wish: GroupWish, at_ms: i64) -> Result<GroupAnswer> {
        write!(self, "change_group", db => groups::change(db, group, actor, &wish, at_ms))
    }

    async fn group(&self, user: &UserId, group: GroupId) -> Result<Option<Group>> {
        read!(self, "group", db => groups::group(db, user, group))
    }

    async fn group_members(
        &self,
        user: &UserId,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Option<Vec<GroupMember>>> {
        snapshot!(self, "group_members", db => groups::page(db, user, group, after, limit))
    }

    async fn membership(&self, group: GroupId) -> Result<Membership> {
        read!(self, "membership", db => groups::membership(db, group))
    }

    async fn sight(&self, seen: Vec<Sighting>) -> Result<()> {
        write!(self, "sight", db => people::sight(db, &seen))
    }

    async fn set_hidden(&self, user: &UserId, hidden: bool) -> Result<()> {
        write!(self, "set_hidden", db => people::set_hidden(db, user, hidden))
    }

    async fn profiles(&self, asker: &UserId, users: &[UserId]) -> Result<Vec<Profile>> {
        read!(self, "profiles", db => people::profiles(db, asker, users))
    }

    async fn block(&self, user: &UserId, other: &UserId, at_ms: i64, max: usize) -> Result<bool> {
        write!(self, "block", db => people::block(db, user, other, at_ms, max))
    }

    async fn unblock(&self, user: &UserId, other: &UserId) -> Result<()> {
        write!(self, "unblock", db => people::unblock(db, user, other))
    }

    async fn blocks(&self, user: &UserId, limit: usize) -> Result<Vec<UserId>> {
        read!(self, "blocks", db => people::blocks(db, user, limit))
    }

    async fn outbox_due(&self, now_ms: i64, lease_ms: i64, limit: usize) -> Result<Vec<OutboxCall>> {
        write!(self, "outbox_due", db => outbox::lease_due(db, now_ms, lease_ms, limit))
    }

    async fn outbox_retry(&self, message: Snowflake, next_at_ms: i64) -> Result<()> {
        write!(self, "outbox_retry", db => outbox::retry(db, message, next_at_ms))
    }

    async fn outbox_done(&self, messages: &[Snowflake]) -> Result<()> {
        write!(self, "outbox_done", db => outbox::done(db, messages))
    }

    async fn expire_chat(&self, not_before_ms: i64, devices_not_before_ms: i64, limit: usize) -> Result<u64> {
        let found = read!(self, "expire_chat", db => upkeep::find(db, not_before_ms, limit))?;
        write!(self, "expire_chat", db => upkeep::remove(db, &found, devices_not_before_ms, limit))
    }
}

// Members ---------------------------------------------------------------------------------------------

/// A member's role, and what it sees.
struct Member {
    role: GroupRole,
    /// Messages after this position are visible.
    joined: u64,
}

async fn member(db: &mut MySqlConnection, conversation: ConversationId, user: &UserId) -> sqlx::Result<Option<Member>> {
    let sql = "SELECT role, joined_position FROM members WHERE conversation = ? AND user_id = ?";
    let row = sqlx::query(sql).bind(int(conversation.0.0)).bind(user.as_str()).fetch_optional(db).await?;
    let member = |row| Ok(Member { role: coded(row, 0)?, joined: uint(row, 1)? });
    row.as_ref().map(member).transpose()
}

/// A user who joins a conversation.
struct NewMember {
    conversation: ConversationId,
    user: UserId,
    role: GroupRole,
    at_ms: i64,
}

/// Adds members who see what comes after `position`; existing members stay as they are.
async fn join(db: &mut MySqlConnection, new: &[NewMember], position: i64) -> sqlx::Result<()> {
    for some in batches(new) {
        let mut sql = QueryBuilder::<MySql>::new(
            "INSERT INTO members (conversation, user_id, role, joined_position, joined_at_ms, read_position) ",
        );
        sql.push_values(some, |mut row, member| {
            row.push_bind(int(member.conversation.0.0)).push_bind(member.user.to_string());
            row.push_bind(code(member.role)).push_bind(position).push_bind(member.at_ms).push_bind(position);
        });
        sql.push(" ON DUPLICATE KEY UPDATE role = members.role");
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

// Statements of several rows --------------------------------------------------------------------------

/// Writes ` IN (…)`.
fn push_numbers(sql: &mut QueryBuilder<MySql>, numbers: impl IntoIterator<Item = Snowflake>) {
    let mut list = sql.push(" IN (").separated(", ");
    for number in padded(numbers) {
        list.push_bind(int(number.0));
    }
    sql.push(")");
}

/// Writes `((a = … AND b = …) OR …)`, for which all databases use an index of both columns.
fn push_pairs<A, B>(sql: &mut QueryBuilder<MySql>, a: &str, b: &str, pairs: impl IntoIterator<Item = (A, B)>)
where
    A: for<'q> Encode<'q, MySql> + Type<MySql> + Clone + 'static,
    B: for<'q> Encode<'q, MySql> + Type<MySql> + Clone + 'static,
{
    let mut opening = "((";
    for (one, other) in padded(pairs) {
        sql.push(opening).push(a).push(" = ").push_bind(one);
        sql.push(" AND ").push(b).push(" = ").push_bind(other).push(")");
        opening = " OR (";
    }
    sql.push(")");
}
