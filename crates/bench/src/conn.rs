//! One client's connection: handshake, frames, what it has sent and waits for. It reads and writes its own
//! socket when its worker says so, and never waits.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use protocol::binary::numeric_user_id;
use protocol::handshake::{DEFLATE_ACCEPTED, accept_key};
use protocol::ws::{Decoder, Event, Limits};
use socket2::{Domain, Protocol as Layer, Socket, Type};

use crate::adapter::{Adapter, Way};
use crate::content::Mark;
use crate::measure::RunTotals;
use crate::options::{Handshakes, Protocol, Transport};
use crate::pace::Line;
use crate::protobuf;
use crate::tls::ClientTls;
use crate::webtransport::{Heard, Session};
use crate::wire::{self, Batch, Reader, Said};

/// Longest message the server may send.
const LIMITS: Limits = Limits::from_server(64 << 20);
/// The key of every handshake: it proves that the server read it, and needs to be nothing else here.
const KEY: &str = "YmFycmFnZS1iZW5jaC0wMQ==";
/// What the generator's own messages are at most.
const OWN_LIMITS: Limits = Limits::from_client(64 * 1024);
/// Most that may wait for the rest of a message.
const REST_MAX: usize = 4 << 20;
/// Longest answer to a handshake.
const HEAD_MAX: usize = 16 * 1024;
/// Receive buffer of a slow reader, so that its slowness shows at once.
const SLOW_RECEIVE_BYTES: usize = 4_096;

/// Segments of a slow reader, as on Ethernet. With loopback's 64 KiB the kernel lets megabytes wait in the server's
/// socket, and the server would never notice.
const SLOW_SEGMENT_BYTES: libc::c_int = 1_448;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads as fast as it can.
    Viewer,
    /// Reads slowly.
    Slow,
    /// Reads nothing, once it is in its room.
    Stalled,
    /// Writes.
    Sender,
    /// Writes messages and is given others'.
    Member,
}

impl Role {
    /// Whether it writes.
    #[must_use]
    pub fn sends(self) -> bool {
        matches!(self, Self::Sender | Self::Member)
    }
}

/// How to open a connection.
#[derive(Debug, Clone)]
pub struct Spec {
    /// What it is for.
    pub role: Role,
    /// What the other side speaks.
    pub adapter: Adapter,
    /// Where to connect.
    pub server: SocketAddr,
    /// `Host` of its requests.
    pub host: Arc<str>,
    /// Path and query of the request.
    pub target: String,
    /// The room it reads, or publishes into where it can only name one.
    pub room: String,
    /// What proves who it is, where that is not in the request; empty for nothing.
    pub credential: String,
    /// Its user.
    pub user: String,
    /// Whether the query names a room.
    pub joins: bool,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether it is sent compressed messages.
    pub deflate: bool,
    /// The address it connects from; the system's choice when absent.
    pub from: Option<Ipv4Addr>,
    /// What carries it.
    pub transport: Transport,
    /// Whether it goes through TLS, and how that begins.
    pub tls: Option<Handshakes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Connecting,
    Handshake,
    Entering,
    Open,
}

/// A connection, open or not.
pub struct Conn {
    /// How it is opened.
    pub spec: Spec,
    /// The socket, while there is one.
    stream: Option<TcpStream>,
    tls: Option<Box<ClientTls>>,
    /// The session in place of a socket.
    session: Option<Box<Session>>,
    /// The moments at which the comments that wait for an answer were due.
    pub waiting: VecDeque<u64>,
    state: State,
    began_us: u64,
    /// When it was cut or moved, until the next comment is there; 0 otherwise.
    cut_us: u64,
    last_id: u64,
    decoder: Decoder,
    head: Vec<u8>,
    /// Of a stream: what was not whole yet.
    rest: Vec<u8>,
    out: Vec<u8>,
}

