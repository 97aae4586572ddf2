//! The messages of private and group chat, in both directions. [`crate::message`] parses and encodes them with the rest.
//!
//! Used by the gateway (commands and answers), by `chat` (pushed messages) and by the API, whose bodies are the same
//! objects. Decides no rule: `chat` does.

use model::chat::{
    Change, ChangeKind, Conversation, ConversationId, ConversationKind, GroupDone, GroupId, GroupRole, Message,
    MsgStatus, MsgType, Recipient, Seen,
};
use model::{Emoji, Snowflake, UserId, WireError, rfc3339_ms};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, OneOfBuilder, SchemaType};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The schema of a type that serialises by hand is that of its fields.
macro_rules! schema_of {
    ($json:ident, $fields:ident) => {
        impl PartialSchema for $json<'_> {
            fn schema() -> RefOr<Schema> {
                $fields::schema()
            }
        }

        impl ToSchema for $json<'_> {
            fn name() -> std::borrow::Cow<'static, str> {
                $fields::name()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                $fields::schemas(schemas);
            }
        }
    };
}

/// A chat command of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatCommand {
    /// `send_message` or `send_group_message`.
    Send(MessageDraft),
    /// `mark_as_read`: this message and all before it in its conversation.
    MarkAsRead {
        /// The message.
        message_id: Snowflake,
    },
    /// `recall_message`.
    Recall {
        /// The message.
        message_id: Snowflake,
    },
    /// `edit_message`.
    Edit {
        /// The message.
        message_id: Snowflake,
        /// Its new content.
        content: String,
    },
    /// `react`.
    React {
        /// The message.
        message_id: Snowflake,
        /// The reaction.
        emoji: Emoji,
        /// False takes it back.
        on: bool,
    },
    /// `sync_messages`.
    Sync(SyncOptions),
    /// `typing`.
    Typing {
        /// The recipient.
        to: Recipient,
        /// False when the user has stopped.
        typing: bool,
    },
    /// `watch_presence`: replaces the list of watched users.
    WatchPresence {
        /// The users.
        user_ids: Vec<UserId>,
    },
}

/// A message as a client drafts it, over sockets and HTTP alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageDraft {
    /// The sender's own id for it; a retry returns the first answer.
    pub client_msg_id: String,
    /// The recipient.
    pub to: Recipient,
    /// The content, in the format that `msg_type` names.
    pub content: String,
    /// Text by default.
    pub msg_type: MsgType,
    /// The message that it answers.
    pub reply_to: Option<Snowflake>,
    /// Uploads that an encrypted content names.
    pub uploads: Vec<Snowflake>,
}

/// What a device wants to sync, over sockets and HTTP alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct SyncOptions {
    /// The last message the device has; 0 is none. Absent: where the device stands.
    #[serde(default, deserialize_with = "cursor")]
    pub since_id: Option<Snowflake>,
    /// The last change the device has; 0 is none. Absent: changes are not wanted.
    #[serde(default, deserialize_with = "change_cursor")]
    pub since_change: Option<u64>,
    /// Messages in the answer.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Deserialize)]
struct Addressed {
    #[serde(default)]
    to_user: Option<UserId>,
    #[serde(default)]
    group_id: Option<GroupId>,
}

impl Addressed {
    fn recipient<E: serde::de::Error>(self) -> Result<Recipient, E> {
        match (self.to_user, self.group_id) {
            (Some(user), None) => Ok(Recipient::User(user)),
            (None, Some(group)) => Ok(Recipient::Group(group)),
            (None, None) => Err(E::custom("to_user or group_id is missing")),
            (Some(_), Some(_)) => Err(E::custom("to_user and group_id exclude each other")),
        }
    }
}

