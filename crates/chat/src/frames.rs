//! What sockets are told, as bytes: each notice is one JSON message, whose shape is PROTOCOL.md's.
//!
//! Called by [`crate::Told`] when a first socket needs it, and by the gateway for the message that
//! follows a sender's own acknowledgement.

use bus::Notice;
use model::chat::{ConversationId, GroupDone, GroupId, GroupRole, Message, Recipient};
use model::{Snowflake, UserId, rfc3339_ms};
use serde::Serialize;

/// The sparse fields of all notices.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Push<'a> {
    NewMessage {
        server_msg_id: Snowflake,
        client_msg_id: &'a str,
        conversation_id: ConversationId,
        from_user: &'a UserId,
        from_name: &'a str,
        #[serde(flatten)]
        to: To<'a>,
        content: &'a str,
        msg_type: &'static str,
        created_at: String,
    },
    MessageRead {
        message_id: Snowflake,
        conversation_id: ConversationId,
        #[serde(skip_serializing_if = "Option::is_none")]
        group_id: Option<GroupId>,
        read_by: &'a UserId,
        read_at: String,
    },
    MessageRecalled {
        message_id: Snowflake,
        conversation_id: ConversationId,
        recalled_by: &'a UserId,
        recalled_at: String,
    },
    Typing {
        from_user: &'a UserId,
        #[serde(flatten)]
        to: To<'a>,
        typing: bool,
    },
    Presence {
        user_id: &'a UserId,
        status: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        last_seen: Option<String>,
    },
    GroupChanged {
        group_id: GroupId,
        conversation_id: ConversationId,
        change: &'static str,
        by_user: &'a UserId,
        #[serde(flatten)]
        detail: GroupDetail<'a>,
    },
}

/// `to_user` or `group_id`.
#[derive(Serialize)]
enum To<'a> {
    #[serde(rename = "to_user")]
    User(&'a UserId),
    #[serde(rename = "group_id")]
    Group(GroupId),
}

impl<'a> From<&'a Recipient> for To<'a> {
    fn from(to: &'a Recipient) -> Self {
        match to {
            Recipient::User(user) => Self::User(user),
            Recipient::Group(group) => Self::Group(*group),
        }
    }
}

#[derive(Default, Serialize)]
struct GroupDetail<'a> {
    #[serde(skip_serializing_if = "<[UserId]>::is_empty")]
    user_ids: &'a [UserId],
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<GroupRole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_id: Option<&'a UserId>,
}

/// The notice as the JSON text of one socket message.
#[must_use]
pub fn encode(notice: &Notice) -> Vec<u8> {
    let push = match notice {
        Notice::Message(message) => new_message(message),
        Notice::Read { message_id, conversation_id, group_id, by, at_ms } => Push::MessageRead {
            message_id: *message_id,
            conversation_id: *conversation_id,
            group_id: *group_id,
            read_by: by,
            read_at: rfc3339_ms(*at_ms),
        },
        Notice::Recalled { message_id, conversation_id, by, at_ms } => Push::MessageRecalled {
            message_id: *message_id,
            conversation_id: *conversation_id,
            recalled_by: by,
            recalled_at: rfc3339_ms(*at_ms),
        },
        Notice::Typing { from, to, typing } => Push::Typing { from_user: from, to: to.into(), typing: *typing },
        Notice::Presence { user, online, last_seen_ms } => Push::Presence {
            user_id: user,
            status: if *online { "online" } else { "offline" },
            last_seen: last_seen_ms.map(rfc3339_ms),
        },
        Notice::Group { group_id, by, done } => Push::GroupChanged {
            group_id: *group_id,
            conversation_id: group_id.conversation(),
            change: done.as_str(),
            by_user: by,
            detail: detail(done),
        },
    };
    serde_json::to_vec(&push).unwrap_or_else(|error| unreachable!("plain data: {error}"))
}

fn new_message(message: &Message) -> Push<'_> {
    Push::NewMessage {
        server_msg_id: message.id,
        client_msg_id: &message.client_msg_id,
        conversation_id: message.conversation_id,
        from_user: &message.from_user,
        from_name: &message.from_name,
        to: (&message.to).into(),
        content: &message.content,
        msg_type: message.msg_type.as_str(),
        created_at: rfc3339_ms(message.created_at_ms),
    }
}

fn detail(done: &GroupDone) -> GroupDetail<'_> {
    let of = std::slice::from_ref;
    match done {
        GroupDone::Created { name, users } => GroupDetail { name: Some(name), user_ids: users, ..Default::default() },
        GroupDone::Renamed { name } => GroupDetail { name: Some(name), ..Default::default() },
        GroupDone::MembersAdded { users } => GroupDetail { user_ids: users, ..Default::default() },
        GroupDone::MemberRemoved { user } => GroupDetail { user_ids: of(user), ..Default::default() },
        GroupDone::MemberLeft { user, successor } => {
            GroupDetail { user_ids: of(user), owner_id: successor.as_ref(), ..Default::default() }
        }
        GroupDone::RoleChanged { user, role } => {
            GroupDetail { user_ids: of(user), role: Some(*role), ..Default::default() }
        }
        GroupDone::Closed => GroupDetail::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("an id")
    }

    fn said(notice: &Notice) -> String {
        String::from_utf8(encode(notice)).expect("text")
    }

    #[test]
    fn a_typing_notice_names_its_other_side() {
        let group = Recipient::Group(GroupId(Snowflake(7)));
        let notice = Notice::Typing { from: user("ann"), to: group, typing: true };
        assert_eq!(said(&notice), r#"{"type":"typing","from_user":"ann","group_id":"7","typing":true}"#);
    }

    #[test]
    fn a_group_says_what_changed_and_nothing_else() {
        let done = GroupDone::MemberLeft { user: user("ann"), successor: Some(user("bob")) };
        let notice = Notice::Group { group_id: GroupId(Snowflake(7)), by: user("ann"), done };
        let expected = r#"{"type":"group_changed","group_id":"7","conversation_id":"7","change":"member_left","by_user":"ann","user_ids":["ann"],"owner_id":"bob"}"#;
        assert_eq!(said(&notice), expected);
    }
}
