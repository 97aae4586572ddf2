//! Chat's notices as bytes, for other nodes: `proto/barrage/record/v1/people.proto`.
//!
//! Pure. What a newer node writes and this one does not understand is skipped, never fatal.

use std::str::FromStr;
use std::sync::Arc;

use model::chat::{self, ConversationId, GroupDone, GroupId, GroupRole, MsgType, Recipient};
use model::{DeviceId, Snowflake, UserId};
use prost::Message as _;

use crate::user::{Notice, Sockets};
use log::proto::record::v1 as proto;

/// Notices from one node to other nodes' sockets and long polls of one user.
#[derive(Debug, Clone)]
pub struct UserBatch {
    /// The pushing node.
    pub source: String,
    /// The addressee.
    pub user_id: UserId,
    /// Notices since this moment (Unix milliseconds) were lost.
    pub missed_since_ms: Option<i64>,
    /// Oldest first.
    pub notices: Vec<(Sockets, Notice)>,
}

/// A node's notice to every other node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChanged {
    /// The pushing node.
    pub source: String,
    /// Users whose presence changed.
    pub users: Vec<UserId>,
    /// Any user's presence may have changed.
    pub everybody: bool,
    /// As in [`UserBatch`], for everybody.
    pub missed_since_ms: Option<i64>,
}

/// Malformed bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUserBatch {
    /// Not Protobuf.
    #[error("not a post: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// An impossible name.
    #[error("an impossible user: {0}")]
    User(String),
}

impl UserBatch {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let post = proto::UserPost {
            source: self.source.clone(),
            user_id: self.user_id.to_string(),
            missed_since_ms: self.missed_since_ms.unwrap_or(0),
            notices: self.notices.iter().map(|(sockets, notice)| notice_out(sockets, notice)).collect(),
        };
        post.encode_to_vec()
    }

    /// Decodes a batch, without the notices that this node does not understand.
    ///
    /// # Errors
    /// [`BadUserBatch`] when the bytes are malformed or name an impossible user.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadUserBatch> {
        let post = proto::UserPost::decode(bytes)?;
        let user_id = UserId::new(&post.user_id).map_err(|error| BadUserBatch::User(error.to_string()))?;
        Ok(Self {
            source: post.source,
            user_id,
            missed_since_ms: Some(post.missed_since_ms).filter(|ms| *ms != 0),
            notices: post.notices.into_iter().filter_map(notice_in).collect(),
        })
    }
}

impl PresenceChanged {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let stir = proto::Stir {
            source: self.source.clone(),
            user_ids: names(&self.users),
            everybody: self.everybody,
            missed_since_ms: self.missed_since_ms.unwrap_or(0),
        };
        stir.encode_to_vec()
    }

    /// Decodes one, without impossible names.
    ///
    /// # Errors
    /// [`BadUserBatch`] when the bytes are malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadUserBatch> {
        let stir = proto::Stir::decode(bytes)?;
        Ok(Self {
            source: stir.source,
            users: stir.user_ids.iter().filter_map(|text| user(text)).collect(),
            everybody: stir.everybody,
            missed_since_ms: Some(stir.missed_since_ms).filter(|ms| *ms != 0),
        })
    }
}

fn names(users: &[UserId]) -> Vec<String> {
    users.iter().map(UserId::to_string).collect()
}

fn user(text: &str) -> Option<UserId> {
    UserId::from_str(text).ok()
}

fn notice_out(sockets: &Sockets, notice: &Notice) -> proto::Notice {
    use proto::notice::Sockets as Out;
    let sockets = match sockets {
        Sockets::All => None,
        Sockets::AllBut(one) => Some(Out::AllBut(*one)),
        Sockets::Only(some) => Some(Out::Only(proto::Numbers { numbers: some.to_vec() })),
    };
    proto::Notice { sockets, what: Some(what_out(notice)) }
}