/// The fields of [`MessageDraft`].
#[derive(Deserialize, utoipa::ToSchema)]
struct DraftFields {
    /// The sender's own id for it, 1-64 bytes: a repeat gets the first answer.
    #[schema(min_length = 1, max_length = 64)]
    client_msg_id: String,
    #[serde(default)]
    #[schema(nullable = false)]
    to_user: Option<UserId>,
    /// Instead of `to_user`.
    #[serde(default)]
    #[schema(nullable = false)]
    group_id: Option<GroupId>,
    /// Up to 4,000 characters. Of an image, video or file: the upload's id. Encrypted: the envelope, up to 64 KiB.
    content: String,
    #[serde(default)]
    msg_type: MsgType,
    /// The message of the same conversation that it answers.
    #[serde(default)]
    #[schema(nullable = false)]
    reply_to: Option<Snowflake>,
    /// Of an encrypted message: the sender's uploads that its content names, so that its readers may fetch them and a
    /// recall ends that.
    #[serde(default)]
    #[schema(max_items = 10)]
    uploads: Vec<Snowflake>,
}

impl PartialSchema for MessageDraft {
    fn schema() -> RefOr<Schema> {
        // Exactly one of the two names the recipient.
        let names = |field| ObjectBuilder::new().schema_type(SchemaType::AnyValue).required(field);
        let recipient = OneOfBuilder::new().item(names("to_user")).item(names("group_id"));
        AllOfBuilder::new().item(DraftFields::schema()).item(recipient).into()
    }
}

impl ToSchema for MessageDraft {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        DraftFields::schemas(schemas);
    }
}

impl<'de> Deserialize<'de> for MessageDraft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let DraftFields { client_msg_id, to_user, group_id, content, msg_type, reply_to, uploads } =
            DraftFields::deserialize(deserializer)?;
        let to = Addressed { to_user, group_id }.recipient()?;
        Ok(Self { client_msg_id, to, content, msg_type, reply_to, uploads })
    }
}

/// Parses a chat message; `None` when `kind` is not one.
pub(crate) fn command(kind: &str, text: &str) -> Result<Option<ChatCommand>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Named {
        message_id: Snowflake,
    }
    #[derive(Deserialize)]
    struct Edit {
        message_id: Snowflake,
        content: String,
    }
    #[derive(Deserialize)]
    struct React {
        message_id: Snowflake,
        emoji: Emoji,
        #[serde(default)]
        on: Option<bool>,
    }
    #[derive(Deserialize)]
    struct Typing {
        #[serde(flatten)]
        to: Addressed,
        #[serde(default)]
        typing: Option<bool>,
    }
    #[derive(Deserialize)]
    struct Watch {
        user_ids: Vec<UserId>,
    }
    let named = || serde_json::from_str::<Named>(text).map(|named| named.message_id);
    Ok(Some(match kind {
        "send_message" => ChatCommand::Send(draft(text, |to| matches!(to, Recipient::User(_)), "to_user")?),
        "send_group_message" => ChatCommand::Send(draft(text, |to| matches!(to, Recipient::Group(_)), "group_id")?),
        "mark_as_read" => ChatCommand::MarkAsRead { message_id: named()? },
        "recall_message" => ChatCommand::Recall { message_id: named()? },
        "edit_message" => {
            let Edit { message_id, content } = serde_json::from_str(text)?;
            ChatCommand::Edit { message_id, content }
        }
        "react" => {
            let React { message_id, emoji, on } = serde_json::from_str(text)?;
            ChatCommand::React { message_id, emoji, on: on.unwrap_or(true) }
        }
        "sync_messages" => ChatCommand::Sync(serde_json::from_str(text)?),
        "typing" => {
            let Typing { to, typing } = serde_json::from_str(text)?;
            ChatCommand::Typing { to: to.recipient()?, typing: typing.unwrap_or(true) }
        }
        "watch_presence" => ChatCommand::WatchPresence { user_ids: serde_json::from_str::<Watch>(text)?.user_ids },
        _ => return Ok(None),
    }))
}

/// A draft whose recipient is of the kind that its type requires.
fn draft(text: &str, fits: impl Fn(&Recipient) -> bool, field: &str) -> Result<MessageDraft, serde_json::Error> {
    let draft: MessageDraft = serde_json::from_str(text)?;
    if fits(&draft.to) { Ok(draft) } else { Err(serde_json::Error::custom(format!("{field} is missing"))) }
}

