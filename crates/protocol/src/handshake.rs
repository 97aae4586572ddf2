//! The opening handshake (RFC 6455 §4) as bytes: request in, answer out.
//!
//! The gateway keeps the bytes of an unfinished request and parses them again when more arrive; everything parsed borrows
//! from them. The gateway decides whether path, origin, token and room are acceptable. This module neither reads, writes
//! nor logs.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use httparse::{EMPTY_HEADER, Header, Status};
use sha1::{Digest, Sha1};

/// The longest request head accepted, with its closing empty line.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most header lines accepted.
pub const HEADERS_MAX: usize = 64;
/// Joined to the client's key before hashing (RFC 6455 §1.3).
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The only version of the protocol.
const WEBSOCKET_VERSION: &str = "13";

/// The result of parsing the bytes received so far.
#[allow(clippy::large_enum_variant)] // Matched where it is made, never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handshake<'a> {
    /// More bytes are needed.
    Incomplete,
    /// A request that may be answered with [`response`].
    Upgrade(Request<'a>),
}

/// A well-formed upgrade request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Length of the head; WebSocket frames follow it in the buffer.
    pub head_bytes: usize,
    /// The target up to the question mark, as sent.
    pub path: &'a str,
    /// The target after the question mark, for [`query_pairs`]; empty when absent.
    pub query: &'a str,
    /// `Host`.
    pub host: &'a str,
    /// `Sec-WebSocket-Key`: valid, for [`accept_key`].
    pub key: &'a str,
    /// `Sec-WebSocket-Protocol`, all lines joined, for [`choose_protocol`].
    pub protocols: Option<Cow<'a, str>>,
    /// `Sec-WebSocket-Extensions`, all lines joined, for [`offers_deflate`].
    pub extensions: Option<Cow<'a, str>>,
    /// `Origin`: every browser sends one.
    pub origin: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `X-Forwarded-For`, all lines joined. Trustworthy only from a trusted proxy, and read from the right.
    pub forwarded_for: Option<Cow<'a, str>>,
    /// `Forwarded` (RFC 7239), all lines joined, likewise.
    pub forwarded: Option<Cow<'a, str>>,
    /// `User-Agent`, where it is UTF-8.
    pub user_agent: Option<&'a str>,
}

/// Why a request is refused. Answer with [`refusal`] and [`Self::status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Not HTTP, or ambiguous.
    #[error("the request is not well-formed HTTP")]
    Malformed,
    /// HTTP/1.0.
    #[error("HTTP/1.1 is needed to upgrade")]
    HttpVersion,
    /// Not a GET.
    #[error("only GET can upgrade to a WebSocket")]
    Method,
    /// A required header is absent.
    #[error("the {0} header is missing")]
    MissingHeader(&'static str),
    /// A header that must be unique occurs twice.
    #[error("the {0} header came more than once")]
    RepeatedHeader(&'static str),
    /// A header that the handshake needs is not UTF-8.
    #[error("the {0} header is not UTF-8")]
    HeaderEncoding(&'static str),
    /// The request announces a body, which would be mistaken for frames.
    #[error("an upgrade request has no body")]
    Body,
    /// The key is not 16 bytes in Base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in Base64")]
    Key,
    /// Plain HTTP where a WebSocket is expected.
    #[error("this address only speaks WebSocket")]
    NotUpgrade,
    /// A protocol version other than 13.
    #[error("only WebSocket version 13 is spoken")]
    WebSocketVersion,
    /// Beyond [`HEAD_BYTES_MAX`] or [`HEADERS_MAX`].
    #[error("the request head is too large")]
    HeadTooLarge,
}

impl HandshakeError {
    /// The HTTP status to refuse with.
    pub fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NotUpgrade | Self::WebSocketVersion => 426,
            Self::HeadTooLarge => 431,
            Self::Malformed
            | Self::HttpVersion
            | Self::MissingHeader(_)
            | Self::RepeatedHeader(_)
            | Self::HeaderEncoding(_)
            | Self::Body
            | Self::Key => 400,
        }
    }

    /// A stable name for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HttpVersion => "http_version",
            Self::Method => "method",
            Self::MissingHeader(_) => "missing_header",
            Self::RepeatedHeader(_) => "repeated_header",
            Self::HeaderEncoding(_) => "header_encoding",
            Self::Body => "body",
            Self::Key => "key",
            Self::NotUpgrade => "not_upgrade",
            Self::WebSocketVersion => "websocket_version",
            Self::HeadTooLarge => "head_too_large",
        }
    }
}

/// Parses the request at the start of `bytes`, which holds everything received so far.
pub fn parse(bytes: &[u8]) -> Result<Handshake<'_>, HandshakeError> {
    let head = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head_bytes = match request.parse(head) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) if head.len() < HEAD_BYTES_MAX => return Ok(Handshake::Incomplete),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(HandshakeError::HeadTooLarge);
        }
        Err(_) => return Err(HandshakeError::Malformed),
    };
    upgrade(&request, head_bytes).map(Handshake::Upgrade)
}

