//! WebTransport sessions in a shard: they come, become readable, and end through the inbox.
//!
//! [`crate::transport::quic::listener`] sends what happens. From the join to the close a session is a socket like all others:
//! only its request was read elsewhere, and nothing of it is in epoll.

use hub::batch::ConnRef;
use protocol::handshake::{Form, SubProtocol};

use crate::conn::{Conn, Stage};
use crate::shard::Shard;
use crate::shard::close::code_label;
use crate::transport::Transport;
use crate::transport::quic::listener::NewSession;
use crate::transport::quic::{ClientStream, QuicStream};

impl Shard {
    /// Gives a request a slot, then joins its room or opens it at once.
    pub fn add_session(&mut self, session: NewSession) {
        let NewSession { handle, upgrade, peer } = session;
        if self.drain_until.is_some() {
            return handle.refuse(503);
        }
        let Ok(permit) = self.common.services.addresses.connect(peer) else {
            self.count(&self.common.services.metrics.handshakes, "outcome", "rate_limited");
            return handle.refuse(429);
        };
        self.generation = self.generation.wrapping_add(1);
        let (generation, inbox, shard) = (self.generation, self.inbox().clone(), self.id);
        let entry = self.conns.vacant_entry();
        let index = entry.key() as u32;
        let stream = QuicStream::new(handle, inbox, ConnRef { shard, index, generation });
        let form = Form::plain(upgrade.protocol.unwrap_or(SubProtocol::Json));
        let stage = Stage::Upgrading(Box::new(upgrade));
        let conn = Conn::new(Transport::Quic(Box::new(stream)), generation, stage, self.now, permit);
        entry.insert(Conn { form, ..conn });
        self.schedule(index);
        self.begin_upgrade(index);
    }

    /// The client has opened its stream: what waited for it leaves.
    pub fn attach_stream(&mut self, conn: ConnRef, stream: ClientStream) {
        let Some(index) = self.index_of(conn) else { return };
        if let Some(session) = self.conn(index).and_then(|conn| conn.transport.session()) {
            session.attach(stream);
            self.resume_session(index);
        }
    }

    /// A session may be read or written again.
    pub fn session_ready(&mut self, conn: ConnRef) {
        let Some(index) = self.index_of(conn) else { return };
        if let Some(session) = self.conn(index).and_then(|conn| conn.transport.session()) {
            session.rearm();
            self.resume_session(index);
        }
    }

    fn resume_session(&mut self, index: u32) {
        self.flush(index);
        if let Some(conn) = self.conn(index) {
            conn.readable = true;
            self.read_input(index);
        }
    }

    /// The session is over.
    pub fn session_ended(&mut self, conn: ConnRef, code: Option<u32>) {
        let Some(index) = self.index_of(conn) else { return };
        let Some(code) = code.filter(|_| self.conns.get(index as usize).is_some_and(Conn::is_open)) else {
            return self.connection_lost(index);
        };
        // Clients that name no code send zero.
        let code = if code == 0 { 1000 } else { u16::try_from(code).unwrap_or_default() };
        self.count(&self.common.services.metrics.closes, "code", code_label(code));
        self.remove(index);
    }
}
