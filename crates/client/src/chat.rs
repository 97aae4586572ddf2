//! Private and group chat over the same connection: messages that are sent once, and everything that a device has missed.
//!
//! A task syncs from the device's cursors on each new connection, page by page, and then takes up what is pushed. It merges by
//! id, so each message is told once. A later sync brings a push that was lost.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::Error;
use crate::client::{Client, ClientItem, ClientItems, State, read};
use crate::retry::spread;
use crate::room::with_type;
use crate::seen::SeenIds;
use crate::types::{Id, Message, MessageAck, MessageChange, SyncPage};

/// Items that may wait for a reader; then the chat waits, and syncs what was pushed meanwhile.
const ITEMS_MAX: usize = 1_024;
/// Messages of a page.
const PAGE: u32 = 100;
/// Ids remembered to drop repeats.
const SEEN: usize = 8_192;
/// Attempts of one message that the server refuses for a passing reason.
const ATTEMPTS_MAX: u32 = 10;
/// Pause between them, if the server does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// One person.
    User(String),
    /// A group.
    Group(String),
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct MessageDraft {
    /// The text, or what another type defines.
    pub content: String,
    /// The sender's own id of it, 1 to 64 bytes; made up where it is absent. The same one again is sent once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_msg_id: Option<String>,
    /// `text` where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg_type: Option<String>,
    /// The message that this one answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Id>,
}

impl From<&str> for MessageDraft {
    fn from(content: &str) -> Self {
        Self { content: content.to_owned(), ..Self::default() }
    }
}

/// Up to where a device has everything. A program that keeps it between its runs misses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatCursor {
    /// The newest message. Absent: where the server knows this device to be; `"0"` is the beginning.
    pub since_id: Option<Id>,
    /// The newest change.
    pub since_change: Option<String>,
}

/// What happens in a user's conversations.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatItem {
    /// A message, one's own from other devices too; each once.
    Message(Message),
    /// Something happened to messages that were told before.
    Change(MessageChange),
    /// Typing, presence, groups, reactions as they come: the server's message.
    Pushed(Value),
    /// Everything that was missed has been told.
    Synced,
    /// Some messages are older than what can be synced: the conversations' history has them.
    Expired,
}

/// A reader of a chat.
pub struct ChatItems(mpsc::Receiver<ChatItem>);

impl ChatItems {
    /// The next item; nothing once the client is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ChatItem> {
        self.0.recv().await
    }
}

/// The conversations of a client's user.
#[derive(Clone)]
pub struct Chat {
    client: Client,
    cursor: Arc<Mutex<ChatCursor>>,
}

impl Chat {
    /// Begins where a device has stopped. The chat goes on until the reader of its items is dropped.
    #[must_use]
    pub fn start(client: &Client, cursor: ChatCursor) -> (Self, ChatItems) {
        let (items, reader) = mpsc::channel(ITEMS_MAX);
        let chat = Self { client: client.clone(), cursor: Arc::new(Mutex::new(cursor)) };
        let reading = Syncing {
            pushes: client.subscribe(),
            states: client.states(),
            chat: chat.clone(),
            items,
            messages: SeenIds::new(SEEN),
            changes: SeenIds::new(SEEN),
        };
        tokio::spawn(reading.run());
        (chat, ChatItems(reader))
    }

    /// Up to where everything was told.
    #[must_use]
    pub fn cursor(&self) -> ChatCursor {
        self.cursor.lock().clone()
    }