fn upgrade<'a>(request: &httparse::Request<'_, 'a>, head_bytes: usize) -> Result<Request<'a>, HandshakeError> {
    if request.method != Some("GET") {
        return Err(HandshakeError::Method);
    }
    if request.version != Some(1) {
        return Err(HandshakeError::HttpVersion);
    }
    let target = request.path.filter(|target| target.starts_with('/')).ok_or(HandshakeError::Malformed)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = Headers::collect(request.headers)?;
    headers.check_upgrade()?;
    Ok(Request {
        head_bytes,
        path,
        query,
        host: headers.host.ok_or(HandshakeError::MissingHeader("Host"))?,
        key: valid_key(headers.key.ok_or(HandshakeError::MissingHeader("Sec-WebSocket-Key"))?)?,
        protocols: headers.protocols,
        extensions: headers.extensions,
        origin: headers.origin,
        authorization: headers.authorization,
        forwarded_for: headers.forwarded_for,
        forwarded: headers.forwarded,
        user_agent: headers.user_agent,
    })
}

/// The headers of an upgrade, found in one pass.
#[derive(Default)]
struct Headers<'a> {
    host: Option<&'a str>,
    upgrade: Option<Cow<'a, str>>,
    connection: Option<Cow<'a, str>>,
    version: Option<&'a str>,
    key: Option<&'a str>,
    protocols: Option<Cow<'a, str>>,
    extensions: Option<Cow<'a, str>>,
    origin: Option<&'a str>,
    authorization: Option<&'a str>,
    forwarded_for: Option<Cow<'a, str>>,
    forwarded: Option<Cow<'a, str>>,
    user_agent: Option<&'a str>,
}

impl<'a> Headers<'a> {
    fn collect(lines: &[Header<'a>]) -> Result<Self, HandshakeError> {
        let mut headers = Self::default();
        for line in lines {
            headers.add(line)?;
        }
        Ok(headers)
    }

    fn add(&mut self, line: &Header<'a>) -> Result<(), HandshakeError> {
        let named = |name: &str| line.name.eq_ignore_ascii_case(name);
        // By length first: that excludes most headers of a browser.
        match line.name.len() {
            4 if named("Host") => once(&mut self.host, "Host", line.value),
            6 if named("Origin") => once(&mut self.origin, "Origin", line.value),
            7 if named("Upgrade") => listed(&mut self.upgrade, "Upgrade", line.value),
            9 if named("Forwarded") => listed(&mut self.forwarded, "Forwarded", line.value),
            10 if named("Connection") => listed(&mut self.connection, "Connection", line.value),
            10 if named("User-Agent") => {
                self.user_agent = str::from_utf8(line.value).ok();
                Ok(())
            }
            13 if named("Authorization") => once(&mut self.authorization, "Authorization", line.value),
            14 if named("Content-Length") && line.value != b"0" => Err(HandshakeError::Body),
            15 if named("X-Forwarded-For") => listed(&mut self.forwarded_for, "X-Forwarded-For", line.value),
            17 if named("Sec-WebSocket-Key") => once(&mut self.key, "Sec-WebSocket-Key", line.value),
            17 if named("Transfer-Encoding") => Err(HandshakeError::Body),
            21 if named("Sec-WebSocket-Version") => once(&mut self.version, "Sec-WebSocket-Version", line.value),
            22 if named("Sec-WebSocket-Protocol") => listed(&mut self.protocols, "Sec-WebSocket-Protocol", line.value),
            24 if named("Sec-WebSocket-Extensions") => {
                listed(&mut self.extensions, "Sec-WebSocket-Extensions", line.value)
            }
            _ => Ok(()),
        }
    }

    fn check_upgrade(&self) -> Result<(), HandshakeError> {
        if !has_token(self.upgrade.as_deref(), "websocket") || !has_token(self.connection.as_deref(), "upgrade") {
            return Err(HandshakeError::NotUpgrade);
        }
        if self.version != Some(WEBSOCKET_VERSION) {
            return Err(HandshakeError::WebSocketVersion);
        }
        Ok(())
    }
}

fn decoded<'a>(name: &'static str, value: &'a [u8]) -> Result<&'a str, HandshakeError> {
    str::from_utf8(value).map(str::trim_ascii).map_err(|_| HandshakeError::HeaderEncoding(name))
}

/// A header that is ambiguous when it occurs twice.
fn once<'a>(field: &mut Option<&'a str>, name: &'static str, value: &'a [u8]) -> Result<(), HandshakeError> {
    match field.replace(decoded(name, value)?) {
        Some(_) => Err(HandshakeError::RepeatedHeader(name)),
        None => Ok(()),
    }
}

/// A header whose lines are one list (RFC 9110 §5.3).
fn listed<'a>(field: &mut Option<Cow<'a, str>>, name: &'static str, value: &'a [u8]) -> Result<(), HandshakeError> {
    let value = decoded(name, value)?;
    *field = Some(match field.take() {
        Some(earlier) => Cow::Owned(format!("{earlier}, {value}")),
        None => Cow::Borrowed(value),
    });
    Ok(())
}

