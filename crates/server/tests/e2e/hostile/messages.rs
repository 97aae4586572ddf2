//! Messages that are not what they should be.

use serde_json::{Value, json};
use testkit::{Reply, Server, Viewer, now_s, token};

use super::raw::{BINARY, CLOSE, FIN, PING, Raw, TEXT, frame};
use super::{Bystander, counted, counts, server_with};
use crate::contents;

/// Bad messages of one socket that do not close it yet.
const STRIKES: usize = 19;
/// The vector of the protocol's reference: `Hello` from user 123456.
const HELLO: &[u8] = &[
    0xab, 0xcd, 0x01, 0x01, 0x00, 0x00, 0x01, 0x8a, 0xe8, 0x88, 0xe4, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0xe2,
    0x40, 0x00, 0x05, b'H', b'e', b'l', b'l', b'o',
];

#[tokio::test]
async fn json_that_is_wrong_gets_an_error_and_the_socket_goes_on() {
    let deep = format!("{}{}", "[".repeat(8_000), "]".repeat(8_000));
    let wide = format!(r#"{{"type":"heartbeat","ref":"{}"}}"#, "r".repeat(200));
    let mode =
        format!(r#"{{"type":"comment","room_id":"r","content":"x","style":{{"mode":"{}"}}}}"#, "m".repeat(15_000));
    let bad = [
        "",
        " ",
        "{",
        "}",
        "null",
        "true",
        "[]",
        "1",
        "\"text\"",
        "{}",
        "{\"type\"}",
        "{'type':'heartbeat'}",
        "\u{feff}{\"type\":\"heartbeat\"}",
        r#"{"type":"heartbeat"} x"#,
        r#"{"type":"heartbeat"}{"type":"heartbeat"}"#,
        r#"{"type":5}"#,
        r#"{"type":null}"#,
        r#"{"type":["comment"]}"#,
        r#"{"type":"comment","type":"like"}"#,
        r#"{"type":"comment"}"#,
        r#"{"type":"comment","room_id":"r","content":5}"#,
        r#"{"content":null}"#,
        r#"{"content":{"content":"x"}}"#,
        r#"{"type":"comment","room_id":"../r","content":"x"}"#,
        r#"{"type":"comment","room_id":"r","content":"x","mentions":"ann"}"#,
        r#"{"type":"comment","room_id":"r","content":"x","mentions":["a b"]}"#,
        r#"{"type":"comment","room_id":"r","content":"x","style":{"color":"red"}}"#,
        r#"{"type":"comment","room_id":"r","content":"x","style":{"color":"\u0023ff00é"}}"#,
        r#"{"type":"comment","room_id":"r","content":"x","client_msg_id":7}"#,
        r#"{"type":"comment","room_id":"r","content":"\ud800"}"#,
        r#"{"type":"comment","room_id":"r","content":"\udc00\ud800"}"#,
        "{\"type\":\"comment\",\"room_id\":\"r\",\"content\":\"a\u{0}b\"}",
        r#"{"type":"comment","room_id":"r","content":"\x41"}"#,
        r#"{"type":"join_room","room_id":"r","history":-1}"#,
        r#"{"type":"join_room","room_id":"r","history":1e99}"#,
        r#"{"type":"join_room","room_id":"r","max_per_s":"all"}"#,
        r#"{"type":"join_room","room_id":"r","only_user_ids":7}"#,
        r#"{"type":"join_room","room_id":"r","since_id":"-1"}"#,
        r#"{"type":"join_room","room_id":"r","since_id":12}"#,
        r#"{"type":"join_room","room_id":"r","since_id":"99999999999999999999"}"#,
        r#"{"type":"leave_room"}"#,
        r#"{"type":"like","comment_id":5}"#,
        r#"{"type":"like","comment_id":"0x10"}"#,
        r#"{"type":"ack","event_id":"-0"}"#,
        r#"{"type":"login","token":5}"#,
        r#"{"type":"login"}"#,
        &deep,
        &wide,
        &mode,
    ];
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    for (n, some) in bad.chunks(STRIKES).enumerate() {
        let mut socket = server.viewer(&format!("user-{n}"), "r").await;
        for text in some {
            socket.send_text(text).await;
            let error = socket.wait_for("error").await;
            assert_eq!(error["code"], "invalid_request", "{text}: {error}");
            assert!(error["message"].as_str().unwrap().len() < 1_024, "{error}");
        }
        socket.settled().await;
        socket.say(&format!("still here {n}")).await;
    }
    counts(&server, "parse_errors_total{reason=\"message\"", bad.len() as i64).await;
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn what_a_newer_client_says_is_ignored() {
    let server = server_with("").await;
    let mut socket = server.viewer("ann", "r").await;
    for n in 0..40 {
        socket.send(json!({ "type": format!("wave_{n}"), "room_id": 5, "ref": n })).await;
    }
    let joined = json!({ "type": "heartbeat", "hat": { "red": true }, "heat": [1, null] });
    assert_eq!(socket.ask(joined).await["type"], "heartbeat_ack");
    assert_eq!(socket.settled().await, Vec::<Value>::new());
    counts(&server, "parse_errors_total", 0).await;
}

#[tokio::test]
async fn twenty_bad_messages_in_a_minute_close_with_4010() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let mut socket = server.viewer("mallory", "r").await;
    for _ in 0..STRIKES {
        socket.send_text("nonsense").await;
    }
    socket.settled().await;
    socket.send_text("nonsense").await;
    assert_eq!(socket.wait_close().await.0, 4010);
    let mut socket = binary(&server, "77").await;
    for _ in 0..=STRIKES {
        socket.send_bytes(b"nonsense".to_vec()).await;
    }
    assert_eq!(socket.wait_close().await.0, 4010);
    counts(&server, "closes_total{code=\"4010\"", 2).await;
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn frames_against_the_rules_close_the_socket_that_sent_them() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let longest = message_of(16 * 1024);
    let mut socket = Raw::open(&server, "just-right").await;
    socket.send(&frame(FIN | TEXT, &longest)).await;
    socket.send(&frame(FIN | TEXT, br#"{"type":"heartbeat","ref":1}"#)).await;
    while socket.message().await["ref"] != 1 {}

    let in_pieces = [frame(TEXT, &longest[..9_000]), frame(FIN, &[longest[9_000..].to_vec(), vec![b' ']].concat())];
    let promised = [&[FIN | TEXT, 0x80 | 127], &(1_u64 << 62).to_be_bytes()[..], &[1, 2, 3, 4]].concat();
    let cases: [(&str, Vec<u8>, u16); 14] = [
        ("one byte too long", frame(FIN | TEXT, &message_of(16 * 1024 + 1)), 1009),
        ("too long in pieces", in_pieces.concat(), 1009),
        ("a length that nobody could send", promised, 1009),
        ("text that is not UTF-8", frame(FIN | TEXT, b"{\"type\":\"\xff\xfe\"}"), 1007),
        ("a surrogate in UTF-8", frame(FIN | TEXT, b"\"\xed\xa0\x80\""), 1007),
        ("not masked", [&[FIN | TEXT, 2][..], b"{}"].concat(), 1002),
        ("a reserved bit", frame(FIN | 0x40 | TEXT, b"{}"), 1002),
        ("a reserved opcode", frame(FIN | 3, b"{}"), 1002),
        ("a continuation of nothing", frame(FIN, b"{}"), 1002),
        ("a message within a message", [frame(TEXT, b"{"), frame(FIN | TEXT, b"{}")].concat(), 1002),
        ("a ping in pieces", frame(PING, b"x"), 1002),
        ("a long ping", frame(FIN | PING, &[b'x'; 126]), 1002),
        ("a close of one byte", frame(FIN | CLOSE, &[3]), 1002),
        ("a close that may not be sent", frame(FIN | CLOSE, &1006_u16.to_be_bytes()), 1002),
    ];
    for (what, bytes, code) in &cases {
        let mut socket = Raw::open(&server, "mallory").await;
        socket.send(bytes).await;
        assert_eq!(socket.closed().await, *code, "{what}");
    }
    for code in [1002, 1007, 1009] {
        let expected = cases.iter().filter(|case| case.2 == code).count() as i64;
        counts(&server, &format!("closes_total{{code=\"{code}\""), expected).await;
    }
    assert!(counted(&server, "parse_errors_total").await >= cases.len() as i64);
    bystander.notices_nothing().await;
}

/// A message of a type nobody knows, so many bytes long.
fn message_of(bytes: usize) -> Vec<u8> {
    let around = r#"{"type":"pad","pad":""}"#;
    let pad = "x".repeat(bytes - around.len());
    format!(r#"{{"type":"pad","pad":"{pad}"}}"#).into_bytes()
}

#[tokio::test]
async fn binary_frames_cut_anywhere_are_counted_and_skipped() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let cuts: Vec<usize> = (1..HELLO.len()).collect();
    for some in cuts.chunks(STRIKES) {
        let mut socket = binary(&server, "123456").await;
        for cut in some {
            socket.send_bytes(HELLO[..*cut].to_vec()).await;
        }
        assert_eq!(answer_to_heartbeat(&mut socket).await, 22);
    }
    counts(&server, "parse_errors_total", cuts.len() as i64).await;
    let mut socket = binary(&server, "123456").await;
    socket.send_bytes([HELLO, &HELLO[..20]].concat()).await;
    assert_eq!(socket.wait_for("comment_ack").await["status"], "accepted");
    counts(&server, "parse_errors_total", cuts.len() as i64 + 1).await;
    bystander.viewer.sees("Hello").await;
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_a_binary_frame_harms_nobody() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    for place in 0..HELLO.len() {
        let mut bytes = HELLO.to_vec();
        bytes[place] ^= 0xff;
        let mut socket = binary(&server, "123456").await;
        socket.send_bytes(bytes).await;
        match place {
            2 => {
                let error = socket.wait_for("error").await;
                assert_eq!(error["code"], "invalid_request", "{error}");
                assert!(error["message"].as_str().unwrap().contains('1'), "names the version spoken: {error}");
            }
            12..20 => assert_eq!(socket.wait_for("error").await["code"], "forbidden"),
            // A client's timestamp is advisory.
            4..12 => assert_eq!(socket.wait_for("comment_ack").await["status"], "accepted"),
            _ => {}
        }
        assert_eq!(answer_to_heartbeat(&mut socket).await, 22, "byte {place}");
    }
    for reason in ["bad_magic", "unsupported_version", "unknown_type", "truncated", "invalid_utf8"] {
        assert!(counted(&server, &format!("parse_errors_total{{reason=\"{reason}\"")).await > 0, "{reason}");
    }
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn a_binary_message_on_a_json_socket_is_an_error() {
    let server = server_with("").await;
    let mut socket = Raw::open(&server, "123456").await;
    socket.send(&frame(FIN | BINARY, HELLO)).await;
    let error = loop {
        let message = socket.message().await;
        if message["type"] == "error" {
            break message;
        }
    };
    assert_eq!(error["code"], "invalid_request");
}

async fn binary(server: &Server, user: &str) -> Viewer {
    let token = token(&json!({ "sub": user, "iat": now_s() - 5, "exp": now_s() + 600 }));
    let protocol = [("sec-websocket-protocol", "barrage.v1.bin")];
    Viewer::open(server.address(), &format!("room_id=r&history=0&token={token}"), &protocol).await.unwrap()
}

/// The length of a heartbeat's answer, whatever else comes before it.
async fn answer_to_heartbeat(socket: &mut Viewer) -> usize {
    let mut heartbeat = HELLO[..22].to_vec();
    heartbeat[3] = 0x02;
    heartbeat[20..].fill(0);
    socket.send_bytes(heartbeat).await;
    loop {
        let bytes = socket.bytes().await;
        if bytes.get(3) == Some(&0x02) {
            return bytes.len();
        }
    }
}

#[tokio::test]
async fn hostile_unicode_is_tamed_or_refused() {
    let server = server_with("").await;
    let mut bystander = Bystander::of(&server).await;
    let http = server.user("mallory");
    let stacked = format!("e{}", "\u{301}".repeat(190));
    let selectors = format!("x{}", "\u{fe0f}".repeat(190));
    let tags = format!("\u{1f3f4}{}", "\u{e0067}".repeat(190));
    let long = "\u{fdfa}".repeat(200);
    for (sent, shown) in [
        ("a\u{202e}b\u{2066}c\u{2069}d\u{200f}", "abcd"),
        ("a\u{0}b\u{1b}[31mc\u{7f}\u{9b}d", "ab[31mcd"),
        ("line\r\nbreak\u{2028}and\tmore", "line break and more"),
        ("zero\u{200b}width\u{feff}\u{2060}", "zerowidth"),
        ("\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}", "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}"),
        // What unfolds to eighteen characters each is counted, kept and shown as what was sent.
        (long.as_str(), long.as_str()),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("\\u003cscript\\u003e \"quoted\" & 'so'", "\\u003cscript\\u003e \"quoted\" & 'so'"),
    ] {
        http.say("r", sent).await;
        bystander.viewer.sees(shown).await;
    }
    for sent in [&stacked, &selectors, &tags] {
        http.say("r", &format!("{sent}!")).await;
    }
    let tamed = bystander.viewer.given_when("what was tamed", |given| {
        let ended: Vec<_> = given.iter().filter_map(|c| c["content"].as_str()).filter(|c| c.ends_with('!')).collect();
        (ended.len() == 3).then(|| ended.iter().map(|text| text.chars().count()).max())
    });
    assert!(tamed.await <= Some(10), "marks, selectors and tags do not pile up");
    for nothing in ["", " \t\n", "\u{200b}\u{2060}\u{feff}", "\u{202e}\u{202c}", "\u{301}\u{302}", "\u{fffe}\u{10ffff}"]
    {
        http.comment("r", nothing).await.fails(422, "content_empty");
    }
    http.comment("r", &"好".repeat(201)).await.fails(422, "content_too_long");
    let family = "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}\u{200d}\u{1f466}";
    http.comment("r", &family.repeat(40)).await.fails(422, "content_too_long");
    for body in [r#"{"content":"\ud800"}"#, r#"{"content":"\udfff\ud83d"}"#] {
        let request = http.request(reqwest::Method::POST, "rooms/r/comments").body(body);
        Reply::of(request).await.fails(400, "invalid_request");
    }
    let request = http.request(reqwest::Method::POST, "rooms/r/comments").body(&b"{\"content\":\"\xff\"}"[..]);
    Reply::of(request).await.fails(400, "invalid_request");
    bystander.notices_nothing().await;
}

#[tokio::test]
async fn words_are_found_under_hostile_unicode() {
    let server = server_with("").await;
    server.admin().put("admin/words", json!({ "mask": ["坏蛋"], "review": [], "block": ["spam"] })).await.is(200);
    let http = server.user("mallory");
    for evasion in ["S P A M", "ｓｐａｍ", "s\u{200b}p\u{200d}a\u{2060}m", "s.p-a_m", "s\u{301}p\u{302}am"] {
        http.comment("r", evasion).await.fails(422, "content_blocked");
    }
    http.say("r", "你这个壞\u{200b}蛋!").await;
    let page = http.get("rooms/r/comments?since_id=0").await.expect(200);
    let shown = contents(&page["comments"])[0];
    assert!(shown.contains("**") && !shown.contains('蛋') && !shown.contains('壞'), "{shown}");
}
