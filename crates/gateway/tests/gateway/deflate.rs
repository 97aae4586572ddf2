//! Transcripts with permessage-deflate, by a client that frames and inflates for itself.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::common::{Server, dev, with_sockets};
use protocol::ws::{Decoder, Event, Inflater, Limits, Opcode, deflated_frame};
use serde_json::Value;
use settings::Sockets;

/// A client with compression.
struct Client {
    stream: TcpStream,
    decoder: Decoder,
    pending: Vec<u8>,
    head: String,
}

/// A message, and whether it came compressed.
type Heard = (Vec<u8>, bool);

impl Client {
    fn open(server: &Server, query: &str, headers: &str) -> Self {
        let mut stream = server.stream();
        let request = format!(
            "GET /ws?{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self { stream, decoder: Decoder::default(), pending: Vec::new(), head }
    }

    fn compressing(server: &Server, query: &str) -> Self {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        let client = Self::open(server, query, offer);
        let accepted = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert!(client.head.contains(&format!("Sec-WebSocket-Extensions: {accepted}\r\n")), "{}", client.head);
        client
    }

    /// Sends a finished frame of a server as a client must: masked, here with a key of zeros.
    fn send(&mut self, frame: &[u8]) {
        assert!(frame[1] < 126, "a short frame");
        let masked = [&[frame[0], frame[1] | 0x80, 0, 0, 0, 0], &frame[2..]].concat();
        self.stream.write_all(&masked).unwrap();
    }

    fn send_deflated(&mut self, text: &str) {
        let mut frame = Vec::new();
        deflated_frame(Opcode::Text, text.as_bytes(), &mut frame);
        assert_eq!(frame[0], 0xC1, "it gets shorter");
        self.send(&frame);
    }

    /// The next message, or the code of the close.
    fn next(&mut self) -> Result<Heard, u16> {
        loop {
            let limits = Limits::from_server(1 << 20).deflate(true);
            let mut bytes = std::mem::take(&mut self.pending);
            let mut events = self.decoder.read(&mut bytes, limits);
            match events.next_event().unwrap() {
                Some(Event::Text(text)) => return Ok((text.as_bytes().to_vec(), false)),
                Some(Event::Binary(bytes)) => return Ok((bytes.to_vec(), false)),
                Some(Event::Deflated { payload, .. }) => {
                    let mut out = Vec::new();
                    Inflater::default().inflate(payload, 1 << 20, &mut out).unwrap();
                    return Ok((out, true));
                }
                Some(Event::Close { code, .. }) => return Err(code.unwrap_or(1005)),
                Some(Event::Ping(_) | Event::Pong(_)) => {}
                None => {
                    drop(events);
                    let mut buffer = [0; 4096];
                    let n = self.stream.read(&mut buffer).unwrap();
                    assert!(n > 0, "hung up");
                    self.pending = buffer[..n].to_vec();
                }
            }
        }
    }

    /// The next JSON message of a type, and whether it came compressed.
    fn hear_a(&mut self, kind: &str) -> (Value, bool) {
        loop {
            let (message, deflated) = self.next().unwrap();
            let message: Value = serde_json::from_slice(&message).unwrap();
            if message["type"] == kind {
                return (message, deflated);
            }
        }
    }

    fn closes(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next() {
                return code;
            }
        }
    }
}

#[test]
fn a_batch_comes_compressed_to_those_who_asked_and_plain_to_the_others() {
    let mut server = Server::start(dev());
    let mut small = Client::compressing(&server, "room_id=r&user_id=a");
    let mut plain = Client::open(&server, "room_id=r&user_id=b", "");
    small.hear_a("room_joined");
    plain.hear_a("room_joined");
    assert!(!plain.head.contains("Extensions"), "{}", plain.head);
    let said: Vec<_> = (0..20).map(|i| server.comment("r", "x", &format!("number {i} {}", i * 7919))).collect();
    server.publish("r", said);
    let (mut heard, mut deflated) = (Vec::new(), 0);
    while heard.len() < 20 {
        let (batch, compressed) = small.hear_a("comments");
        heard.extend(batch["comments"].as_array().unwrap().iter().cloned());
        deflated += usize::from(compressed);
    }
    assert!(deflated > 0);
    let mut same = Vec::new();
    while same.len() < 20 {
        let (batch, compressed) = plain.hear_a("comments");
        assert!(!compressed);
        same.extend(batch["comments"].as_array().unwrap().iter().cloned());
    }
    assert_eq!(heard, same);
}

