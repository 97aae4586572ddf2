//! The messages of private and group chat, both directions; the other half of [`crate::message`], which parses
//! and encodes them with the rest.
//!
//! Called by the gateway (what clients ask, what they are answered), by `chat` (what is pushed) and by the API, whose
//! bodies are the same objects. Decides nothing: who may do what is `chat`'s.

use model::chat::{
    Change, ChangeKind, Conversation, ConversationId, ConversationKind, GroupDone, GroupId, GroupRole, Message,
    MsgStatus, MsgType, Recipient, Seen,
};
use model::{Snowflake, UserId, WireError, rfc3339_ms};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a client asks for in chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatCommand {
    /// `send_message` or `send_group_message`.
    Send(MessageDraft),
    /// `mark_as_read`: this message and all before it in its conversation.
    MarkAsRead {
        /// Which.
        message_id: Snowflake,
    },
    /// `recall_message`.
    Recall {
        /// Which.
        message_id: Snowflake,
    },
    /// `sync_messages`.
    Sync(SyncWish),
    /// `typing`.
    Typing {
        /// To whom.
        to: Recipient,
        /// Whether still.
        typing: bool,
    },
    /// `watch_presence`: these users from now on, and nobody else.
    WatchPresence {
        /// Whom.
        user_ids: Vec<UserId>,
    },
}

/// A message as a client drafts it, over sockets and HTTP alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageDraft {
    /// The sender's own id for it; a retry returns the first answer.
    pub client_msg_id: String,
    /// Whom it is for.
    pub to: Recipient,
    /// What `msg_type` says it is.
    pub content: String,
    /// Text, unless said otherwise.
    pub msg_type: MsgType,
}

/// What a device wants to catch up with, over sockets and HTTP alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct SyncWish {
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

impl<'de> Deserialize<'de> for MessageDraft {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Draft {
            client_msg_id: String,
            #[serde(default)]
            to_user: Option<UserId>,
            #[serde(default)]
            group_id: Option<GroupId>,
            content: String,
            #[serde(default)]
            msg_type: MsgType,
        }
        let Draft { client_msg_id, to_user, group_id, content, msg_type } = Draft::deserialize(deserializer)?;
        let to = Addressed { to_user, group_id }.recipient()?;
        Ok(Self { client_msg_id, to, content, msg_type })
    }
}

/// Parses a message of chat; `None` when `kind` is none of them.
pub(crate) fn command(kind: &str, text: &str) -> Result<Option<ChatCommand>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Named {
        message_id: Snowflake,
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
        "sync_messages" => ChatCommand::Sync(serde_json::from_str(text)?),
        "typing" => {
            let Typing { to, typing } = serde_json::from_str(text)?;
            ChatCommand::Typing { to: to.recipient()?, typing: typing.unwrap_or(true) }
        }
        "watch_presence" => ChatCommand::WatchPresence { user_ids: serde_json::from_str::<Watch>(text)?.user_ids },
        _ => return Ok(None),
    }))
}

/// A draft whose recipient is of the kind that its type promises.
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

/// What the server says in chat.
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
    },
}

impl<'a> ChatMessage<'a> {
    /// The error of a send.
    #[must_use]
    pub fn not_sent(error: &'a WireError, client_msg_id: &'a str) -> Self {
        let WireError { code, message, retry_after_ms } = error;
        Self::NotSent { code: code.as_str(), message, retry_after_ms: *retry_after_ms, client_msg_id }
    }

    /// Somebody is writing, or has stopped.
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

/// A message is stored: the answer to a send, over sockets and HTTP alike.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct Acknowledged<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_msg_id: Option<&'a str>,
    pub server_msg_id: Snowflake,
    pub status: MsgStatus,
    pub conversation_id: ConversationId,
    #[serde(rename = "created_at", serialize_with = "rfc3339")]
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
        }
    }
}

/// A stored message as one member is shown it.
pub struct MessageJson<'a>(pub &'a Seen);

impl std::fmt::Debug for MessageJson<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for MessageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'a> {
            id: Snowflake,
            client_msg_id: &'a str,
            conversation_id: ConversationId,
            from_user: &'a UserId,
            from_name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            to_user: Option<&'a UserId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            group_id: Option<GroupId>,
            content: &'a str,
            msg_type: MsgType,
            status: MsgStatus,
            #[serde(skip_serializing_if = "Option::is_none")]
            read_count: Option<u32>,
            created_at: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            recalled_at: Option<String>,
        }
        let Seen { message, status, read_count } = self.0;
        let (to_user, group_id) = sides(&message.to);
        View {
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
        }
        .serialize(serializer)
    }
}

