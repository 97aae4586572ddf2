//! Sockets on their way to another process, or back into this one.
//!
//! An upgrade parks every socket ([`crate::Gateway::park`]), hands over what can be handed over, and the new process takes the
//! sockets in before its shards run ([`crate::Gateway::prepare`]). A parked socket is its transport, its state as JSON (so that
//! a field more or less does not matter), and the bytes that wait in either direction. When the new process fails, the old
//! one takes its own parked sockets in again. Nothing here reads, writes or decides what is sent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use hub::{Reading, RoomProgress};
use model::{DeviceId, Event, Identity, RoomId, Snowflake, UserId};
use protocol::handshake::{Form, SubProtocol};
use protocol::message::JoinRoom;
use protocol::ws::{ParkedInput, ParkedMessage, close_frame};
use serde::{Deserialize, Serialize};

use crate::shard::reconnect_reason;
use crate::transport::Transport;

/// Everything that a gateway hands over but its listeners.
#[derive(Default)]
pub struct Inherited {
    /// What the sockets have in common.
    pub state: GatewayState,
    /// The sockets.
    pub sockets: Vec<Parked>,
}

/// What the sockets of a gateway have in common.
#[derive(Default, Serialize, Deserialize)]
pub struct GatewayState {
    /// The number of the next login; 0 when there was none.
    pub(crate) next_session: u64,
    /// Events of which receipts are missing.
    pub(crate) events: Vec<ParkedEvent>,
    /// How far the rooms came that the sockets read.
    pub rooms: Vec<RoomProgress>,
}

/// One socket that no shard holds.
pub struct Parked {
    pub(crate) transport: Transport,
    pub(crate) state: SocketState,
    /// The head of its request, its input, its started message and its backlog, one behind the other.
    pub(crate) bytes: Vec<u8>,
}

/// What one shard gives away.
pub(crate) struct ParkedShard {
    pub sockets: Vec<Parked>,
    pub events: Vec<ParkedEvent>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct SocketState {
    pub stage: ParkedStage,
    /// The index of its [`Form`].
    pub form: usize,
    pub address: Option<IpAddr>,
    pub counted: bool,
    pub peer_closed: bool,
    /// Seconds until somebody must have logged in.
    pub login_in_s: Option<u32>,
    pub session: Option<ParkedSession>,
    pub watched: Vec<UserId>,
    pub rooms: Vec<ParkedMembership>,
    pub deferred_room: Option<JoinRoom>,
    pub receipts: Vec<ParkedReceipt>,
    pub input: InputLengths,
    pub backlog: Option<ParkedBacklog>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum ParkedStage {
    /// Its request is arriving: the first bytes are that of its head.
    Request {
        peer: SocketAddr,
        awaits_proxy_header: bool,
        is_websocket: bool,
        head: usize,
    },
    Open,
    /// A close is queued: when to hang up, and when to shut our side, in seconds.
    Closing {
        left_s: u32,
        shut_in_s: Option<u32>,
    },
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ParkedSession {
    pub identity: Identity,
    pub device: Option<DeviceId>,
    pub number: u64,
    pub since_ms: i64,
    pub socket: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ParkedMembership {
    pub room: RoomId,
    pub reading: Reading,
    pub by_query: bool,
}

/// An event of which receipts are missing.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ParkedEvent {
    pub event: Arc<Event>,
    pub stored: bool,
}

/// A receipt that one socket owes.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ParkedReceipt {
    pub event: Snowflake,
    pub repeats: usize,
    pub due_in_ms: u64,
}

/// The pieces of a backlog; their bytes are elsewhere.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ParkedBacklog {
    pub pieces: Vec<ParkedPiece>,
    /// Bytes of the first piece that are written.
    pub sent: usize,
    pub missed: Vec<(RoomId, u64)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ParkedPiece {
    pub bytes: usize,
    /// The room and how many the viewer misses, when it may be skipped.
    pub comments: Option<(RoomId, u64)>,
}

/// [`ParkedInput`] without its bytes.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct InputLengths {
    bytes: usize,
    /// Whether the message is text, whether it is compressed, its bytes.
    message: Option<(bool, bool, usize)>,
    finished: bool,
}

impl InputLengths {
    /// Appends the input's bytes to `out`.
    pub fn of(input: &ParkedInput, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&input.bytes);
        let message = input.message.as_ref().map(|message| {
            out.extend_from_slice(&message.payload);
            (message.text, message.deflated, message.payload.len())
        });
        Self { bytes: input.bytes.len(), message, finished: input.finished }
    }

