//! Transcripts in `barrage.v1.proto`: what JSON sockets say and hear, as Protobuf.
#![allow(clippy::unwrap_used)]

use crate::common::{Client, Server, dev, token};
use gateway::GatewaySettings;
use model::{Audience, Event, EventBody, RoomId, Snowflake};
use prost::Message as _;
use protocol::proto::v1::{self, client_frame::Message as In, server_frame::Message as Out};
use serde_json::json;
use tungstenite::Message;

const PROTO: &str = "barrage.v1.proto";

fn say(client: &mut Client, reference: u64, message: In) {
    let frame = v1::ClientFrame { r#ref: reference, message: Some(message) };
    client.socket.send(Message::binary(frame.encode_to_vec())).unwrap();
}

/// The next message with its `ref`. Whatever is not Protobuf is a failure.
fn hear(client: &mut Client) -> (u64, Out) {
    loop {
        match client.socket.read().unwrap() {
            Message::Binary(bytes) => {
                let frame = v1::ServerFrame::decode(bytes).unwrap();
                return (frame.r#ref, frame.message.unwrap());
            }
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The first message that `pick` wants; others are passed over.
fn hear_a<T>(client: &mut Client, pick: impl Fn(u64, Out) -> Option<T>) -> T {
    loop {
        let (reference, message) = hear(client);
        if let Some(found) = pick(reference, message) {
            return found;
        }
    }
}

fn comments(_: u64, message: Out) -> Option<v1::Comments> {
    match message {
        Out::Comments(comments) => Some(comments),
        _ => None,
    }
}

fn error(reference: u64, message: Out) -> Option<(u64, String)> {
    match message {
        Out::Error(error) => Some((reference, error.code)),
        _ => None,
    }
}

fn draft(content: &str) -> In {
    In::Comment(v1::CommentDraft { content: content.into(), client_msg_id: "m1".into(), ..Default::default() })
}

#[test]
fn what_is_said_in_protobuf_is_heard_in_json_and_the_other_way_round() {
    let server = Server::start(dev());
    let mut ann = server.connect_as("room_id=r&user_id=ann", PROTO);
    let mut bob = server.connect("room_id=r&user_id=bob");
    let (_, connected) = hear(&mut ann);
    assert!(matches!(connected, Out::Connected(v1::Connected { user_id, .. }) if user_id == "ann"));
    let (_, joined) = hear(&mut ann);
    assert!(matches!(joined, Out::RoomJoined(v1::RoomJoined { room_id, .. }) if room_id == "r"));
    bob.hear_a("room_joined");

    say(&mut ann, 7, draft("你好"));
    let ack = hear_a(&mut ann, |reference, message| match message {
        Out::CommentAck(ack) => Some((reference, ack)),
        _ => None,
    });
    assert_eq!((ack.0, ack.1.client_msg_id.as_str(), ack.1.status), (7, "m1", 0));
    let heard = bob.hear_a("comments");
    assert_eq!(heard["comments"][0]["content"], "你好");
    assert_eq!(heard["comments"][0]["id"], ack.1.id.to_string());

    bob.say(&json!({ "content": "hi", "style": { "color": "#FF0000" } }));
    let hi = hear_a(&mut ann, |_, message| {
        comments(0, message)?.comments.into_iter().find(|comment| comment.content == "hi")
    });
    assert_eq!((hi.user_id.as_str(), hi.style.unwrap().color), ("bob", Some(0xFF_00_00)));
}

#[test]
fn a_socket_without_identity_logs_in_and_joins() {
    let server = Server::start(GatewaySettings { dev: false, ..dev() });
    let mut ann = server.connect_as("", PROTO);
    assert_eq!(hear_a(&mut ann, error), (0, "unauthorized".into()));
    say(&mut ann, 1, draft("too early"));
    assert_eq!(hear_a(&mut ann, error), (1, "unauthorized".into()));
    let token = token(json!({ "sub": "ann", "name": "Ann", "exp": 4_000_000_000u64 }));
    say(&mut ann, 2, In::Login(v1::Login { token, device_id: "phone".into() }));
    assert!(matches!(hear(&mut ann), (2, Out::Connected(connected)) if connected.device_id == "phone"));
    say(&mut ann, 3, In::JoinRoom(v1::JoinRoom { room_id: "r".into(), ..Default::default() }));
    assert!(matches!(hear(&mut ann), (3, Out::RoomJoined(_))));
    say(&mut ann, 4, In::Heartbeat(v1::Heartbeat {}));
    assert!(matches!(hear(&mut ann), (4, Out::HeartbeatAck(v1::HeartbeatAck { server_time_ms: 1.. }))));
    say(&mut ann, 5, In::LeaveRoom(v1::LeaveRoom { room_id: "r".into() }));
    assert!(matches!(hear(&mut ann), (5, Out::RoomLeft(_))));
    say(&mut ann, 6, In::Like(v1::Like { comment_id: 12 }));
    assert_eq!(hear_a(&mut ann, error), (6, "not_found".into()));
    say(&mut ann, 7, In::Logout(v1::Logout {}));
    assert!(matches!(hear(&mut ann), (7, Out::LoggedOut(_))));
}

#[test]
fn a_critical_event_comes_again_until_it_is_acknowledged() {
    let mut server = Server::start(dev());
    let mut ann = server.connect_as("room_id=r&user_id=ann", PROTO);
    hear_a(&mut ann, |_, message| matches!(message, Out::RoomJoined(_)).then_some(()));
    server.event(Event {
        id: Snowflake(99),
        room_id: RoomId::new("r").unwrap(),
        audience: Audience::Everyone,
        critical_for: Audience::Everyone,
        at_ms: 5,
        body: EventBody::Announcement { content: "hear".into() },
    });
    let kind = v1::event::Kind::Announcement(v1::Announcement { content: "hear".into() });
    let expected = v1::Event { event_id: 99, room_id: "r".into(), at_ms: 5, critical: true, kind: Some(kind) };
    for _ in 0..2 {
        let event = hear_a(&mut ann, |_, message| match message {
            Out::Event(event) => Some(event),
            _ => None,
        });
        assert_eq!(event, expected);
    }
    say(&mut ann, 0, In::Ack(v1::Ack { event_id: 99 }));
}

#[test]
fn what_a_stream_leaves_out_reaches_its_author_and_is_counted_for_the_others() {
    let mut server = Server::start(dev());
    let mut author = server.connect_as("room_id=r&user_id=me&max_per_s=5", PROTO);
    let mut other = server.connect_as("room_id=r&user_id=you&max_per_s=5", PROTO);
    for viewer in [&mut author, &mut other] {
        hear_a(viewer, |_, message| matches!(message, Out::RoomJoined(_)).then_some(()));
    }
    let mut said: Vec<_> =
        (0..200).map(|i| server.comment("r", &format!("u{i}"), &format!("word{i} {}", i * 77))).collect();
    said.push(server.comment("r", "me", "mine alone"));
    server.publish("r", said);
    hear_a(&mut author, |_, message| {
        comments(0, message)?.comments.iter().any(|comment| comment.content == "mine alone").then_some(())
    });
    let (mut given, mut omitted) = (0, 0);
    while given + omitted < 201 {
        let batch = hear_a(&mut other, comments);
        given += batch.comments.len() as u64;
        omitted += batch.omitted;
    }
    assert_eq!(given + omitted, 201);
}

#[test]
fn bad_messages_are_told_and_twenty_of_them_close() {
    let server = Server::start(dev());
    let mut ann = server.connect_as("user_id=ann", PROTO);
    hear(&mut ann);
    say(&mut ann, 9, In::LeaveRoom(v1::LeaveRoom { room_id: "no room".into() }));
    assert_eq!(hear(&mut ann).0, 9);
    ann.say(&json!({ "type": "heartbeat" }));
    assert_eq!(hear_a(&mut ann, error), (0, "invalid_request".into()), "text is not spoken here");
    for _ in 0..18 {
        ann.socket.send(Message::binary(&b"\xFFnonsense"[..])).unwrap();
    }
    assert_eq!(ann.hear_close().0, 4010);
}