fn cursor<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Snowflake>, D::Error> {
    let text = Option::<std::borrow::Cow<'de, str>>::deserialize(d)?;
    let parsed = text.map(|text| crate::message::parse_cursor(&text).ok_or("a cursor must be a decimal string"));
    parsed.transpose().map_err(D::Error::custom)
}

fn change_cursor<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    cursor(d).map(|cursor| cursor.map(|Snowflake(change)| change))
}

/// A chat message from the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs)] // The variants and fields are those of PROTOCOL.md.
pub enum ChatMessage<'a> {
    MessageAck(Acknowledged<'a>),
    ReadAck {
        message_id: Snowflake,
        conversation_id: ConversationId,
        unread_count: u32,
    },
    RecallAck {
        message_id: Snowflake,
    },
    EditAck(EditAck),
    ReactAck(ReactAck),
    SyncResponse(Page<'a>),
    PresenceList {
        users: Vec<PresenceJson<'a>>,
    },
    NewMessage(NewMessage<'a>),
    MessageRead {
        message_id: Snowflake,
        conversation_id: ConversationId,
        #[serde(skip_serializing_if = "Option::is_none")]
        group_id: Option<GroupId>,
        read_by: &'a UserId,
        #[serde(rename = "read_at", serialize_with = "rfc3339")]
        read_at_ms: i64,
    },
    MessageRecalled {
        message_id: Snowflake,
        conversation_id: ConversationId,
        recalled_by: &'a UserId,
        #[serde(rename = "recalled_at", serialize_with = "rfc3339")]
        recalled_at_ms: i64,
    },
    MessageEdited {
        message_id: Snowflake,
        conversation_id: ConversationId,
        content: &'a str,
        #[serde(rename = "edited_at", serialize_with = "rfc3339")]
        edited_at_ms: i64,
    },
    MessageReacted {
        message_id: Snowflake,
        conversation_id: ConversationId,
        user_id: &'a UserId,
        emoji: &'a str,
        on: bool,
        count: u32,
        #[serde(serialize_with = "number")]
        change: u64,
    },
    Typing {
        from_user: &'a UserId,
        #[serde(skip_serializing_if = "Option::is_none")]
        to_user: Option<&'a UserId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group_id: Option<GroupId>,
        typing: bool,
    },
    Presence(PresenceJson<'a>),
    GroupChanged(GroupChanged<'a>),
    /// An error of a send: it names the message beside the `ref`.
    #[serde(rename = "error")]
    NotSent {
        code: &'static str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        client_msg_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'a str>,
    },
}

impl<'a> ChatMessage<'a> {
    /// The error of a send.
    #[must_use]
    pub fn not_sent(error: &'a WireError, client_msg_id: &'a str) -> Self {
        let WireError { code, message, retry_after_ms, rule, .. } = error;
        let (code, retry_after_ms, rule) = (code.as_str(), *retry_after_ms, rule.as_deref());
        Self::NotSent { code, message, retry_after_ms, client_msg_id, rule }
    }

    /// A user is writing, or has stopped.
    #[must_use]
    pub fn typing(from_user: &'a UserId, to: &'a Recipient, typing: bool) -> Self {
        let (to_user, group_id) = sides(to);
        Self::Typing { from_user, to_user, group_id, typing }
    }
}

/// The person or the group.
fn sides(to: &Recipient) -> (Option<&UserId>, Option<GroupId>) {
    match to {
        Recipient::User(user) => (Some(user), None),
        Recipient::Group(group) => (None, Some(*group)),
    }
}

/// A message is edited: the answer, over sockets and HTTP alike.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[allow(missing_docs)]
pub struct EditAck {
    pub message_id: Snowflake,
    /// Absent when it already had this content and was never edited.
    #[serde(rename = "edited_at", serialize_with = "rfc3339_or_null", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime, nullable = false)]
    pub edited_at_ms: Option<i64>,
}

/// A reaction is added or taken back: the answer, over sockets and HTTP alike.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[allow(missing_docs)]
pub struct ReactAck {
    pub message_id: Snowflake,
    pub emoji: Emoji,
    pub on: bool,
    /// How many people react with it now.
    pub count: u32,
}

/// A message is stored: the answer to a send, over sockets and HTTP alike.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[allow(missing_docs)]
#[schema(as = MessageAck)]
pub struct Acknowledged<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub client_msg_id: Option<&'a str>,
    pub server_msg_id: Snowflake,
    pub status: MsgStatus,
    pub conversation_id: ConversationId,
    #[serde(rename = "created_at", serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at_ms: i64,
}

impl<'a> From<&'a Message> for Acknowledged<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            client_msg_id: Some(&message.client_msg_id),
            server_msg_id: message.id,
            status: MsgStatus::Delivered,
            conversation_id: message.conversation_id,
            created_at_ms: message.created_at_ms,
        }
    }
}

