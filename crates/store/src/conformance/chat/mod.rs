//! What every backend of chat must do. As for the other port: a backend's tests call [`suite`] with
//! a function that opens a fresh, empty store.

mod changing;
mod groups;
mod marks;
mod messages;
pub mod nodes;
mod people;
mod search;
mod sync;

use model::chat::{
    ChangeKind, Conversation, ConversationId, GroupId, GroupRole, GroupWish, MsgStatus, MsgType, Recipient, Seen,
};
use model::{DeviceId, Snowflake};

use super::{Case, DAY_MS, START_MS, user};
use crate::chat::{
    Appended, ChatStore, Edit, Edited, GroupAnswer, HistoryPage, Marked, NewGroup, NewMessage, React, Reacted,
    Recalled, SearchPage, SearchQuery, SearchText, Sighting, SyncPage, SyncQuery,
};

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: ChatStore>(fresh: impl Fn() -> S) -> Case {
    messages::messages_come_back_as_they_were(&fresh()).await?;
    messages::the_same_client_msg_id_is_stored_once(&fresh()).await?;
    messages::only_members_and_the_unblocked_may_send(&fresh()).await?;
    messages::history_goes_back_in_pages(&fresh()).await?;
    messages::strangers_see_nothing(&fresh()).await?;
    messages::a_group_stores_one_row_a_message(&fresh()).await?;
    messages::calls_of_the_hook_wait_with_their_message(&fresh()).await?;
    sync::pages_meet_every_message_once_in_order(&fresh()).await?;
    sync::a_late_member_sees_what_came_after(&fresh()).await?;
    sync::what_is_too_old_is_not_given_and_said(&fresh()).await?;
    sync::of_many_those_are_found_whom_something_reached(&fresh()).await?;
    sync::expiry_removes_what_is_old(&fresh()).await?;
    sync::each_device_has_its_cursor(&fresh()).await?;
    marks::a_mark_reads_everything_before_it(&fresh()).await?;
    marks::groups_count_their_readers(&fresh()).await?;
    marks::a_recalled_message_is_gone_everywhere(&fresh()).await?;
    marks::changes_are_read_once_each_and_marks_replace(&fresh()).await?;
    marks::unread_counts_end_somewhere(&fresh()).await?;
    changing::an_edit_replaces_the_content_and_is_marked(&fresh()).await?;
    changing::only_the_author_edits_and_not_for_long(&fresh()).await?;
    changing::reactions_are_counted_once_each(&fresh()).await?;
    changing::a_blocked_person_changes_nothing(&fresh()).await?;
    changing::offline_devices_learn_of_changes(&fresh()).await?;
    search::words_are_found_newest_first_in_pages(&fresh()).await?;
    search::nobody_finds_what_they_may_not_see(&fresh()).await?;
    search::a_page_looks_back_a_bounded_way(&fresh()).await?;
    groups::roles_decide(&fresh()).await?;
    groups::a_group_outlives_its_owner(&fresh()).await?;
    groups::a_group_is_full_or_takes_all(&fresh()).await?;
    groups::who_left_sees_nothing(&fresh()).await?;
    groups::members_come_in_pages(&fresh()).await?;
    people::people_are_seen_and_hide(&fresh()).await?;
    people::blocks_are_bounded(&fresh()).await?;
    people::conversations_are_listed_by_activity(&fresh()).await
}

/// A message of `from`, with the number as its id and its `client_msg_id`, made `n` ms after the start.
fn new_message(n: u64, from: &str, to: Recipient) -> NewMessage {
    NewMessage {
        id: id(n),
        conversation_id: ConversationId(Snowflake(id(n).0 + 1)),
        client_msg_id: format!("c{n}").into(),
        from_user: user(from),
        from_name: format!("name of {from}").into(),
        to,
        content: format!("message {n}").into(),
        msg_type: MsgType::Text,
        created_at_ms: START_MS + n.cast_signed(),
        outbox: false,
        reply_to: None,
        uploads: Vec::new(),
    }
}

/// The id made `n` milliseconds after the start.
fn id(n: u64) -> Snowflake {
    Snowflake(n << 22)
}

/// The number of an [`id`].
fn number(id: Snowflake) -> u64 {
    id.0 >> 22
}

fn to(name: &str) -> Recipient {
    Recipient::User(user(name))
}

fn in_group(group: GroupId) -> Recipient {
    Recipient::Group(group)
}

/// Stores one message that nothing stands against; its conversation.
async fn send(store: &dyn ChatStore, new: NewMessage) -> crate::Result<ConversationId> {
    let mut outcomes = store.append_messages(vec![new]).await?;
    match outcomes.pop() {
        Some(Appended::New { message, .. }) => Ok(message.conversation_id),
        other => panic!("expected a new message: {other:?}"),
    }
}

/// A group of `owner` and `members`, with the number as its id.
async fn group(store: &dyn ChatStore, n: u64, owner: &str, members: &[&str]) -> crate::Result<GroupId> {
    let group = GroupId(id(n));
    let members = members.iter().map(|name| user(name)).collect();
    let name = format!("group {n}").into();
    store.create_group(NewGroup { id: group, name, owner: user(owner), members, at_ms: START_MS }).await?;
    Ok(group)
}

/// Everything since a message, changes since a number, in one page of `limit`.
fn since(name: &str, since: Option<u64>, since_change: Option<u64>, limit: usize) -> SyncQuery {
    SyncQuery { user: user(name), since: since.map(id), since_change, not_before_ms: START_MS - DAY_MS, limit }
}

fn numbers(messages: &[Seen]) -> Vec<u64> {
    messages.iter().map(|seen| number(seen.message.id)).collect()
}

async fn history(store: &dyn ChatStore, name: &str, of: ConversationId) -> crate::Result<Option<HistoryPage>> {
    store.history(&user(name), of, None, 1_000).await
}

async fn status(store: &dyn ChatStore, name: &str, n: u64) -> crate::Result<Option<(MsgStatus, Option<u32>)>> {
    Ok(store.message(&user(name), id(n)).await?.map(|seen| (seen.status, seen.read_count)))
}

async fn first_conversation(store: &dyn ChatStore, name: &str) -> crate::Result<Conversation> {
    Ok(store.conversations(&user(name), None, 10).await?.into_iter().next().expect("a conversation"))
}
