//! From a request's bytes to an open socket.
//!
//! A request that names a room is answered only after the join. So a caller who may not enter gets an HTTP error, and one
//! who may enter finds `connected` and `room_joined` in the first bytes. [`crate::conn::handshake`] checks the request.

use ingest::Reader;
use model::{Code, WireError};
use protocol::handshake::{self as wire, Handshake};
use protocol::message::error_body;

use crate::conn::handshake::check_upgrade;
use crate::conn::{Caller, Stage};
use crate::shard::Shard;
use crate::shard::accept::{Destination, destination};

/// How long the peer may take to read a refusal and hang up, in seconds.
const REFUSED_LINGER_S: u32 = 2;

/// A user has as many sockets as one may have.
pub(super) fn too_many_sockets() -> WireError {
    WireError::new(Code::RateLimited, "you have too many sockets open").retry_after_ms(10_000)
}

impl Shard {
    /// Reads a request, and answers it once its head is complete. False when there is nothing for now.
    pub fn read_request(&mut self, index: u32) -> bool {
        if !self.route(index) {
            return false;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.conn(index).map(|conn| conn.read(&mut scratch));
        match read {
            Some(Ok(Some(n))) if n > 0 => {
                self.counters.bytes_in += n as u64;
                self.parse_request(index, scratch.get(..n).unwrap_or_default());
            }
            Some(Ok(None)) => {}
            Some(Err(error)) => self.handshake_failed(index, &error),
            _ => self.remove(index),
        }
        self.scratch = scratch;
        true
    }

    /// The connection broke, or the bytes were not TLS.
    fn handshake_failed(&mut self, index: u32, error: &std::io::Error) {
        if self.conn(index).is_some_and(|conn| conn.transport.is_encrypted()) {
            tracing::debug!(%error, "a TLS handshake failed");
            self.count_handshake("tls");
        }
        self.remove(index);
    }

    fn parse_request(&mut self, index: u32, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Stage::Handshake(request) = &mut conn.stage else { return };
        request.head.extend_from_slice(bytes);
        if !request.is_websocket {
            match destination(&request.head, self.common.services.settings.accepts_sockets) {
                Destination::WebSocket => request.is_websocket = true,
                Destination::Undecided => return,
                Destination::Http => return self.hand_to_http(index),
            }
        }
        let (head, peer) = (std::mem::take(&mut request.head), request.peer.ip());
        let mut incomplete = false;
        match wire::parse(&head) {
            Ok(Handshake::Incomplete) => incomplete = true,
            Err(error) => {
                let body = error_body(&WireError::invalid(error.to_string()));
                self.count_handshake(error.label());
                self.hang_up(index, &wire::refusal(error.status(), None, &body));
            }
            Ok(Handshake::Upgrade(request)) => match check_upgrade(&request, peer, &self.common) {
                Ok(mut upgrade) => {
                    upgrade.rest = head.get(request.head_bytes..).unwrap_or_default().to_vec();
                    let protocol = upgrade.protocol.unwrap_or(wire::SubProtocol::Json);
                    conn.form = wire::Form { protocol, deflated: upgrade.deflate };
                    conn.stage = Stage::Upgrading(Box::new(upgrade));
                    self.begin_upgrade(index);
                }
                Err(error) => self.refuse_upgrade(index, &error),
            },
        }
        if incomplete && let Some(Stage::Handshake(request)) = self.conn(index).map(|conn| &mut conn.stage) {
            request.head = head;
        }
    }

    /// Checks the address and the bans, then upgrades at once or joins the room first.
    pub fn begin_upgrade(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Stage::Upgrading(upgrade) = &mut conn.stage else { return };
        let services = &self.common.services;
        conn.address = Some(upgrade.address);
        if upgrade.is_forwarded {
            match services.addresses.connect(upgrade.address) {
                Ok(permit) => conn.permit = permit.map(Box::new),
                Err(error) => {
                    let error = WireError::new(Code::RateLimited, error.to_string()).retry_after_ms(10_000);
                    return self.refuse_upgrade(index, &error);
                }
            }
        }
        if let Caller::Known(identity) = &upgrade.caller
            && let Err(refusal) = services.ingest.may_connect(Reader::User(identity))
        {
            // A browser reads no HTTP error here, but it reads a close.
            self.upgrade(index);
            return self.close_banned(index, refusal);
        }
        if let Caller::Known(identity) = &upgrade.caller {
            match self.common.user_sockets.acquire(&identity.user_id, services.settings.limits.sockets_per_user) {
                Some(permit) => upgrade.user_permit = Some(permit),
                None => return self.refuse_upgrade(index, &too_many_sockets()),
            }
        }
        let may_read = match &upgrade.caller {
            Caller::Known(_) => true,
            Caller::Anonymous => services.ingest.anonymous_read,
            Caller::Rejected(_) => false,
        };
        match upgrade.room.take() {
            Some(room) if may_read => {
                let identity = match &upgrade.caller {
                    Caller::Known(identity) => Some(identity.clone()),
                    Caller::Anonymous | Caller::Rejected(_) => None,
                };
                self.join(index, identity, room, None);
            }
            room => {
                let conn = self.conn_ref(index);
                self.deferred_joins.extend(room.map(|room| (conn, Some(room))));
                self.upgrade(index);
                self.flush_answers(index);
            }
        }
    }

    /// Answers the request and opens the socket. The answer and the first frames leave in one write. Does nothing and
    /// returns false when it is open already.
    pub fn upgrade(&mut self, index: u32) -> bool {
        let now = self.now;
        let limits = self.limits(index);
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| matches!(conn.stage, Stage::Upgrading(_)))
        else {
            return false;
        };
        let Stage::Upgrading(upgrade) = std::mem::replace(&mut conn.stage, Stage::Open) else { return false };
        let mut upgrade = *upgrade;
        conn.last_seen = now;
        conn.counted = true;
        if !upgrade.rest.is_empty() {
            drop(conn.decoder.read(&mut upgrade.rest, limits));
            conn.has_buffered = true;
        }
        match conn.transport.session() {
            Some(session) => session.accept(),
            None => {
                let response = wire::response(&upgrade.accept, upgrade.protocol, upgrade.deflate);
                self.answers.extend_from_slice(&response);
            }
        }
        self.counters.connections += 1;
        self.count_handshake("accepted");
        match upgrade.caller {
            Caller::Known(identity) => {
                self.begin_session(index, identity, upgrade.device, upgrade.user_permit, None);
            }
            Caller::Rejected(why) => self.request_login(index, &WireError::new(Code::Unauthorized, why)),
            Caller::Anonymous if self.common.services.ingest.anonymous_read => {}
            Caller::Anonymous => self.request_login(index, &unauthorized()),
        }
        self.schedule(index);
        true
    }