impl Conn {
    /// A connection that is not open.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self {
            spec,
            stream: None,
            tls: None,
            session: None,
            waiting: VecDeque::new(),
            state: State::Closed,
            began_us: 0,
            cut_us: 0,
            last_id: 0,
            decoder: Decoder::default(),
            head: Vec::new(),
            rest: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Whether it is where it was to go.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether it is on its way, or there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stream.is_some() || self.session.is_some()
    }

    /// Watches its socket.
    ///
    /// # Errors
    /// epoll's.
    pub fn register(&mut self, registry: &Registry, token: Token) -> std::io::Result<()> {
        match (&mut self.stream, &mut self.session) {
            (Some(stream), _) => registry.register(stream, token, Interest::READABLE | Interest::WRITABLE),
            (None, Some(session)) => session.register(registry, token),
            (None, None) => Ok(()),
        }
    }

    /// Whether it reads nothing by itself.
    #[must_use]
    pub fn dawdles(&self) -> bool {
        self.is_open() && matches!(self.spec.role, Role::Slow | Role::Stalled)
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// When the system gives no socket or no port.
    pub fn connect(&mut self, now_us: u64) -> anyhow::Result<()> {
        self.decoder = Decoder::default();
        self.head.clear();
        self.rest.clear();
        self.waiting.clear();
        self.out.clear();
        (self.state, self.began_us) = (State::Connecting, now_us);
        let server = self.spec.server;
        if self.spec.transport.is_quic() {
            let handshakes = self.spec.tls.unwrap_or(Handshakes::Full);
            let wants = (self.spec.host.clone(), self.target());
            let from = self.spec.from.map(IpAddr::from);
            self.session = Some(Session::connect(server, from, handshakes, wants)?);
            self.flush().map_err(anyhow::Error::msg)?;
            return Ok(());
        }
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Layer::TCP)).context("no socket")?;
        socket.set_nonblocking(true)?;
        // Closing resets, so that no port stays taken for a minute after a measurement.
        socket.set_linger(Some(Duration::ZERO))?;
        match self.spec.role {
            Role::Sender | Role::Member => socket.set_tcp_nodelay(true)?,
            Role::Slow | Role::Stalled => {
                socket.set_recv_buffer_size(SLOW_RECEIVE_BYTES)?;
                set(&socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, SLOW_SEGMENT_BYTES)?;
            }
            Role::Viewer => {}
        }
        if let Some(from) = self.spec.from {
            // The port is chosen when connecting, from all that are free towards this server.
            set(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
            socket.bind(&SocketAddr::from(SocketAddrV4::new(from, 0)).into()).context("no port")?;
        }
        match socket.connect(&server.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error).context("cannot connect"),
        }
        self.stream = Some(TcpStream::from_std(socket.into()));
        self.tls = self.spec.tls.map(ClientTls::new).transpose()?;
        if let Way::WebSocket(_) = self.spec.adapter.way(self.spec.role) {
            self.out = self.request();
        }
        Ok(())
    }

    /// Path and query: who comes back says what it had last.
    fn target(&self) -> String {
        let Self { spec: Spec { target, .. }, last_id, .. } = self;
        if *last_id > 0 { format!("{target}&since_id={last_id}&history=100") } else { target.clone() }
    }

    fn request(&self) -> Vec<u8> {
        let Spec { adapter, host, protocol, deflate, .. } = &self.spec;
        let target = self.target();
        let offers = match (adapter, protocol) {
            (Adapter::Barrage, protocol) => Some(protocol.spoken().name()),
            (other, _) => other.offers(),
        };
        let extensions = if *deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
        let offers = offers.map_or_else(String::new, |offers| format!("Sec-WebSocket-Protocol: {offers}\r\n"));
        format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{offers}{extensions}\
             User-Agent: barrage-bench\r\n\r\n"
        )
        .into_bytes()
    }

    /// The network takes the connection from it, and it will look for the next comment.
    pub fn cut(&mut self, now_us: u64) {
        self.hang_up();
        self.cut_us = now_us;
    }

    /// Its address changes, and so does its port. False where it must connect anew.
    ///
    /// # Errors
    /// When the system gives no port.
    pub fn move_to(&mut self, to: Ipv4Addr, registry: &Registry, token: Token, now_us: u64) -> anyhow::Result<bool> {
        self.spec.from = Some(to);
        let Some(session) = &mut self.session else {
            self.cut(now_us);
            return Ok(false);
        };
        self.cut_us = now_us;
        session.move_to(Some(to.into()), registry, token)?;
        Ok(true)
    }

    /// When [`Conn::tick`] is due; TCP's timers are the kernel's.
    pub fn deadline(&mut self) -> Option<Instant> {
        self.session.as_mut()?.deadline()
    }

    /// Does what time asks for.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn tick(&mut self, reader: &mut Reader, tally: &mut RunTotals, now_us: u64) -> Result<(), String> {
        self.with_session(reader, tally, now_us, |session, hear| session.tick(hear).map(|()| 0))?;
        self.flush()
    }

    /// Forgets the socket, which closes it.
    pub fn hang_up(&mut self) {
        self.stream = None;
        if let Some(mut session) = self.session.take() {
            session.close();
        }
        self.state = State::Closed;
        self.out = Vec::new();
        self.decoder = Decoder::default();
    }

    /// The socket takes bytes again.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn writable(&mut self, tally: &mut RunTotals, now_us: u64) -> Result<(), String> {
        if self.state == State::Connecting {
            let stream = self.stream.as_ref().ok_or("no socket")?;
            if let Some(error) = stream.take_error().map_err(told)? {
                return Err(told(error));
            }
            if stream.peer_addr().is_err() {
                return Ok(());
            }
            self.state = State::Handshake;
            if self.out.is_empty() {
                self.enter(tally, now_us);
            }
        }
        self.flush()
    }

    /// The way to the server is there; what is left is to say hello.
    fn enter(&mut self, tally: &mut RunTotals, now_us: u64) {
        let Spec { adapter, role, .. } = self.spec;
        self.state = State::Entering;
        adapter.hello(&self.spec, &mut self.out);
        if adapter.opens_at_once(role) {
            self.opened(tally, now_us);
        }
    }

    /// Writes what waits to be written.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn flush(&mut self) -> Result<(), String> {
        if let Some(session) = &mut self.session {
            let mut frames = std::mem::take(&mut self.out);
            let mut decoder = Decoder::default();
            let mut messages = decoder.read(&mut frames, OWN_LIMITS);
            while let Some(event) = messages.next_event().map_err(|error| format!("our own frames: {error}"))? {
                match event {
                    Event::Text(text) => session.say(text.as_bytes()),
                    Event::Binary(bytes) => session.say(bytes),
                    _ => {}
                }
            }
            session.flush();
            return Ok(());
        }
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if self.state == State::Connecting {
            return Ok(());
        }
        while !self.out.is_empty() {
            let written = match &mut self.tls {
                None => stream.write(&self.out),
                Some(tls) => tls.write(stream, &self.out),
            };
            match written {
                Ok(n) if n == self.out.len() => self.out.clear(),
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(told(error)),
            }
        }
        match &mut self.tls {
            Some(tls) => tls.flush(stream).map_err(told),
            None => Ok(()),
        }
    }

    /// Writes a frame, or queues it behind what waits.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn write(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), String> {
        encode(&mut self.out);
        self.flush()
    }

    /// Publishes a comment into a room, a recorded one with its place in the recording; or a message, to the group of
    /// this socket or else to the user of that name.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn publish(&mut self, room: &str, content: &str, line: Option<(&Line, u32)>) -> Result<(), String> {
        let Self { spec, out, .. } = self;
        match (spec.adapter, spec.protocol) {
            (Adapter::Barrage, _) if spec.role == Role::Member => wire::message(&spec.room, room, content, out),
            (Adapter::Barrage, Protocol::Json) => wire::comment(room, content, line, out),
            (Adapter::Barrage, Protocol::Proto) => protobuf::comment(room, content, line, out),
            (Adapter::Barrage, Protocol::Bin) => wire::binary_comment(numeric_user_id(&spec.user), content, out),
            (other, _) => other.publish(spec, room, content, out),
        }
        self.flush()
    }

    /// Reads once, at most as much as `scratch` holds. Returns how much came; less than that means that nothing is left.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn read(
        &mut self,
        scratch: &mut [u8],
        reader: &mut Reader,
        tally: &mut RunTotals,
        now_us: u64,
    ) -> Result<usize, String> {
        if self.session.is_some() {
            let packets = self.with_session(reader, tally, now_us, |session, hear| session.receive(scratch, hear))?;
            if self.spec.role != Role::Sender {
                tally.counts.reads += packets;
            }
            self.flush()?;
            return Ok(0);
        }
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let read = match &mut self.tls {
            None => stream.read(scratch),
            Some(tls) => tls.read(stream, scratch),
        };
        let n = match read {
            Ok(0) => return Err("ended by the server".into()),
            Ok(n) => n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(0),
            Err(error) => return Err(told(error)),
        };
        let bytes = scratch.get_mut(..n).unwrap_or_default();
        if self.spec.role != Role::Sender {
            tally.counts.reads += 1;
            tally.counts.bytes += n as u64;
        }
        match (self.state, self.spec.adapter.way(self.spec.role)) {
            (State::Entering | State::Open, Way::WebSocket(_)) => self.decode(bytes, reader, tally, now_us)?,
            (State::Entering | State::Open, Way::Tcp | Way::Http) => {
                self.understand(bytes, 0, reader, tally, now_us)?
            }
            _ => {
                self.head.extend_from_slice(bytes);
                self.shake_hands(reader, tally, now_us)?;
            }
        }
        self.flush()?;
        Ok(n)
    }

    /// Lets its session work, and hears what it hears.
    fn with_session(
        &mut self,
        reader: &mut Reader,
        tally: &mut RunTotals,
        now_us: u64,
        work: impl FnOnce(&mut Session, crate::webtransport::Hear<'_>) -> Result<u64, String>,
    ) -> Result<u64, String> {
        let Some(mut session) = self.session.take() else { return Ok(0) };
        let done = work(&mut session, &mut |heard| {
            let (message, header_bytes) = match heard {
                Heard::Opened => {
                    self.enter(tally, now_us);
                    return Ok(());
                }
                Heard::Message(message) => (message, varint_bytes(message.len())),
                Heard::Batch(message, missing) => {
                    let lost = tally.counts.batches_lost.saturating_add_signed(missing);
                    tally.counts.batches_lost = lost;
                    (message, BATCH_HEADER_BYTES)
                }
            };
            let bytes = message.len() as u64 + header_bytes;
            if self.spec.role != Role::Sender {
                tally.counts.bytes += bytes;
            }
            let said = match self.spec.protocol {
                Protocol::Json => str::from_utf8(message).ok().and_then(|text| reader.text(text)),
                protocol => reader.binary(protocol, message),
            };
            self.hear(said.ok_or("a message that does not parse")?, bytes, tally, now_us);
            Ok(())
        });
        self.session = Some(session);
        done
    }

    fn shake_hands(&mut self, reader: &mut Reader, tally: &mut RunTotals, now_us: u64) -> Result<(), String> {
        let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else {
            return if self.head.len() > HEAD_MAX { Err("handshake: no end".into()) } else { Ok(()) };
        };
        let mut head = std::mem::take(&mut self.head);
        let mut frames = head.split_off(end + 4);
        let head = String::from_utf8_lossy(&head);
        let status = head.split(' ').nth(1).unwrap_or("none");
        if status != "101" {
            let body = String::from_utf8_lossy(&frames);
            let code = body.split(r#""code":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            return Err(format!("handshake: {status} {code}"));
        }
        let accept = accept_key(KEY);
        if !head.contains(str::from_utf8(&accept).unwrap_or("?")) {
            return Err("handshake: wrong accept key".into());
        }
        if self.spec.deflate && !head.contains(DEFLATE_ACCEPTED) {
            return Err("handshake: the server does not compress".into());
        }
        self.enter(tally, now_us);
        self.decode(&mut frames, reader, tally, now_us)
    }

    fn decode(
        &mut self,
        bytes: &mut [u8],
        reader: &mut Reader,
        tally: &mut RunTotals,
        now_us: u64,
    ) -> Result<(), String> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let Spec { adapter, protocol, deflate, .. } = self.spec;
        let mut events = decoder.read(bytes, LIMITS.deflate(deflate));
        loop {
            let barrage = adapter == Adapter::Barrage;
            let (said, bytes) = match events.next_event().map_err(|error| format!("frames: {error}"))? {
                Some(Event::Text(text)) if !barrage => {
                    self.understand(text.as_bytes(), frame_header_bytes(text.len()), reader, tally, now_us)?;
                    continue;
                }
                Some(Event::Binary(bytes)) if !barrage => {
                    self.understand(bytes, frame_header_bytes(bytes.len()), reader, tally, now_us)?;
                    continue;
                }
                Some(Event::Text(text)) => (reader.text(text), text.len()),
                Some(Event::Binary(bytes)) => (reader.binary(protocol, bytes), bytes.len()),
                Some(Event::Deflated { text, payload }) => (reader.deflated(protocol, text, payload), payload.len()),
                Some(Event::Ping(payload)) => {
                    wire::pong(payload, &mut self.out);
                    continue;
                }
                Some(Event::Pong(_)) => continue,
                Some(Event::Close { code, .. }) => return Err(format!("close {}", code.unwrap_or(1005))),
                None => break,
            };
            let said = said.ok_or("a message that does not parse")?;
            if matches!(said, Said::Comment(_)) {
                tally.counts.batches += 1;
                tally.counts.batch_bytes += bytes as u64 + frame_header_bytes(bytes);
            }
            self.hear(said, bytes as u64 + frame_header_bytes(bytes), tally, now_us);
        }
        drop(events);
        self.decoder = decoder;
        Ok(())
    }

    /// Hears what a server of another kind said; what is not whole yet waits for what follows.
    fn understand(
        &mut self,
        bytes: &[u8],
        header_bytes: u64,
        reader: &mut Reader,
        tally: &mut RunTotals,
        now_us: u64,
    ) -> Result<(), String> {
        let Spec { adapter, role, .. } = self.spec;
        let mut heard = std::mem::take(&mut reader.heard);
        if self.rest.is_empty() {
            let used = adapter.read(role, bytes, &mut heard)?;
            self.rest.extend_from_slice(bytes.get(used..).unwrap_or_default());
        } else {
            self.rest.extend_from_slice(bytes);
            let used = adapter.read(role, &self.rest, &mut heard)?;
            self.rest.drain(..used);
        }
        if self.rest.len() > REST_MAX {
            return Err("a message without end".into());
        }
        if heard.iter().any(|said| matches!(said, Said::Comment(_))) {
            tally.counts.batches += 1;
            tally.counts.batch_bytes += bytes.len() as u64 + header_bytes;
        }
        heard.drain(..).for_each(|said| self.hear(said, bytes.len() as u64 + header_bytes, tally, now_us));
        reader.heard = heard;
        Ok(())
    }

    /// `bytes` are those of the message and of what is around it.
    fn hear(&mut self, said: Said, bytes: u64, tally: &mut RunTotals, now_us: u64) {
        if self.spec.role != Role::Sender && !matches!(said, Said::Batch(_) | Said::Comment(_)) {
            tally.counts.others += 1;
        }
        match said {
            Said::Batch(batch) => {
                tally.counts.batches += 1;
                tally.counts.batch_bytes += bytes;
                self.given(&batch, tally, now_us);
            }
            Said::Joined(history) => {
                self.opened(tally, now_us);
                self.given(&history, tally, now_us);
            }
            Said::Comment(mark) => self.given_one(mark, tally, now_us),
            Said::Connected if !self.spec.joins => self.opened(tally, now_us),
            Said::Ready => self.opened(tally, now_us),
            Said::Reply(answer) => self.spec.adapter.frame(self.spec.role, answer, &mut self.out),
            Said::Accepted => {
                tally.counts.accepted += 1;
                self.answered(tally, now_us);
            }
            Said::Held => {
                tally.counts.held += 1;
                self.answered(tally, now_us);
            }
            Said::Refused(code) => {
                // What is refused to a socket that sends nothing is its way in.
                if self.waiting.is_empty() {
                    tally.ended(format!("error {code}"));
                } else {
                    tally.counts.refused += 1;
                    *tally.refusals.entry(code).or_default() += 1;
                    self.answered(tally, now_us);
                }
            }
            Said::Critical(event_id) => match self.spec.protocol {
                Protocol::Json | Protocol::Bin => wire::receipt(event_id, &mut self.out),
                Protocol::Proto => protobuf::receipt(event_id, &mut self.out),
            },
            Said::Connected | Said::Other => {}
        }
    }

    fn opened(&mut self, tally: &mut RunTotals, now_us: u64) {
        if self.state != State::Open {
            self.state = State::Open;
            tally.counts.opened += 1;
            tally.handshake.saturating_record(now_us.saturating_sub(self.began_us).max(1));
        }
    }

    fn given(&mut self, batch: &Batch, tally: &mut RunTotals, now_us: u64) {
        self.last_id = self.last_id.max(batch.last_id);
        match self.spec.role {
            Role::Viewer | Role::Member => {
                if self.cut_us > 0 && !batch.marks.is_empty() {
                    tally.resumed.saturating_record(now_us.saturating_sub(self.cut_us).max(1));
                    self.cut_us = 0;
                }
                batch.marks.iter().for_each(|mark| tally.delivered(*mark, now_us));
                tally.counts.omitted += batch.omitted;
                tally.counts.merged += batch.merged;
            }
            Role::Slow | Role::Stalled => {
                tally.counts.slow_deliveries += batch.marks.len() as u64;
                tally.counts.slow_omitted += batch.omitted;
            }
            Role::Sender => {}
        }
    }

    fn given_one(&self, mark: Mark, tally: &mut RunTotals, now_us: u64) {
        match self.spec.role {
            Role::Viewer | Role::Member => tally.delivered(mark, now_us),
            Role::Slow | Role::Stalled => tally.counts.slow_deliveries += 1,
            Role::Sender => {}
        }
    }

    /// The server answers a socket's comments in the order they were sent.
    fn answered(&mut self, tally: &mut RunTotals, now_us: u64) {
        if let Some(due_us) = self.waiting.pop_front()
            && tally.is_measured(due_us)
        {
            tally.answer.saturating_record(now_us.saturating_sub(due_us).max(1));
        }
    }
}

/// Sets an option that no library has a name for.
fn set(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> std::io::Result<()> {
    // SAFETY: the descriptor is open and the kernel only reads the number, whose size is told.
    let done = unsafe {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size)
    };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes in front of a batch beside the stream: the session, and the batch's number.
const BATCH_HEADER_BYTES: u64 = 5;

/// Bytes of the length before so long a message of a WebTransport stream.
fn varint_bytes(message_bytes: usize) -> u64 {
    match message_bytes {
        0..64 => 1,
        64..16_384 => 2,
        _ => 4,
    }
}

/// Bytes of the header before so long a payload (RFC 6455 §5.2).
fn frame_header_bytes(payload_bytes: usize) -> u64 {
    match payload_bytes {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

fn told(error: std::io::Error) -> String {
    error.kind().to_string()
}
