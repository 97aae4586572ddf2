//! `--transport wt`: the generator's end of a WebTransport session. Each has a UDP socket and a QUIC state machine of its own,
//! as a viewer has. [`crate::conn`] drives it from the worker's epoll loop: it has no task and no thread, and the worker
//! calls [`Session::tick`] when [`Session::deadline`] has passed. Verifies nothing, as [`crate::tls`].

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use protocol::varint::{put_varint, varint};
use quinn_proto::crypto::rustls::QuicClientConfig;
use quinn_proto::{
    ClientConfig, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig, Event,
    ReadError, StreamEvent, StreamId, TransportConfig, VarInt,
};
use wtransport_proto::frame::Frame;
use wtransport_proto::headers::Headers;
use wtransport_proto::settings::Settings;

use crate::options::Handshakes;
use crate::tls;

const CONTROL_STREAM: u64 = 0x00;
const DATA_FRAME: u64 = 0x00;
const HEADERS_FRAME: u64 = 0x01;
const WEBTRANSPORT_BIDI: u64 = 0x41;
const WEBTRANSPORT_UNI: u64 = 0x54;
const CLOSE_SESSION: u64 = 0x2843;
/// The end of a connection without an error (RFC 9114 §8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x0100);
/// The server ends a silent connection; this end waits longer.
const IDLE_MS: u32 = 600_000;
/// Bytes of a number in front of a batch beside the stream.
const SEQ_BYTES: usize = 4;
/// The longest UDP payload that this end takes, as most clients do.
const PACKET_BYTES: usize = 1_472;
/// Bytes of one stream that may wait for their rest.
const REST_MAX: usize = 4 << 20;

