//! The port from chat to the sockets of the users that a change concerns.
//!
//! `chat` names the change and its users; a backend carries it to the gateways that hold their sockets. A socket gets what it
//! missed by sync, so nothing here is stored or repeated.

use std::sync::Arc;

use async_trait::async_trait;
use model::chat::{ChangeKind, ConversationId, GroupDone, GroupId, Message, Recipient};
use model::{DeviceId, Snowflake, UserId};

/// A change to notify of.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A message was stored.
    Message(Arc<Message>),
    /// A user read a conversation up to a message.
    Read {
        /// The newest message read.
        message_id: Snowflake,
        /// Where.
        conversation_id: ConversationId,
        /// The group, when it is one's.
        group_id: Option<GroupId>,
        /// Who.
        by: UserId,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// A message was recalled.
    Recalled {
        /// Which.
        message_id: Snowflake,
        /// Where.
        conversation_id: ConversationId,
        /// Who.
        by: UserId,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// A message has another content.
    Edited {
        /// Which.
        message_id: Snowflake,
        /// Where.
        conversation_id: ConversationId,
        /// The new content.
        content: Box<str>,
        /// Unix milliseconds.
        at_ms: i64,
    },
    /// A user reacted to a message or took it back.
    Reacted {
        /// Which.
        message_id: Snowflake,
        /// Where.
        conversation_id: ConversationId,
        /// Who.
        by: UserId,
        /// With what.
        emoji: Box<str>,
        /// False: taken back.
        on: bool,
        /// How many people react with it now.
        count: u32,
        /// The number of the change.
        change: u64,
    },
    /// A user is typing or has stopped.
    Typing {
        /// Who.
        from: UserId,
        /// To whom.
        to: Recipient,
        /// Whether the user still types.
        typing: bool,
    },
    /// A user's presence changed.
    Presence {
        /// Who.
        user: UserId,
        /// Whether the user is online.
        online: bool,
        /// Last seen, Unix milliseconds; `None` when it is hidden.
        last_seen_ms: Option<i64>,
    },
    /// A group changed.
    Group {
        /// Which.
        group_id: GroupId,
        /// By whom.
        by: UserId,
        /// How.
        done: GroupDone,
    },
    /// The device connected on another node: its older sockets close. No socket is notified.
    Replaced {
        /// Which.
        device: DeviceId,
        /// Time of the connection, Unix milliseconds by that node's clock.
        since_ms: i64,
        /// Its session there; decides between two connections in one millisecond.
        session: u64,
    },
    /// The user acknowledged a critical event on another node: it is not repeated. No socket is notified.
    Acknowledged {
        /// Which.
        event: Snowflake,
    },
}

impl Notice {
    /// The kind of this change on the change cursor, if it has one.
    #[must_use]
    pub const fn change(&self) -> Option<ChangeKind> {
        match self {
            Self::Read { .. } => Some(ChangeKind::Read),
            Self::Recalled { .. } => Some(ChangeKind::Recalled),
            Self::Edited { .. } => Some(ChangeKind::Edited),
            Self::Reacted { .. } => Some(ChangeKind::Reacted),
            _ => None,
        }
    }
}

/// Which sockets of the users to notify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sockets {
    /// All of them.
    All,
    /// All but this one, whose command is answered anyway.
    AllBut(u64),
    /// Only these, which subscribed.
    Only(Arc<[u64]>),
}

impl Sockets {
    /// All but the socket that made the change, if a socket did.
    #[must_use]
    pub fn but(origin: Option<u64>) -> Self {
        origin.map_or(Self::All, Self::AllBut)
    }

    /// Whether this socket is one of them.
    #[must_use]
    pub fn include(&self, socket: u64) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(one) => *one != socket,
            Self::Only(some) => some.contains(&socket),
        }
    }
}

/// At most once to the open sockets of these users, wherever they are connected, in the order of the
/// calls; never blocks.
///
/// All methods but [`UserFanout::notify`] concern other nodes. Their defaults, for a process that runs alone, do nothing.
#[async_trait]
pub trait UserFanout: Send + Sync {
    /// Notifies `users`, each named once.
    fn notify(&self, users: Arc<[UserId]>, sockets: Sockets, notice: Notice);

    /// Notifies of a message that was stored earlier, unless this node already did: the node that stored it may have ended
    /// before notifying. Nobody is notified twice.
    fn tell_again(&self, _users: Arc<[UserId]>, _sockets: Sockets, _message: Arc<Message>) {}

    /// Notifies only other nodes that hold this user's sockets.
    fn tell_others(&self, _user: &UserId, _notice: Notice) {}

    /// This node has one more socket or waiting poll of `user`, and receives other nodes' notices.
    fn hold(&self, _user: &UserId) {}

    /// This node has one socket or poll less.
    fn release(&self, _user: &UserId) {}

    /// Waits until this node receives other nodes' notices for a held user; a second at most.
    async fn heard(&self, _user: &UserId) {}

    /// Notifies `user`'s sockets on this node of what they may have missed, unless they were notified before.
    fn remind(&self, user: &UserId, notice: Notice) {
        self.notify(Arc::new([user.clone()]), Sockets::All, notice);
    }

    /// The presence of these users changed: nodes whose sockets watch them check again.
    fn notify_presence(&self, _user: &UserId) {}

    /// Waits for changes on other nodes that need a check on this one. For one caller.
    async fn changes(&self) -> RemoteChanges {
        std::future::pending().await
    }

    /// Messages that may not have reached a device whose newest one was made at `made_ms`. `None` where there are no other
    /// nodes.
    fn reread_window(&self, _made_ms: i64) -> Option<RereadWindow> {
        None
    }
}

/// Messages before a device's newest one that may not have reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RereadWindow {
    /// Those made from here on, Unix milliseconds.
    pub since_ms: i64,
    /// Whether nodes were disconnected. Otherwise one node's messages arrive in order, and only others' may be late.
    pub outage: bool,
}

/// Checks that other nodes' changes require.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteChanges {
    /// Users whose watchers must learn their presence.
    pub presence_changed: Vec<UserId>,
    /// Any user's presence may have changed.
    pub all_presence_changed: bool,
    /// Users who may have missed messages, and since when (Unix milliseconds).
    pub missed: Vec<(UserId, i64)>,
}
