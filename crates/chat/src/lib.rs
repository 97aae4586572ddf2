//! The rules of private and group chat: messages, receipts, recalls, groups, presence.
//!
//! [`Chat`] holds the rules' state and is shared by the gateway (sockets) and the API (HTTP). What is
//! sent is stored first, by the `mailroom`, then answered and told to everybody's sockets in one
//! order by [`Post`]; whoever was away asks [`Chat::sync`] for what it missed. Knows no socket, no
//! HTTP and no SQL: it speaks to the ports of `state`, `store` and `bus`.

mod content;
mod error;
mod frames;
mod groups;
mod keys;
mod mailroom;
mod nodes;
mod post;
mod presence;
mod reading;
mod sending;
mod settings;
mod signed;
mod uploads;
mod view;

use std::sync::Arc;

use async_trait::async_trait;
use bus::UserFanout;
use model::chat::{ConversationId, Message, MsgType, Recipient};
use model::{Clock, DeviceId, Identity, Metrics, Snowflake, SnowflakeGenerator, UserId, WireError};
use state::{Gate, Presence};
use store::chat::ChatStore;

use groups::Groups;
use mailroom::Mailroom;
use nodes::Handed;
use parking_lot::Mutex;
use presence::Here;

pub use error::ChatError;
pub use groups::MemberPage;
pub use keys::Keys;
pub use post::{Devices, Post, Told};
pub use presence::PresenceOf;
pub use reading::ConversationPage;
pub use settings::Settings;
pub use signed::{Deed, Signer, Ticket};
pub use uploads::{Served, UploadDraft, UploadParts, UploadSettings, Uploads};

/// Result of an operation of chat.
pub type Result<T> = std::result::Result<T, ChatError>;

/// Bans, mutes and word lists, which live elsewhere: gives the text as it may be stored, or says why
/// it may not. Called for groups' names too. Must not wait.
pub type Screen = Arc<dyn Fn(&Identity, &str, MsgType) -> std::result::Result<String, WireError> + Send + Sync>;

/// Whether an upload may be sent.
#[async_trait]
pub trait Attachments: Send + Sync {
    /// Whether the upload is complete, belongs to `owner` and is of this type.
    async fn usable(&self, owner: &UserId, upload_id: &str, msg_type: MsgType) -> Result<bool>;
}

/// What [`Chat`] is made of.
pub struct Parts {
    /// Limits and windows.
    pub settings: Settings,
    /// What lasts.
    pub store: Arc<dyn ChatStore>,
    /// Rates.
    pub gate: Arc<dyn Gate>,
    /// Who is connected.
    pub presence: Arc<dyn Presence>,
    /// Where notices go: the node's own [`Post`], or a way to all nodes' posts.
    pub fanout: Arc<dyn UserFanout>,
    /// The node's own post, which holds its long polls.
    pub post: Arc<Post>,
    /// Bans, mutes, words.
    pub screen: Screen,
    /// Uploads.
    pub attachments: Arc<dyn Attachments>,
    /// Makes ids.
    pub ids: Arc<SnowflakeGenerator>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// A message as a client drafts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The sender's own id for it, 1–64 bytes; a retry gets the first answer.
    pub client_msg_id: String,
    /// Whom it is for.
    pub to: Recipient,
    /// The content.
    pub content: String,
    /// What the content is.
    pub msg_type: MsgType,
}

/// The answer to a [`Draft`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// As it is stored.
    pub message: Arc<Message>,
    /// It was sent before: nobody is told again.
    pub repeated: bool,
}

/// The answer to a read mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAck {
    /// The message that was marked.
    pub message_id: Snowflake,
    /// Where.
    pub conversation_id: ConversationId,
    /// What is left unread.
    pub unread_count: u32,
}

/// What to sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncRequest {
    /// After this message; 0 is the beginning, `None` is where the device's cursor stands.
    pub since_id: Option<Snowflake>,
    /// Changes after this number; `None` is none of them.
    pub since_change: Option<u64>,
    /// At most so many messages and changes; `None` is 100.
    pub limit: Option<usize>,
    /// The device that asks, if it has a name of its own; its cursor moves to `since_id`.
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
    parts: Parts,
    mailroom: Mailroom,
    groups: Arc<Groups>,
    here: Here,
    handed: Mutex<Handed>,
}

impl Chat {
    /// Starts the mailroom and the upkeep of presence, which end when the last handle is gone; must
    /// be called within a Tokio runtime.
    #[must_use]
    pub fn start(parts: Parts) -> Arc<Self> {
        let groups = Arc::new(Groups::new(parts.store.clone()));
        let mailroom = Mailroom::start(parts.store.clone(), groups.clone(), parts.fanout.clone(), parts.clock.clone());
        let (here, handed) = (Here::default(), Mutex::default());
        let chat = Arc::new(Self { parts, mailroom, groups, here, handed });
        tokio::spawn(presence::upkeep(Arc::downgrade(&chat)));
        tokio::spawn(nodes::follow(Arc::downgrade(&chat), chat.parts.fanout.clone()));
        chat
    }

    /// Limits and windows.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    /// Removes what is past its time, at most `limit` messages. Returns how many went: call again
    /// until it is less.
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
/// How long the cursor of a device that does not come back is remembered.
const DEVICE_DAYS: u32 = 90;

/// How many entries of a list to give.
fn page_limit(asked: Option<usize>, default: usize, max: usize) -> Result<usize> {
    match asked.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(ChatError::Invalid(format!("limit must be 1-{max}").into())),
    }
}