/// What a session hears.
pub enum Heard<'a> {
    /// The server has accepted it.
    Opened,
    /// A message of its stream.
    Message(&'a [u8]),
    /// A batch beside the stream, and how many before it are missing: negative when it was missing itself.
    Batch(&'a [u8], i64),
}

/// Hears it, or says why the connection is over.
pub type Hear<'a> = &'a mut dyn FnMut(Heard<'_>) -> Result<(), String>;

/// A session, from its first packet on.
pub struct Session {
    socket: UdpSocket,
    server: SocketAddr,
    endpoint: Endpoint,
    handle: ConnectionHandle,
    connection: Connection,
    /// What the request asks for: host, path and query.
    wants: (Arc<str>, String),
    /// The request's stream, which names the session.
    request: Option<StreamId>,
    /// The stream of messages.
    messages: Option<StreamId>,
    /// By stream: what was read and is not whole yet.
    rests: HashMap<StreamId, Vec<u8>>,
    /// Bytes that the stream has not taken yet.
    outgoing: Vec<u8>,
    next_batch: u32,
}

impl Session {
    /// Begins to connect.
    ///
    /// # Errors
    /// When the system gives no port, or the cryptography cannot be set up.
    pub fn connect(
        server: SocketAddr,
        from: Option<IpAddr>,
        handshakes: Handshakes,
        wants: (Arc<str>, String),
    ) -> anyhow::Result<Box<Self>> {
        let (socket, mut endpoint) = (bind(server, from)?, Endpoint::new(endpoint_config(), None, false, None));
        let (handle, connection) = endpoint.connect(Instant::now(), config(handshakes)?, server, tls::NAME)?;
        Ok(Box::new(Self {
            socket,
            server,
            endpoint,
            handle,
            connection,
            wants,
            request: None,
            messages: None,
            rests: HashMap::new(),
            outgoing: Vec::new(),
            next_batch: 0,
        }))
    }

    /// Watches the socket.
    ///
    /// # Errors
    /// epoll's.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE)
    }

    /// Goes on from another port, and from another address where there is one. The peer learns it from the next packet.
    ///
    /// # Errors
    /// When the system gives no port.
    pub fn move_to(&mut self, from: Option<IpAddr>, registry: &Registry, token: Token) -> anyhow::Result<()> {
        registry.deregister(&mut self.socket)?;
        self.socket = bind(self.server, from)?;
        self.register(registry, token)?;
        self.connection.local_address_changed();
        self.transmit();
        Ok(())
    }

    /// When [`Session::tick`] is due.
    pub fn deadline(&mut self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// Does what time asks for: probes, acknowledgements, giving up.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn tick(&mut self, hear: Hear<'_>) -> Result<(), String> {
        self.connection.handle_timeout(Instant::now());
        self.advance(hear)
    }

    /// Reads all that has come. Returns how many packets.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn receive(&mut self, scratch: &mut [u8], hear: Hear<'_>) -> Result<u64, String> {
        let mut packets = 0;
        let mut answer = Vec::new();
        loop {
            let n = match self.socket.recv(scratch) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.kind().to_string()),
            };
            packets += 1;
            let packet = BytesMut::from(scratch.get(..n).unwrap_or_default());
            let event = self.endpoint.handle(Instant::now(), self.server, None, None, packet, &mut answer);
            if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
                self.connection.handle_event(event);
            }
        }
        self.advance(hear)?;
        Ok(packets)
    }

    /// Queues a message.
    pub fn say(&mut self, message: &[u8]) {
        put_varint(message.len() as u64, &mut self.outgoing);
        self.outgoing.extend_from_slice(message);
    }

    /// Sends what is queued, as far as the server's window goes.
    pub fn flush(&mut self) {
        if let Some(stream) = self.messages {
            while !self.outgoing.is_empty() {
                let Ok(n) = self.connection.send_stream(stream).write(&self.outgoing) else { break };
                self.outgoing.drain(..n);
            }
        }
        self.transmit();
    }

    /// Tells the server that nobody is here any more.
    pub fn close(&mut self) {
        self.connection.close(Instant::now(), NO_ERROR, Bytes::new());
        self.transmit();
    }

    /// Acts on what the state machine says, until it says nothing more.
    fn advance(&mut self, hear: Hear<'_>) -> Result<(), String> {
        loop {
            while let Some(event) = self.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                    self.connection.handle_event(event);
                }
            }
            let Some(event) = self.connection.poll() else { break };
            match event {
                Event::Connected => self.ask().ok_or("no stream for the request")?,
                Event::ConnectionLost { reason } => return Err(lost(&reason)),
                Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                    while let Some(stream) = self.connection.streams().accept(Dir::Uni) {
                        self.read(stream, hear)?;
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => self.read(id, hear)?,
                Event::DatagramReceived => {
                    while let Some(datagram) = self.connection.datagrams().recv() {
                        if let Some((_, at)) = varint(&datagram) {
                            self.batch(datagram.get(at..).unwrap_or_default(), hear)?;
                        }
                    }
                }
                Event::HandshakeDataReady | Event::DatagramsUnblocked | Event::Stream(_) => {}
            }
        }
        self.flush();
        Ok(())
    }

    /// Asks for the session: our settings, then the request.
    fn ask(&mut self) -> Option<()> {
        let settings = Settings::builder()
            .enable_connect_protocol()
            .enable_webtransport()
            .enable_h3_datagrams()
            .webtransport_max_sessions(wtransport_proto::varint::VarInt::from_u32(1))
            .build();
        let mut opening = Vec::new();
        put_varint(CONTROL_STREAM, &mut opening);
        put_frame(&settings.generate_frame(), &mut opening);
        let control = self.connection.streams().open(Dir::Uni)?;
        self.connection.send_stream(control).write(&opening).ok()?;

        let (host, path) = (&*self.wants.0, self.wants.1.as_str());
        let fields = [(":method", "CONNECT"), (":protocol", "webtransport"), (":scheme", "https")];
        let fields = fields.into_iter().chain([(":authority", host), (":path", path), ("user-agent", "barrage-bench")]);
        let mut head = Vec::new();
        put_frame(&fields.collect::<Headers>().generate_frame(), &mut head);
        let request = self.connection.streams().open(Dir::Bi)?;
        self.connection.send_stream(request).write(&head).ok()?;
        self.request = Some(request);
        Some(())
    }

    fn read(&mut self, stream: StreamId, hear: Hear<'_>) -> Result<(), String> {
        let mut bytes = self.rests.remove(&stream).unwrap_or_default();
        let mut receive = self.connection.recv_stream(stream);
        let Ok(mut chunks) = receive.read(true) else { return Ok(()) };
        let ended = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
                Ok(None) => break Some(true),
                Err(ReadError::Blocked) => break None,
                Err(ReadError::Reset(_)) => break Some(false),
            }
        };
        // Whether it has to be told is found out by transmitting, which always follows.
        let _ = chunks.finalize();
        if Some(stream) == self.messages {
            self.hear_messages(&mut bytes, hear)?;
        } else if Some(stream) == self.request {
            self.hear_answer(&mut bytes, hear)?;
        } else if ended == Some(true) {
            self.hear_batch(&bytes, hear)?;
        }
        match ended {
            None if bytes.len() > REST_MAX => Err("a message without end".into()),
            None => {
                self.rests.insert(stream, bytes);
                Ok(())
            }
            // The end of the session says why on the request's stream.
            Some(_) => Ok(()),
        }
    }

    fn hear_messages(&self, bytes: &mut Vec<u8>, hear: Hear<'_>) -> Result<(), String> {
        let mut at = 0;
        while let Some((message, used)) = bytes.get(at..).and_then(whole) {
            hear(Heard::Message(message))?;
            at += used;
        }
        bytes.drain(..at);
        Ok(())
    }

    /// The answer to the request; behind it, the end of the session.
    fn hear_answer(&mut self, bytes: &mut Vec<u8>, hear: Hear<'_>) -> Result<(), String> {
        while let Some((kind, payload, used)) = frame(bytes) {
            match kind {
                HEADERS_FRAME => {
                    let headers = Headers::with_frame(&Frame::new_headers(payload.into()));
                    let headers = headers.map_err(|_| "the answer is not QPACK")?;
                    let status = headers.get(":status").unwrap_or("none");
                    if status != "200" {
                        return Err(format!("handshake: {status}"));
                    }
                    self.open_messages().ok_or("no stream for messages")?;
                    hear(Heard::Opened)?;
                }
                DATA_FRAME => {
                    if let Some((CLOSE_SESSION, [_, _, high, low, ..], _)) = frame(payload) {
                        return Err(format!("close {}", u16::from_be_bytes([*high, *low])));
                    }
                }
                _ => {}
            }
            bytes.drain(..used);
        }
        Ok(())
    }

    fn open_messages(&mut self) -> Option<()> {
        let stream = self.connection.streams().open(Dir::Bi)?;
        let mut head = Vec::new();
        put_varint(WEBTRANSPORT_BIDI, &mut head);
        put_varint(self.request.map_or(0, u64::from), &mut head);
        self.connection.send_stream(stream).write(&head).ok()?;
        self.messages = Some(stream);
        Some(())
    }

    /// A whole stream of the server's: a batch, unless it is one of HTTP/3's own.
    fn hear_batch(&mut self, bytes: &[u8], hear: Hear<'_>) -> Result<(), String> {
        let Some((WEBTRANSPORT_UNI, at)) = varint(bytes) else { return Ok(()) };
        let rest = bytes.get(at..).unwrap_or_default();
        let Some((_, at)) = varint(rest) else { return Ok(()) };
        self.batch(rest.get(at..).unwrap_or_default(), hear)
    }

    fn batch(&mut self, bytes: &[u8], hear: Hear<'_>) -> Result<(), String> {
        let Some((seq, batch)) = bytes.split_first_chunk::<SEQ_BYTES>() else {
            return Err("a batch without a number".into());
        };
        let seq = u32::from_be_bytes(*seq);
        if seq < self.next_batch {
            return hear(Heard::Batch(batch, -1));
        }
        let missing = seq - self.next_batch;
        self.next_batch = seq.wrapping_add(1);
        hear(Heard::Batch(batch, i64::from(missing)))
    }

    fn transmit(&mut self) {
        let mut packet = Vec::with_capacity(PACKET_BYTES);
        while self.connection.poll_transmit(Instant::now(), 1, &mut packet).is_some() {
            // What the kernel does not take is lost, as on a network, and sent again.
            let _ = self.socket.send(&packet);
            packet.clear();
        }
    }
}

