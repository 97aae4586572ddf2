//! The doors' own ports behind a load balancer that speaks the PROXY protocol.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::json;
use testkit::{Certificate, Options, PATIENCE, Server, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::goim::{AUTH, AUTH_REPLY, packet};
use super::{port_of, port_of_setting};
use crate::BIN;

/// The load balancer is at 127.0.0.2; the tests themselves are not.
const CONFIG: &str = "[limits]\ntrusted_proxies = [\"127.0.0.2\"]\nproxy_protocol = true\nconnections_per_address = 2\n\
    [doors.irc]\nlisten = \"127.0.0.1:0\"\n[doors.goim]\nlisten = \"127.0.0.1:0\"\n[auth]\nanonymous_read = true\n";

async fn balanced(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0))).unwrap();
    let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn v1(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 10.0.0.1 51234 6667\r\n").into_bytes()
}

fn v2(last: u8) -> Vec<u8> {
    let sign = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C";
    [&sign[..], &[203, 0, 113, last, 10, 0, 0, 1, 0xC8, 0x22, 0x1A, 0x0B]].concat()
}

/// Reads until this has come, or until the end: then nothing.
async fn heard(stream: &mut TcpStream, part: &[u8]) -> Option<()> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 1_024]);
    loop {
        match timeout(PATIENCE, stream.read(&mut piece)).await.expect("an answer or an end") {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
        }
        if bytes.windows(part.len()).any(|window| window == part) {
            return Some(());
        }
    }
}

/// One who comes through the balancer with this header, in pieces as networks cut them: its connection, if it is let in.
async fn irc(port: u16, header: &[u8]) -> Option<TcpStream> {
    let mut stream = balanced(port).await;
    for piece in header.chunks(5) {
        // A connection that is refused may be gone already.
        let _ = stream.write_all(piece).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let _ = stream.write_all(b"NICK justinfan1\r\n").await;
    heard(&mut stream, b" 001 ").await.map(|()| stream)
}

#[tokio::test]
async fn the_proxy_header_says_whose_connection_it_is() {
    let server = Options::new(BIN).config(CONFIG).start().await;
    let port = port_of(&server, "irc").await;
    let first = irc(port, &v1("203.0.113.9")).await.expect("let in");
    let _second = irc(port, &v2(9)).await.expect("let in");
    assert!(irc(port, &v1("203.0.113.9")).await.is_none(), "the third connection of this address");
    assert!(irc(port, &v2(9)).await.is_none(), "in either version");
    let _others = [irc(port, &v2(10)).await.expect("let in"), irc(port, b"PROXY UNKNOWN\r\n").await.expect("let in")];
    drop(first);
    eventually("a free place", async || irc(port, &v1("203.0.113.9")).await.map(drop)).await;

    // What follows the header in the same packet is the client's.
    let mut stream = balanced(port).await;
    stream.write_all(&[&v1("203.0.113.11")[..], b"NICK justinfan1\r\n"].concat()).await.unwrap();
    heard(&mut stream, b" 001 ").await.expect("let in");

    let refused = server.http().metric("barrage_handshakes_total{outcome=\"proxy_header\"}").await;
    for none in [&b""[..], b"PROXY TCP4 nonsense\r\n", b"PROXY TCP4 203.0.113.9 10.0.0.1 1\r\n", &v2(9)[..8]] {
        assert!(irc(port, none).await.is_none(), "{none:?}");
    }
    let now = server.http().metric("barrage_handshakes_total{outcome=\"proxy_header\"}").await;
    assert_eq!(now - refused, 4.0);
}

#[tokio::test]
async fn who_is_no_proxy_speaks_for_itself_and_a_silent_proxy_is_closed() {
    let config = format!("{CONFIG}[sockets]\nhandshake_s = 1\n");
    let server = Options::new(BIN).config(&config).start().await;
    let port = port_of(&server, "irc").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&[&v1("203.0.113.9")[..], b"NICK justinfan1\r\n"].concat()).await.unwrap();
        heard(&mut stream, b" 001 ").await.expect("its own word counts for nothing");
        held.push(stream);
    }
    // One that says nothing, and one that stops in the middle.
    for part in [&b""[..], &v1("203.0.113.9")[..12]] {
        let mut stream = balanced(port).await;
        stream.write_all(part).await.unwrap();
        assert_eq!(heard(&mut stream, b" 001 ").await, None);
    }
    let _in = irc(port, &v1("203.0.113.9")).await.expect("let in");
}

/// A connection through the balancer that begins with a header and then speaks TLS.
fn secure(certificate: &Certificate, port: u16, header: &[u8]) -> std::io::Result<testkit::TlsStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)).into())?;
    socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(header)?;
    certificate.trusted().connect(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_comes_before_tls_and_before_packets() {
    let certificate = Certificate::new();
    let config = CONFIG
        .replace("[doors.irc]\nlisten = \"127.0.0.1:0\"", "[doors.irc]\nlisten = \"\"\ntls_listen = \"127.0.0.1:0\"");
    let tls = "[tls]\ncertificate_file = \"{dir}/certificate.pem\"\nkey_file = \"{dir}/key.pem\"\n";
    let server: Server = Options::new(BIN)
        .config(&format!("{config}{tls}"))
        .file("certificate.pem", &certificate.certificate_pem)
        .file("key.pem", &certificate.key_pem)
        .start()
        .await;
    let port = port_of_setting(&server, "doors.irc.tls_listen").await;
    let nick = |header: &[u8]| {
        let mut stream = secure(&certificate, port, header)?;
        stream.write_all(b"NICK justinfan1\r\n")?;
        let mut bytes = [0; 32];
        stream.read_exact(&mut bytes)?;
        Ok::<_, std::io::Error>((String::from_utf8_lossy(&bytes).into_owned(), stream))
    };
    let (welcome, _first) = tokio::task::block_in_place(|| nick(&v2(9))).unwrap();
    assert!(welcome.contains(" 001 "), "{welcome}");
    let (_, _second) = tokio::task::block_in_place(|| nick(&v1("203.0.113.9"))).unwrap();
    assert!(tokio::task::block_in_place(|| nick(&v2(9))).is_err(), "the third connection of this address");
    assert!(tokio::task::block_in_place(|| nick(b"")).is_err(), "TLS without a header");

    let goim = port_of(&server, "goim").await;
    let auth = json!({ "roomid": 4711, "protover": 0 });
    let mut stream = balanced(goim).await;
    stream.write_all(&[&v2(12)[..], &packet(AUTH, &auth.to_string())].concat()).await.unwrap();
    let mut head = [0; 16];
    timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("an answer").expect("let in");
    assert_eq!(u32::from(head[11]), AUTH_REPLY, "{head:?}");
    let mut stream = balanced(goim).await;
    stream.write_all(&packet(AUTH, &auth.to_string())).await.unwrap();
    assert_eq!(stream.read(&mut head).await.ok().filter(|n| *n > 0), None, "packets without a header");
}
