//! The floor: what a delivery costs when there is nothing but the sending. It shakes hands, understands
//! `comment`, and sends the frames that the real server would, one send for each comment and socket, or
//! one for each socket and tick. No tokens, no rules, no store, no windows, no fairness to slow sockets.
//! One thread; runs in a process of its own so that its CPU is read like anybody's.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use model::{Clock, Comment, CommentStatus, Kind, Level, RoomId, RoomState, Snowflake, SystemClock, UserId};
use protocol::binary::{self, Frame};
use protocol::comment::{batch, fragment};
use protocol::handshake::{self, Handshake, SubProtocol, accept_key, choose_protocol, query_pairs};
use protocol::message::{ClientMessage, CommentDraft, ServerMessage, encode, parse};
use protocol::ws::{Decoder, Event, Limits, Opcode, encode_frame, frame_header};
use socket2::{Domain, Socket, Type};

use crate::clock::now_us;
use crate::options::Floor;

const LISTENER: Token = Token(usize::MAX);
const LIMITS: Limits = Limits::from_client(1 << 20);
/// Bytes that may wait for one socket; beyond it frames are let go.
const PENDING_MAX: usize = 4 << 20;
/// Connections that may wait to be accepted.
const QUEUE: i32 = 4_096;
/// The sub-protocols it speaks.
const SPOKEN: [SubProtocol; 2] = [SubProtocol::Json, SubProtocol::Bin];

/// One socket: the descriptor and next to nothing.
struct Peer {
    stream: TcpStream,
    /// Null while nothing is unfinished.
    decoder: Decoder,
    /// What did not fit into the socket.
    pending: Option<Box<[u8]>>,
    greeted: bool,
}

#[derive(Default)]
struct Room {
    json: Vec<u32>,
    bin: Vec<u32>,
    waiting: Vec<Comment>,
}

struct Server {
    tick: Option<Duration>,
    peers: Vec<Option<Peer>>,
    rooms: HashMap<String, Room>,
    /// Rooms in which something waits.
    busy: Vec<String>,
    next_id: u64,
}

/// Serves until the standard input ends. Says where it listens on the first line, as `serve` does.
///
/// # Errors
/// When the system gives no socket.
pub fn serve(floor: Floor) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = listen().context("cannot listen")?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("the floor is listening on http://{}", listener.local_addr()?);
    std::thread::spawn(|| {
        // Whatever happens to it: without whoever started it there is nothing to serve.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let tick = match floor {
        Floor::Message => None,
        Floor::Tick(ms) => Some(Duration::from_millis(ms)),
    };
    let mut server = Server { tick, peers: Vec::new(), rooms: HashMap::new(), busy: Vec::new(), next_id: 1 };
    let mut events = Events::with_capacity(1_024);
    let mut scratch = vec![0; 256 * 1024];
    let mut due_us = now_us();
    loop {
        let left = Duration::from_micros(due_us.saturating_sub(now_us()));
        match poll.poll(&mut events, tick.map(|_| left)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            done => done?,
        }
        for event in &events {
            match event.token() {
                LISTENER => server.accept(&listener, &poll)?,
                Token(i) => server.ready(i, &mut scratch),
            }
        }
        match tick {
            None => server.send_all(),
            Some(tick) if now_us() >= due_us => {
                due_us = now_us() + tick.as_micros() as u64;
                server.send_all();
            }
            Some(_) => {}
        }
    }
}

