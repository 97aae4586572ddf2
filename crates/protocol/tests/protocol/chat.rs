//! The messages of private and group chat, word for word.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use model::chat::{
    Change, ChangeKind, ConversationId, GroupDone, GroupId, GroupRole, Message, MsgStatus, MsgType, Recall, Recipient,
    Seen,
};
use model::{Code, Snowflake, UserId, WireError};
use proptest::prelude::*;
use protocol::chat::{
    Acknowledged, ChangeJson, ChatCommand, ChatMessage, GroupChanged, MessageDraft, MessageJson, NewMessage, Page,
    PresenceJson, SyncOptions,
};
use protocol::message::{ClientMessage, ServerMessage, encode, parse};
use serde_json::{Value, json};

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn message(to: Recipient) -> Message {
    Message {
        id: Snowflake(7),
        position: 3,
        client_msg_id: "a-1".into(),
        conversation_id: ConversationId(Snowflake(5)),
        from_user: user("ann"),
        from_name: "Ann".into(),
        to,
        content: "你好".into(),
        msg_type: MsgType::Text,
        created_at_ms: 1_696_118_400_007,
        reply_to: None,
        edited_at_ms: None,
        reactions: Box::default(),
        recalled: None,
    }
}

fn command(text: &str) -> ChatCommand {
    match parse(text).unwrap().message {
        ClientMessage::Chat(command) => command,
        other => panic!("{other:?}"),
    }
}

fn said(message: ChatMessage<'_>) -> Value {
    serde_json::from_slice(&encode(&ServerMessage::Chat(message), None)).unwrap()
}

