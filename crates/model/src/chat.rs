//! The nouns of private and group chat: messages, conversations, groups, and the rules between
//! members that need nothing but their roles and cursors.
//!
//! Called by `store` (which applies the rules inside its transactions), `chat` and the edges. A
//! message's `position` is its place in the one order of storing; ids are only names.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::id::{ID_PATTERN, is_id};
use crate::schema;
use crate::{InvalidId, Snowflake, UserId};

/// Longest `client_msg_id`, in bytes.
pub const CLIENT_MSG_ID_BYTES_MAX: usize = 64;
/// Longest name of a group, in characters.
pub const GROUP_NAME_CHARS_MAX: usize = 64;
/// Kinds of reactions to one message.
pub const REACTION_KINDS_MAX: usize = 20;
/// Uploads that one encrypted message may name.
pub const MESSAGE_UPLOADS_MAX: usize = 10;
/// Unread messages are counted up to here.
pub const UNREAD_MAX: u32 = 9_999;

/// [`ConversationCursor`] as it is written.
const CURSOR_PATTERN: &str = "^[0-9]{1,18}-[0-9]{1,18}$";

/// No generator makes it.
const NOTHING: Snowflake = Snowflake(0);

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Snowflake);

        impl FromStr for $name {
            type Err = InvalidId;
            /// To clients these ids are opaque: one of another form is good, but names nothing that exists.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match text.parse() {
                    Ok(number) => Ok(Self(number)),
                    Err(_) if is_id(text) => Ok(Self(NOTHING)),
                    Err(_) => Err(InvalidId { what: $what }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                schema::text(ID_PATTERN, "Opaque: pass it on as it came.")
            }
        }

        impl ToSchema for $name {}

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

number_id!(
    /// A conversation: two people's, or a group's. Opaque to clients.
    ConversationId,
    "conversation_id"
);
number_id!(
    /// A group. It has one conversation for as long as it lives and shares its number.
    GroupId,
    "group_id"
);

impl GroupId {
    /// The group's conversation.
    #[must_use]
    pub const fn conversation(self) -> ConversationId {
        ConversationId(self.0)
    }
}

/// What a message's content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MsgType {
    /// Words.
    #[default]
    Text,
    /// An upload's id.
    Image,
    /// An upload's id.
    Video,
    /// An upload's id.
    File,
    /// An envelope of ciphertexts, one for each device; direct chat only.
    Encrypted,
}

impl MsgType {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Video => "video",
            Self::File => "file",
            Self::Encrypted => "encrypted",
        }
    }

    /// Whether the content is the id of an upload.
    #[must_use]
    pub const fn is_upload(self) -> bool {
        matches!(self, Self::Image | Self::Video | Self::File)
    }
}

/// How far a message has come, as one of its readers sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MsgStatus {
    /// Stored.
    Delivered,
    /// One's own: everybody else has read it. Somebody else's: oneself has.
    Read,
    /// Taken back; its content is gone.
    Recalled,
}

impl MsgStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Recalled => "recalled",
        }
    }
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// One person.
    User(UserId),
    /// A group's members.
    Group(GroupId),
}

/// Who took a message back, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recall {
    /// Who.
    pub by: UserId,
    /// Unix milliseconds.
    pub at_ms: i64,
}

/// One kind of reaction to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// Which emoji.
    pub emoji: Box<str>,
    /// How many people reacted with it.
    pub count: u32,
}

/// The reactions to a message after one person has added `emoji` or taken it back; in the order of their first use.
/// `None` when the message would have too many kinds.
#[must_use]
pub fn count_reaction(reactions: &[Reaction], emoji: &str, on: bool) -> Option<Box<[Reaction]>> {
    let mut counted = reactions.to_vec();
    let full = counted.len() >= REACTION_KINDS_MAX;
    match counted.iter_mut().find(|reaction| &*reaction.emoji == emoji) {
        Some(reaction) if on => reaction.count = reaction.count.saturating_add(1),
        Some(reaction) => reaction.count = reaction.count.saturating_sub(1),
        None if !on => {}
        None if full => return None,
        None => counted.push(Reaction { emoji: emoji.into(), count: 1 }),
    }
    counted.retain(|reaction| reaction.count > 0);
    Some(counted.into())
}