/// A message on its way to a socket.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct NewMessage<'a> {
    pub server_msg_id: Snowflake,
    pub client_msg_id: &'a str,
    pub conversation_id: ConversationId,
    pub from_user: &'a UserId,
    pub from_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_user: Option<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<GroupId>,
    pub content: &'a str,
    pub msg_type: MsgType,
    #[serde(rename = "created_at", serialize_with = "rfc3339")]
    pub created_at_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Snowflake>,
    #[serde(rename = "edited_at", serialize_with = "rfc3339_or_null", skip_serializing_if = "Option::is_none")]
    pub edited_at_ms: Option<i64>,
}

impl<'a> From<&'a Message> for NewMessage<'a> {
    fn from(message: &'a Message) -> Self {
        let (to_user, group_id) = sides(&message.to);
        Self {
            server_msg_id: message.id,
            client_msg_id: &message.client_msg_id,
            conversation_id: message.conversation_id,
            from_user: &message.from_user,
            from_name: &message.from_name,
            to_user,
            group_id,
            content: &message.content,
            msg_type: message.msg_type,
            created_at_ms: message.created_at_ms,
            reply_to: message.reply_to,
            edited_at_ms: message.edited_at_ms,
        }
    }
}

/// A stored message as one member sees it.
pub struct MessageJson<'a>(pub &'a Seen);

/// The fields of [`MessageJson`].
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Message)]
struct MessageFields<'a> {
    id: Snowflake,
    client_msg_id: &'a str,
    conversation_id: ConversationId,
    from_user: &'a UserId,
    from_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    to_user: Option<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    group_id: Option<GroupId>,
    /// Empty once recalled. Never to be inserted as HTML.
    content: &'a str,
    msg_type: MsgType,
    status: MsgStatus,
    /// Of one's own message in a group: how many others have read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    read_count: Option<u32>,
    #[schema(format = DateTime)]
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    recalled_at: Option<String>,
    /// The message that it answers; that one may be recalled or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reply_to: Option<Snowflake>,
    /// When its content was last edited; rises with every edit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, format = DateTime)]
    edited_at: Option<String>,
    /// In the order of their first use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, max_items = 20)]
    reactions: Vec<ReactionJson<'a>>,
}

/// One kind of reaction to a message.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[allow(missing_docs)]
#[schema(as = Reaction)]
pub struct ReactionJson<'a> {
    pub emoji: &'a str,
    /// How many people gave it.
    pub count: u32,
    /// Whether the reader did.
    pub mine: bool,
}

/// The reactions to a message, none once it was recalled.
pub(crate) fn reactions(seen: &Seen) -> impl Iterator<Item = ReactionJson<'_>> {
    let shown = seen.message.recalled.is_none();
    seen.message.reactions.iter().filter(move |_| shown).map(|reaction| ReactionJson {
        emoji: &reaction.emoji,
        count: reaction.count,
        mine: seen.my_reactions.contains(&reaction.emoji),
    })
}

schema_of!(MessageJson, MessageFields);