fn has_token(list: Option<&str>, token: &str) -> bool {
    list.is_some_and(|list| list.split(',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token)))
}

fn valid_key(key: &str) -> Result<&str, HandshakeError> {
    let mut nonce = [0; 18];
    match BASE64.decode_slice(key, &mut nonce) {
        Ok(16) => Ok(key),
        _ => Err(HandshakeError::Key),
    }
}

/// The names and values of a query string, decoded as HTML forms encode them (`+` is a space).
pub fn query_pairs(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

/// The message formats of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubProtocol {
    /// JSON text messages: the default.
    Json,
    /// Protobuf binary messages.
    Proto,
    /// The fixed header of [`crate::binary`], without a room.
    Bin,
    /// The same with the room: version 2, for clients that have sent it.
    BinWithRoom,
}

impl SubProtocol {
    /// The name in `Sec-WebSocket-Protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "barrage.v1.json",
            Self::Proto => "barrage.v1.proto",
            Self::Bin | Self::BinWithRoom => "barrage.v1.bin",
        }
    }
}

/// How a socket is written to: sockets of one form are sent the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form {
    /// The format of its messages.
    pub protocol: SubProtocol,
    /// Whether batches are compressed.
    pub deflated: bool,
}

impl Form {
    /// The number of forms.
    pub const COUNT: usize = 8;

    /// A form without compression.
    #[must_use]
    pub const fn plain(protocol: SubProtocol) -> Self {
        Self { protocol, deflated: false }
    }

    /// Its number, below [`Self::COUNT`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.protocol as usize * 2 + self.deflated as usize
    }
}

/// Whether a `Sec-WebSocket-Extensions` header offers permessage-deflate (RFC 7692 §7.1) in a way that can be
/// accepted with [`DEFLATE_ACCEPTED`]. Offers that limit the server's window cannot: a message compressed once for all
/// sockets has one window. An offer with unknown or wrong parameters does not count.
#[must_use]
pub fn offers_deflate(extensions: &str) -> bool {
    extensions.split(',').any(|offer| {
        let mut parts = offer.split(';').map(str::trim_ascii);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate")) && acceptable(parts)
    })
}

/// The answer to an offer of permessage-deflate: neither side keeps anything from message to message.
pub const DEFLATE_ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

fn acceptable<'a>(parameters: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = Vec::new();
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_ascii_end(), Some(value.trim_ascii_start().trim_matches('"'))),
            None => (parameter, None),
        };
        let known = match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => {
                !bits.starts_with(['0', '+']) && bits.parse().is_ok_and(|bits: u8| (8..=15).contains(&bits))
            }
            _ => false,
        };
        if !known || seen.contains(&name) {
            return false;
        }
        seen.push(name);
    }
    true
}

/// The client's first choice among `supported`. After an offer without a match the answer names no protocol, and a browser
/// gives up by itself (RFC 6455 §4.2.2).
pub fn choose_protocol(offered: &str, supported: &[SubProtocol]) -> Option<SubProtocol> {
    let named = |name: &str| supported.iter().copied().find(|protocol| protocol.name() == name);
    offered.split(',').find_map(|offer| named(offer.trim_ascii()))
}

/// The `Sec-WebSocket-Accept` that proves that the server read the key.
pub fn accept_key(key: &str) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    let mut accept = [0; 28];
    // Cannot fail: 20 bytes are 28 characters.
    let encoded = BASE64.encode_slice(digest, &mut accept);
    debug_assert_eq!(encoded, Ok(accept.len()));
    accept
}

/// The answer that opens the socket.
pub fn response(accept: &[u8; 28], protocol: Option<SubProtocol>, deflate: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(288);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    header(&mut out, "Sec-WebSocket-Accept", accept);
    if let Some(protocol) = protocol {
        header(&mut out, "Sec-WebSocket-Protocol", protocol.name().as_bytes());
    }
    if deflate {
        header(&mut out, "Sec-WebSocket-Extensions", DEFLATE_ACCEPTED.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// The answer that refuses, after which the connection is closed. `retry_after_s` is for 429 and 503.
pub fn refusal(status: u16, retry_after_s: Option<u64>, json_body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + json_body.len());
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)).as_bytes());
    match status {
        405 => header(&mut out, "Allow", b"GET"),
        426 => {
            header(&mut out, "Upgrade", b"websocket");
            header(&mut out, "Sec-WebSocket-Version", WEBSOCKET_VERSION.as_bytes());
        }
        _ => {}
    }
    if let Some(seconds) = retry_after_s {
        header(&mut out, "Retry-After", seconds.to_string().as_bytes());
    }
    header(&mut out, "Content-Type", b"application/json");
    header(&mut out, "Content-Length", json_body.len().to_string().as_bytes());
    header(&mut out, "Connection", b"close");
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(json_body);
    out
}

fn header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}
