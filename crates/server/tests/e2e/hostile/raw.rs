//! A socket of which every byte is the test's own.

use std::time::Duration;

use testkit::{PATIENCE, Server, now_s, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, Interval, timeout};

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// The bit of a message's last frame.
pub const FIN: u8 = 0x80;

/// The head of a request to upgrade, up to the empty line, with other header lines in it.
pub fn upgrade(query: &str, headers: &str) -> String {
    format!(
        "GET /ws?{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// A client's frame: `first` is the opcode with its flags.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        len @ ..126 => bytes.push(0x80 | len as u8),
        len @ ..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A bare connection, upgraded or not.
pub struct Raw {
    stream: TcpStream,
    /// Read and not looked at yet.
    bytes: Vec<u8>,
}

impl Raw {
    pub async fn connect(server: &Server) -> Self {
        Self { stream: server.raw().await, bytes: Vec::new() }
    }

    /// A user's open socket in the room `r`.
    pub async fn open(server: &Server, user: &str) -> Self {
        Self::connect(server).await.upgraded(user).await
    }

    /// The same behind the narrowest window that the system gives, so that little is under way.
    pub async fn narrow(server: &Server, user: &str) -> Self {
        Self::narrow_connection(server).await.upgraded(user).await
    }

    /// A bare connection behind such a window.
    pub async fn narrow_connection(server: &Server) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2_048).unwrap();
        let stream = socket.connect(server.address().parse().unwrap()).await.unwrap();
        Self { stream, bytes: Vec::new() }
    }

    /// Likewise, and with small segments as on a real network: loopback's are larger than such a window.
    pub async fn sipping(server: &Server, user: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2_048).unwrap();
        socket2::SockRef::from(&socket).set_tcp_mss(536).unwrap();
        let stream = socket.connect(server.address().parse().unwrap()).await.unwrap();
        Self { stream, bytes: Vec::new() }.upgraded(user).await
    }

    /// Takes at most so many bytes, to be looked at later; false at the end.
    pub async fn sip(&mut self, bytes: usize) -> bool {
        let mut buffer = vec![0; bytes];
        let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("nothing to sip");
        let read = read.unwrap_or(0);
        self.bytes.extend_from_slice(&buffer[..read]);
        read > 0
    }

    async fn upgraded(mut self, user: &str) -> Self {
        let token = token(&serde_json::json!({ "sub": user, "iat": now_s() - 5, "exp": now_s() + 600 }));
        self.send(upgrade(&format!("room_id=r&token={token}"), "").as_bytes()).await;
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        self
    }

    /// Sends bytes; the server may have closed before it has all of them.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server takes nothing");
    }

    /// Drops the connection with a reset instead of an end.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Both halves, for a test that writes and reads at the same time.
    pub fn split(self) -> (tokio::net::tcp::OwnedReadHalf, tokio::net::tcp::OwnedWriteHalf) {
        assert!(self.bytes.is_empty() || self.bytes[0] == FIN | TEXT, "only frames are left");
        self.stream.into_split()
    }

    /// An answer's head.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.bytes.drain(..end + 4).collect();
                return String::from_utf8_lossy(&head).into_owned();
            }
            assert!(self.read(PATIENCE).await, "no answer but {:?}", String::from_utf8_lossy(&self.bytes));
        }
    }

    /// Everything until the server closes, as text.
    pub async fn rest(&mut self) -> String {
        while self.read(PATIENCE).await {}
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Waits for the end and returns how long that took.
    pub async fn ends_within(&mut self, within: Duration) -> Duration {
        let begun = Instant::now();
        while self.read(within.saturating_sub(begun.elapsed())).await {}
        begun.elapsed()
    }

    /// Sends a letter at every beat until the server closes; false when it never does.
    pub async fn dripped(&mut self, beat: &mut Interval) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            tokio::select! {
                more = self.read(PATIENCE) => if !more { return true },
                _ = beat.tick() => self.send(b"x").await,
            }
        }
        false
    }

    /// The next frame's opcode and payload; `None` when the connection has ended.
    pub async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, start, end)) = whole(&self.bytes) {
                let payload = self.bytes[start..end].to_vec();
                self.bytes.drain(..end);
                return Some((opcode, payload));
            }
            if !self.read(PATIENCE).await {
                return None;
            }
        }
    }

    /// The next text message.
    pub async fn message(&mut self) -> serde_json::Value {
        loop {
            let (opcode, payload) = self.frame().await.expect("the connection ended before a message");
            if opcode == TEXT {
                return serde_json::from_slice(&payload).unwrap();
            }
        }
    }

    /// The code of the close; 1006 when there is none.
    pub async fn closed(&mut self) -> u16 {
        while let Some((opcode, payload)) = self.frame().await {
            if opcode == CLOSE {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
        1006
    }

    /// Reads some; false at the end.
    async fn read(&mut self, within: Duration) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = timeout(within, self.stream.read(&mut buffer)).await.expect("the server neither speaks nor closes");
        let read = read.unwrap_or(0);
        self.bytes.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

/// The first frame, if it is all there: its opcode, and where its payload starts and ends.
fn whole(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(second & 0x80, 0, "a server masks nothing");
    let (start, len) = match second {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()) as usize),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize),
        len => (2, len as usize),
    };
    (bytes.len() >= start + len).then_some((first & 0x0f, start, start + len))
}
