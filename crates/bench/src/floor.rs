//! The floor: what a delivery costs when there is nothing but the sending. It shakes hands, understands
//! `comment`, and sends the frames that the real server would, one send for each comment and socket, or
//! one for each socket and tick. No tokens, no rules, no store, no windows, no fairness to slow sockets.
//! One thread; runs in a process of its own so that its CPU is read like anybody's.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use gateway::encode::comments as comments_frames;
use hub::batch::BatchItem;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use model::{Clock, Comment, CommentStatus, Kind, Level, RoomId, RoomState, Snowflake, SystemClock, UserId};
use protocol::handshake::{self, Form, Handshake, SubProtocol, accept_key, choose_protocol, query_pairs};
use protocol::message::{ClientMessage, CommentDraft, ServerMessage, parse};
use protocol::ws::{Decoder, Event, Limits};
use protocol::{encode, proto};
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
const SPOKEN: [SubProtocol; 3] = [SubProtocol::Json, SubProtocol::Proto, SubProtocol::Bin];

/// One socket: the descriptor and next to nothing.
struct Peer {
    stream: TcpStream,
    /// Null while nothing is unfinished.
    decoder: Decoder,
    /// What did not fit into the socket.
    pending: Option<Box<[u8]>>,
    /// What it speaks, once it has shaken hands.
    protocol: Option<SubProtocol>,
}

#[derive(Default)]
struct Room {
    /// Who reads, by what they speak, as in [`SPOKEN`].
    seats: [Vec<u32>; 3],
    waiting: Vec<BatchItem>,
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
            self.peers.push(Some(Peer { stream, decoder: Decoder::default(), pending: None, protocol: None }));
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
            match peer.protocol {
                Some(protocol) => self.frames(i, protocol, bytes)?,
                None => self.greet(i, bytes)?,
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
        let chosen = request.protocols.as_deref().and_then(|offered| choose_protocol(offered, &SPOKEN));
        let protocol = chosen.unwrap_or(SubProtocol::Json);
        let mut out = handshake::response(&accept_key(request.key), chosen, false);
        let connected = ServerMessage::Connected {
            user_id: None,
            device_id: "floor",
            connection_id: "floor",
            node_id: "floor",
            heartbeat_s: 30,
            server_time_ms: SystemClock.now_ms(),
            prefer: None,
        };
        encode::message(protocol, &connected, None, &mut out);
        if let Some((_, room_id)) = query_pairs(request.query).find(|(name, _)| name == "room_id") {
            let room = self.rooms.entry(room_id.clone().into_owned()).or_default();
            let seat = u32::try_from(i).map_err(|_| ErrorKind::OutOfMemory)?;
            let readers = SPOKEN.iter().zip(&mut room.seats).find(|(spoken, _)| **spoken == protocol);
            readers.into_iter().for_each(|(_, seats)| seats.push(seat));
            let room_id = RoomId::new(&room_id).map_err(|_| ErrorKind::InvalidData)?;
            let joined = ServerMessage::RoomJoined {
                room_id: &room_id,
                state: RoomState::Live,
                viewers: 1,
                history: Vec::new(),
                omitted: 0,
                pin: None,
            };
            encode::message(protocol, &joined, None, &mut out);
        }
        let Some(Some(peer)) = self.peers.get_mut(i) else { return Ok(()) };
        peer.protocol = Some(protocol);
        peer.send(&out)
    }

    fn frames(&mut self, i: usize, protocol: SubProtocol, bytes: &mut [u8]) -> io::Result<()> {
        let Some(Some(peer)) = self.peers.get_mut(i) else { return Ok(()) };
        let mut decoder = std::mem::take(&mut peer.decoder);
        let mut events = decoder.read(bytes, LIMITS);
        let mut out = Vec::new();
        while let Some(event) = events.next_event().map_err(|_| ErrorKind::InvalidData)? {
            let said = match event {
                Event::Text(said) => parse(said).map(|incoming| incoming.message).ok(),
                Event::Binary(said) if protocol == SubProtocol::Proto => proto::parse(said).map(|(_, said)| said).ok(),
                _ => None,
            };
            match said {
                Some(ClientMessage::Comment(draft)) => self.comment(draft, protocol, &mut out),
                Some(ClientMessage::Heartbeat) => {
                    let ack = ServerMessage::HeartbeatAck { server_time_ms: SystemClock.now_ms() };
                    encode::message(protocol, &ack, None, &mut out);
                }
                _ => {}
            }
        }
        drop(events);
        let Some(Some(peer)) = self.peers.get_mut(i) else { return Ok(()) };
        peer.decoder = decoder;
        if out.is_empty() { Ok(()) } else { peer.send(&out) }
    }

    fn comment(&mut self, draft: CommentDraft, protocol: SubProtocol, out: &mut Vec<u8>) {
        let (Some(room_id), Ok(user_id)) = (draft.room_id, UserId::new("sender-0")) else { return };
        let (id, now_ms) = (Snowflake(275_897_962_192_699_392 + self.next_id), SystemClock.now_ms());
        self.next_id += 1;
        let ack = ServerMessage::CommentAck {
            client_msg_id: None,
            id,
            status: CommentStatus::Accepted,
            created_at_ms: now_ms,
        };
        encode::message(protocol, &ack, None, out);
        let room = self.rooms.entry(room_id.as_str().to_owned()).or_default();
        if room.waiting.is_empty() {
            self.busy.push(room_id.as_str().to_owned());
        }
        let comment = Comment {
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
            shadow: false,
        };
        room.waiting.push(BatchItem::new(Arc::new(comment), 1));
    }

    /// Sends what waits: each comment by itself, or all of a tick together.
    fn send_all(&mut self) {
        let at_once = if self.tick.is_some() { usize::MAX } else { 1 };
        let Self { rooms, peers, busy, .. } = self;
        for room_id in &busy.split_off(0) {
            let (Some(room), Ok(room_id)) = (rooms.get_mut(room_id), RoomId::new(room_id)) else { continue };
            let waiting = std::mem::take(&mut room.waiting);
            for comments in waiting.chunks(at_once) {
                for (protocol, seats) in SPOKEN.into_iter().zip(&mut room.seats).filter(|(_, seats)| !seats.is_empty())
                {
                    let frame = comments_frames(Form::plain(protocol), usize::MAX, &room_id, comments.iter(), 0);
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