#[test]
fn what_clients_ask_for_is_read_as_the_contract_says() {
    let draft = |to, msg_type| {
        ChatCommand::Send(MessageDraft {
            client_msg_id: "a-1".into(),
            to,
            content: "hi".into(),
            msg_type,
            reply_to: None,
            uploads: Vec::new(),
        })
    };
    let (bob, group) = (Recipient::User(user("bob")), Recipient::Group(GroupId(Snowflake(9))));
    let cases = [
        (
            r#"{"type":"send_message","client_msg_id":"a-1","to_user":"bob","content":"hi"}"#,
            draft(bob.clone(), MsgType::Text),
        ),
        (
            r#"{"type":"send_group_message","client_msg_id":"a-1","group_id":"9","content":"hi","msg_type":"image"}"#,
            draft(group.clone(), MsgType::Image),
        ),
        (r#"{"type":"mark_as_read","message_id":"7"}"#, ChatCommand::MarkAsRead { message_id: Snowflake(7) }),
        (r#"{"type":"recall_message","message_id":"7"}"#, ChatCommand::Recall { message_id: Snowflake(7) }),
        (r#"{"type":"sync_messages"}"#, ChatCommand::Sync(SyncOptions::default())),
        (
            r#"{"type":"sync_messages","since_id":"0","since_change":"12","limit":500}"#,
            ChatCommand::Sync(SyncOptions { since_id: Some(Snowflake(0)), since_change: Some(12), limit: Some(500) }),
        ),
        (r#"{"type":"typing","to_user":"bob"}"#, ChatCommand::Typing { to: bob, typing: true }),
        (r#"{"type":"typing","group_id":"9","typing":false}"#, ChatCommand::Typing { to: group, typing: false }),
        (r#"{"type":"watch_presence","user_ids":["bob"]}"#, ChatCommand::WatchPresence { user_ids: vec![user("bob")] }),
    ];
    for (text, expected) in cases {
        assert_eq!(command(text), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (text, named) in [
        (r#"{"type":"send_message","to_user":"bob","content":"hi"}"#, "client_msg_id"),
        (r#"{"type":"send_message","client_msg_id":"a","content":"hi"}"#, "to_user"),
        (r#"{"type":"send_message","client_msg_id":"a","group_id":"9","content":"hi"}"#, "to_user"),
        (r#"{"type":"send_group_message","client_msg_id":"a","to_user":"bob","content":"hi"}"#, "group_id"),
        (r#"{"type":"send_message","client_msg_id":"a","to_user":"b","group_id":"9","content":"hi"}"#, "exclude"),
        (r#"{"type":"send_message","client_msg_id":"a","to_user":"bob","content":"hi","msg_type":"song"}"#, "song"),
        (r#"{"type":"mark_as_read","message_id":7}"#, "string"),
        (r#"{"type":"sync_messages","since_id":"-1"}"#, "cursor"),
        (r#"{"type":"typing"}"#, "to_user"),
        (r#"{"type":"watch_presence"}"#, "user_ids"),
    ] {
        let (_, error) = parse(text).expect_err(text);
        assert!(error.code == Code::InvalidRequest && error.message.contains(named), "{text}: {error}");
    }
}

#[test]
fn a_message_is_acknowledged_and_pushed_as_the_contract_says() {
    let direct = message(Recipient::User(user("bob")));
    let expected = json!({
        "type": "message_ack", "client_msg_id": "a-1", "server_msg_id": "7", "status": "delivered", "conversation_id": "5",
        "created_at": "2023-10-01T00:00:00.007Z",
    });
    assert_eq!(said(ChatMessage::MessageAck(Acknowledged::from(&direct))), expected);
    let expected = json!({
        "type": "new_message", "server_msg_id": "7", "client_msg_id": "a-1", "conversation_id": "5", "from_user": "ann",
        "from_name": "Ann", "to_user": "bob", "content": "你好", "msg_type": "text",
        "created_at": "2023-10-01T00:00:00.007Z",
    });
    assert_eq!(said(ChatMessage::NewMessage(NewMessage::from(&direct))), expected);
}

#[test]
fn a_page_shows_messages_as_their_reader_sees_them_and_nothing_of_what_was_recalled() {
    let group = Recipient::Group(GroupId(Snowflake(9)));
    let recalled = Recall { by: user("ann"), at_ms: 1_696_118_401_000 };
    let recalled = Message { recalled: Some(recalled), ..message(group.clone()) };
    let seen = [
        Seen {
            message: Arc::new(message(group)),
            status: MsgStatus::Read,
            read_count: Some(2),
            my_reactions: Vec::new(),
        },
        Seen { message: Arc::new(recalled), status: MsgStatus::Recalled, read_count: None, my_reactions: Vec::new() },
    ];
    let change = Change {
        change: 12,
        conversation_id: ConversationId(Snowflake(5)),
        message_id: Snowflake(7),
        kind: ChangeKind::Recalled,
        by_user: user("ann"),
        at_ms: 1_696_118_401_000,
        message: None,
    };
    let page = Page {
        messages: seen.iter().map(MessageJson).collect(),
        latest_id: Snowflake(7),
        changes: vec![ChangeJson::from(&change)],
        latest_change: 12,
        more: false,
        expired: false,
    };
    let shown = |content: &str| {
        json!({ "id": "7", "client_msg_id": "a-1", "conversation_id": "5", "from_user": "ann", "from_name": "Ann",
            "group_id": "9", "content": content, "msg_type": "text", "created_at": "2023-10-01T00:00:00.007Z" })
    };
    let (mut read, mut gone) = (shown("你好"), shown(""));
    (read["status"], read["read_count"]) = (json!("read"), json!(2));
    (gone["status"], gone["recalled_at"]) = (json!("recalled"), json!("2023-10-01T00:00:01.000Z"));
    let expected = json!({
        "type": "sync_response", "messages": [read, gone], "latest_id": "7",
        "changes": [{ "message_id": "7", "conversation_id": "5", "status": "recalled", "by_user": "ann",
            "at": "2023-10-01T00:00:01.000Z" }],
        "latest_change": "12", "more": false,
    });
    assert_eq!(said(ChatMessage::SyncResponse(page)), expected);
}

#[test]
fn what_else_is_pushed() {
    let (ann, bob) = (user("ann"), user("bob"));
    let (id, conversation) = (Snowflake(7), ConversationId(Snowflake(5)));
    let at_ms = 1_696_118_400_007;
    let group = GroupId(Snowflake(9));
    let to_group = Recipient::Group(group);
    let added = GroupDone::MembersAdded { users: vec![bob.clone()] };
    let role = GroupDone::RoleChanged { user: bob.clone(), role: GroupRole::Admin };
    let left = GroupDone::MemberLeft { user: ann.clone(), successor: Some(bob.clone()) };
    let cases = [
        (
            ChatMessage::MessageRead {
                message_id: id,
                conversation_id: conversation,
                group_id: None,
                read_by: &bob,
                read_at_ms: at_ms,
            },
            json!({ "type": "message_read", "message_id": "7", "conversation_id": "5", "read_by": "bob", "read_at": "2023-10-01T00:00:00.007Z" }),
        ),
        (
            ChatMessage::MessageRecalled {
                message_id: id,
                conversation_id: conversation,
                recalled_by: &ann,
                recalled_at_ms: at_ms,
            },
            json!({ "type": "message_recalled", "message_id": "7", "conversation_id": "5", "recalled_by": "ann", "recalled_at": "2023-10-01T00:00:00.007Z" }),
        ),
        (
            ChatMessage::typing(&ann, &to_group, false),
            json!({ "type": "typing", "from_user": "ann", "group_id": "9", "typing": false }),
        ),
        (
            ChatMessage::Presence(PresenceJson::new(&bob, false, None)),
            json!({ "type": "presence", "user_id": "bob", "status": "offline", "last_seen": null }),
        ),
        (
            ChatMessage::GroupChanged(GroupChanged::new(group, &ann, &added)),
            json!({ "type": "group_changed", "group_id": "9", "conversation_id": "9", "change": "members_added", "by_user": "ann", "user_ids": ["bob"] }),
        ),
        (
            ChatMessage::GroupChanged(GroupChanged::new(group, &ann, &role)),
            json!({ "type": "group_changed", "group_id": "9", "conversation_id": "9", "change": "role_changed", "by_user": "ann", "user_ids": ["bob"], "role": "admin" }),
        ),
        (
            ChatMessage::GroupChanged(GroupChanged::new(group, &ann, &left)),
            json!({ "type": "group_changed", "group_id": "9", "conversation_id": "9", "change": "member_left", "by_user": "ann", "user_ids": ["ann"], "owner_id": "bob" }),
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(said(message), expected);
    }
}

#[test]
fn an_error_of_a_send_names_the_message_beside_the_reference() {
    let error = WireError::new(Code::RateLimited, "too fast").retry_after_ms(50);
    let incoming = parse(r#"{"type":"heartbeat","ref":[1]}"#).unwrap();
    let answer = encode(&ServerMessage::Chat(ChatMessage::not_sent(&error, "a-1")), incoming.reference);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let expected = json!({
        "type": "error", "code": "rate_limited", "message": "too fast", "retry_after_ms": 50, "client_msg_id": "a-1", "ref": [1],
    });
    assert_eq!(answer, expected);
}

proptest! {
    /// A page is cut behind a message, tells so, and loses nothing to whoever goes on from its `latest_id`.
    #[test]
    fn a_page_is_cut_but_never_to_nothing(lengths in prop::collection::vec(0usize..3_000, 0..20), bytes_max in 0usize..20_000) {
        let seen: Vec<Seen> = (1u64..).zip(&lengths).map(|(n, length)| {
            let message = Message { id: Snowflake(n), content: "x".repeat(*length).into(), ..message(Recipient::User(user("bob"))) };
            Seen { message: Arc::new(message), status: MsgStatus::Delivered, read_count: None, my_reactions: Vec::new() }
        }).collect();
        let latest_id = Snowflake(seen.len() as u64);
        let page = Page {
            messages: seen.iter().map(MessageJson).collect(), latest_id, changes: Vec::new(), latest_change: 0, more: false, expired: false,
        };
        let page = page.within(bytes_max);
        prop_assert_eq!(page.latest_id.0, page.messages.len() as u64);
        prop_assert_eq!(page.more, page.messages.len() < seen.len());
        prop_assert!(seen.is_empty() || !page.messages.is_empty());
        let bytes: usize = page.messages.iter().map(|MessageJson(seen)| seen.message.content.len()).sum();
        prop_assert!(page.messages.len() <= 1 || bytes <= bytes_max);
    }
}