    /// The input again, off the front of `bytes`.
    pub fn restore(&self, bytes: &mut Vec<u8>) -> ParkedInput {
        ParkedInput {
            bytes: take_front(bytes, self.bytes),
            message: self.message.map(|(text, deflated, len)| ParkedMessage {
                text,
                deflated,
                payload: take_front(bytes, len),
            }),
            finished: self.finished,
        }
    }
}

/// The first `n` bytes; `bytes` keeps the rest.
pub(crate) fn take_front(bytes: &mut Vec<u8>, n: usize) -> Vec<u8> {
    let rest = bytes.split_off(n.min(bytes.len()));
    std::mem::replace(bytes, rest)
}

/// The form with this index.
pub(crate) fn form(index: usize) -> Form {
    let protocol = match index / 2 {
        1 => SubProtocol::Proto,
        2 => SubProtocol::Bin,
        3 => SubProtocol::BinWithRoom,
        _ => SubProtocol::Json,
    };
    Form { protocol, deflated: index % 2 == 1 }
}

impl Parked {
    /// The descriptor and the state for another process; `None` for a socket that cannot move, because its encryption is in
    /// this process.
    ///
    /// # Errors
    /// When the state cannot be written down.
    pub fn to_wire(&self) -> io::Result<Option<(BorrowedFd<'_>, Vec<u8>)>> {
        let Some(socket) = self.transport.plain() else { return Ok(None) };
        let state = serde_json::to_vec(&self.state)?;
        let length = u32::try_from(state.len()).map_err(io::Error::other)?;
        Ok(Some((socket, [&length.to_be_bytes()[..], &state, &self.bytes].concat())))
    }

    /// The socket of another process.
    ///
    /// # Errors
    /// When it is not what [`Parked::to_wire`] writes.
    pub fn from_wire(socket: OwnedFd, wire: &[u8]) -> io::Result<Self> {
        let (length, rest) = wire.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (state, bytes) = rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self {
            transport: Transport::from_plain(socket),
            state: serde_json::from_slice(state)?,
            bytes: bytes.to_vec(),
        })
    }

    /// Tells a socket that cannot move to connect again; the caller advances what is returned. `None` for one that is closing.
    #[must_use]
    pub fn say_goodbye(self) -> Option<Goodbye> {
        // Behind half a frame a close would not be understood.
        let open = matches!(self.state.stage, ParkedStage::Open) && self.state.backlog.is_none();
        open.then(|| Goodbye { transport: self.transport, unsent: close_frame(1012, &reconnect_reason()) })
    }
}

/// A socket that is told to connect again, while it takes the close.
pub struct Goodbye {
    transport: Transport,
    unsent: Bytes,
}

impl Goodbye {
    /// Writes and reads what goes without waiting. False once the peer has hung up.
    pub fn advance(&mut self) -> bool {
        use io::ErrorKind::{Interrupted, WouldBlock};
        let waits = |error: &io::Error| matches!(error.kind(), WouldBlock | Interrupted);
        if !self.unsent.is_empty() {
            match io::Write::write(&mut self.transport, &self.unsent) {
                Ok(n) => self.unsent.advance(n.min(self.unsent.len())),
                Err(error) if waits(&error) => return true,
                Err(_) => return false,
            }
        }
        if self.unsent.is_empty() {
            self.transport.shutdown();
        }
        // What the peer still sends is read, so that it reads our close instead of a reset.
        let mut scratch = [0; 4096];
        loop {
            match self.transport.read(&mut scratch) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return waits(&error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_again_by_its_index() {
        for index in 0..Form::COUNT {
            assert_eq!(form(index).index(), index);
        }
    }
}