fn what_out(notice: &Notice) -> proto::notice::What {
    use proto::notice::What;
    match notice {
        Notice::Message(message) => What::Message(message_out(message)),
        Notice::Read { message_id, conversation_id, group_id, by, at_ms } => What::Read(proto::Read {
            message_id: message_id.0,
            conversation_id: conversation_id.0.0,
            group_id: group_id.map_or(0, |id| id.0.0),
            by: by.to_string(),
            at_ms: *at_ms,
        }),
        Notice::Recalled { message_id, conversation_id, by, at_ms } => What::Recalled(proto::Recalled {
            message_id: message_id.0,
            conversation_id: conversation_id.0.0,
            by: by.to_string(),
            at_ms: *at_ms,
        }),
        Notice::Edited { message_id, conversation_id, content, at_ms } => What::Edited(proto::Edited {
            message_id: message_id.0,
            conversation_id: conversation_id.0.0,
            content: content.to_string(),
            at_ms: *at_ms,
        }),
        Notice::Reacted { message_id, conversation_id, by, emoji, on, count, change } => {
            What::Reacted(proto::Reacted {
                message_id: message_id.0,
                conversation_id: conversation_id.0.0,
                by: by.to_string(),
                emoji: emoji.to_string(),
                on: *on,
                count: *count,
                change: *change,
            })
        }
        Notice::Typing { from, to, typing } => {
            What::Typing(proto::Typing { from: from.to_string(), to: Some(recipient_out(to)), typing: *typing })
        }
        Notice::Presence { user, online, last_seen_ms } => {
            What::Presence(proto::Presence { user: user.to_string(), online: *online, last_seen_ms: *last_seen_ms })
        }
        Notice::Group { group_id, by, done } => What::Group(group_out(*group_id, by, done)),
        Notice::Replaced { device, since_ms, session } => {
            What::Replaced(proto::Replaced { device_id: device.to_string(), since_ms: *since_ms, session: *session })
        }
        Notice::Acknowledged { event } => What::Acknowledged(proto::Acknowledged { event_id: event.0 }),
    }
}

/// Reactions stay behind: a message is told of when it is new, and its reactions come as changes.
fn message_out(message: &chat::Message) -> proto::Message {
    proto::Message {
        id: message.id.0,
        position: message.position,
        client_msg_id: message.client_msg_id.to_string(),
        conversation_id: message.conversation_id.0.0,
        from_user: message.from_user.to_string(),
        from_name: message.from_name.to_string(),
        to: Some(recipient_out(&message.to)),
        content: message.content.to_string(),
        msg_type: msg_type_out(message.msg_type).into(),
        created_at_ms: message.created_at_ms,
        recalled: message
            .recalled
            .as_ref()
            .map(|recall| proto::Recall { by: recall.by.to_string(), at_ms: recall.at_ms }),
        reply_to: message.reply_to.map_or(0, |id| id.0),
        edited_at_ms: message.edited_at_ms,
    }
}

fn recipient_out(to: &Recipient) -> proto::Recipient {
    use proto::recipient::To;
    let to = match to {
        Recipient::User(user) => To::User(user.to_string()),
        Recipient::Group(group) => To::Group(group.0.0),
    };
    proto::Recipient { to: Some(to) }
}

fn group_out(group_id: GroupId, by: &UserId, done: &GroupDone) -> proto::GroupChanged {
    use proto::GroupDone as Out;
    let mut changed = proto::GroupChanged { group_id: group_id.0.0, by: by.to_string(), ..Default::default() };
    let done = match done {
        GroupDone::Created { name, users } => {
            (changed.name, changed.users) = (name.to_string(), names(users));
            Out::Created
        }
        GroupDone::Renamed { name } => {
            changed.name = name.to_string();
            Out::Renamed
        }
        GroupDone::MembersAdded { users } => {
            changed.users = names(users);
            Out::MembersAdded
        }
        GroupDone::MemberRemoved { user } => {
            changed.users = vec![user.to_string()];
            Out::MemberRemoved
        }
        GroupDone::MemberLeft { user, successor } => {
            changed.users = vec![user.to_string()];
            changed.successor = successor.as_ref().map(UserId::to_string).unwrap_or_default();
            Out::MemberLeft
        }
        GroupDone::RoleChanged { user, role } => {
            changed.users = vec![user.to_string()];
            changed.set_role(role_out(*role));
            Out::RoleChanged
        }
        GroupDone::Closed => Out::Closed,
    };
    changed.set_done(done);
    changed
}