/// A stored message, the same for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its name.
    pub id: Snowflake,
    /// Its place in the order of storing, over all conversations; never on the wire.
    pub position: u64,
    /// The sender's own id for it.
    pub client_msg_id: Box<str>,
    /// Where it belongs.
    pub conversation_id: ConversationId,
    /// Who sent it.
    pub from_user: UserId,
    /// The sender's shown name at that time.
    pub from_name: Box<str>,
    /// Whom it is for.
    pub to: Recipient,
    /// Empty when it was recalled.
    pub content: Box<str>,
    /// What the content is.
    pub msg_type: MsgType,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// The message of the same conversation that this one answers; it may be recalled or expired by now.
    pub reply_to: Option<Snowflake>,
    /// When its content was last edited, in Unix milliseconds; rises with every edit.
    pub edited_at_ms: Option<i64>,
    /// How often each emoji was given to it, in the order of their first use.
    pub reactions: Box<[Reaction]>,
    /// Set when it was taken back.
    pub recalled: Option<Recall>,
}

impl Message {
    /// The other person of a direct conversation in which `user` takes part.
    #[must_use]
    pub fn peer_of(&self, user: &UserId) -> Option<&UserId> {
        match &self.to {
            Recipient::User(other) if self.from_user == *user => Some(other),
            Recipient::User(_) => Some(&self.from_user),
            Recipient::Group(_) => None,
        }
    }
}

/// A message as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The message.
    pub message: Arc<Message>,
    /// How far it has come, for this member.
    pub status: MsgStatus,
    /// Of one's own message in a group: how many others have read it.
    pub read_count: Option<u32>,
    /// The emoji with which this member reacted.
    pub my_reactions: Vec<Box<str>>,
}

/// What a [`Change`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// The message was taken back.
    Recalled,
    /// `by_user` has read the conversation up to the message.
    Read,
    /// The message has another content.
    Edited,
    /// The message has other reactions.
    Reacted,
}

impl ChangeKind {
    /// The kind as the wire names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recalled => "recalled",
            Self::Read => "read",
            Self::Edited => "edited",
            Self::Reacted => "reacted",
        }
    }

    /// Whether its reader needs the message as it is now.
    #[must_use]
    pub const fn carries_message(self) -> bool {
        matches!(self, Self::Edited | Self::Reacted)
    }
}

/// Something that happened to stored messages: a recall, an edit, a reaction, or a reader's mark. Of the edits of a
/// message, its reactions, and the marks of a reader in a conversation only the newest change is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the order of changes, over all conversations: the cursor behind `since_change`.
    pub change: u64,
    /// Where.
    pub conversation_id: ConversationId,
    /// The message that changed, or the newest one read.
    pub message_id: Snowflake,
    /// What.
    pub kind: ChangeKind,
    /// Who.
    pub by_user: UserId,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// Of edits and reactions: the message as the reader sees it now. `None` once it has expired.
    pub message: Option<Seen>,
}

/// One entry of a member's list of conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// With whom.
    pub kind: ConversationKind,
    /// The other person's name, or the group's.
    pub name: Box<str>,
    /// Messages of others, not recalled, after one's read mark; at most [`UNREAD_MAX`].
    pub unread: u32,
    /// The newest message that this member may see.
    pub last: Option<Seen>,
    /// Up to where this member has read.
    pub read_id: Option<Snowflake>,
    /// Where the entry stands in the list.
    pub cursor: ConversationCursor,
}

/// What kind of conversation it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConversationKind {
    /// Two people's.
    Direct {
        /// The other one.
        with: UserId,
        /// Up to where the other one has read.
        peer_read_id: Option<Snowflake>,
    },
    /// A group's.
    Group {
        /// Which.
        group_id: GroupId,
        /// How many belong to it.
        member_count: u32,
        /// The member's own role.
        role: GroupRole,
    },
}

/// A place in the list of conversations, newest activity first; opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConversationCursor {
    /// The position of the conversation's newest message.
    pub position: u64,
    /// Tells apart those without messages.
    pub id: ConversationId,
}

impl fmt::Display for ConversationCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.position, self.id)
    }
}