impl std::fmt::Debug for MessageJson<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for MessageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Seen { message, status, read_count, .. } = self.0;
        let (to_user, group_id) = sides(&message.to);
        MessageFields {
            id: message.id,
            client_msg_id: &message.client_msg_id,
            conversation_id: message.conversation_id,
            from_user: &message.from_user,
            from_name: &message.from_name,
            to_user,
            group_id,
            content: if message.recalled.is_some() { "" } else { &message.content },
            msg_type: message.msg_type,
            status: *status,
            read_count: *read_count,
            created_at: rfc3339_ms(message.created_at_ms),
            recalled_at: message.recalled.as_ref().map(|recall| rfc3339_ms(recall.at_ms)),
            reply_to: message.reply_to,
            edited_at: message.edited_at_ms.map(rfc3339_ms),
            reactions: reactions(self.0).collect(),
        }
        .serialize(serializer)
    }
}

/// A page of messages and changes, over sockets and HTTP alike.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[allow(missing_docs)]
#[schema(as = MessagePage)]
pub struct Page<'a> {
    pub messages: Vec<MessageJson<'a>>,
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub latest_id: Snowflake,
    pub changes: Vec<ChangeJson<'a>>,
    #[serde(serialize_with = "number")]
    #[schema(value_type = String, pattern = "^[0-9]+$")]
    pub latest_change: u64,
    pub more: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
}

/// The most that a message takes in a page beside its content and its reactions, in bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 512;
/// The most that one kind of reaction takes.
const REACTION_BYTES: usize = 96;
/// The most that a change takes beside its message.
const CHANGE_BYTES: usize = 256;

fn bytes_of(seen: &Seen) -> usize {
    seen.message.content.len() + MESSAGE_OVERHEAD_BYTES + seen.message.reactions.len() * REACTION_BYTES
}

/// How many of these fit, and at least one.
fn fitting(sizes: impl Iterator<Item = usize>, bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fits = sizes.take_while(|size| {
        bytes += size;
        bytes <= bytes_max
    });
    fits.count().max(1)
}

impl Page<'_> {
    /// The page with as many of its messages as fit, and as many of its changes; of each at least one. `more` says that
    /// others were cut.
    #[must_use]
    pub fn within(mut self, bytes_max: usize) -> Self {
        // Changes that carry no message are small, so both halves together rarely meet the limit.
        let half = if self.changes.iter().any(|change| change.message.is_some()) { bytes_max / 2 } else { bytes_max };
        let fits = fitting(self.messages.iter().map(|MessageJson(seen)| bytes_of(seen)), half);
        if fits < self.messages.len() {
            self.messages.truncate(fits);
            self.more = true;
            self.latest_id = self.messages.last().map_or(self.latest_id, |MessageJson(seen)| seen.message.id);
        }
        let size = |change: &ChangeJson<'_>| {
            CHANGE_BYTES + change.message.as_ref().map_or(0, |MessageJson(seen)| bytes_of(seen))
        };
        let fits = fitting(self.changes.iter().map(size), half);
        if fits < self.changes.len() {
            self.changes.truncate(fits);
            self.more = true;
            self.latest_change = self.changes.last().map_or(self.latest_change, |change| change.change);
        }
        self
    }
}

/// A change: a recall, an edit, a reaction, or a reader's mark.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[allow(missing_docs)]
#[schema(as = MessageChange)]
pub struct ChangeJson<'a> {
    /// Its number, which [`Page::within`] goes back to.
    #[serde(skip)]
    pub change: u64,
    pub message_id: Snowflake,
    pub conversation_id: ConversationId,
    #[serde(rename = "status", serialize_with = "kind")]
    #[schema(value_type = String, pattern = "^(recalled|read|edited|reacted)$")]
    pub kind: ChangeKind,
    pub by_user: &'a UserId,
    #[serde(rename = "at", serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at_ms: i64,
    /// Of `edited` and `reacted`: the message as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub message: Option<MessageJson<'a>>,
}

impl<'a> From<&'a Change> for ChangeJson<'a> {
    fn from(change: &'a Change) -> Self {
        let Change { message_id, conversation_id, kind, by_user, at_ms, change, message } = change;
        Self {
            change: *change,
            message_id: *message_id,
            conversation_id: *conversation_id,
            kind: *kind,
            by_user,
            at_ms: *at_ms,
            message: message.as_ref().map(MessageJson),
        }
    }
}