fn notice_in(notice: proto::Notice) -> Option<(Sockets, Notice)> {
    use proto::notice::Sockets as In;
    let sockets = match notice.sockets {
        None => Sockets::All,
        Some(In::AllBut(one)) => Sockets::AllBut(one),
        Some(In::Only(some)) => Sockets::Only(some.numbers.into()),
    };
    Some((sockets, what_in(notice.what?)?))
}

fn what_in(what: proto::notice::What) -> Option<Notice> {
    use proto::notice::What;
    Some(match what {
        What::Message(message) => Notice::Message(Arc::new(message_in(message)?)),
        What::Read(read) => Notice::Read {
            message_id: Snowflake(read.message_id),
            conversation_id: conversation(read.conversation_id),
            group_id: Some(GroupId(Snowflake(read.group_id))).filter(|id| id.0.0 > 0),
            by: user(&read.by)?,
            at_ms: read.at_ms,
        },
        What::Recalled(recalled) => Notice::Recalled {
            message_id: Snowflake(recalled.message_id),
            conversation_id: conversation(recalled.conversation_id),
            by: user(&recalled.by)?,
            at_ms: recalled.at_ms,
        },
        What::Edited(edited) => Notice::Edited {
            message_id: Snowflake(edited.message_id),
            conversation_id: conversation(edited.conversation_id),
            content: edited.content.into(),
            at_ms: edited.at_ms,
        },
        What::Reacted(reacted) => Notice::Reacted {
            message_id: Snowflake(reacted.message_id),
            conversation_id: conversation(reacted.conversation_id),
            by: user(&reacted.by)?,
            emoji: reacted.emoji.into(),
            on: reacted.on,
            count: reacted.count,
            change: reacted.change,
        },
        What::Typing(typing) => {
            Notice::Typing { from: user(&typing.from)?, to: recipient_in(typing.to?)?, typing: typing.typing }
        }
        What::Presence(presence) => Notice::Presence {
            user: user(&presence.user)?,
            online: presence.online,
            last_seen_ms: presence.last_seen_ms,
        },
        What::Group(changed) => Notice::Group {
            group_id: GroupId(Snowflake(changed.group_id)),
            by: user(&changed.by)?,
            done: group_in(&changed)?,
        },
        What::Replaced(replaced) => Notice::Replaced {
            device: DeviceId::new(&replaced.device_id).ok()?,
            since_ms: replaced.since_ms,
            session: replaced.session,
        },
        What::Acknowledged(acknowledged) => Notice::Acknowledged { event: Snowflake(acknowledged.event_id) },
    })
}

fn conversation(number: u64) -> ConversationId {
    ConversationId(Snowflake(number))
}

fn message_in(message: proto::Message) -> Option<chat::Message> {
    let msg_type = msg_type_in(message.msg_type());
    let recalled = match message.recalled {
        Some(recall) => Some(chat::Recall { by: user(&recall.by)?, at_ms: recall.at_ms }),
        None => None,
    };
    Some(chat::Message {
        id: Snowflake(message.id),
        position: message.position,
        client_msg_id: message.client_msg_id.into(),
        conversation_id: conversation(message.conversation_id),
        from_user: user(&message.from_user)?,
        from_name: message.from_name.into(),
        to: recipient_in(message.to?)?,
        content: message.content.into(),
        msg_type,
        created_at_ms: message.created_at_ms,
        reply_to: Some(Snowflake(message.reply_to)).filter(|id| id.0 > 0),
        edited_at_ms: message.edited_at_ms,
        reactions: Box::default(),
        recalled,
    })
}

fn recipient_in(recipient: proto::Recipient) -> Option<Recipient> {
    use proto::recipient::To;
    Some(match recipient.to? {
        To::User(text) => Recipient::User(user(&text)?),
        To::Group(group) => Recipient::Group(GroupId(Snowflake(group))),
    })
}

fn group_in(changed: &proto::GroupChanged) -> Option<GroupDone> {
    use proto::GroupDone as In;
    let users = || changed.users.iter().map(|text| user(text)).collect::<Option<Vec<_>>>();
    let one = || users().and_then(|users| users.into_iter().next());
    let name = || changed.name.clone().into_boxed_str();
    Some(match changed.done() {
        In::Unknown => return None,
        In::Created => GroupDone::Created { name: name(), users: users()? },
        In::Renamed => GroupDone::Renamed { name: name() },
        In::MembersAdded => GroupDone::MembersAdded { users: users()? },
        In::MemberRemoved => GroupDone::MemberRemoved { user: one()? },
        In::MemberLeft => GroupDone::MemberLeft { user: one()?, successor: user(&changed.successor) },
        In::RoleChanged => GroupDone::RoleChanged { user: one()?, role: role_in(changed.role()) },
        In::Closed => GroupDone::Closed,
    })
}

