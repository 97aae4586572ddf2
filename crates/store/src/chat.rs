//! The port of private and group chat: what a backend promises about conversations and messages.
//!
//! Called by `chat` alone. Membership, roles and blocks must not change between check and write: the transaction itself
//! checks them, by the rules of [`model::chat`].
//!
//! There are two sequences, each over all conversations: positions number messages, changes number recalls, edits,
//! reactions and read marks. A number becomes visible only after all lower ones. So a reader who has seen everything up to a number never misses anything
//! before it.
//!
//! A message is one row, however large the group. No call gets slower as the history grows.

use std::sync::Arc;

use async_trait::async_trait;
use model::chat::{
    Change, Conversation, ConversationCursor, ConversationId, Group, GroupDone, GroupId, GroupMember, GroupWish,
    Message, MsgType, Recipient, Seen,
};
use model::{DeviceId, Emoji, Snowflake, UserId};

use crate::Result;
pub use crate::search::SearchText;

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its id.
    pub id: Snowflake,
    /// The id of the conversation if this message is its first.
    pub conversation_id: ConversationId,
    /// The sender's own id for it.
    pub client_msg_id: Box<str>,
    /// Who sends it.
    pub from_user: UserId,
    /// The sender's shown name.
    pub from_name: Box<str>,
    /// Who receives it.
    pub to: Recipient,
    /// The content.
    pub content: Box<str>,
    /// The type of the content.
    pub msg_type: MsgType,
    /// The message that it answers. The caller has checked that it is of the same conversation.
    pub reply_to: Option<Snowflake>,
    /// Uploads of an encrypted message, whose content names them to the devices alone.
    pub uploads: Vec<Snowflake>,
    /// When.
    pub created_at_ms: i64,
    /// Whether the same transaction queues a call of the notification hook.
    pub outbox: bool,
}

/// The outcome for one [`NewMessage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It was stored.
    New {
        /// The stored message.
        message: Arc<Message>,
        /// For a group: the version of the [`Membership`] that receives it; else 0.
        members_version: u64,
    },
    /// The sender used this `client_msg_id` before; this is the message stored then.
    Repeat(Arc<Message>),
    /// The sender is no member of such a group.
    NoGroup,
    /// The recipient has blocked the sender.
    Blocked,
}

/// Who belongs to a group. Every change gives it another version, so a cached copy is valid while [`Appended::New`]
/// names its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The version of this state.
    pub version: u64,
    /// The members in the order of their ids, each with the position after which it sees messages.
    pub members: Vec<(UserId, u64)>,
}

/// The outcome of a read mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Where.
    pub conversation_id: ConversationId,
    /// The group, if it is a group's conversation.
    pub group_id: Option<GroupId>,
    /// Messages still unread.
    pub unread: u32,
    /// Authors of messages that are newly read (the newest thousand), without the reader. `None` when the mark did not
    /// move.
    pub authors: Option<Vec<UserId>>,
}

/// The outcome of a recall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recalled {
    /// It is recalled.
    Done {
        /// The message without its content.
        message: Arc<Message>,
        /// As in [`Appended::New`].
        members_version: u64,
    },
    /// It was recalled before.
    Already,
    /// Somebody else sent it.
    Forbidden,
    /// It is too old to be recalled.
    TooLate,
    /// There is no message that the caller may see.
    NotFound,
}

/// Another content for a message.
#[derive(Debug, Clone)]
pub struct Edit {
    /// Who edits.
    pub user: UserId,
    /// Which message.
    pub message: Snowflake,
    /// The new content, of the message's own type.
    pub content: Box<str>,
    /// When.
    pub at_ms: i64,
    /// Older messages are not edited.
    pub not_before_ms: i64,
}

/// The outcome of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edited {
    /// It has the new content.
    Done {
        /// The message as it is now.
        message: Arc<Message>,
        /// As in [`Appended::New`].
        members_version: u64,
    },
    /// It had this content before.
    Unchanged(Arc<Message>),
    /// Somebody else sent it.
    Forbidden,
    /// The recipient has blocked the sender.
    Blocked,
    /// It is too old to be edited.
    TooLate,
    /// It was recalled.
    Recalled,
    /// There is no message that the caller may see.
    NotFound,
}

/// A reaction to add or to take back.
#[derive(Debug, Clone)]
pub struct React {
    /// Who reacts.
    pub user: UserId,
    /// To which message.
    pub message: Snowflake,
    /// With what.
    pub emoji: Emoji,
    /// False takes it back.
    pub on: bool,
    /// When.
    pub at_ms: i64,
}

/// The outcome of a reaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reacted {
    /// It is done.
    Done {
        /// The message as it is now.
        message: Arc<Message>,
        /// As in [`Appended::New`].
        members_version: u64,
        /// The number of the change.
        change: u64,
    },
    /// It was so before.
    Unchanged(Arc<Message>),
    /// The message has as many kinds of reactions as it may.
    Full,
    /// The other person has blocked the caller.
    Blocked,
    /// It was recalled.
    Recalled,
    /// It is encrypted: a reaction in the clear would tell what it says.
    Encrypted,
    /// There is no message that the caller may see.
    NotFound,
}

