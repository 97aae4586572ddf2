//! New connections: accepting, looking at their first bytes, and giving HTTP what is not for `/ws`.
//!
//! Every shard listens, and the one that is awake accepts. It deals the sockets to the shards in turn, so that a room's
//! viewers spread evenly. Without TLS the first bytes are only peeked at, and HTTP gets its connection untouched. With TLS
//! HTTP gets the session and what was decrypted.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use mio::Token;
use mio::net::{TcpListener, TcpStream};
use protocol::forwarded::{PROXY_BYTES_MAX, ProxyHeader, proxy_header};

use crate::HttpConnection;
use crate::conn::{Conn, PendingRequest, Stage};
use crate::shard::Shard;
use crate::shard::inbox::Inbound;
use crate::transport::Transport;

/// Connections accepted in one turn, so that those already here do not wait.
const ACCEPTS_PER_TURN: usize = 64;
/// How long to wait when the process is out of file descriptors.
const PAUSE_MS: u64 = 100;
/// How requests for `/ws` begin.
const WEBSOCKET_STARTS: [&[u8]; 2] = [b"GET /ws?", b"GET /ws "];
/// The answer, before anything is read, to an address with too many connections.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 10\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A shard's listeners, and whether connections may be waiting.
#[derive(Default)]
pub(super) struct Acceptor {
    pub listeners: Vec<TcpListener>,
    /// A listener reported an edge that was not used up.
    pub ready: bool,
    /// Out of file descriptors: not before this moment.
    pub pause_until_ms: u64,
}

/// Who serves a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    WebSocket,
    Http,
    /// Too few bytes to decide.
    Undecided,
}

pub(super) fn destination(bytes: &[u8], accepts_sockets: bool) -> Destination {
    if !accepts_sockets {
        Destination::Http
    } else if WEBSOCKET_STARTS.iter().any(|start| bytes.starts_with(start)) {
        Destination::WebSocket
    } else if WEBSOCKET_STARTS.iter().any(|start| start.starts_with(bytes)) {
        Destination::Undecided
    } else {
        Destination::Http
    }
}

impl Shard {
    /// Accepts waiting connections, as many as one turn may.
    pub fn accept(&mut self) {
        if !self.acceptor.ready || self.now_ms < self.acceptor.pause_until_ms || self.stops_accepting() {
            return;
        }
        self.acceptor.ready = false;
        for i in 0..self.acceptor.listeners.len() {
            self.accept_from(i);
        }
    }

