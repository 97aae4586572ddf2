//! New connections: accepting, looking at their first bytes, and handing over what is not ours.
//!
//! Every shard listens; whoever is awake accepts, and the sockets are dealt to the shards in turn, so that
//! a room's viewers spread evenly. The first bytes are only peeked at, where they are not in TLS: HTTP gets its
//! connection untouched, or with its TLS and what was decrypted.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use mio::net::TcpStream;
use mio::{Interest, Token};

use crate::HttpConnection;
use crate::conn::{Arrival, Conn, Stage};
use crate::inbox::Inbound;
use crate::shard::Shard;

/// Connections accepted in one turn, so that those already here do not wait.
const ACCEPTS_PER_TURN: usize = 64;
/// How long to wait when the process is out of file descriptors.
const PAUSE_MS: u64 = 100;
/// How requests for `/ws` begin.
const OURS: [&[u8]; 2] = [b"GET /ws?", b"GET /ws "];
/// Said before anything was read, when an address holds too many connections.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Whose connection it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum First {
    Ours,
    Http,
    /// Too few bytes to say.
    Unclear,
}

pub(crate) fn first(bytes: &[u8], takes_sockets: bool) -> First {
    if !takes_sockets {
        First::Http
    } else if OURS.iter().any(|start| bytes.starts_with(start)) {
        First::Ours
    } else if OURS.iter().any(|start| start.starts_with(bytes)) {
        First::Unclear
    } else {
        First::Http
    }
}

impl Shard {
    /// Accepts what waits, as far as one turn goes.
    pub fn accept(&mut self) {
        if !self.accepting.ready || self.now_ms < self.accepting.pause_until_ms || self.drain_until.is_some() {
            return;
        }
        self.accepting.ready = false;
        for i in 0..self.listeners.len() {
            self.accept_from(i);
        }
    }

    fn accept_from(&mut self, listener: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(accepted) = self.listeners.get(listener).map(mio::net::TcpListener::accept) else { return };
            match accepted {
                Ok((stream, peer)) => self.deal(stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    self.accepting.ready = true;
                    return self.pause_accepting(&error);
                }
            }
        }
        self.accepting.ready = true;
    }

    /// Out of descriptors or memory: connections wait in the kernel's queue.
    fn pause_accepting(&mut self, error: &io::Error) {
        if self.now_ms >= self.accepting.pause_until_ms + 10_000 || self.accepting.pause_until_ms == 0 {
            tracing::error!(%error, shard = self.id, "accepting connections failed; trying again every 100 ms");
        }
        self.count(&self.common.services.metrics.handshakes, "outcome", "accept_failed");
        self.accepting.pause_until_ms = self.now_ms + PAUSE_MS;
    }

    /// Gives the socket to the next shard in turn.
    fn deal(&mut self, stream: TcpStream, peer: SocketAddr) {
        let turn = self.common.next_shard.fetch_add(1, Ordering::Relaxed);
        let shard = (turn % self.common.inboxes.len() as u64) as usize;
        match self.common.inboxes.get(shard) {
            Some(inbox) if shard != usize::from(self.id) => inbox.push(Inbound::Accepted(stream, peer)),
            _ => self.seat(stream, peer),
        }
    }

    /// Gives an accepted socket a seat in this shard.
    pub fn seat(&mut self, mut stream: TcpStream, peer: SocketAddr) {
        if self.drain_until.is_some() {
            return;
        }
        let Ok(permit) = self.common.addresses.connect(peer.ip()) else {
            self.count(&self.common.services.metrics.handshakes, "outcome", "rate_limited");
            if self.common.services.tls.is_none() {
                // Best effort: whoever floods is not waited for.
                let _ = stream.write(TOO_MANY);
            }
            return;
        };
        let tls = match self.common.services.tls.as_ref().map(|tls| tls.accept()).transpose() {
            Ok(tls) => tls.map(Box::new),
            Err(error) => return tracing::error!(%error, "TLS cannot begin"),
        };
        let entry = self.conns.vacant_entry();
        let index = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(index), interest) {
            tracing::debug!(%error, "a connection ended before it was seated");
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        let stage = Stage::Arriving(Box::new(Arrival { peer, ours: false, head: Vec::new() }));
        let mut conn = Conn::new(stream, self.generation, stage, self.now, permit);
        conn.tls = tls;
        entry.insert(conn);
        self.schedule(index as u32);
    }

    /// Looks at the first bytes of a connection. True when it is for us and may be read, or has to be: what is in TLS
    /// cannot be peeked at.
    pub fn look(&mut self, index: u32) -> bool {
        let takes_sockets = self.common.services.settings.takes_sockets;
        let Some(conn) = self.conn(index) else { return false };
        let Stage::Arriving(arrival) = &mut conn.stage else { return false };
        if arrival.ours || conn.tls.is_some() {
            return true;
        }
        let mut bytes = [0; 8];
        let verdict = match conn.stream.peek(&mut bytes) {
            Ok(0) => None,
            Ok(n) => Some(first(bytes.get(..n).unwrap_or_default(), takes_sockets)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(First::Unclear),
            Err(_) => None,
        };
        conn.readable = matches!(verdict, Some(First::Ours));
        match verdict {
            None => self.doom(index),
            Some(First::Unclear) => {}
            Some(First::Ours) => {
                arrival.ours = true;
                return true;
            }
            Some(First::Http) => self.hand_over(index),
        }
        false
    }

    /// Takes the connection out of this shard and gives it to the HTTP side.
    pub fn hand_over(&mut self, index: u32) {
        let Some(mut conn) = self.conns.try_remove(index as usize) else { return };
        let Stage::Arriving(arrival) = &mut conn.stage else { return };
        let (peer, head) = (arrival.peer, std::mem::take(&mut arrival.head));
        let (place, tls) = (conn.permit.take(), conn.tls.take());
        if let Err(error) = self.poll.registry().deregister(&mut conn.stream) {
            tracing::debug!(%error, "a connection ended before it was handed over");
            return;
        }
        let stream = std::net::TcpStream::from(OwnedFd::from(conn.stream));
        if self.common.http.try_send(HttpConnection { stream, tls, head, peer, place }).is_err() {
            self.count(&self.common.services.metrics.handshakes, "outcome", "http_full");
        }
    }
}

/// The connection was gone before it was accepted; the listener is well.
fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_for_ws_are_ours() {
        for ours in ["GET /ws?room_id=1", "GET /ws HTTP/1.1"] {
            assert_eq!(first(ours.as_bytes(), true), First::Ours, "{ours}");
        }
        for unclear in ["", "G", "GET /", "GET /ws"] {
            assert_eq!(first(unclear.as_bytes(), true), First::Unclear, "{unclear}");
        }
        for http in ["POST", "GET /wsx", "GET / HTTP/1.1", "\u{16}\u{3}\u{1}", "get /ws "] {
            assert_eq!(first(http.as_bytes(), true), First::Http, "{http}");
        }
        assert_eq!(first(b"GET /ws?room_id=1", false), First::Http);
    }
}
