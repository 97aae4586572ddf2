//! From whoever changed something in chat to the sockets of the people it concerns.
//!
//! `chat` says what happened and to whom; a backend carries it to the gateways that hold those
//! people's sockets. What a socket missed comes by sync, so nothing here is stored or repeated.

use std::sync::Arc;

use async_trait::async_trait;
use model::chat::{ChangeKind, ConversationId, GroupDone, GroupId, Message, Recipient};
use model::{DeviceId, Snowflake, UserId};

/// Something that happened, to be told.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A message was stored.
    Message(Arc<Message>),
    /// Somebody has read a conversation up to a message.
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
    /// A message was taken back.
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
    /// Somebody is writing, or has stopped.
    Typing {
        /// Who.
        from: UserId,
        /// To whom.
        to: Recipient,
        /// Whether still.
        typing: bool,
    },
    /// Somebody came or went.
    Presence {
        /// Who.
        user: UserId,
        /// Whether here.
        online: bool,
        /// Unix milliseconds; `None` when that is nobody's business.
        last_seen_ms: Option<i64>,
    },
    /// A group is not what it was.
    Group {
        /// Which.
        group_id: GroupId,
        /// By whom.
        by: UserId,
        /// How.
        done: GroupDone,
    },
    /// A device of theirs has connected on another node: its older sockets close. No socket is told.
    Replaced {
        /// Which.
        device: DeviceId,
        /// When, Unix milliseconds by that node's clock.
        since_ms: i64,
        /// Its session there; decides between two of one millisecond.
        session: u64,
    },
    /// They have acknowledged a critical event on another node: it is not repeated. No socket is told.
    Acknowledged {
        /// Which.
        event: Snowflake,
    },
}

impl Notice {
    /// The kind of change on the change cursor that this notice tells of, if any.
    #[must_use]
    pub const fn change(&self) -> Option<ChangeKind> {
        match self {
            Self::Read { .. } => Some(ChangeKind::Read),
            Self::Recalled { .. } => Some(ChangeKind::Recalled),
            _ => None,
        }
    }
}

/// Which sockets of the people it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sockets {
    /// All of them.
    All,
    /// All but this one, whose command's answer says it already.
    AllBut(u64),
    /// Only these, which asked for it.
    Only(Arc<[u64]>),
}

impl Sockets {
    /// All but the socket it came from, if it came from one.
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
/// All but [`UserFanout::notify`] is about other nodes; where there is none, as is the default, nothing is to be done.
#[async_trait]
pub trait UserFanout: Send + Sync {
    /// Tells `users`, each of whom is named once.
    fn notify(&self, users: Arc<[UserId]>, sockets: Sockets, notice: Notice);

    /// Tells of a message that was stored before, unless this node has told it: the one that stored it may have ended
    /// before it told anybody. Who was told already is not told again.
    fn tell_again(&self, _users: Arc<[UserId]>, _sockets: Sockets, _message: Arc<Message>) {}

    /// Tells only what holds this user's sockets on other nodes.
    fn tell_others(&self, _user: &UserId, _notice: Notice) {}

    /// This node has one more socket or waiting poll of `user`: it hears what other nodes notify.
    fn hold(&self, _user: &UserId) {}

    /// It has one less.
    fn release(&self, _user: &UserId) {}

    /// Waits until what is notified on other nodes from here on is heard for a held user; a second at most.
    async fn heard(&self, _user: &UserId) {}

    /// Tells `user`'s sockets here what they may have missed, unless they were told before.
    fn remind(&self, user: &UserId, notice: Notice) {
        self.notify(Arc::new([user.clone()]), Sockets::All, notice);
    }

    /// Somebody came, went, shows or hides: nodes whose sockets watch them are to look again.
    fn stir(&self, _user: &UserId) {}

    /// What came from other nodes that is to be looked into; waits until there is something. For one caller.
    async fn news(&self) -> News {
        std::future::pending().await
    }

    /// What may not have reached one whose newest message was made at `made_ms`. `None` where there are no other nodes.
    fn unsure(&self, _made_ms: i64) -> Option<Unsure> {
        None
    }
}

/// Which messages before somebody's newest one may not have reached them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsure {
    /// Those made from here on, Unix milliseconds.
    pub since_ms: i64,
    /// Nodes did not hear each other; otherwise what one node made comes in its order, and only what others made may
    /// have come later.
    pub outage: bool,
}

/// What a node is to look into because of other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Whose watchers are to be told how it is.
    pub stirred: Vec<UserId>,
    /// Anybody may have come or gone.
    pub all_stirred: bool,
    /// Who may have missed messages, and since when (Unix milliseconds).
    pub missed: Vec<(UserId, i64)>,
}