/// What a search looks for.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// Who searches.
    pub user: UserId,
    /// The words.
    pub text: SearchText,
    /// In this conversation only.
    pub conversation: Option<ConversationId>,
    /// In messages before this one; `None` begins with the newest.
    pub before: Option<Snowflake>,
    /// At most this many messages.
    pub limit: usize,
}

/// A page of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SearchPage {
    /// Newest first.
    pub messages: Vec<Seen>,
    /// The next `before`; `None` when everything has been looked at. A page may be empty and have one.
    pub next: Option<Snowflake>,
}

/// Which messages and changes a sync reads.
#[derive(Debug, Clone)]
pub struct SyncQuery {
    /// The user.
    pub user: UserId,
    /// After this message; `None` is from the beginning.
    pub since: Option<Snowflake>,
    /// Changes after this number; `None` leaves changes out.
    pub since_change: Option<u64>,
    /// Older messages are left out.
    pub not_before_ms: i64,
    /// At most this many messages, and this many changes.
    pub limit: usize,
}

/// A page of what a user may see, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncPage {
    /// Messages by position.
    pub messages: Vec<Seen>,
    /// The next `since`; `None` is the beginning.
    pub latest_id: Option<Snowflake>,
    /// Changes by their number.
    pub changes: Vec<Change>,
    /// The next `since_change`: every change up to it has been returned.
    pub latest_change: u64,
    /// More messages or changes follow.
    pub more: bool,
    /// Messages between `since` and this page are too old to be returned, or `since` is unknown.
    pub expired: bool,
}

/// A page of a conversation's history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The messages.
    pub messages: Vec<Seen>,
    /// There are older messages that this member may see.
    pub more: bool,
}

/// A group to create.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// Its id.
    pub id: GroupId,
    /// Its shown name.
    pub name: Box<str>,
    /// Who makes and owns it.
    pub owner: UserId,
    /// The other members.
    pub members: Vec<UserId>,
    /// When.
    pub at_ms: i64,
}

/// The outcome of a change of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupAnswer {
    /// It was done.
    Done {
        /// The change.
        done: GroupDone,
        /// Whom to notify: all members before or after the change.
        notify: Vec<UserId>,
    },
    /// Nothing had to change.
    Unchanged,
    /// The caller is no member of such a group, or the other user is not.
    NotFound,
    /// The caller's role does not allow it.
    Forbidden,
    /// The group would have too many members.
    Full,
}

/// What one user may know of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Who.
    pub user_id: UserId,
    /// The last shown name; `None` when this user was never here.
    pub username: Option<Box<str>>,
    /// When the user was last online.
    pub last_seen_ms: Option<i64>,
    /// Hides from everybody.
    pub hidden: bool,
    /// Blocks the user who asks.
    pub blocks_asker: bool,
}

/// A user was online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Who.
    pub user_id: UserId,
    /// The shown name.
    pub username: Arc<str>,
    /// When.
    pub at_ms: i64,
}

/// A call of the notification hook that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxCall {
    /// The message.
    pub message: Arc<Message>,
    /// Who may see it now, without the sender.
    pub recipients: Vec<UserId>,
    /// Attempts so far.
    pub attempts: u32,
}

