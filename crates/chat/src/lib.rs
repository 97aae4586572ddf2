//! The rules of private and group chat: messages, receipts, recalls, edits, reactions, search, groups, presence.
//!
//! [`Chat`] holds the rules' state; the gateway (sockets) and the API (HTTP) share it. `message_writer` stores a message
//! first, then notifies everybody's sockets and answers the sender, all in one order. Devices that were offline call
//! [`Chat::sync`]. [`Uploads`] and [`Keys`] are the rules of files and of end-to-end encryption.
//!
//! It knows no socket, no HTTP and no SQL: it calls the ports of `state`, `store` and `fanout`.

mod changing;
mod content;
mod error;
mod frames;
mod groups;
mod keys;
mod local_fanout;
mod message_writer;
mod nodes;
mod pictures;
mod presence;
mod reading;
mod searching;
mod sending;
mod signed_links;
mod uploads;
mod view;

use std::sync::Arc;

use async_trait::async_trait;
use fanout::UserFanout;
use futures::future::BoxFuture;
use model::chat::{ConversationId, Message, MsgType};
use model::{Clock, DeviceId, Identity, Metrics, Snowflake, SnowflakeGenerator, UserId, WireError};
use state::{Presence, RateLimiter};
use store::chat::ChatStore;

use groups::Groups;
use message_writer::MessageWriter;
use nodes::IssuedCursors;
use parking_lot::Mutex;
use presence::PresenceTracker;

pub use error::ChatError;
pub use groups::{MemberPage, NewGroupMembers};
pub use keys::Keys;
pub use local_fanout::{LocalUserFanout, OutboundNotice, ShardSink};
pub use presence::PresenceOf;
pub use protocol::chat::{EditAck, MessageDraft, ReactAck};
pub use reading::ConversationPage;
pub use signed_links::{LinkAction, LinkSigner, SignedLink};
pub use uploads::{UploadDraft, UploadParts, UploadRead, Uploads};

/// Result of an operation of chat.
pub type Result<T> = std::result::Result<T, ChatError>;

/// Applies bans, mutes and word lists, which `ingest` owns: returns the text as it may be stored, or why it may not be.
/// Called for names of groups too. Must not wait.
pub type MessageFilter = Arc<dyn Fn(&Identity, &str, MsgType) -> std::result::Result<String, WireError> + Send + Sync>;

/// Asks somebody about the filtered text of a message before it is stored: the sender, the text as typed, the text. Returns
/// the text to store.
pub type MessageScreen =
    Arc<dyn Fn(Identity, String, String) -> BoxFuture<'static, std::result::Result<String, WireError>> + Send + Sync>;

/// Checks uploads that messages refer to.
#[async_trait]
pub trait Attachments: Send + Sync {
    /// Whether the upload is complete, belongs to `owner` and is of this type.
    async fn usable(&self, owner: &UserId, upload_id: &str, msg_type: MsgType) -> Result<bool>;
}

/// The parts of [`Chat`].
pub struct ChatPorts {
    /// Limits and windows.
    pub settings: settings::Chat,
    /// Whose messages are noted for the notification webhook.
    pub hook: settings::Hook,
    /// Everything that is kept.
    pub store: Arc<dyn ChatStore>,
    /// Rates.
    pub rate_limiter: Arc<dyn RateLimiter>,
    /// Who is online.
    pub presence: Arc<dyn Presence>,
    /// Takes notices: the node's own [`LocalUserFanout`], or the fan-out to all nodes.
    pub fanout: Arc<dyn UserFanout>,
    /// The node's own sockets and long polls.
    pub local_fanout: Arc<LocalUserFanout>,
    /// Bans, mutes, word lists.
    pub message_filter: MessageFilter,
    /// Asked about texts after the filter, never about sealed ones.
    pub message_screen: Option<MessageScreen>,
    /// Uploads.
    pub attachments: Arc<dyn Attachments>,
    /// Makes ids.
    pub ids: Arc<SnowflakeGenerator>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The answer to a [`MessageDraft`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendOutcome {
    /// As it is stored.
    pub message: Arc<Message>,
    /// It was sent before, so nobody is notified again.
    pub repeated: bool,
}

/// The answer to a read mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAck {
    /// The message that was marked.
    pub message_id: Snowflake,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Messages left unread.
    pub unread_count: u32,
}

/// A request to sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncRequest {
    /// The last message the device has; 0 is none, `None` is the device's cursor.
    pub since_id: Option<Snowflake>,
    /// The last change the device has; `None` asks for no changes.
    pub since_change: Option<u64>,
    /// Most messages and changes; `None` is 100.
    pub limit: Option<usize>,
    /// The device that asks, if it names itself; its cursor moves to `since_id`.
    pub device: Option<DeviceId>,
}

/// The answer to a [`SyncRequest`], also of long polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Messages and changes.
    pub page: store::chat::SyncPage,
    /// The `since_id` to ask with next; 0 when there is nothing yet.
    pub latest_id: Snowflake,
}

/// The rules with their state.
pub struct Chat {
    parts: ChatPorts,
    message_writer: MessageWriter,
    groups: Arc<Groups>,
    presence_tracker: Arc<PresenceTracker>,
    issued_cursors: Mutex<IssuedCursors>,
}

impl Chat {
    /// Starts the tasks of chat, which end with the last handle. Must be called within a Tokio runtime.
    #[must_use]
    pub fn start(parts: ChatPorts) -> Arc<Self> {
        let groups = Arc::new(Groups::new(parts.store.clone()));
        let message_writer =
            MessageWriter::start(parts.store.clone(), groups.clone(), parts.fanout.clone(), parts.clock.clone());
        let (presence_tracker, issued_cursors) = (Arc::<PresenceTracker>::default(), Mutex::default());
        let chat = Arc::new(Self { parts, message_writer, groups, presence_tracker, issued_cursors });
        tokio::spawn(presence::upkeep(Arc::downgrade(&chat)));
        tokio::spawn(nodes::follow_remote_changes(Arc::downgrade(&chat), chat.parts.fanout.clone()));
        chat
    }

    /// Removes expired messages, at most `limit`; returns how many. Callers repeat until it is less.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`].
    pub async fn expire(&self, limit: usize) -> Result<u64> {
        let days = self.parts.settings.history_days;
        let not_before_ms = if days == 0 { i64::MIN } else { self.days_ago_ms(days) };
        Ok(self.parts.store.expire_chat(not_before_ms, self.days_ago_ms(DEVICE_DAYS), limit).await?)
    }

    fn now_ms(&self) -> i64 {
        self.parts.clock.now_ms()
    }

    fn days_ago_ms(&self, days: u32) -> i64 {
        self.now_ms().saturating_sub(i64::from(days) * DAY_MS)
    }
}

const DAY_MS: i64 = 86_400_000;
/// How long the cursor of a device that stays away is kept.
const DEVICE_DAYS: u32 = 90;

/// The length of a page.
fn page_limit(asked: Option<usize>, default: usize, max: usize) -> Result<usize> {
    match asked.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(ChatError::Invalid(format!("limit must be 1-{max}").into())),
    }
}