    /// Sends a message. Returns when the server has stored it. Without a connection it waits for one; the server stores it once,
    /// however often it is sent. What is refused for a passing reason is sent again a few times.
    ///
    /// # Errors
    /// The server's refusal, or as [`Client::request`].
    pub async fn send(&self, to: &Recipient, draft: impl Into<MessageDraft>) -> Result<MessageAck, Error> {
        let draft: MessageDraft = draft.into();
        let message = match to {
            Recipient::User(user) => with_type("send_message", &draft, &[("to_user", user)]),
            Recipient::Group(group) => with_type("send_group_message", &draft, &[("group_id", group)]),
        };
        let mut attempt = 1;
        loop {
            match self.client.request(message.clone(), true).await {
                Ok(answer) => return read(answer),
                Err(error) if error.is_passing() && attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    sleep(spread(error.retry_after.unwrap_or(PAUSE))).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that everything up to a message was read.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn mark_as_read(&self, message_id: &str) -> Result<(), Error> {
        self.ask(json!({ "type": "mark_as_read", "message_id": message_id })).await
    }

    /// Takes a message back, for two minutes.
    ///
    /// # Errors
    /// `too_late`, or as [`Client::request`].
    pub async fn recall(&self, message_id: &str) -> Result<(), Error> {
        self.ask(json!({ "type": "recall_message", "message_id": message_id })).await
    }

    /// Replaces a message's text, for two minutes.
    ///
    /// # Errors
    /// `too_late`, or as [`Client::request`].
    pub async fn edit(&self, message_id: &str, content: &str) -> Result<(), Error> {
        self.ask(json!({ "type": "edit_message", "message_id": message_id, "content": content })).await
    }

    /// Reacts to a message with one emoji, or takes that back.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn react(&self, message_id: &str, emoji: &str, on: bool) -> Result<(), Error> {
        self.ask(json!({ "type": "react", "message_id": message_id, "emoji": emoji, "on": on })).await
    }

    /// Tells the others that the user types. Dropped while there is no connection.
    pub fn tell_typing(&self, to: &Recipient) {
        let (field, id) = match to {
            Recipient::User(user) => ("to_user", user),
            Recipient::Group(group) => ("group_id", group),
        };
        let mut message = json!({ "type": "typing" });
        message[field] = id.as_str().into();
        self.client.send(message);
    }

    /// What changes nothing the second time.
    async fn ask(&self, message: Value) -> Result<(), Error> {
        self.client.request(message, true).await.map(drop)
    }
}

/// Waits until there is a connection, or none.
async fn until(states: &mut watch::Receiver<State>, connected: bool) {
    // Its sender lives as long as the client, which the chat holds.
    let _ = states.wait_for(|state| (*state == State::Connected) == connected).await;
}

/// Nobody reads the chat any more.
struct Unread;

struct Syncing {
    chat: Chat,
    states: watch::Receiver<State>,
    pushes: ClientItems,
    items: mpsc::Sender<ChatItem>,
    messages: SeenIds,
    changes: SeenIds,
}

impl Syncing {
    async fn run(mut self) {
        let items = self.items.clone();
        loop {
            let done = tokio::select! {
                () = items.closed() => return,
                done = self.connection() => done,
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// One connection: syncs, then takes up pushes until it is lost.
    async fn connection(&mut self) -> Result<(), Unread> {
        until(&mut self.states, true).await;
        let mut is_behind = true;
        loop {
            if is_behind {
                match self.sync().await? {
                    Ok(()) => is_behind = false,
                    // Another connection will follow.
                    Err(error) if matches!(error.code.as_str(), "disconnected" | "closed") => return Ok(()),
                    Err(error) => sleep(spread(error.retry_after.unwrap_or(PAUSE))).await,
                }
                continue;
            }
            tokio::select! {
                () = until(&mut self.states, false) => return Ok(()),
                item = self.pushes.next() => match item {
                    Some(ClientItem::Message(message)) => self.pushed(message).await?,
                    Some(ClientItem::Lagged(_)) => is_behind = true,
                    Some(_) => {}
                    None => return Err(Unread),
                },
            }
        }
    }

    /// Asks page by page for what was missed.
    async fn sync(&mut self) -> Result<Result<(), Error>, Unread> {
        loop {
            let ChatCursor { since_id, since_change } = self.chat.cursor();
            let mut ask = json!({ "type": "sync_messages", "limit": PAGE });
            since_id.into_iter().for_each(|since_id| ask["since_id"] = since_id.into());
            since_change.into_iter().for_each(|since_change| ask["since_change"] = since_change.into());
            let page: SyncPage = match self.chat.client.request(ask, false).await.and_then(read) {
                Ok(page) => page,
                Err(error) => return Ok(Err(error)),
            };
            if page.expired {
                self.tell(ChatItem::Expired).await?;
            }
            for message in page.messages {
                self.message(message).await?;
            }
            for change in page.changes {
                self.change(change).await?;
            }
            *self.chat.cursor.lock() =
                ChatCursor { since_id: Some(page.latest_id), since_change: Some(page.latest_change) };
            if !page.more {
                self.tell(ChatItem::Synced).await?;
                return Ok(Ok(()));
            }
        }
    }

    async fn pushed(&mut self, push: Value) -> Result<(), Unread> {
        let text = |name: &str| push[name].as_str().unwrap_or_default().to_owned();
        let change = |status: &str, by: &str, at: &str| MessageChange {
            message_id: text("message_id"),
            conversation_id: text("conversation_id"),
            status: status.to_owned(),
            by_user: text(by),
            at: text(at),
            content: push["content"].as_str().map(str::to_owned),
            message: None,
        };
        match push["type"].as_str().unwrap_or_default() {
            "new_message" => {
                let Ok(message) = serde_json::from_value::<Message>(push) else { return Ok(()) };
                let id = message.id.clone();
                if self.message(message).await? {
                    self.chat.cursor.lock().since_id = Some(id);
                }
                Ok(())
            }
            "message_read" => self.change(change("read", "read_by", "read_at")).await,
            "message_recalled" => self.change(change("recalled", "recalled_by", "recalled_at")).await,
            "message_edited" => self.change(change("edited", "from_user", "edited_at")).await,
            // As the transports over HTTP hear of it.
            "message_changed" => match serde_json::from_value(push) {
                Ok(change) => self.change(change).await,
                Err(_) => Ok(()),
            },
            "message_reacted" | "typing" | "presence" | "group_changed" => self.tell(ChatItem::Pushed(push)).await,
            _ => Ok(()),
        }
    }

    /// Tells of a message that is new; whether it is.
    async fn message(&mut self, message: Message) -> Result<bool, Unread> {
        let is_new = self.messages.add(&message.id);
        if is_new {
            self.tell(ChatItem::Message(message)).await?;
        }
        Ok(is_new)
    }

    async fn change(&mut self, change: MessageChange) -> Result<(), Unread> {
        let MessageChange { message_id, status, by_user, at, .. } = &change;
        // A pushed edit does not say by whom; there is but one who may.
        let by_user = if status == "edited" { "" } else { by_user };
        if !self.changes.add(&format!("{status} {message_id} {by_user} {at}")) {
            return Ok(());
        }
        self.tell(ChatItem::Change(change)).await
    }

    async fn tell(&self, item: ChatItem) -> Result<(), Unread> {
        self.items.send(item).await.map_err(|_| Unread)
    }
}
