//! The port of private and group chat: what a backend promises about conversations and messages.
//!
//! Called by `chat` alone. As in the other port every method is atomic (`Ok` is durable, `Err`
//! changed nothing), lists are bounded by the caller's `limit`, times are Unix milliseconds. What
//! must not change between looking and writing (membership, roles, blocks) is decided inside the
//! transaction, by the rules of [`model::chat`].
//!
//! Two orders rule here, each one sequence over all conversations in which a number is visible only
//! when all lower ones are: positions, in which messages are stored, and changes, in which recalls
//! and read marks are. A reader who has seen everything up to a number is never told anything
//! before it later.
//!
//! One row per message, whatever the size of the group. No call costs more with a longer history.

use std::sync::Arc;

use async_trait::async_trait;
use model::chat::{
    Change, Conversation, ConversationCursor, ConversationId, Group, GroupDone, GroupId, GroupMember, GroupWish,
    Message, MsgType, Recipient, Seen,
};
use model::{DeviceId, Snowflake, UserId};

use crate::Result;

/// A message to store.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its name.
    pub id: Snowflake,
    /// The name of the conversation, should this message be its first.
    pub conversation_id: ConversationId,
    /// The sender's own id for it.
    pub client_msg_id: Box<str>,
    /// Who sends it.
    pub from_user: UserId,
    /// The sender's shown name.
    pub from_name: Box<str>,
    /// Whom it is for.
    pub to: Recipient,
    /// The content.
    pub content: Box<str>,
    /// What the content is.
    pub msg_type: MsgType,
    /// When.
    pub created_at_ms: i64,
    /// Whether a call of the notification hook is to be noted in the same transaction.
    pub outbox: bool,
}

/// What became of a [`NewMessage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is stored.
    New {
        /// As it is kept.
        message: Arc<Message>,
        /// Of a group: which state of its membership received it (see [`Membership`]); else 0.
        members_version: u64,
    },
    /// The sender sent this `client_msg_id` before; this is what was stored then.
    Repeat(Arc<Message>),
    /// The sender belongs to no such group.
    NoGroup,
    /// The recipient has blocked the sender.
    Blocked,
}

/// Who belongs to a group. The version is another one after every change of it, so whoever keeps a
/// copy knows by an [`Appended::New`] whether it still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Of which state this is the picture.
    pub version: u64,
    /// The members in the order of their ids, each with the position after which it sees messages.
    pub members: Vec<(UserId, u64)>,
}

/// What a read mark did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Where.
    pub conversation_id: ConversationId,
    /// The group, when it is one's.
    pub group_id: Option<GroupId>,
    /// What is left unread.
    pub unread: u32,
    /// Of whom something was newly read, the reader excepted: authors of the newest thousand
    /// messages newly read. `None` when the mark did not move forward: nothing has changed.
    pub authors: Option<Vec<UserId>>,
}

/// What a recall did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recalled {
    /// It is taken back now.
    Done {
        /// As it is kept now.
        message: Arc<Message>,
        /// As in [`Appended::New`].
        members_version: u64,
    },
    /// It was before.
    Already,
    /// It is not the caller's.
    Forbidden,
    /// It is older than may be.
    TooLate,
    /// There is none that the caller may see.
    NotFound,
}

/// What to read of everything a user may see.
#[derive(Debug, Clone)]
pub struct SyncQuery {
    /// For whom.
    pub user: UserId,
    /// After this message; `None` is from the beginning.
    pub since: Option<Snowflake>,
    /// Changes after this number; `None` is none of them.
    pub since_change: Option<u64>,
    /// What is older is not given.
    pub not_before_ms: i64,
    /// At most so many messages, and so many changes.
    pub limit: usize,
}

/// A page of what a user may see, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncPage {
    /// Messages by position.
    pub messages: Vec<Seen>,
    /// The `since` to ask with next; `None` is the beginning.
    pub latest_id: Option<Snowflake>,
    /// Changes by their number.
    pub changes: Vec<Change>,
    /// The `since_change` to ask with next: nothing up to here is left untold.
    pub latest_change: u64,
    /// More messages or changes follow.
    pub more: bool,
    /// Between `since` and this page are messages too old to be given, or `since` is not known (any more).
    pub expired: bool,
}

/// A page of a conversation's history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The messages.
    pub messages: Vec<Seen>,
    /// There are older ones that this member may see.
    pub more: bool,
}

/// A group to make.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// Its name.
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

/// What became of a [`GroupWish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupAnswer {
    /// It is done.
    Done {
        /// What exactly.
        done: GroupDone,
        /// Who is to hear of it: all members before or after it.
        told: Vec<UserId>,
    },
    /// It was so before.
    Unchanged,
    /// There is no such group for the caller, or no such member.
    NotFound,
    /// The caller's role does not allow it.
    Forbidden,
    /// They do not fit.
    Full,
}

/// What is known of a person, as one who asks may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Who.
    pub user_id: UserId,
    /// The last shown name; `None` for somebody who was never here.
    pub username: Option<Box<str>>,
    /// When last here.
    pub last_seen_ms: Option<i64>,
    /// Hides from everybody.
    pub hidden: bool,
    /// Has blocked the one who asks.
    pub blocks_asker: bool,
}

/// Somebody was here.
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
    /// The message to tell of.
    pub message: Arc<Message>,
    /// Who may see it, the sender excepted, by now.
    pub recipients: Vec<UserId>,
    /// How often it was tried.
    pub attempts: u32,
}

