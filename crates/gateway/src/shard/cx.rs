//! What a command may do: the socket it came from, the services, and how it answers.
//!
//! [`super::messages`] makes a [`CommandCx`] for each message. Commands are functions over it and never see the shard, so
//! that its loop, its delivery and its close stay the only code that touches its state.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;

use hub::batch::ConnRef;
use ingest::{Refusal, Submission, poll_inline};
use model::{DeviceId, Identity, RoomId, Snowflake, UserId, WireError};
use protocol::encode;
use protocol::handshake::SubProtocol;
use protocol::message::{JoinRoom, ServerMessage};
use serde_json::value::RawValue;
use state::UserPermit;

use crate::conn::Session;
use crate::shard::Shard;
use crate::shard::inbox::{Inbound, Inbox, Reply};
use crate::shard::upgrade::{too_many_sockets, unauthorized};
use crate::{Common, Services};

/// One command of one socket.
pub(crate) struct CommandCx<'a> {
    shard: &'a mut Shard,
    index: u32,
    reference: Option<&'a RawValue>,
}

impl<'a> CommandCx<'a> {
    pub(super) fn new(shard: &'a mut Shard, index: u32, reference: Option<&'a RawValue>) -> Self {
        Self { shard, index, reference }
    }

    pub fn services(&self) -> &Services {
        &self.shard.common.services
    }

    /// What async commands take with them.
    pub fn common(&self) -> Arc<Common> {
        self.shard.common.clone()
    }

    pub fn protocol(&self) -> SubProtocol {
        self.shard.protocol(self.index)
    }

    /// The client's address.
    pub fn address(&self) -> Option<IpAddr> {
        self.shard.conns.get(self.index as usize).and_then(|conn| conn.address)
    }

    /// The `ref` of the message, for an answer that comes later.
    pub fn reference(&self) -> Option<Box<RawValue>> {
        self.reference.map(RawValue::to_owned)
    }

    /// Answers now. The answers to all messages of one read leave in one write.
    pub fn answer(&mut self, message: &ServerMessage<'_>) {
        self.shard.answer(self.index, message, self.reference);
    }

    pub fn answer_error(&mut self, error: &WireError) {
        self.shard.answer_error(self.index, error, self.reference);
    }

    /// Runs a command that may have to wait: on this thread as far as it goes, then on Tokio. Until its reply nothing more is
    /// read from the socket.
    pub fn run_async(&mut self, work: impl Future<Output = Reply> + Send + 'static) {
        self.shard.run_async(self.index, work);
    }