    /// Refuses a request with an HTTP error.
    pub fn refuse_upgrade(&mut self, index: u32, error: &WireError) {
        self.count_handshake(error.code.as_str());
        if let Some(session) = self.conn(index).and_then(|conn| conn.transport.session()) {
            session.refuse(error.code.status());
            return self.remove(index);
        }
        let retry_after_s = error.retry_after_ms.map(|ms| ms.div_ceil(1_000));
        self.hang_up(index, &wire::refusal(error.code.status(), retry_after_s, &error_body(error)));
    }

    /// The request never became complete.
    pub fn handshake_timeout(&mut self, index: u32) {
        self.count_handshake("timeout");
        self.remove(index);
    }

    fn hang_up(&mut self, index: u32, bytes: &[u8]) {
        let until = self.now + REFUSED_LINGER_S;
        if let Some(conn) = self.conn(index) {
            conn.stage = Stage::Closing { until, shut_at: None };
        }
        self.send_raw(index, bytes);
        self.finish_closing(index);
        self.schedule(index);
    }

    fn count_handshake(&self, outcome: &'static str) {
        self.count(&self.common.services.metrics.handshakes, "outcome", outcome);
    }
}

/// The error for commands that need an identity.
pub(super) fn unauthorized() -> WireError {
    WireError::new(Code::Unauthorized, "log in first")
}
