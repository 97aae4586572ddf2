//! The JSON messages, word for word.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use model::{Comment, Kind, Level, RoomId, Snowflake, Style, UserId, WireError};
use proptest::prelude::*;
use protocol::comment::{batch, fragment};
use protocol::message::{self, ClientMessage, ServerMessage};
use serde_json::{Value, json};

fn comment(content: &str) -> Comment {
    Comment {
        id: Snowflake(7),
        room_id: RoomId::new("r").unwrap(),
        session_id: Some(Snowflake(6)),
        user_id: UserId::new("ann").unwrap(),
        username: "Ann".into(),
        level: Level::Vip,
        content: content.into(),
        style: Style { color: 0x0A_0B_0C, ..Style::default() },
        kind: Kind::Comment,
        mentions: [].into(),
        created_at_ms: 1_696_118_400_007,
        offset_ms: 1_500,
        like_count: 2,
        shadow: false,
    }
}

#[test]
fn a_comment_is_written_as_the_contract_says() {
    let written: Value = serde_json::from_slice(&fragment(&comment("你好"), Some(3))).unwrap();
    let expected = json!({
        "id": "7", "room_id": "r", "session_id": "6", "user_id": "ann", "username": "Ann", "level": "vip",
        "content": "你好", "style": { "mode": "scroll", "color": "#0A0B0C", "size": "normal" }, "kind": "comment",
        "created_at": "2023-10-01T00:00:00.007Z", "offset_ms": 1500, "like_count": 2, "count": 3,
    });
    assert_eq!(written, expected);
}

#[test]
fn a_bare_content_is_a_comment_and_whatever_is_unknown_is_ignored() {
    let bare = message::parse(r#"{"content":"hi","later":{"field":[1]}}"#).unwrap();
    assert!(matches!(bare.message, ClientMessage::Comment(draft) if draft.content == "hi" && draft.room_id.is_none()));
    assert_eq!(message::parse(r#"{"type":"from_the_future","x":1}"#).unwrap().message, ClientMessage::Unknown);
}

#[test]
fn a_reference_comes_back_as_it_was_whatever_it_is() {
    for reference in ["7", "\"a\\u0041\"", "null", "[1, {\"b\":2}]"] {
        let text = format!("{{\"type\":\"heartbeat\",\"ref\":{reference}}}");
        let incoming = message::parse(&text).unwrap();
        let answer = message::encode(&ServerMessage::HeartbeatAck { server_time_ms: 5 }, incoming.reference);
        let expected = format!("{{\"type\":\"heartbeat_ack\",\"server_time_ms\":5,\"ref\":{reference}}}");
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    }
}

#[test]
fn what_is_wrong_is_said_with_the_reference() {
    let cases = [
        ("nonsense", None),
        ("[]", None),
        (r#"{"ref":1}"#, Some("1")),
        (r#"{"type":"like","ref":2}"#, Some("2")),
        (r#"{"type":"join_room","room_id":"a/b","ref":3}"#, Some("3")),
        (r#"{"type":"join_room","room_id":"r","since_id":5,"ref":4}"#, Some("4")),
        (r##"{"content":"x","style":{"color":"#12345"},"ref":5}"##, Some("5")),
    ];
    for (text, expected) in cases {
        let (reference, error): (_, WireError) = message::parse(text).expect_err(text);
        assert_eq!(
            (reference.map(serde_json::value::RawValue::get), error.code.as_str()),
            (expected, "invalid_request"),
            "{text}"
        );
    }
    let long = format!(r#"{{"type":"heartbeat","ref":"{}"}}"#, "x".repeat(128));
    assert!(message::parse(&long).is_err());
}

#[test]
fn a_cursor_may_be_the_beginning() {
    let message = message::parse(r#"{"type":"join_room","room_id":"r","since_id":"0"}"#).unwrap().message;
    assert!(matches!(message, ClientMessage::JoinRoom(join) if join.since_id == Some(Snowflake(0))));
}

proptest! {
    /// Joining fragments by hand gives the same JSON as formatting the whole.
    #[test]
    fn batches_are_json_whatever_is_said(contents in prop::collection::vec(".{0,40}", 0..6), omitted in 0u64..5) {
        let comments: Vec<_> = contents.iter().map(|content| comment(content)).collect();
        let fragments: Vec<_> = comments.iter().map(|comment| fragment(comment, None)).collect();
        let joined: Value = serde_json::from_slice(&batch("r", fragments.iter().map(Vec::as_slice), omitted)).unwrap();
        prop_assert_eq!(&joined["type"], "comments");
        let said: Vec<_> = joined["comments"].as_array().unwrap().iter().map(|c| c["content"].as_str().unwrap()).collect();
        prop_assert_eq!(said, contents);
        prop_assert_eq!(joined.get("omitted").and_then(Value::as_u64), (omitted > 0).then_some(omitted));
    }

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = message::parse(&text);
    }
}