fn msg_type_out(msg_type: MsgType) -> proto::MsgType {
    match msg_type {
        MsgType::Text => proto::MsgType::Text,
        MsgType::Image => proto::MsgType::Image,
        MsgType::Video => proto::MsgType::Video,
        MsgType::File => proto::MsgType::File,
        MsgType::Encrypted => proto::MsgType::Encrypted,
    }
}

fn msg_type_in(msg_type: proto::MsgType) -> MsgType {
    match msg_type {
        proto::MsgType::Text => MsgType::Text,
        proto::MsgType::Image => MsgType::Image,
        proto::MsgType::Video => MsgType::Video,
        proto::MsgType::File => MsgType::File,
        proto::MsgType::Encrypted => MsgType::Encrypted,
    }
}

fn role_out(role: GroupRole) -> proto::GroupRole {
    match role {
        GroupRole::Member => proto::GroupRole::Member,
        GroupRole::Admin => proto::GroupRole::Admin,
        GroupRole::Owner => proto::GroupRole::Owner,
    }
}

fn role_in(role: proto::GroupRole) -> GroupRole {
    match role {
        proto::GroupRole::Member => GroupRole::Member,
        proto::GroupRole::Admin => GroupRole::Admin,
        proto::GroupRole::Owner => GroupRole::Owner,
    }
}

#[cfg(test)]
mod tests {
    use model::chat::{Message, Recall};
    use proptest::prelude::*;

    use super::*;

    fn any_user() -> impl Strategy<Value = UserId> {
        "[A-Za-z0-9_:@-][A-Za-z0-9_.:@-]{0,63}".prop_map(|text| UserId::new(&text).expect("an id"))
    }

    fn any_id() -> impl Strategy<Value = Snowflake> {
        (1u64..=i64::MAX as u64).prop_map(Snowflake)
    }

    fn any_recipient() -> impl Strategy<Value = Recipient> {
        prop_oneof![any_user().prop_map(Recipient::User), any_id().prop_map(|id| Recipient::Group(GroupId(id)))]
    }

    fn any_sockets() -> impl Strategy<Value = Sockets> {
        prop_oneof![
            Just(Sockets::All),
            any::<u64>().prop_map(Sockets::AllBut),
            prop::collection::vec(any::<u64>(), 0..4).prop_map(|some| Sockets::Only(some.into())),
        ]
    }

    prop_compose! {
        fn any_message()(
            id in any_id(), position: u64, client_msg_id in ".{1,64}", conversation in any_id(), from_user in any_user(),
            from_name in ".{0,32}", to in any_recipient(), content in ".{0,200}", created_at_ms: i64,
            msg_type in prop::sample::select(vec![
                MsgType::Text, MsgType::Image, MsgType::Video, MsgType::File, MsgType::Encrypted,
            ]),
            recalled in prop::option::of((any_user(), any::<i64>())),
            (reply_to, edited_at_ms) in (prop::option::of(any_id()), any::<Option<i64>>()),
        ) -> Message {
            Message {
                id, position, client_msg_id: client_msg_id.into(), conversation_id: ConversationId(conversation),
                from_user, from_name: from_name.into(), to, content: content.into(), msg_type, created_at_ms,
                reply_to, edited_at_ms, reactions: Box::default(),
                recalled: recalled.map(|(by, at_ms)| Recall { by, at_ms }),
            }
        }
    }