    /// Starts a task whose reply comes through a [`PendingReply`].
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        poll_inline::spawn(&self.shard.common.runtime, work);
    }

    /// A reply that comes later. Until then nothing more is read from the socket.
    pub fn reply_later(&mut self) -> PendingReply {
        self.shard.reply_later(self.index)
    }

    /// Hands a comment to the log at the end of the shard's turn.
    pub fn submit(&mut self, submission: Option<Submission>) {
        self.shard.submissions.extend(submission);
    }

    /// The session of the socket, if somebody is logged in.
    pub fn session(&mut self) -> Option<Arc<Session>> {
        self.shard.conn(self.index).and_then(|conn| conn.session.clone())
    }

    /// The session of the socket; without one it answers `unauthorized`.
    pub fn require_session(&mut self) -> Option<Arc<Session>> {
        let session = self.session();
        if session.is_none() {
            self.answer_error(&unauthorized());
        }
        session
    }

    /// Counts this socket among those of a user, unless the user has too many.
    pub fn socket_permit(&self, user: &UserId) -> Result<UserPermit, WireError> {
        let common = self.common();
        let permit = common.user_sockets.acquire(user, common.services.settings.limits.sockets_per_user);
        permit.ok_or_else(too_many_sockets)
    }

    /// Begins a session, or renews the one of the same user. `connected` is the answer.
    /// A session of another user than before brings a permit.
    pub fn begin_session(&mut self, identity: Identity, device: Option<DeviceId>, permit: Option<UserPermit>) {
        self.shard.begin_session(self.index, identity, device, permit, self.reference);
    }

    /// Ends the session, after the socket has left all rooms.
    pub fn end_session(&mut self) {
        self.shard.leave_all(self.index);
        self.shard.end_session(self.index);
    }

    /// Removes the socket from rooms that this identity may not read.
    pub fn recheck_rooms(&mut self, identity: &Identity) {
        self.shard.recheck_rooms(self.index, identity);
    }

    /// Gives the socket some seconds to log in.
    pub fn set_login_deadline(&mut self) {
        self.shard.set_login_deadline(self.index);
    }

    /// Closes the socket of a user who is banned everywhere.
    pub fn close_banned(&mut self, refusal: Refusal) {
        self.shard.close_banned(self.index, refusal);
    }

    /// The room of the query, as long as the socket has not left it.
    pub fn query_room(&self) -> Option<RoomId> {
        let conn = self.shard.conns.get(self.index as usize)?;
        let key = conn.memberships.iter().find(|m| m.by_query)?.room;
        Some(self.shard.rooms.get(&key)?.room.id().clone())
    }

    /// Whether the socket reads the room.
    pub fn is_member(&self, room: &RoomId) -> bool {
        self.shard.member_key(self.index, room).is_some()
    }

    /// The number of rooms that the socket reads.
    pub fn rooms_joined(&self) -> usize {
        self.shard.conns.get(self.index as usize).map_or(0, |conn| conn.memberships.len())
    }

    /// Joins a room, if `who` may enter. The hub answers.
    pub fn join(&mut self, who: Option<Identity>, options: JoinRoom) {
        self.shard.join(self.index, who, options, self.reference());
    }

    /// Leaves a room, whether or not the socket reads it, and answers.
    pub fn leave(&mut self, room: &RoomId) {
        if let Some(key) = self.shard.member_key(self.index, room) {
            self.shard.leave(self.index, key);
        }
        self.shard.answer_left(self.index, room, self.reference);
    }

    /// Acknowledges a critical event for this socket alone.
    pub fn acknowledge_anonymous(&mut self, event: Snowflake) {
        self.shard.acknowledge_anonymous(self.index, event);
    }

    /// Acknowledges a critical event for all sockets of a user. Returns whether the store may wait for the receipt.
    pub fn acknowledge(&mut self, user: &UserId, event: Snowflake) -> bool {
        let shard = &mut *self.shard;
        for (_, inbox) in (0u16..).zip(&shard.common.inboxes).filter(|(id, _)| *id != shard.id) {
            inbox.push(Inbound::Acknowledged { user: user.clone(), event });
        }
        shard.acknowledge(user, event)
    }
}

impl Shard {
    /// See [`CommandCx::run_async`].
    pub(super) fn run_async(&mut self, index: u32, work: impl Future<Output = Reply> + Send + 'static) {
        let pending = self.reply_later(index);
        poll_inline::poll_or_spawn(&self.common.runtime, async move {
            let reply = work.await;
            pending.complete(reply).wake();
        });
    }

    fn reply_later(&mut self, index: u32) -> PendingReply {
        if let Some(conn) = self.conn(index) {
            conn.busy = true;
        }
        let protocol = self.protocol(index);
        PendingReply { inbox: self.inbox().clone(), conn: self.conn_ref(index), protocol, completed: false }
    }
}

/// The reply that a waiting socket gets, even when the work panics or is dropped.
pub(crate) struct PendingReply {
    inbox: Arc<Inbox>,
    conn: ConnRef,
    protocol: SubProtocol,
    completed: bool,
}

impl PendingReply {
    /// Puts the reply into the inbox. The caller wakes the shard.
    pub fn complete(mut self, reply: Reply) -> Waker {
        self.completed = true;
        self.inbox.push_without_wake(Inbound::Reply(self.conn, reply));
        self.inbox.clone().into()
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if !self.completed {
            let mut frame = Vec::new();
            encode::error(self.protocol, &WireError::unavailable(), None, &mut frame);
            self.inbox.push(Inbound::Reply(self.conn, Reply::Frames(frame)));
        }
    }
}
