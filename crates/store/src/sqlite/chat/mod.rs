//! Private and group chat: the port, method by method.
//!
//! Each noun has a file with its SQL; what several of them need is here.

mod changes;
mod conversations;
mod erasing;
mod groups;
mod member_view;
mod messages;
mod outbox;
mod people;
mod reactions;
mod search;
mod sync;
mod upkeep;

#[cfg(test)]
pub(super) use self::{changes::UNREAD, messages::history_sql, sync::NEXT_CHANGES, sync::NEXT_POSITIONS};

pub(super) use self::erasing::{erase_messages, erase_reactions};

use std::sync::Arc;

use async_trait::async_trait;
use model::chat::{
    Conversation, ConversationCursor, ConversationId, Group, GroupId, GroupMember, GroupRole, GroupWish, Message, Seen,
};
use model::{DeviceId, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, params};

use super::code_column::Code;
use super::{SqliteStore, int, uint};
use crate::Result;
use crate::chat::{
    Appended, ChatStore, Edit, Edited, GroupAnswer, HistoryPage, Marked, Membership, NewGroup, NewMessage, OutboxCall,
    Profile, React, Reacted, Recalled, SearchPage, SearchQuery, Sighting, SyncPage, SyncQuery,
};

#[async_trait]
impl ChatStore for SqliteStore {
    async fn append_messages(&self, batch: Vec<NewMessage>) -> Result<Vec<Appended>> {
        self.write("append_messages", move |db| messages::append(db, &batch)).await
    }

    async fn first_message(&self, user: &UserId, client_msg_id: &str) -> Result<Option<Arc<Message>>> {
        let (user, client_msg_id) = (user.clone(), client_msg_id.to_owned());
        self.read("first_message", move |db| messages::first(db, &user, &client_msg_id)).await
    }

    async fn message(&self, user: &UserId, id: Snowflake) -> Result<Option<Seen>> {
        let user = user.clone();
        self.read("message", move |db| in_snapshot(db, |db| messages::seen(db, &user, id))).await
    }

    async fn mark_read(&self, user: &UserId, message: Snowflake, at_ms: i64) -> Result<Option<Marked>> {
        let user = user.clone();
        self.write("mark_read", move |db| changes::mark(db, &user, message, at_ms)).await
    }

    async fn recall(
        &self,
        user: &UserId,
        message: Snowflake,
        at_ms: i64,
        not_before_ms: i64,
        keep_content: bool,
    ) -> Result<Recalled> {
        let user = user.clone();
        self.write("recall", move |db| changes::recall(db, &user, message, at_ms, not_before_ms, keep_content)).await
    }

    async fn edit(&self, edit: Edit) -> Result<Edited> {
        self.write("edit_message", move |db| changes::edit(db, &edit)).await
    }

    async fn react(&self, react: React) -> Result<Reacted> {
        self.write("react", move |db| reactions::react(db, &react)).await
    }

    async fn sync(&self, query: SyncQuery) -> Result<SyncPage> {
        self.read("sync", move |db| in_snapshot(db, |db| sync::sync(db, &query))).await
    }

    async fn reached_since(&self, users: &[UserId], since_ms: i64) -> Result<Vec<UserId>> {
        let users = users.to_vec();
        self.read("reached_since", move |db| in_snapshot(db, |db| sync::reached_since(db, users, since_ms))).await
    }

    async fn device_cursor(&self, user: &UserId, device: &DeviceId) -> Result<Option<Snowflake>> {
        let (user, device) = (user.clone(), device.clone());
        self.read("device_cursor", move |db| people::device_cursor(db, &user, &device)).await
    }

    async fn set_device_cursor(&self, user: &UserId, device: &DeviceId, since: Snowflake, at_ms: i64) -> Result<()> {
        let (user, device) = (user.clone(), device.clone());
        self.write("set_device_cursor", move |db| people::set_device_cursor(db, &user, &device, since, at_ms)).await
    }

    async fn conversations(
        &self,
        user: &UserId,
        before: Option<ConversationCursor>,
        limit: usize,
    ) -> Result<Vec<Conversation>> {
        let user = user.clone();
        self.read("conversations", move |db| in_snapshot(db, |db| conversations::list(db, &user, before, limit))).await
    }

    async fn history(
        &self,
        user: &UserId,
        conversation: ConversationId,
        before: Option<Snowflake>,
        limit: usize,
    ) -> Result<Option<HistoryPage>> {
        let user = user.clone();
        let work =
            move |db: &Connection| in_snapshot(db, |db| messages::history(db, &user, conversation, before, limit));
        self.read("history", work).await
    }

    async fn addable(&self, actor: &UserId, users: &[UserId], contacts_only: bool) -> Result<Vec<UserId>> {
        let (actor, users) = (actor.clone(), users.to_vec());
        self.read("addable", move |db| groups::addable(db, &actor, &users, contacts_only)).await
    }