impl FromStr for ConversationCursor {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let parsed = text.split_once('-').and_then(|(position, id)| {
            let position = position.parse().ok().filter(|n| i64::try_from(*n).is_ok())?;
            Some(Self { position, id: id.parse().ok()? })
        });
        parsed.ok_or(InvalidId { what: "before" })
    }
}

impl PartialSchema for ConversationCursor {
    fn schema() -> RefOr<Schema> {
        schema::text(CURSOR_PATTERN, "Opaque: the `next_cursor` of the page before.")
    }
}

impl ToSchema for ConversationCursor {}

impl Serialize for ConversationCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConversationCursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom("not a cursor of this list"))
    }
}

/// What a member may do in a group. Ordered: a later one may do more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GroupRole {
    /// Reads, writes, leaves.
    Member,
    /// Also renames, adds anybody, removes members.
    Admin,
    /// Also names admins, hands the group over, closes it. There is exactly one.
    Owner,
}

impl GroupRole {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Whether this role may rename the group and add people.
    #[must_use]
    pub const fn may_manage(self) -> bool {
        matches!(self, Self::Admin | Self::Owner)
    }

    /// Whether this role may remove somebody else of role `other`.
    #[must_use]
    pub fn may_remove(self, other: Self) -> bool {
        self.may_manage() && self > other
    }
}

/// A group as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Its name.
    pub name: Box<str>,
    /// Who owns it.
    pub owner_id: UserId,
    /// How many belong to it.
    pub member_count: u32,
    /// The asking member's own role.
    pub role: GroupRole,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// One member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Who.
    pub user_id: UserId,
    /// The shown name, when the person was ever here.
    pub username: Option<Box<str>>,
    /// What this member may do.
    pub role: GroupRole,
    /// Unix milliseconds.
    pub joined_at_ms: i64,
    /// Up to where this member has read.
    pub read_id: Option<Snowflake>,
}

/// What a member wants of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupWish {
    /// Another name; admins and the owner.
    Rename(Box<str>),
    /// More members; admins and the owner. All of them or, when they do not fit, none.
    Add {
        /// Whom; those who belong to it already change nothing.
        users: Vec<UserId>,
        /// How many may belong to it.
        members_max: u32,
    },
    /// One member less: oneself leaves, others need [`GroupRole::may_remove`].
    Remove(UserId),
    /// Another role; the owner only, and not for itself. Naming an owner hands the group over: the old one becomes admin.
    SetRole(UserId, GroupRole),
    /// No group any more; the owner only.
    Close,
}

/// What was done to a group, as it is told to its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupDone {
    /// It is new; these belong to it.
    Created {
        /// Its name.
        name: Box<str>,
        /// Its members, the owner among them.
        users: Vec<UserId>,
    },
    /// It has another name.
    Renamed {
        /// The new one.
        name: Box<str>,
    },
    /// These are new.
    MembersAdded {
        /// Whom.
        users: Vec<UserId>,
    },
    /// Somebody was removed.
    MemberRemoved {
        /// Whom.
        user: UserId,
    },
    /// Somebody left; an owner hands over on leaving.
    MemberLeft {
        /// Who.
        user: UserId,
        /// The new owner, when the old one left.
        successor: Option<UserId>,
    },
    /// Somebody has another role.
    RoleChanged {
        /// Who.
        user: UserId,
        /// Which.
        role: GroupRole,
    },
    /// It is no more.
    Closed,
}

impl GroupDone {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Created { .. } => "created",
            Self::Renamed { .. } => "renamed",
            Self::MembersAdded { .. } => "members_added",
            Self::MemberRemoved { .. } => "member_removed",
            Self::MemberLeft { .. } => "member_left",
            Self::RoleChanged { .. } => "role_changed",
            Self::Closed => "closed",
        }
    }
}

/// One member's cursors, which say who could see a message and who has read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursors {
    /// Messages after this position are visible.
    pub joined: u64,
    /// Messages up to this position are read.
    pub read: u64,
}

/// How many of `others` have read the message at `position`, and how many of them can see it.
#[must_use]
pub fn read_by(position: u64, others: &[Cursors]) -> (u32, u32) {
    let sees = others.iter().filter(|other| other.joined < position);
    sees.fold((0, 0), |(read, seeing), other| (read + u32::from(position <= other.read), seeing + 1))
}