/// A listener on a free port with a queue that a storm of connections fits into.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(QUEUE)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Server {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let (mut stream, _) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            // Small frames leave at once, as the real server's do.
            stream.set_nodelay(true)?;
            let token = Token(self.peers.len());
            poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            self.peers.push(Some(Peer { stream, decoder: Decoder::default(), pending: None, greeted: false }));
        }
    }

    fn ready(&mut self, i: usize, scratch: &mut [u8]) {
        let outcome = self.flush(i).and_then(|()| self.read(i, scratch));
        if outcome.is_err()
            && let Some(peer) = self.peers.get_mut(i)
        {
            *peer = None;
        }
    }

    fn flush(&mut self, i: usize) -> io::Result<()> {
        let Some(Some(peer)) = self.peers.get_mut(i) else { return Ok(()) };
        if let Some(pending) = peer.pending.take() {
            peer.send(&pending)?;
        }
        Ok(())
    }

    fn read(&mut self, i: usize, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            let Some(Some(peer)) = self.peers.get_mut(i) else { return Ok(()) };
            let n = match peer.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let drained = n < scratch.len();
            let bytes = scratch.get_mut(..n).unwrap_or_default();
            if peer.greeted {
                self.frames(i, bytes)?;
            } else {
                self.greet(i, bytes)?;
            }
            if drained {
                return Ok(());
            }
        }
    }

    /// Answers the handshake, which on loopback comes whole.
    fn greet(&mut self, i: usize, bytes: &[u8]) -> io::Result<()> {
        let Ok(Handshake::Upgrade(request)) = handshake::parse(bytes) else {
            return Err(ErrorKind::InvalidData.into());
        };
        let protocol = request.protocols.as_deref().and_then(|offered| choose_protocol(offered, &SPOKEN));
        let mut out = handshake::response(&accept_key(request.key), protocol, false);
        let connected = ServerMessage::Connected {
            user_id: None,
            device_id: "floor",
            connection_id: "floor",
            node_id: "floor",
            heartbeat_s: 30,
            server_time_ms: SystemClock.now_ms(),
        };
        text(&encode(&connected, None), &mut out);
        if let Some((_, room_id)) = query_pairs(request.query).find(|(name, _)| name == "room_id") {
            let room = self.rooms.entry(room_id.clone().into_owned()).or_default();
            let seats = if protocol == Some(SubProtocol::Bin) { &mut room.bin } else { &mut room.json };
            seats.push(u32::try_from(i).map_err(|_| ErrorKind::OutOfMemory)?);
            let room_id = RoomId::new(&room_id).map_err(|_| ErrorKind::InvalidData)?;
            let joined = ServerMessage::RoomJoined {
                room_id: &room_id,
                state: RoomState::Live,
                viewers: 1,
                history: Vec::new(),
                omitted: 0,
            };
            text(&encode(&joined, None), &mut out);
        }
        let Some(Some(peer)) = self.peers.get_mut(i) else { return Ok(()) };
        peer.greeted = true;
        peer.send(&out)
    }

    fn frames(&mut self, i: usize, bytes: &mut [u8]) -> io::Result<()> {
        let Some(Some(peer)) = self.peers.get_mut(i) else { return Ok(()) };
        let mut decoder = std::mem::take(&mut peer.decoder);
        let mut events = decoder.read(bytes, LIMITS);
        let mut out = Vec::new();
        while let Some(event) = events.next_event().map_err(|_| ErrorKind::InvalidData)? {
            let Event::Text(said) = event else { continue };
            match parse(said).map(|incoming| incoming.message) {
                Ok(ClientMessage::Comment(draft)) => self.comment(draft, &mut out),
                Ok(ClientMessage::Heartbeat) => {
                    let ack = ServerMessage::HeartbeatAck { server_time_ms: SystemClock.now_ms() };
                    text(&encode(&ack, None), &mut out);
                }
                _ => {}
            }
        }
        drop(events);
        let Some(Some(peer)) = self.peers.get_mut(i) else { return Ok(()) };
        peer.decoder = decoder;
        if out.is_empty() { Ok(()) } else { peer.send(&out) }
    }

    fn comment(&mut self, draft: CommentDraft, out: &mut Vec<u8>) {
        let (Some(room_id), Ok(user_id)) = (draft.room_id, UserId::new("sender-0")) else { return };
        let (id, now_ms) = (Snowflake(275_897_962_192_699_392 + self.next_id), SystemClock.now_ms());
        self.next_id += 1;
        let ack = ServerMessage::CommentAck {
            client_msg_id: None,
            id,
            status: CommentStatus::Accepted,
            created_at_ms: now_ms,
        };
        text(&encode(&ack, None), out);
        let room = self.rooms.entry(room_id.as_str().to_owned()).or_default();
        if room.waiting.is_empty() {
            self.busy.push(room_id.as_str().to_owned());
        }
        room.waiting.push(Comment {
            id,
            room_id,
            session_id: Some(Snowflake(275_897_953_330_135_040)),
            username: user_id.as_str().into(),
            user_id,
            level: Level::Normal,
            content: draft.content.into(),
            style: draft.style.unwrap_or_default(),
            kind: Kind::Comment,
            mentions: Box::default(),
            created_at_ms: now_ms,
            offset_ms: now_ms % 1_000_000,
            like_count: 0,
        });
    }

    /// Sends what waits: each comment by itself, or all of a tick together.
    fn send_all(&mut self) {
        let at_once = if self.tick.is_some() { usize::MAX } else { 1 };
        let Self { rooms, peers, busy, .. } = self;
        for room_id in &busy.split_off(0) {
            let Some(room) = rooms.get_mut(room_id) else { continue };
            let waiting = std::mem::take(&mut room.waiting);
            for comments in waiting.chunks(at_once) {
                let frames = [(&mut room.json, json_frame(room_id, comments)), (&mut room.bin, bin_frame(comments))];
                for (seats, frame) in frames {
                    seats.retain(|i| send_to(peers, *i, &frame));
                }
            }
        }
    }
}

/// Whether the socket is still there.
fn send_to(peers: &mut [Option<Peer>], i: u32, frame: &Bytes) -> bool {
    let Some(slot) = peers.get_mut(i as usize) else { return false };
    let Some(peer) = slot else { return false };
    let sent = peer.send(frame);
    if sent.is_err() {
        *slot = None;
    }
    sent.is_ok()
}

impl Peer {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        if let Some(pending) = &mut self.pending {
            if pending.len() + rest.len() <= PENDING_MAX {
                *pending = [pending, rest].concat().into();
            }
            return Ok(());
        }
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.pending = Some(rest.into());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn text(payload: &[u8], out: &mut Vec<u8>) {
    frame_header(Opcode::Text, payload.len(), out);
    out.extend_from_slice(payload);
}

fn json_frame(room_id: &str, comments: &[Comment]) -> Bytes {
    let fragments: Vec<Vec<u8>> = comments.iter().map(|comment| fragment(comment, None)).collect();
    encode_frame(Opcode::Text, &batch(room_id, fragments.iter().map(Vec::as_slice), 0))
}

fn bin_frame(comments: &[Comment]) -> Bytes {
    let mut payload = Vec::new();
    for comment in comments {
        let frame = Frame {
            kind: binary::Kind::Comment,
            timestamp_ms: comment.created_at_ms.unsigned_abs(),
            user_id: binary::numeric_user_id(comment.user_id.as_str()),
            content: &comment.content,
        };
        // A content too long for its length field cannot have come through a frame of ours.
        let _ = binary::encode(&frame, &mut payload);
    }
    encode_frame(Opcode::Binary, &payload)
}