    fn accept_from(&mut self, listener: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(accepted) = self.acceptor.listeners.get(listener).map(TcpListener::accept) else { return };
            match accepted {
                Ok((socket, peer)) => self.assign(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    self.acceptor.ready = true;
                    return self.pause_accepting(&error);
                }
            }
        }
        self.acceptor.ready = true;
    }

    /// Out of descriptors or memory: connections wait in the kernel's queue.
    fn pause_accepting(&mut self, error: &io::Error) {
        if self.now_ms >= self.acceptor.pause_until_ms + 10_000 || self.acceptor.pause_until_ms == 0 {
            tracing::error!(%error, shard = self.id, "accepting connections failed; trying again every 100 ms");
        }
        self.count(&self.common.services.metrics.handshakes, "outcome", "accept_failed");
        self.acceptor.pause_until_ms = self.now_ms + PAUSE_MS;
    }

    /// Gives the socket to the next shard in turn.
    fn assign(&mut self, socket: TcpStream, peer: SocketAddr) {
        let turn = self.common.next_shard.fetch_add(1, Ordering::Relaxed);
        let shard = (turn % self.common.inboxes.len() as u64) as usize;
        match self.common.inboxes.get(shard) {
            Some(inbox) if shard != usize::from(self.id) => inbox.push(Inbound::Accepted(socket, peer)),
            _ => self.add_conn(socket, peer),
        }
    }

    /// Gives an accepted socket a slot in this shard.
    pub fn add_conn(&mut self, mut socket: TcpStream, peer: SocketAddr) {
        if self.drain_until.is_some() {
            return;
        }
        let Ok(permit) = self.common.services.addresses.connect(peer.ip()) else {
            self.count(&self.common.services.metrics.handshakes, "outcome", "rate_limited");
            if self.common.services.tls.is_none() {
                // Best effort: a flooding address is not waited for.
                let _ = socket.write(TOO_MANY);
            }
            return;
        };
        let mut transport = match Transport::new(socket, self.common.services.tls.as_deref()) {
            Ok(transport) => transport,
            Err(error) => return tracing::error!(%error, "TLS cannot begin"),
        };
        let entry = self.conns.vacant_entry();
        let index = entry.key();
        if let Err(error) = transport.register(self.poll.registry(), Token(index)) {
            tracing::debug!(%error, "a connection ended before it was registered");
            return;
        }
        self.generation = self.generation.wrapping_add(1);
        let stage = Stage::Handshake(Box::new(PendingRequest {
            peer,
            awaits_proxy_header: self.common.services.addresses.sends_proxy_header(peer.ip()),
            is_websocket: false,
            head: Vec::new(),
        }));
        entry.insert(Conn::new(transport, self.generation, stage, self.now, permit));
        self.schedule(index as u32);
    }

    /// Looks at the first bytes of a connection. True when this shard may read it: it is for `/ws`, or its transport
    /// cannot be peeked at.
    pub fn route(&mut self, index: u32) -> bool {
        let accepts_sockets = self.common.services.settings.accepts_sockets;
        if !self.read_proxy_header(index) {
            return false;
        }
        let Some(conn) = self.conn(index) else { return false };
        let Stage::Handshake(request) = &mut conn.stage else { return false };
        if request.is_websocket {
            return true;
        }
        let mut bytes = [0; 8];
        let Some(peeked) = conn.transport.peek(&mut bytes) else { return true };
        let destination = match peeked {
            Ok(0) => None,
            Ok(n) => Some(destination(bytes.get(..n).unwrap_or_default(), accepts_sockets)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Destination::Undecided),
            Err(_) => None,
        };
        conn.readable = matches!(destination, Some(Destination::WebSocket));
        match destination {
            None => self.remove(index),
            Some(Destination::Undecided) => {}
            Some(Destination::WebSocket) => {
                request.is_websocket = true;
                return true;
            }
            Some(Destination::Http) => self.hand_to_http(index),
        }
        false
    }

    /// Reads the PROXY header with which a trusted proxy begins a connection, also below TLS. True when none is to come. A connection that begins otherwise is closed: nobody can say whose it is.
    fn read_proxy_header(&mut self, index: u32) -> bool {
        let Some(conn) = self.conns.get_mut(index as usize) else { return false };
        let Stage::Handshake(request) = &mut conn.stage else { return false };
        if !request.awaits_proxy_header {
            return true;
        }
        let mut bytes = [0; PROXY_BYTES_MAX];
        let header = match conn.transport.peek_raw(&mut bytes) {
            Ok(0) => None,
            Ok(n) => Some(proxy_header(bytes.get(..n).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(ProxyHeader::Incomplete),
            Err(_) => None,
        };
        let addresses = &self.common.services.addresses;
        match header {
            Some(ProxyHeader::Incomplete) => {
                conn.readable = false;
                return false;
            }
            Some(ProxyHeader::Complete { bytes: length, source })
                if conn.transport.skip_raw(bytes.get_mut(..length).unwrap_or_default()).is_ok() =>
            {
                request.awaits_proxy_header = false;
                request.peer = addresses.proxied(request.peer, source);
                if let Ok(permit) = addresses.connect(request.peer.ip()) {
                    conn.permit = permit.map(Box::new);
                    return true;
                }
                self.count(&self.common.services.metrics.handshakes, "outcome", "rate_limited");
            }
            Some(ProxyHeader::Complete { .. } | ProxyHeader::Invalid) => {
                tracing::debug!(peer = %request.peer, "no PROXY header from a trusted proxy");
                self.count(&self.common.services.metrics.handshakes, "outcome", "proxy_header");
            }
            None => {}
        }
        self.remove(index);
        false
    }

    /// Takes the connection out of this shard and gives it to the HTTP side.
    pub fn hand_to_http(&mut self, index: u32) {
        let Some(conn) = self.conns.try_remove(index as usize) else { return };
        let Conn { transport, stage: Stage::Handshake(request), permit, .. } = conn else { return };
        let PendingRequest { peer, head, .. } = *request;
        let (stream, tls) = match transport.release(self.poll.registry()) {
            Ok(released) => released,
            Err(error) => return tracing::debug!(%error, "a connection ended before HTTP got it"),
        };
        if self.common.http.try_send(HttpConnection { stream, tls, head, peer, permit }).is_err() {
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
            assert_eq!(destination(ours.as_bytes(), true), Destination::WebSocket, "{ours}");
        }
        for unclear in ["", "G", "GET /", "GET /ws"] {
            assert_eq!(destination(unclear.as_bytes(), true), Destination::Undecided, "{unclear}");
        }
        for http in ["POST", "GET /wsx", "GET / HTTP/1.1", "\u{16}\u{3}\u{1}", "get /ws "] {
            assert_eq!(destination(http.as_bytes(), true), Destination::Http, "{http}");
        }
        assert_eq!(destination(b"GET /ws?room_id=1", false), Destination::Http);
    }
}