    fn any_done() -> impl Strategy<Value = GroupDone> {
        let users = || prop::collection::vec(any_user(), 0..4);
        let name = || ".{0,20}".prop_map(String::into_boxed_str);
        let role = prop::sample::select(vec![GroupRole::Member, GroupRole::Admin, GroupRole::Owner]);
        prop_oneof![
            (name(), users()).prop_map(|(name, users)| GroupDone::Created { name, users }),
            name().prop_map(|name| GroupDone::Renamed { name }),
            users().prop_map(|users| GroupDone::MembersAdded { users }),
            any_user().prop_map(|user| GroupDone::MemberRemoved { user }),
            (any_user(), prop::option::of(any_user()))
                .prop_map(|(user, successor)| GroupDone::MemberLeft { user, successor }),
            (any_user(), role).prop_map(|(user, role)| GroupDone::RoleChanged { user, role }),
            Just(GroupDone::Closed),
        ]
    }

    fn any_notice() -> impl Strategy<Value = Notice> {
        let place = || (any_id(), any_id(), any_user(), any::<i64>());
        prop_oneof![
            any_message().prop_map(|message| Notice::Message(Arc::new(message))),
            (place(), prop::option::of(any_id())).prop_map(|((message_id, conversation, by, at_ms), group)| {
                let conversation_id = ConversationId(conversation);
                Notice::Read { message_id, conversation_id, group_id: group.map(GroupId), by, at_ms }
            }),
            place().prop_map(|(message_id, conversation, by, at_ms)| {
                Notice::Recalled { message_id, conversation_id: ConversationId(conversation), by, at_ms }
            }),
            (place(), ".{0,200}").prop_map(|((message_id, conversation, _, at_ms), content)| {
                Notice::Edited {
                    message_id,
                    conversation_id: ConversationId(conversation),
                    content: content.into(),
                    at_ms,
                }
            }),
            (place(), any::<(bool, u32, u64)>()).prop_map(
                |((message_id, conversation, by, _), (on, count, change))| {
                    let (conversation_id, emoji) = (ConversationId(conversation), "👍".into());
                    Notice::Reacted { message_id, conversation_id, by, emoji, on, count, change }
                }
            ),
            (any_user(), any_recipient(), any::<bool>()).prop_map(|(from, to, typing)| Notice::Typing {
                from,
                to,
                typing
            }),
            (any_user(), any::<bool>(), any::<Option<i64>>())
                .prop_map(|(user, online, last_seen_ms)| Notice::Presence { user, online, last_seen_ms }),
            (any_id(), any_user(), any_done()).prop_map(|(group, by, done)| Notice::Group {
                group_id: GroupId(group),
                by,
                done
            }),
            ("[A-Za-z0-9_:@-][A-Za-z0-9_.:@-]{0,63}", any::<i64>(), any::<u64>()).prop_map(
                |(device, since_ms, session)| {
                    let device = DeviceId::new(&device).expect("an id");
                    Notice::Replaced { device, since_ms, session }
                }
            ),
            any_id().prop_map(|event| Notice::Acknowledged { event }),
        ]
    }

    proptest! {
        #[test]
        fn what_goes_out_comes_in_as_it_was(
            notices in prop::collection::vec((any_sockets(), any_notice()), 0..6), user_id in any_user(),
            missed in prop::option::of(1i64..),
        ) {
            let post = UserBatch { source: "node-1".into(), user_id, missed_since_ms: missed, notices };
            let back = UserBatch::decode(&post.encode()).expect("ours");
            prop_assert_eq!(format!("{post:?}"), format!("{back:?}"));
        }

        #[test]
        fn so_do_those_who_came_and_went(
            users in prop::collection::vec(any_user(), 0..6), everybody: bool, missed in prop::option::of(1i64..),
        ) {
            let stir = PresenceChanged { source: "node-1".into(), users, everybody, missed_since_ms: missed };
            prop_assert_eq!(PresenceChanged::decode(&stir.encode()), Ok(stir));
        }

        #[test]
        fn no_bytes_are_fatal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (UserBatch::decode(&bytes), PresenceChanged::decode(&bytes));
        }
    }

    #[test]
    fn what_a_newer_node_adds_is_left_out() {
        let unknown = proto::Notice::default();
        let odd = proto::notice::What::Group(proto::GroupChanged { by: "ann".into(), done: 99, ..Default::default() });
        let post = proto::UserPost {
            user_id: "ann".into(),
            notices: vec![unknown.clone(), proto::Notice { what: Some(odd), ..unknown }],
            ..Default::default()
        };
        let back = UserBatch::decode(&post.encode_to_vec()).expect("a post");
        assert!(back.notices.is_empty());
    }
}