/// Whether a user is online.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[allow(missing_docs)]
#[schema(as = Presence)]
pub struct PresenceJson<'a> {
    pub user_id: &'a UserId,
    #[serde(rename = "status", serialize_with = "presence")]
    #[schema(value_type = String, pattern = "^(online|offline)$")]
    pub online: bool,
    #[serde(rename = "last_seen", serialize_with = "rfc3339_or_null")]
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_seen_ms: Option<i64>,
}

impl<'a> PresenceJson<'a> {
    /// `last_seen_ms` is in Unix milliseconds; `None` when it is not shown.
    #[must_use]
    pub fn new(user_id: &'a UserId, online: bool, last_seen_ms: Option<i64>) -> Self {
        Self { user_id, online, last_seen_ms }
    }
}

/// A group has changed.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct GroupChanged<'a> {
    pub group_id: GroupId,
    pub conversation_id: ConversationId,
    pub change: &'static str,
    pub by_user: &'a UserId,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user_ids: Vec<&'a UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<GroupRole>,
    /// The new owner, when the owner left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<&'a UserId>,
}

impl<'a> GroupChanged<'a> {
    /// A change to a group, and who made it.
    #[must_use]
    pub fn new(group_id: GroupId, by_user: &'a UserId, done: &'a GroupDone) -> Self {
        let conversation_id = group_id.conversation();
        let (mut user_ids, mut name, mut role, mut owner_id) = (Vec::new(), None, None, None);
        match done {
            GroupDone::Created { name: given, users } => {
                (user_ids, name) = (users.iter().collect(), Some(&**given));
            }
            GroupDone::Renamed { name: given } => name = Some(&**given),
            GroupDone::MembersAdded { users } => user_ids = users.iter().collect(),
            GroupDone::MemberRemoved { user } => user_ids = vec![user],
            GroupDone::MemberLeft { user, successor } => (user_ids, owner_id) = (vec![user], successor.as_ref()),
            GroupDone::RoleChanged { user, role: given } => (user_ids, role) = (vec![user], Some(*given)),
            GroupDone::Closed => {}
        }
        Self { group_id, conversation_id, change: done.as_str(), by_user, user_ids, name, role, owner_id }
    }
}

/// An entry of the list of conversations.
pub struct ConversationJson<'a>(pub &'a Conversation);

/// The fields of [`ConversationJson`].
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Conversation)]
struct ConversationFields<'a> {
    conversation_id: ConversationId,
    #[serde(flatten)]
    kind: ConversationKindFields<'a>,
    name: &'a str,
    /// Counted up to 9,999.
    unread_count: u32,
    #[schema(required)]
    last_message: Option<MessageJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    read_id: Option<Snowflake>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = ConversationKind)]
enum ConversationKindFields<'a> {
    Direct {
        with_user: &'a UserId,
        /// Up to where the other has read.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(nullable = false)]
        peer_read_id: Option<Snowflake>,
    },
    Group {
        group_id: GroupId,
        member_count: u32,
        role: GroupRole,
    },
}

schema_of!(ConversationJson, ConversationFields);

impl Serialize for ConversationJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let found = self.0;
        let kind = match &found.kind {
            ConversationKind::Direct { with, peer_read_id } => {
                ConversationKindFields::Direct { with_user: with, peer_read_id: *peer_read_id }
            }
            ConversationKind::Group { group_id, member_count, role } => {
                ConversationKindFields::Group { group_id: *group_id, member_count: *member_count, role: *role }
            }
        };
        let last_message = found.last.as_ref().map(MessageJson);
        let (name, unread_count) = (&*found.name, found.unread);
        ConversationFields { conversation_id: found.id, kind, name, unread_count, last_message, read_id: found.read_id }
            .serialize(serializer)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn rfc3339<S: Serializer>(at_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339_ms(*at_ms))
}

#[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref)] // serde's signature
fn rfc3339_or_null<S: Serializer>(at_ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    at_ms.map(rfc3339_ms).serialize(serializer)
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn kind<S: Serializer>(kind: &ChangeKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn presence<S: Serializer>(online: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *online { "online" } else { "offline" })
}

/// A number as a decimal string, as ids are on the wire.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn number<S: Serializer>(n: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(n)
}