    async fn search(&self, query: SearchQuery) -> Result<Option<SearchPage>> {
        self.read("search", move |db| in_snapshot(db, |db| search::search(db, &query))).await
    }

    async fn create_group(&self, group: NewGroup) -> Result<()> {
        self.write("create_group", move |db| groups::create(db, &group)).await
    }

    async fn change_group(&self, group: GroupId, actor: &UserId, wish: GroupWish, at_ms: i64) -> Result<GroupAnswer> {
        let actor = actor.clone();
        self.write("change_group", move |db| groups::change(db, group, &actor, &wish, at_ms)).await
    }

    async fn group(&self, user: &UserId, group: GroupId) -> Result<Option<Group>> {
        let user = user.clone();
        self.read("group", move |db| groups::group(db, &user, group)).await
    }

    async fn group_members(
        &self,
        user: &UserId,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Option<Vec<GroupMember>>> {
        let (user, after) = (user.clone(), after.cloned());
        let work = move |db: &Connection| in_snapshot(db, |db| groups::page(db, &user, group, after.as_ref(), limit));
        self.read("group_members", work).await
    }

    async fn membership(&self, group: GroupId) -> Result<Membership> {
        self.read("membership", move |db| in_snapshot(db, |db| groups::membership(db, group))).await
    }

    async fn sight(&self, seen: Vec<Sighting>) -> Result<()> {
        self.write("sight", move |db| people::sight(db, &seen)).await
    }

    async fn set_hidden(&self, user: &UserId, hidden: bool) -> Result<()> {
        let user = user.clone();
        self.write("set_hidden", move |db| people::set_hidden(db, &user, hidden)).await
    }

    async fn profiles(&self, asker: &UserId, users: &[UserId]) -> Result<Vec<Profile>> {
        let (asker, users) = (asker.clone(), users.to_vec());
        self.read("profiles", move |db| people::profiles(db, &asker, users)).await
    }

    async fn block(&self, user: &UserId, other: &UserId, at_ms: i64, max: usize) -> Result<bool> {
        let (user, other) = (user.clone(), other.clone());
        self.write("block", move |db| people::block(db, &user, &other, at_ms, max)).await
    }

    async fn unblock(&self, user: &UserId, other: &UserId) -> Result<()> {
        let (user, other) = (user.clone(), other.clone());
        self.write("unblock", move |db| people::unblock(db, &user, &other)).await
    }

    async fn blocks(&self, user: &UserId, limit: usize) -> Result<Vec<UserId>> {
        let user = user.clone();
        self.read("blocks", move |db| people::blocks(db, &user, limit)).await
    }

    /// There is no other node, so no lease is written: after a crash calls are due at once.
    async fn outbox_due(&self, now_ms: i64, _lease_ms: i64, limit: usize) -> Result<Vec<OutboxCall>> {
        self.read("outbox_due", move |db| in_snapshot(db, |db| outbox::due(db, now_ms, limit))).await
    }

    async fn outbox_retry(&self, message: Snowflake, next_at_ms: i64) -> Result<()> {
        self.write("outbox_retry", move |db| outbox::retry(db, message, next_at_ms)).await
    }

    async fn outbox_done(&self, messages: &[Snowflake]) -> Result<()> {
        let messages = messages.to_vec();
        self.write("outbox_done", move |db| outbox::done(db, &messages)).await
    }

    async fn expire_chat(&self, not_before_ms: i64, devices_not_before_ms: i64, limit: usize) -> Result<u64> {
        let found = self.read("expire_chat", move |db| upkeep::find(db, not_before_ms, limit)).await?;
        self.write("expire_chat", move |db| upkeep::remove(db, &found, devices_not_before_ms, limit)).await
    }
}

/// Several reads from one snapshot of the file.
fn in_snapshot<T>(db: &Connection, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    // It ends by being dropped: there is nothing to commit.
    let _snapshot = db.unchecked_transaction()?;
    work(db)
}

/// A member's role and cursors.
struct Member {
    role: GroupRole,
    joined: u64,
    read: u64,
}

fn member(db: &Connection, conversation: ConversationId, user: &UserId) -> rusqlite::Result<Option<Member>> {
    let mut sql = db.prepare_cached(
        "SELECT role, joined_position, read_position FROM members WHERE conversation = ? AND user_id = ?",
    )?;
    let row = |row: &rusqlite::Row<'_>| {
        let Code(role) = row.get(0)?;
        Ok(Member { role, joined: uint(row.get(1)?), read: uint(row.get(2)?) })
    };
    sql.query_row(params![int(conversation.0.0), user.as_str()], row).optional()
}

/// The newest position.
fn last_position(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("SELECT coalesce(max(position), 0) FROM messages")?.query_row([], |row| row.get(0))
}

fn position_of(db: &Connection, id: Snowflake) -> rusqlite::Result<Option<u64>> {
    let mut sql = db.prepare_cached("SELECT position FROM messages WHERE id = ?")?;
    sql.query_row([int(id.0)], |row| row.get(0)).optional().map(|found| found.map(uint))
}
