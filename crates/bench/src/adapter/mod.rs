//! How the swarm speaks to other servers, so that they can be given the same work: who connects how, what it
//! says first, how a comment is published, and what comes back means. One file for each protocol. Called by
//! `conn` and `worker` for every target that is not Barrage; never touches a socket or a clock.
//!
//! A rival's message is the comment's text and nothing else: it carries fewer bytes than a comment of Barrage's.

mod centrifugo;
mod goim;
mod http;
mod nats;
mod plain;
mod socketio;

use clap::ValueEnum;
use protocol::ws::{Opcode, encode_client_frame};
use serde::{Deserialize, Serialize};

use crate::conn::{Role, Spec};
use crate::wire::{MASK, Said};

/// What the target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Adapter {
    /// Barrage's own protocol.
    Barrage,
    /// Plain WebSocket: what a socket at /publish/ROOM sends as text is sent to all sockets at /ROOM. For Bun's
    /// `server.publish`, Node's `ws` and the like.
    #[value(alias = "bun")]
    Ws,
    /// Socket.IO 4 over WebSocket: ["publish", ROOM, TEXT] is emitted as ["comment", TEXT] to the room of the query.
    SocketIo,
    /// nchan: readers on WebSocket /sub/ROOM, HTTP POST to /pub/ROOM.
    Nchan,
    /// NATS: readers SUB over WebSocket, PUB over TCP (--publish-to).
    Nats,
    /// Centrifugo, JSON: readers on /connection/websocket, published by its HTTP API.
    Centrifugo,
    /// Centrifugo, Protobuf.
    CentrifugoProto,
    /// goim's packets over WebSocket /sub, published by its HTTP API (--publish-to).
    Goim,
    /// goim's packets over TCP.
    GoimTcp,
}

/// How a socket is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// WebSocket, whose messages are of this kind.
    WebSocket(Opcode),
    /// Bytes as they are.
    Tcp,
    /// HTTP/1.1 requests, one after the other.
    Http,
}

impl Adapter {
    /// How a socket of this role is used.
    #[must_use]
    pub fn way(self, role: Role) -> Way {
        match (self, role) {
            (Self::Nats, Role::Sender) | (Self::GoimTcp, Role::Viewer | Role::Slow | Role::Stalled) => Way::Tcp,
            (Self::Nchan | Self::Centrifugo | Self::CentrifugoProto | Self::Goim | Self::GoimTcp, Role::Sender) => {
                Way::Http
            }
            (Self::Nats | Self::CentrifugoProto | Self::Goim, _) => Way::WebSocket(Opcode::Binary),
            _ => Way::WebSocket(Opcode::Text),
        }
    }

    /// Path and query of the handshake.
    #[must_use]
    pub fn path(self, role: Role, room: &str) -> String {
        match self {
            Self::Ws if role == Role::Sender => format!("/publish/{room}"),
            Self::Ws => format!("/{room}"),
            Self::SocketIo if role == Role::Sender => "/socket.io/?EIO=4&transport=websocket".into(),
            Self::SocketIo => format!("/socket.io/?EIO=4&transport=websocket&room={room}"),
            Self::Nchan => format!("/sub/{room}"),
            Self::Centrifugo | Self::CentrifugoProto => "/connection/websocket".into(),
            Self::Goim | Self::GoimTcp => "/sub".into(),
            Self::Barrage | Self::Nats => "/".into(),
        }
    }