#[test]
fn short_messages_and_answers_stay_as_they_are() {
    let server = Server::start(dev());
    let mut viewer = Client::compressing(&server, "user_id=a");
    assert!(!viewer.hear_a("connected").1);
    viewer.send_deflated(r#"{"type":"heartbeat","ref":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#);
    assert!(!viewer.hear_a("heartbeat_ack").1);
}

#[test]
fn a_compressed_message_may_come_in_fragments_and_plain_ones_between() {
    let server = Server::start(dev());
    let mut viewer = Client::compressing(&server, "user_id=a");
    let mut frame = Vec::new();
    let text = br#"{"type":"heartbeat","ref":"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}"#;
    deflated_frame(Opcode::Text, text, &mut frame);
    let (first, second) = frame[2..].split_at(9);
    viewer.send(&[&[0x41, 9], first].concat());
    viewer.send(&[0x89, 0]);
    viewer.send(&[&[0x80, second.len() as u8], second].concat());
    assert!(viewer.hear_a("heartbeat_ack").0["ref"].as_str().unwrap().starts_with("bbb"));
    let plain = br#"{"type":"heartbeat","ref":1}"#;
    viewer.send(&[&[0x81, plain.len() as u8], &plain[..]].concat());
    assert_eq!(viewer.hear_a("heartbeat_ack").0["ref"], 1);
}

#[test]
fn protobuf_is_compressed_too() {
    let mut server = Server::start(dev());
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: barrage.v1.proto\r\n";
    let mut viewer = Client::open(&server, "room_id=r&user_id=a", offer);
    viewer.next().unwrap();
    viewer.next().unwrap();
    let said: Vec<_> = (0..50).map(|i| server.comment("r", "somebody", &format!("words {i}"))).collect();
    server.publish("r", said);
    while !viewer.next().unwrap().1 {}
}

#[test]
fn a_bomb_closes_with_1009() {
    let server = Server::start(dev());
    let mut viewer = Client::compressing(&server, "user_id=a");
    viewer.send_deflated(&" ".repeat(100_000));
    assert_eq!(viewer.closes(), 1009);
}

#[test]
fn what_does_not_inflate_closes_with_1007() {
    for frame in [&[0xC1, 3, 0xFF, 0xFF, 0xFF][..], &[0xC1, 4, 0x42, 0x01, 0x00, 0x00]] {
        let server = Server::start(dev());
        let mut viewer = Client::compressing(&server, "user_id=a");
        viewer.send(frame);
        assert_eq!(viewer.closes(), 1007, "{frame:02x?}");
    }
}

#[test]
fn what_inflates_to_something_that_is_not_utf8_closes_with_1007() {
    let server = Server::start(dev());
    let mut viewer = Client::compressing(&server, "user_id=a");
    let mut frame = Vec::new();
    deflated_frame(Opcode::Text, &[0xFF; 100], &mut frame);
    viewer.send(&frame);
    assert_eq!(viewer.closes(), 1007);
}

#[test]
fn the_compressed_bit_is_an_error_where_nothing_was_negotiated() {
    let off = Server::start(with_sockets(Sockets { compression: false, ..dev().sockets }));
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut refused = Client::open(&off, "user_id=a", offer);
    assert!(!refused.head.contains("Extensions"), "{}", refused.head);
    refused.send_deflated(&"a".repeat(100));
    assert_eq!(refused.closes(), 1002);
}
