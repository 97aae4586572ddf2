//! `barrage.v1.proto`: the same messages as JSON, in other clothes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use model::{
    Audience, Comment, CommentStatus, Event, EventBody, Kind, Level, Mode, RoomId, Size, Snowflake, Style, UserId,
    WireError,
};
use proptest::prelude::*;
use prost::Message as _;
use protocol::encode;
use protocol::handshake::SubProtocol;
use protocol::message::{ClientMessage, CommentDraft, JoinRoom, ServerMessage};
use protocol::proto::v1::{self, client_frame::Message as In, server_frame::Message as Out};
use protocol::proto::{batch, encode, encode_event, fragment, parse};
use protocol::ws::{Decoder, Event as Heard, Limits};

fn said(reference: u64, message: In) -> Vec<u8> {
    v1::ClientFrame { r#ref: reference, message: Some(message) }.encode_to_vec()
}

fn heard(bytes: &[u8]) -> (u64, Out) {
    let frame = v1::ServerFrame::decode(bytes).unwrap();
    (frame.r#ref, frame.message.unwrap())
}

fn comment(id: u64, content: &str) -> Comment {
    Comment {
        id: Snowflake(id),
        room_id: RoomId::new("r").unwrap(),
        session_id: Some(Snowflake(6)),
        user_id: UserId::new("ann").unwrap(),
        username: "Ann".into(),
        level: Level::Vip,
        content: content.into(),
        style: Style { color: 0x0A_0B_0C, ..Style::default() },
        kind: Kind::Comment,
        mentions: [UserId::new("bob").unwrap()].into(),
        created_at_ms: 1_696_118_400_007,
        offset_ms: 1_500,
        like_count: 2,
        shadow: false,
    }
}

#[test]
fn a_comment_drafted_in_protobuf_is_the_one_drafted_in_json() {
    let frame = said(
        7,
        In::Comment(v1::CommentDraft {
            room_id: "lobby".into(),
            content: "你好".into(),
            client_msg_id: "a-1".into(),
            style: Some(v1::Style {
                mode: v1::Mode::Top.into(),
                color: Some(0xFF_CC_00),
                size: v1::Size::Large.into(),
            }),
            mentions: vec!["bob".into()],
            ..Default::default()
        }),
    );
    let json = r##"{"type":"comment","room_id":"lobby","content":"你好","client_msg_id":"a-1","mentions":["bob"],
        "style":{"mode":"top","color":"#FFCC00","size":"large"},"ref":7}"##;
    assert_eq!(parse(&frame).unwrap(), (7, protocol::message::parse(json).unwrap().message));
}

#[test]
fn absent_and_zero_are_told_apart_where_they_differ() {
    let join = |options| match parse(&said(0, In::JoinRoom(options))).unwrap().1 {
        ClientMessage::JoinRoom(join) => join,
        other => panic!("{other:?}"),
    };
    let plain = JoinRoom::plain(RoomId::new("r").unwrap());
    assert_eq!(join(v1::JoinRoom { room_id: "r".into(), ..Default::default() }), plain);
    let wishes = v1::JoinRoom { room_id: "r".into(), since_id: Some(0), max_per_s: Some(0), ..Default::default() };
    assert_eq!(join(wishes), JoinRoom { since_id: Some(Snowflake(0)), max_per_s: Some(0), ..plain });
}

#[test]
fn what_is_wrong_is_said_with_the_reference() {
    let draft = |style| In::Comment(v1::CommentDraft { content: "x".into(), style: Some(style), ..Default::default() });
    let cases = [
        (In::LeaveRoom(v1::LeaveRoom { room_id: "a b".into() }), "room_id"),
        (In::Like(v1::Like { comment_id: 0 }), "comment_id"),
        (In::Ack(v1::Ack { event_id: u64::MAX }), "event_id"),
        (draft(v1::Style { mode: 9, ..Default::default() }), "style.mode"),
        (draft(v1::Style { color: Some(0x0100_0000), ..Default::default() }), "style.color"),
    ];
    for (message, named) in cases {
        let (reference, error) = parse(&said(3, message)).unwrap_err();
        assert_eq!((reference, error.code), (3, model::Code::InvalidRequest));
        assert!(error.message.contains(named), "{error}");
    }
    assert!(parse(b"\x08").is_err(), "a cut-off field");
}

#[test]
fn a_message_from_the_future_is_ignored() {
    let field_900 = [0xA2, 0x38, 0x02, b'h', b'i'];
    assert_eq!(parse(&field_900).unwrap(), (0, ClientMessage::Unknown));
    assert_eq!(parse(b"").unwrap(), (0, ClientMessage::Unknown));
}

#[test]
fn a_batch_put_together_from_fragments_is_one_server_frame() {
    let fragments = [fragment(&comment(7, "你好"), Some(3)), fragment(&comment(8, "hi"), Some(1))];
    let (reference, message) = heard(&batch("r", fragments.iter().map(Vec::as_slice), 4));
    let Out::Comments(comments) = message else { panic!("{message:?}") };
    assert_eq!((reference, comments.room_id.as_str(), comments.omitted), (0, "r", 4));
    let [first, second] = comments.comments.as_slice() else { panic!("two comments") };
    let expected = v1::Comment {
        id: 7,
        room_id: String::new(),
        user_id: "ann".into(),
        username: "Ann".into(),
        content: "你好".into(),
        created_at_ms: 1_696_118_400_007,
        offset_ms: 1_500,
        session_id: Some(6),
        level: v1::Level::Vip.into(),
        style: Some(v1::Style { color: Some(0x0A_0B_0C), ..Default::default() }),
        kind: v1::CommentKind::Comment.into(),
        mentions: vec!["bob".into()],
        like_count: 2,
        count: 3,
    };
    assert_eq!(*first, expected);
    assert_eq!(*second, v1::Comment { id: 8, content: "hi".into(), count: 0, ..expected });
}

#[test]
fn answers_carry_the_reference_and_what_json_says_as_numbers() {
    let id = Snowflake(9);
    let ack = ServerMessage::CommentAck {
        client_msg_id: Some("a"),
        id,
        status: CommentStatus::PendingReview,
        created_at_ms: 5,
    };
    let status = v1::CommentStatus::PendingReview.into();
    let expected = v1::CommentAck { client_msg_id: "a".into(), id: 9, status, created_at_ms: 5 };
    assert_eq!(heard(&encode(&ack, 41)), (41, Out::CommentAck(expected)));
}

#[test]
fn an_error_goes_out_as_a_binary_frame_with_the_number_it_answers() {
    let mut frame = Vec::new();
    let error = WireError { rule: Some("links".into()), ..WireError::invalid("no").retry_after_ms(10) };
    encode::error(SubProtocol::Proto, &error, encode::reference(12).as_deref(), &mut frame);
    let mut decoder = Decoder::default();
    let mut events = decoder.read(&mut frame, Limits::from_server(1_000));
    let Ok(Some(Heard::Binary(bytes))) = events.next_event() else { panic!("no binary message") };
    let expected = v1::Error {
        code: "invalid_request".into(),
        message: "no".into(),
        retry_after_ms: Some(10),
        client_msg_id: String::new(),
        rule: "links".into(),
        prefer: String::new(),
    };
    assert_eq!(heard(bytes), (12, Out::Error(expected)));
}

#[test]
fn an_event_says_what_happened() {
    let event = Event {
        id: Snowflake(5),
        room_id: RoomId::new("r").unwrap(),
        audience: Audience::Everyone,
        critical_for: Audience::Everyone,
        at_ms: 77,
        body: EventBody::CommentsDeleted { comment_ids: vec![Snowflake(1), Snowflake(2)] },
    };
    let kind = v1::event::Kind::CommentDeleted(v1::CommentDeleted { comment_ids: vec![1, 2] });
    let expected = v1::Event { event_id: 5, room_id: "r".into(), at_ms: 77, critical: true, kind: Some(kind) };
    assert_eq!(heard(&encode_event(&event, true)), (0, Out::Event(expected)));
}

fn draft() -> impl Strategy<Value = CommentDraft> {
    let id = prop::option::of("[a-z0-9_:@-][a-z0-9_.:@-]{0,63}");
    let style = prop::option::of((0u32..=0xFF_FF_FF, 0..3, 0..3).prop_map(|(color, mode, size)| Style {
        color,
        mode: [Mode::Scroll, Mode::Top, Mode::Bottom][mode as usize],
        size: [Size::Normal, Size::Small, Size::Large][size as usize],
    }));
    let mentions = prop::collection::vec("[a-z]{1,9}", 0..4);
    (id, ".{0,50}", prop::option::of(".{1,9}"), style, mentions, prop::option::of(1u64..1 << 62)).prop_map(
        |(room, content, client_msg_id, style, mentions, session)| CommentDraft {
            room_id: room.map(|room| RoomId::new(&room).unwrap()),
            content,
            client_msg_id,
            style,
            mentions: mentions.iter().map(|user| UserId::new(user).unwrap()).collect(),
            session_id: session.map(Snowflake),
            offset_ms: session.map(|n| n.cast_signed() / 3),
            address: None,
        },
    )
}

/// As a client would write it.
fn written(draft: &CommentDraft) -> v1::CommentDraft {
    let style = draft.style.map(|style| v1::Style {
        mode: style.mode as i32,
        color: Some(style.color),
        size: match style.size {
            Size::Normal => 0,
            Size::Small => 1,
            Size::Large => 2,
        },
    });
    v1::CommentDraft {
        room_id: draft.room_id.as_ref().map_or_else(String::new, |room| room.as_str().into()),
        content: draft.content.clone(),
        client_msg_id: draft.client_msg_id.clone().unwrap_or_default(),
        style,
        mentions: draft.mentions.iter().map(|user| user.as_str().into()).collect(),
        session_id: draft.session_id.map(|id| id.0),
        offset_ms: draft.offset_ms,
    }
}

proptest! {
    #[test]
    fn drafts_survive_the_journey(draft in draft(), reference: u64) {
        let bytes = said(reference, In::Comment(written(&draft)));
        prop_assert_eq!(parse(&bytes).unwrap(), (reference, ClientMessage::Comment(draft)));
    }

    #[test]
    fn noise_never_panics(noise: Vec<u8>, cut in 0usize..40) {
        let _ = parse(&noise);
        let whole = said(1, In::Login(v1::Login { token: "t".repeat(20), device_id: "d".into() }));
        let _ = parse(&whole[..cut.min(whole.len())]);
    }
}