    /// The sub-protocol that the handshake offers.
    #[must_use]
    pub fn offers(self) -> Option<&'static str> {
        (self == Self::CentrifugoProto).then_some("centrifuge-protobuf")
    }

    /// Whether a socket is where it belongs as soon as it is connected.
    #[must_use]
    pub fn opens_at_once(self, role: Role) -> bool {
        matches!(self, Self::Ws | Self::Nchan) || self.way(role) == Way::Http
    }

    /// Whether a published comment is answered. Where it is not, it counts as accepted when it is sent.
    #[must_use]
    pub fn answers(self) -> bool {
        self == Self::Barrage || self.way(Role::Sender) == Way::Http
    }

    /// Whether a sender may publish into any room.
    #[must_use]
    pub fn names_rooms(self) -> bool {
        self != Self::Ws
    }

    /// Whether publishing has a port of its own.
    #[must_use]
    pub fn publishes_elsewhere(self) -> bool {
        matches!(self, Self::Nats | Self::Goim | Self::GoimTcp)
    }

    /// Whether a socket of this role shows the server's key instead of a user's token.
    #[must_use]
    pub fn wants_key(self, role: Role) -> bool {
        self != Self::Barrage && self.way(role) == Way::Http
    }

    /// What a socket says first.
    pub fn hello(self, spec: &Spec, out: &mut Vec<u8>) {
        let mut say = |message: &[u8]| self.frame(spec.role, message, out);
        match self {
            Self::Nats => say(&nats::hello((spec.role != Role::Sender).then_some(&spec.room))),
            Self::SocketIo => say(socketio::CONNECT),
            _ if self.way(spec.role) == Way::Http => {}
            Self::Centrifugo => say(&centrifugo::json_hello(&spec.credential, &spec.room)),
            Self::CentrifugoProto => say(&centrifugo::proto_hello(&spec.credential, &spec.room)),
            Self::Goim | Self::GoimTcp => say(&goim::hello(&spec.user, &spec.room)),
            Self::Barrage | Self::Ws | Self::Nchan => {}
        }
    }

    /// A comment from a sender.
    pub fn publish(self, spec: &Spec, room: &str, content: &str, out: &mut Vec<u8>) {
        let key = format!("X-API-Key: {}\r\n", spec.credential);
        match self {
            Self::Nats => self.frame(spec.role, &nats::publish(room, content), out),
            Self::SocketIo => self.frame(spec.role, &socketio::publish(room, content), out),
            Self::Nchan => http::post(&spec.host, &format!("/pub/{room}"), "", content, out),
            Self::Centrifugo | Self::CentrifugoProto => {
                http::post(&spec.host, "/api/publish", &key, &centrifugo::publish(room, content), out);
            }
            Self::Goim | Self::GoimTcp => http::post(&spec.host, &goim::push_path(room), "", content, out),
            Self::Barrage | Self::Ws => self.frame(spec.role, content.as_bytes(), out),
        }
    }

    /// A sign of life; false where the server asks for them and the client only answers.
    pub fn heartbeat(self, role: Role, out: &mut Vec<u8>) -> bool {
        match self {
            _ if self.way(role) == Way::Http => return false,
            Self::SocketIo | Self::Centrifugo | Self::CentrifugoProto => return false,
            Self::Nats => self.frame(role, nats::PING, out),
            Self::Goim | Self::GoimTcp => self.frame(role, &goim::heartbeat(), out),
            Self::Barrage | Self::Ws | Self::Nchan => encode_client_frame(Opcode::Ping, b"", MASK, out),
        }
        true
    }

    /// One of a socket's messages, in the form that its way asks for.
    pub fn frame(self, role: Role, message: &[u8], out: &mut Vec<u8>) {
        match self.way(role) {
            Way::WebSocket(opcode) => encode_client_frame(opcode, message, MASK, out),
            Way::Tcp | Way::Http => out.extend_from_slice(message),
        }
    }

    /// Understands what a socket was sent: a message, or bytes where a message may end anywhere. Returns how much was
    /// understood; the rest wants to be read again with what follows.
    ///
    /// # Errors
    /// When it is not what this protocol says.
    pub fn read(self, role: Role, bytes: &[u8], heard: &mut Vec<Said>) -> Result<usize, String> {
        match self {
            _ if self.way(role) == Way::Http => http::read(bytes, heard),
            Self::Nats => nats::read(bytes, heard),
            Self::Goim | Self::GoimTcp => goim::read(bytes, heard),
            Self::SocketIo => whole(bytes, socketio::read(bytes, heard)),
            Self::Centrifugo => whole(bytes, centrifugo::read_json(bytes, heard)),
            Self::CentrifugoProto => whole(bytes, centrifugo::read_proto(bytes, heard)),
            Self::Barrage | Self::Ws | Self::Nchan => whole(bytes, plain::read(bytes, heard)),
        }
    }
}

/// Where messages come whole, all of it was understood.
fn whole(bytes: &[u8], outcome: Result<(), String>) -> Result<usize, String> {
    outcome.map(|()| bytes.len())
}

/// Where one of these bytes is.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// A content with a mark, as something heard.
fn comment(content: &[u8]) -> Said {
    str::from_utf8(content).ok().and_then(crate::content::read).map_or(Said::Other, Said::Comment)
}
