//! What clients ask for, one file per command.
//!
//! Called by [`crate::input`] with one message at a time. What needs nothing but this shard is answered at
//! once; what has to wait goes on on Tokio ([`Shard::run_async`]) while the socket waits.

mod ack;
mod binary;
mod chat;
mod comment;
mod join;
mod like;
mod login;

use std::future::Future;
use std::sync::Arc;
use std::task::Waker;

use ingest::here;
use model::WireError;
use protocol::handshake::SubProtocol;
use protocol::message::{ClientMessage, ServerMessage};
use protocol::spoken;
use room::batch::ConnRef;
use serde_json::value::RawValue;

use crate::conn::Session;
use crate::inbox::{Inbound, Inbox, Reply};
use crate::shard::Shard;
use crate::upgrade::unauthorized;

impl Shard {
    /// Does what a message asks for.
    pub fn command(&mut self, index: u32, message: ClientMessage, reference: Option<&RawValue>) {
        match message {
            ClientMessage::Login { token, device_id } => self.login(index, &token, device_id.as_deref(), reference),
            ClientMessage::Logout => self.logout(index, reference),
            ClientMessage::Heartbeat => {
                let server_time_ms = self.common.services.clock.now_ms();
                self.answer(index, &ServerMessage::HeartbeatAck { server_time_ms }, reference);
            }
            ClientMessage::JoinRoom(options) => self.join_room(index, options, reference),
            ClientMessage::LeaveRoom { room_id } => self.leave_room(index, &room_id, reference),
            ClientMessage::Comment(draft) => self.comment(index, draft, reference),
            ClientMessage::Like { comment_id } => self.like(index, comment_id, reference),
            ClientMessage::Ack { event_id } => self.ack(index, event_id),
            ClientMessage::Chat(command) => self.chat(index, command, reference),
            ClientMessage::Unknown => {}
        }
    }

    /// Who is on the socket; tells the client to log in when nobody is.
    fn need_session(&mut self, index: u32, reference: Option<&RawValue>) -> Option<Arc<Session>> {
        let session = self.conn(index).and_then(|conn| conn.session.clone());
        if session.is_none() {
            self.answer_error(index, &unauthorized(), reference);
        }
        session
    }

    /// Runs a command that may have to wait: here as far as it goes, then on Tokio. Its reply comes back through the
    /// inbox, and until then nothing more is read from the socket.
    fn run_async(&mut self, index: u32, work: impl Future<Output = Reply> + Send + 'static) {
        let promise = self.promise(index);
        here::run(&self.common.runtime, async move {
            let reply = work.await;
            promise.keep(reply).wake();
        });
    }

    /// Nothing more is read from the socket until the promise is kept.
    fn promise(&mut self, index: u32) -> Promise {
        if let Some(conn) = self.conn(index) {
            conn.busy = true;
        }
        let protocol = self.protocol(index);
        Promise { inbox: self.inbox().clone(), conn: self.reference(index), protocol, kept: false }
    }
}

/// The reply a waiting socket will get, even when the work panics or is forgotten.
struct Promise {
    inbox: Arc<Inbox>,
    conn: ConnRef,
    protocol: SubProtocol,
    kept: bool,
}

impl Promise {
    /// Puts the reply into the inbox; the shard finds it once it is woken.
    fn keep(mut self, reply: Reply) -> Waker {
        self.kept = true;
        self.inbox.put(Inbound::Reply(self.conn, reply));
        self.inbox.clone().into()
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.kept {
            let frames = error_frame(self.protocol, &WireError::unavailable(), None);
            self.inbox.push(Inbound::Reply(self.conn, Reply::Frames(frames)));
        }
    }
}

/// A finished `error` frame.
fn error_frame(protocol: SubProtocol, error: &WireError, reference: Option<&RawValue>) -> Vec<u8> {
    let mut out = Vec::new();
    spoken::error(protocol, error, reference, &mut out);
    out
}

/// A finished frame of any message.
fn message_frame(protocol: SubProtocol, message: &ServerMessage<'_>, reference: Option<&RawValue>) -> Vec<u8> {
    let mut out = Vec::new();
    spoken::message(protocol, message, reference, &mut out);
    out
}
