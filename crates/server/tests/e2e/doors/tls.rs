//! The doors' own ports over TLS, with the certificate that the server has.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};
use testkit::{Certificate, Options, Server, TlsClient, TlsStream};

use super::goim::{AUTH, AUTH_REPLY, packet, packets};
use super::{port_of_setting, token_of};
use crate::{BIN, NO_LIMITS};

const DOORS: &str = "[doors.irc]\nlisten = \"\"\ntls_listen = \"127.0.0.1:0\"\n\
    [doors.goim]\nlisten = \"\"\ntls_listen = \"127.0.0.1:0\"\n[auth]\nanonymous_read = true\n";

async fn server(certificate: &Certificate) -> Server {
    let tls = "[tls]\ncertificate_file = \"{dir}/certificate.pem\"\nkey_file = \"{dir}/key.pem\"\n";
    Options::new(BIN)
        .config(&format!("{DOORS}{tls}{NO_LIMITS}"))
        .file("certificate.pem", &certificate.certificate_pem)
        .file("key.pem", &certificate.key_pem)
        .start()
        .await
}

fn connect(client: &TlsClient, port: u16) -> std::io::Result<TlsStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(testkit::PATIENCE))?;
    client.connect(stream)
}

/// Somebody in the room.
fn login(client: &TlsClient, port: u16, user: &str) -> BufReader<TlsStream> {
    let mut reader = BufReader::new(connect(client, port).unwrap());
    let login = format!("PASS oauth:{}\r\nNICK {user}\r\nJOIN #4711\r\n", token_of(user, "normal", None));
    reader.get_mut().write_all(login.as_bytes()).unwrap();
    line(&mut reader, " 366 ");
    reader
}

/// The next line with this in it.
fn line(reader: &mut BufReader<TlsStream>, part: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "ended before {part:?}");
        if line.contains(part) {
            return line;
        }
    }
}

/// The next packet: its operation and its body.
fn next_packet(stream: &mut TlsStream) -> (u32, Value) {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes).unwrap();
    bytes.resize(u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize, 0);
    stream.read_exact(&mut bytes[16..]).unwrap();
    let packet = packets(&bytes).pop().unwrap();
    (packet.operation, serde_json::from_slice(&packet.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn irc_and_goim_speak_tls_and_take_up_a_new_certificate() {
    let (old, new) = (Certificate::new(), Certificate::new());
    let server = server(&old).await;
    let irc = port_of_setting(&server, "doors.irc.tls_listen").await;
    let goim = port_of_setting(&server, "doors.goim.tls_listen").await;
    tokio::task::block_in_place(|| {
        let client = old.trusted();
        // It never begins its handshake.
        let mut silent = TcpStream::connect(("127.0.0.1", irc)).unwrap();
        silent.set_read_timeout(Some(testkit::PATIENCE)).unwrap();
        let mut ann = login(&client, irc, "ann");
        let mut app = connect(&client, goim).unwrap();
        app.write_all(&packet(AUTH, &json!({ "roomid": 4711, "protover": 0 }).to_string())).unwrap();
        assert_eq!(next_packet(&mut app), (AUTH_REPLY, json!({ "code": 0 })));
        ann.get_mut().write_all(b"PRIVMSG #4711 :over TLS\r\n").unwrap();
        assert_eq!(next_packet(&mut app).1["info"][1], "over TLS");
        let mut bob = login(&client, irc, "bob");
        bob.get_mut().write_all(b"PRIVMSG #4711 :from bob\r\n").unwrap();
        line(&mut ann, "PRIVMSG #4711 :from bob");
        assert_eq!(next_packet(&mut app).1["info"][1], "from bob");

        // What is no TLS gets no answer of the door's own.
        let mut plain = TcpStream::connect(("127.0.0.1", irc)).unwrap();
        plain.set_read_timeout(Some(testkit::PATIENCE)).unwrap();
        plain.write_all(b"NICK justinfan1\r\n").unwrap();
        let mut answer = Vec::new();
        // It may be reset instead of closed.
        let _ = plain.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).contains("tmi.twitch.tv"), "{answer:?}");

        new.write(server.dir());
        let (client, deadline) = (new.trusted(), Instant::now() + testkit::PATIENCE);
        while connect(&client, irc).is_err() {
            assert!(Instant::now() < deadline, "the new certificate was not taken up\n{}", server.log());
            std::thread::yield_now();
        }
        assert!(connect(&client, goim).is_ok() && connect(&old.trusted(), goim).is_err());
        // Open connections stay.
        ann.get_mut().write_all(b"PING :still here\r\n").unwrap();
        line(&mut ann, "PONG :still here");
        let given_up = silent.read(&mut [0]);
        assert!(matches!(given_up, Ok(0)), "the silent one is given up, not {given_up:?}");
    });
}

#[tokio::test]
async fn a_tls_port_without_a_certificate_ends_the_start_and_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("barrage.toml");
    std::fs::write(&file, DOORS).unwrap();
    let mut command = tokio::process::Command::new(BIN);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(dir.path()).arg("--config").arg(&file);
    let ended = tokio::time::timeout(testkit::PATIENCE, command.output()).await.expect("an end").unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("doors.irc.tls_listen") && said.contains("tls.certificate_file"), "{said}");
}