/// The port.
#[async_trait]
pub trait ChatStore: Send + Sync + 'static {
    // Messages -----------------------------------------------------------------------------------

    /// Stores a run of messages in one commit, in the order of the run, and answers in that order. A
    /// direct message creates its conversation. Whether the sender belongs to the group, is blocked
    /// by the recipient or repeats itself is decided message by message inside the transaction.
    async fn append_messages(&self, run: Vec<NewMessage>) -> Result<Vec<Appended>>;
    /// What was stored for this sender's `client_msg_id`.
    async fn first_message(&self, user: &UserId, client_msg_id: &str) -> Result<Option<Arc<Message>>>;
    /// One message, for one who may see it.
    async fn message(&self, user: &UserId, id: Snowflake) -> Result<Option<Seen>>;
    /// Marks a message and everything before it in its conversation as read by `user`, and notes a
    /// change. A mark never moves back. `None` when `user` cannot see the message.
    async fn mark_read(&self, user: &UserId, message: Snowflake, at_ms: i64) -> Result<Option<Marked>>;
    /// Takes a message of `user` back that is not older than `not_before_ms`, and notes a change. Its
    /// content is erased unless `keep_content`; no call gives it in either case.
    async fn recall(
        &self,
        user: &UserId,
        message: Snowflake,
        at_ms: i64,
        not_before_ms: i64,
        keep_content: bool,
    ) -> Result<Recalled>;

    // Reading ------------------------------------------------------------------------------------

    /// A page of everything that was stored and changed in all conversations of a user, own messages
    /// included, as one picture of the store.
    async fn sync(&self, query: SyncQuery) -> Result<SyncPage>;
    /// Which of these people, each once and by id, a sync of what came at or after `since_ms` (Unix milliseconds) would give
    /// messages: asked for many, of whom nearly all have none.
    async fn reached_since(&self, users: &[UserId], since_ms: i64) -> Result<Vec<UserId>>;
    /// The `since` that a device's last sync named; `None` when it never did.
    async fn device_cursor(&self, user: &UserId, device: &DeviceId) -> Result<Option<Snowflake>>;
    /// Moves a device's cursor. Of a user's devices 64 are remembered, those seen last.
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

    // Groups -------------------------------------------------------------------------------------

    /// Makes a group and writes a line into the audit trail.
    async fn create_group(&self, group: NewGroup) -> Result<()>;
    /// Does what `actor` wants of a group, if the rules let it, and writes a line into the audit
    /// trail. The last one's leaving closes the group; an owner's leaving hands it to the oldest
    /// admin, else to the oldest member. The owner can leave, but not be removed.
    async fn change_group(&self, group: GroupId, actor: &UserId, wish: GroupWish, at_ms: i64) -> Result<GroupAnswer>;
    /// A group, for one of its members.
    async fn group(&self, user: &UserId, group: GroupId) -> Result<Option<Group>>;
    /// Members of a group by id, after `after`; `None` when `user` is not among them.
    async fn group_members(
        &self,
        user: &UserId,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Option<Vec<GroupMember>>>;
    /// Everybody in a group; empty when there is no such group.
    async fn membership(&self, group: GroupId) -> Result<Membership>;

    // People -------------------------------------------------------------------------------------

    /// Notes who was here, and under which name. Times never move back.
    async fn sight(&self, seen: Vec<Sighting>) -> Result<()>;
    /// Hides a user from everybody, or no longer.
    async fn set_hidden(&self, user: &UserId, hidden: bool) -> Result<()>;
    /// What `asker` may know of each of `users`, in their order.
    async fn profiles(&self, asker: &UserId, users: &[UserId]) -> Result<Vec<Profile>>;
    /// Blocks `other` for `user`; false when the user blocks `max` already.
    async fn block(&self, user: &UserId, other: &UserId, at_ms: i64, max: usize) -> Result<bool>;
    /// Takes a block back; one that is not there is fine.
    async fn unblock(&self, user: &UserId, other: &UserId) -> Result<()>;
    /// Whom a user blocks, by id.
    async fn blocks(&self, user: &UserId, limit: usize) -> Result<Vec<UserId>>;

    // The notification hook's outbox -------------------------------------------------------------

    /// Calls that are due, those due longest first. Recalled messages are not among them. Whoever asks is to settle
    /// them ([`ChatStore::outbox_retry`], [`ChatStore::outbox_done`]) within `lease_ms`: no other node is given them
    /// before.
    async fn outbox_due(&self, now_ms: i64, lease_ms: i64, limit: usize) -> Result<Vec<OutboxCall>>;
    /// Puts a call off; its attempts count one more.
    async fn outbox_retry(&self, message: Snowflake, next_at_ms: i64) -> Result<()>;
    /// Forgets calls: made, given up, or not needed.
    async fn outbox_done(&self, messages: &[Snowflake]) -> Result<()>;

    // Upkeep -------------------------------------------------------------------------------------

    /// Removes messages made before `not_before_ms` with what hangs on them, and devices not seen
    /// since `devices_not_before_ms`; at most `limit` messages a call. Returns how many went: call
    /// again until it is 0. Whoever holds the id of a removed message is told that it has expired.
    async fn expire_chat(&self, not_before_ms: i64, devices_not_before_ms: i64, limit: usize) -> Result<u64>;
}
