//! What the codec costs per message: frames in, frames out, handshakes, and the fixed header.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use protocol::binary::{self, Frame, Kind};
use protocol::handshake::{accept_key, parse, response};
use protocol::ws::{Decoder, Limits, Opcode, encode_client_frame, encode_frame};

const LIMITS: Limits = Limits::from_client(64 * 1024);
const BATCH: u64 = 100;
const COMMENT: &str = r#"{"type":"comment","room_id":"r1","content":"前方高能","client_msg_id":"c-1"}"#;
const HEAD: &[u8] = b"GET /ws?room_id=r1&token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl HTTP/1.1\r\n\
    Host: live.example:8080\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\nOrigin: https://live.example\r\nSec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: zh-CN,zh;q=0.9,en;q=0.8\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\
    Sec-WebSocket-Protocol: barrage.v1.json\r\n\r\n";

fn client_stream(opcode: Opcode, payload: &[u8], frames: u64) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..frames {
        encode_client_frame(opcode, payload, [0x12, 0x34, 0x56, 0x78], &mut stream);
    }
    stream
}

/// Decodes everything, resuming after every `most` events as a connection with a command in flight does.
fn decode(stream: &mut [u8], most: usize) -> usize {
    let mut decoder = Decoder::default();
    let mut count = 0;
    let mut events = decoder.read(stream, LIMITS);
    while let Ok(Some(event)) = events.next_event() {
        black_box(event);
        count += 1;
        if count % most == 0 {
            drop(events);
            events = decoder.resume(LIMITS);
        }
    }
    count
}

fn frames_in(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws_decode");
    let big = vec![7; 16 * 1024];
    let cases = [
        ("100_comments_in_one_read", Opcode::Text, COMMENT.as_bytes(), BATCH, usize::MAX),
        ("100_comments_resumed_one_by_one", Opcode::Text, COMMENT.as_bytes(), BATCH, 1),
        ("one_comment", Opcode::Text, COMMENT.as_bytes(), 1, usize::MAX),
        ("one_heartbeat", Opcode::Ping, b"", 1, usize::MAX),
        ("one_binary_of_16_kib", Opcode::Binary, &big, 1, usize::MAX),
    ];
    for (name, opcode, payload, frames, most) in cases {
        let stream = client_stream(opcode, payload, frames);
        group.throughput(Throughput::Elements(frames));
        group.bench_function(name, |b| {
            b.iter_batched_ref(|| stream.clone(), |stream| decode(stream, most), BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn frames_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("ws_encode");
    for bytes in [150, 16 * 1024] {
        let payload = vec![b'x'; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("shared_frame_of_{bytes}"), |b| {
            b.iter(|| encode_frame(Opcode::Text, black_box(&payload)));
        });
    }
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("handshake");
    group.bench_function("parse_a_browsers_request", |b| b.iter(|| parse(black_box(HEAD)).is_ok()));
    group.bench_function("accept_and_response", |b| {
        b.iter(|| response(&accept_key(black_box("dGhlIHNhbXBsZSBub25jZQ==")), None, true));
    });
    group.finish();
}

fn fixed_header(c: &mut Criterion) {
    let mut group = c.benchmark_group("binary");
    let frame = Frame {
        kind: Kind::Comment,
        timestamp_ms: 1_696_118_400_000,
        user_id: 123_456,
        room: None,
        content: "前方高能",
    };
    let encode = |out: &mut Vec<u8>| (0..BATCH).filter(|_| binary::encode(black_box(&frame), out).is_ok()).count();
    let mut message = Vec::new();
    encode(&mut message);
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("encode_100", |b| b.iter(|| encode(&mut Vec::with_capacity(4096))));
    group
        .bench_function("decode_100", |b| b.iter(|| binary::frames(black_box(&message)).filter(Result::is_ok).count()));
    group.bench_function("numeric_user_id_hashed", |b| b.iter(|| binary::numeric_user_id(black_box("user:alice"))));
    group.finish();
}

criterion_group!(benches, frames_in, frames_out, handshakes, fixed_header);
criterion_main!(benches);