/// A page of messages and changes, over sockets and HTTP alike.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct Page<'a> {
    pub messages: Vec<MessageJson<'a>>,
    pub latest_id: Snowflake,
    pub changes: Vec<ChangeJson<'a>>,
    #[serde(serialize_with = "number")]
    pub latest_change: u64,
    pub more: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expired: bool,
}

/// What a message takes in a page beside its content, in bytes, at most.
const MESSAGE_OVERHEAD_BYTES: usize = 512;

impl Page<'_> {
    /// The page with as many of its messages as fit, but at least one; the others are `more`.
    #[must_use]
    pub fn within(mut self, bytes_max: usize) -> Self {
        let mut bytes = 0;
        let fits = self.messages.iter().take_while(|MessageJson(seen)| {
            bytes += seen.message.content.len() + MESSAGE_OVERHEAD_BYTES;
            bytes <= bytes_max
        });
        let fits = fits.count().max(1);
        if fits < self.messages.len() {
            self.messages.truncate(fits);
            self.more = true;
            self.latest_id = self.messages.last().map_or(self.latest_id, |MessageJson(seen)| seen.message.id);
        }
        self
    }
}

/// A recall or a reader's mark on the change cursor.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct ChangeJson<'a> {
    pub message_id: Snowflake,
    pub conversation_id: ConversationId,
    pub status: MsgStatus,
    pub by_user: &'a UserId,
    #[serde(rename = "at", serialize_with = "rfc3339")]
    pub at_ms: i64,
}

impl<'a> From<&'a Change> for ChangeJson<'a> {
    fn from(change: &'a Change) -> Self {
        let Change { message_id, conversation_id, kind, by_user, at_ms, change: _ } = change;
        let status = match kind {
            ChangeKind::Recalled => MsgStatus::Recalled,
            ChangeKind::Read => MsgStatus::Read,
        };
        Self { message_id: *message_id, conversation_id: *conversation_id, status, by_user, at_ms: *at_ms }
    }
}

/// Whether somebody is here.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct PresenceJson<'a> {
    pub user_id: &'a UserId,
    #[serde(rename = "status", serialize_with = "presence")]
    pub online: bool,
    #[serde(rename = "last_seen", serialize_with = "rfc3339_or_null")]
    pub last_seen_ms: Option<i64>,
}

impl<'a> PresenceJson<'a> {
    /// `last_seen_ms` is in Unix milliseconds; `None` when it is nobody's business.
    #[must_use]
    pub fn new(user_id: &'a UserId, online: bool, last_seen_ms: Option<i64>) -> Self {
        Self { user_id, online, last_seen_ms }
    }
}

/// A group is not what it was.
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
    /// Who owns it from now on, when the owner left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<&'a UserId>,
}

impl<'a> GroupChanged<'a> {
    /// What was done to a group, and by whom.
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

impl Serialize for ConversationJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct View<'a> {
            conversation_id: ConversationId,
            #[serde(flatten)]
            kind: Kind<'a>,
            name: &'a str,
            unread_count: u32,
            last_message: Option<MessageJson<'a>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            read_id: Option<Snowflake>,
        }
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "snake_case")]
        enum Kind<'a> {
            Direct {
                with_user: &'a UserId,
                #[serde(skip_serializing_if = "Option::is_none")]
                peer_read_id: Option<Snowflake>,
            },
            Group {
                group_id: GroupId,
                member_count: u32,
                role: GroupRole,
            },
        }
        let found = self.0;
        let kind = match &found.kind {
            ConversationKind::Direct { with, peer_read_id } => {
                Kind::Direct { with_user: with, peer_read_id: *peer_read_id }
            }
            ConversationKind::Group { group_id, member_count, role } => {
                Kind::Group { group_id: *group_id, member_count: *member_count, role: *role }
            }
        };
        let last_message = found.last.as_ref().map(MessageJson);
        let (name, unread_count) = (&*found.name, found.unread);
        View { conversation_id: found.id, kind, name, unread_count, last_message, read_id: found.read_id }
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
fn presence<S: Serializer>(online: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if *online { "online" } else { "offline" })
}

/// A number as the wire writes ids: a decimal string.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn number<S: Serializer>(n: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(n)
}