/// Stores conversations, messages, groups and people.
#[async_trait]
pub trait ChatStore: Send + Sync + 'static {
    // Messages -----------------------------------------------------------------------------------

    /// Stores messages in one commit, in the given order, and returns an outcome for each, in that order. A direct
    /// message creates its conversation. The transaction itself checks membership, blocks and repeats, message by
    /// message.
    async fn append_messages(&self, batch: Vec<NewMessage>) -> Result<Vec<Appended>>;
    /// The message stored for this sender's `client_msg_id`.
    async fn first_message(&self, user: &UserId, client_msg_id: &str) -> Result<Option<Arc<Message>>>;
    /// One message, if `user` may see it.
    async fn message(&self, user: &UserId, id: Snowflake) -> Result<Option<Seen>>;
    /// Marks a message and everything before it in its conversation as read by `user`, and records a change. A mark
    /// never moves back. `None` when `user` cannot see the message.
    async fn mark_read(&self, user: &UserId, message: Snowflake, at_ms: i64) -> Result<Option<Marked>>;
    /// Recalls a message of `user` that is not older than `not_before_ms`, and records a change. Erases its content
    /// unless `keep_content`; no call returns the content in either case.
    async fn recall(
        &self,
        user: &UserId,
        message: Snowflake,
        at_ms: i64,
        not_before_ms: i64,
        keep_content: bool,
    ) -> Result<Recalled>;
    /// Replaces the content of a message of its author, and records a change in place of its earlier edits.
    async fn edit(&self, edit: Edit) -> Result<Edited>;
    /// Adds or takes back a reaction, and records a change in place of the message's earlier reactions. Each user counts
    /// once for each emoji.
    async fn react(&self, react: React) -> Result<Reacted>;

    // Reading ------------------------------------------------------------------------------------

    /// A page of all messages and changes in a user's conversations, own messages included. It is one snapshot of the
    /// store.
    async fn sync(&self, query: SyncQuery) -> Result<SyncPage>;
    /// Which of these users a sync since `since_ms` (Unix milliseconds) would give messages, each once and by id. Made
    /// for many users of whom nearly none have any.
    async fn reached_since(&self, users: &[UserId], since_ms: i64) -> Result<Vec<UserId>>;
    /// The `since` of a device's last sync; `None` when it never synced.
    async fn device_cursor(&self, user: &UserId, device: &DeviceId) -> Result<Option<Snowflake>>;
    /// Moves a device's cursor. Remembers 64 devices of a user, those seen last.
    async fn set_device_cursor(&self, user: &UserId, device: &DeviceId, since: Snowflake, at_ms: i64) -> Result<()>;
    /// A user's conversations, newest activity first, from after `before` on.
    async fn conversations(
        &self,
        user: &UserId,
        before: Option<ConversationCursor>,
        limit: usize,
    ) -> Result<Vec<Conversation>>;
    /// The newest messages of a conversation before `before`. `None` when `user` is not in it.
    async fn history(
        &self,
        user: &UserId,
        conversation: ConversationId,
        before: Option<Snowflake>,
        limit: usize,
    ) -> Result<Option<HistoryPage>>;

    /// Texts that a user may see and that have all words, newest first; neither recalled nor encrypted ones. Looks at a
    /// bounded number of messages and says where to go on. `None` when `user` is not in the named conversation.
    async fn search(&self, query: SearchQuery) -> Result<Option<SearchPage>>;

    // Groups -------------------------------------------------------------------------------------

    /// Those of `users` whom `actor` may add to a group: those who do not block `actor` and, with `contacts_only`, have
    /// written to `actor`, within the last thousand messages between the two.
    async fn addable(&self, actor: &UserId, users: &[UserId], contacts_only: bool) -> Result<Vec<UserId>>;
    /// Creates a group and adds a line to the audit trail.
    async fn create_group(&self, group: NewGroup) -> Result<()>;
    /// Changes a group if the rules allow it to `actor`, and adds a line to the audit trail. The group closes when its
    /// last member leaves. When the owner leaves, the oldest admin becomes the owner, else the oldest member. Nobody
    /// can remove the owner.
    async fn change_group(&self, group: GroupId, actor: &UserId, wish: GroupWish, at_ms: i64) -> Result<GroupAnswer>;
    /// A group, if `user` is a member.
    async fn group(&self, user: &UserId, group: GroupId) -> Result<Option<Group>>;
    /// Members of a group by id, after `after`; `None` when `user` is not a member.
    async fn group_members(
        &self,
        user: &UserId,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Option<Vec<GroupMember>>>;
    /// All members of a group; empty when the group does not exist.
    async fn membership(&self, group: GroupId) -> Result<Membership>;

    // People -------------------------------------------------------------------------------------

    /// Records who was online and under which name. Times never move back. What is older than the user's erasure is left out.
    async fn sight(&self, seen: Vec<Sighting>) -> Result<()>;
    /// Hides a user from everybody, or shows the user again.
    async fn set_hidden(&self, user: &UserId, hidden: bool) -> Result<()>;
    /// What `asker` may know of each of `users`, in their order.
    async fn profiles(&self, asker: &UserId, users: &[UserId]) -> Result<Vec<Profile>>;
    /// Blocks `other` for `user`; false when the user blocks `max` already.
    async fn block(&self, user: &UserId, other: &UserId, at_ms: i64, max: usize) -> Result<bool>;
    /// Removes a block. No error when there is none.
    async fn unblock(&self, user: &UserId, other: &UserId) -> Result<()>;
    /// The users whom a user blocks, by id.
    async fn blocks(&self, user: &UserId, limit: usize) -> Result<Vec<UserId>>;

    // The notification hook's outbox -------------------------------------------------------------

    /// Calls that are due, longest due first, without those of recalled messages. The caller settles them
    /// ([`ChatStore::outbox_retry`], [`ChatStore::outbox_done`]) within `lease_ms`; until then no other node gets them.
    async fn outbox_due(&self, now_ms: i64, lease_ms: i64, limit: usize) -> Result<Vec<OutboxCall>>;
    /// Delays a call and counts one more attempt.
    async fn outbox_retry(&self, message: Snowflake, next_at_ms: i64) -> Result<()>;
    /// Removes calls that were made, given up, or not needed.
    async fn outbox_done(&self, messages: &[Snowflake]) -> Result<()>;

    // Upkeep -------------------------------------------------------------------------------------

    /// Removes messages made before `not_before_ms` with everything that refers to them, and devices not seen since
    /// `devices_not_before_ms`; at most `limit` messages in one call. Returns how many it removed; call again until it
    /// is 0. A sync from a removed message says that it has expired.
    async fn expire_chat(&self, not_before_ms: i64, devices_not_before_ms: i64, limit: usize) -> Result<u64>;
}