/// The first packet of a client of its own.
///
/// # Errors
/// When the cryptography cannot be set up.
pub fn first_packet(server: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let mut endpoint = Endpoint::new(endpoint_config(), None, false, None);
    let (_, mut connection) = endpoint.connect(Instant::now(), config(Handshakes::Full)?, server, tls::NAME)?;
    let mut packet = Vec::with_capacity(PACKET_BYTES);
    let _ = connection.poll_transmit(Instant::now(), 1, &mut packet);
    Ok(packet)
}

/// A UDP socket that talks to the server alone.
fn bind(server: SocketAddr, from: Option<IpAddr>) -> anyhow::Result<UdpSocket> {
    let any = if server.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let socket = UdpSocket::bind((from.unwrap_or(any), 0).into()).context("no port")?;
    socket.connect(server).context("cannot connect")?;
    Ok(socket)
}

fn endpoint_config() -> Arc<EndpointConfig> {
    static CONFIG: OnceLock<Arc<EndpointConfig>> = OnceLock::new();
    CONFIG.get_or_init(Arc::default).clone()
}

fn config(handshakes: Handshakes) -> anyhow::Result<ClientConfig> {
    static CONFIG: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut tls = tls::config(handshakes);
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(VarInt::from_u32(IDLE_MS).into()));
    config.transport_config(Arc::new(transport));
    Ok(CONFIG.get_or_init(|| config).clone())
}

fn put_frame(frame: &Frame<'_>, out: &mut Vec<u8>) {
    // A Vec takes everything.
    let _ = frame.write(out);
}

/// The bytes behind their length at the start of `bytes`, and how much both take.
fn whole(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, at) = varint(bytes)?;
    let content = bytes.get(at..)?.get(..usize::try_from(length).ok()?)?;
    Some((content, at + content.len()))
}

/// The frame or capsule at the start of `bytes`: its type, its content, its whole length.
fn frame(bytes: &[u8]) -> Option<(u64, &[u8], usize)> {
    let (kind, at) = varint(bytes)?;
    let (content, used) = whole(bytes.get(at..)?)?;
    Some((kind, content, at + used))
}

fn lost(reason: &ConnectionError) -> String {
    match reason {
        ConnectionError::ApplicationClosed(_) => "ended by the server".into(),
        other => other.to_string(),
    }
}
