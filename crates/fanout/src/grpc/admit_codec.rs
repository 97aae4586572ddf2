//! Encodes comments and answers between nodes (`proto/barrage/cluster/v1/cluster.proto`).
//!
//! Both ends of the `Admit` stream call it. What a newer node writes and this version does not understand becomes a refusal,
//! never a failure of the stream.

use model::moderation::{RoomRole, Standing};
use model::{Admitted, Code, CommentStatus, Identity, RoomId, Snowflake, Style, UserId, WireError};
use protocol::message::CommentDraft;

use crate::proto::cluster::v1::admit_response::Outcome;
use crate::proto::cluster::v1::{self as wire, AdmitRequest};

pub(super) fn encode_request(who: &Identity, room: &RoomId, draft: CommentDraft) -> AdmitRequest {
    let standing = who.standing.as_deref().cloned().unwrap_or_default();
    let sender = wire::Identity {
        user_id: who.user_id.to_string(),
        username: who.username.to_string(),
        level: log::proto::record::v1::Level::from(who.level).into(),
        certain_rooms: who.rooms.is_some(),
        this_room: who.may_enter(room),
        expires_at_ms: who.expires_at_ms,
        issued_at_ms: who.issued_at_ms,
        followed_at_ms: standing.followed_at_ms,
        created_at_ms: standing.created_at_ms,
        verified: standing.verified,
        role: standing.roles.get(room).map_or(0, |role| *role as u32),
    };
    let style = draft.style.map(|style| wire::Style {
        mode: log::proto::record::v1::Mode::from(style.mode).into(),
        color: style.color,
        size: log::proto::record::v1::Size::from(style.size).into(),
    });
    let draft = wire::Draft {
        content: draft.content,
        client_msg_id: draft.client_msg_id,
        style,
        mentions: draft.mentions.iter().map(UserId::to_string).collect(),
        session_id: draft.session_id.map(|id| id.0),
        offset_ms: draft.offset_ms,
        address: draft.address.map(|address| address.to_string()).unwrap_or_default(),
    };
    AdmitRequest { call: 0, who: Some(sender), room_id: room.to_string(), draft: Some(draft) }
}

/// A comment from another node.
pub(super) fn decode_request(request: AdmitRequest) -> Result<(Identity, RoomId, CommentDraft), WireError> {
    let not_understood = |_| WireError::invalid("the node that decides does not understand this comment");
    let missing = || WireError::invalid("a comment needs a sender and a draft");
    let (who, draft) = (request.who.ok_or_else(missing)?, request.draft.ok_or_else(missing)?);
    let room = RoomId::new(&request.room_id).map_err(not_understood)?;
    let level = who.level().into();
    let standing = Standing {
        followed_at_ms: who.followed_at_ms,
        created_at_ms: who.created_at_ms,
        verified: who.verified,
        roles: role(who.role).map(|role| (room.clone(), role)).into_iter().collect(),
    };
    // Of the rooms that the token names only this one matters here.
    let rooms = who.certain_rooms.then(|| who.this_room.then(|| room.clone()).into_iter().collect());
    let identity = Identity {
        user_id: UserId::new(&who.user_id).map_err(not_understood)?,
        username: who.username.into(),
        level,
        rooms,
        expires_at_ms: who.expires_at_ms,
        issued_at_ms: who.issued_at_ms,
        standing: (standing != Standing::default()).then(|| standing.into()),
    };
    let mentions = draft.mentions.iter().map(|user| UserId::new(user)).collect::<Result<_, _>>();
    let style = |style: wire::Style| Style {
        mode: style.mode().into(),
        color: style.color & 0xFF_FF_FF,
        size: style.size().into(),
    };
    let draft = CommentDraft {
        room_id: None,
        content: draft.content,
        client_msg_id: draft.client_msg_id,
        style: draft.style.map(style),
        mentions: mentions.map_err(not_understood)?,
        session_id: draft.session_id.map(Snowflake),
        offset_ms: draft.offset_ms,
        address: draft.address.parse().ok(),
    };
    Ok((identity, room, draft))
}

fn role(number: u32) -> Option<RoomRole> {
    [RoomRole::Auditor, RoomRole::Helper, RoomRole::Moderator].into_iter().find(|role| *role as u32 == number)
}

pub(super) fn encode_answer(outcome: Result<Admitted, WireError>) -> Outcome {
    match outcome {
        Ok(Admitted { id, status, created_at_ms }) => Outcome::Admitted(wire::Admitted {
            id: id.0,
            pending_review: status == CommentStatus::PendingReview,
            created_at_ms,
        }),
        Err(WireError { code, message, retry_after_ms, rule, .. }) => Outcome::Refused(wire::Refused {
            code: code.as_str().to_owned(),
            message: message.into_owned(),
            retry_after_ms,
            rule: rule.unwrap_or_default().into_owned(),
        }),
    }
}

pub(super) fn decode_answer(outcome: Option<Outcome>) -> Result<Admitted, WireError> {
    match outcome {
        Some(Outcome::Admitted(wire::Admitted { id, pending_review, created_at_ms })) => {
            let status = if pending_review { CommentStatus::PendingReview } else { CommentStatus::Accepted };
            Ok(Admitted { id: Snowflake(id), status, created_at_ms })
        }
        Some(Outcome::Refused(wire::Refused { code, message, retry_after_ms, rule })) => {
            // A newer node's code is one that clients of this version do not know either.
            let code = Code::named(&code).unwrap_or(Code::Unavailable);
            let rule = Some(rule).filter(|rule| !rule.is_empty()).map(Into::into);
            Err(WireError { rule, retry_after_ms, ..WireError::new(code, message) })
        }
        // Its rules panicked, perhaps after the comment was appended.
        None => Err(WireError::unknown_outcome()),
    }
}

#[cfg(test)]
mod tests {
    use model::{Level, Mode, Size};
    use proptest::prelude::*;

    use super::*;

    fn hall() -> RoomId {
        RoomId::new("hall").expect("an id")
    }

    prop_compose! {
        fn any_user()(text in "[A-Za-z0-9_:@-][A-Za-z0-9_.:@-]{0,63}") -> UserId {
            UserId::new(&text).expect("an id")
        }
    }

    prop_compose! {
        fn any_identity()(
            user_id in any_user(), username in ".{1,32}", expires_at_ms: Option<i64>, issued_at_ms: i64,
            level in prop::sample::select(vec![Level::Normal, Level::Vip, Level::Owner, Level::Moderator, Level::Admin]),
            rooms in prop::option::of(prop::sample::select(vec![vec![], vec![hall()]])),
            (followed_at_ms, created_at_ms, verified, role) in any::<(Option<i64>, Option<i64>, bool, u8)>(),
        ) -> Identity {
            let roles = super::role(u32::from(role % 4)).map(|role| (hall(), role)).into_iter().collect();
            let standing = Standing { followed_at_ms, created_at_ms, verified, roles };
            let standing = (standing != Standing::default()).then(|| standing.into());
            let rooms = rooms.map(Into::into);
            Identity { user_id, username: username.into(), level, rooms, expires_at_ms, issued_at_ms, standing }
        }
    }

    prop_compose! {
        fn any_draft()(
            content in ".{0,200}", client_msg_id in prop::option::of(".{0,64}"), offset_ms: Option<i64>,
            mentions in prop::collection::vec(any_user(), 0..4), session in prop::option::of(1..=u64::MAX),
            mode in prop::sample::select(vec![Mode::Scroll, Mode::Top, Mode::Bottom]), color in 0u32..=0xFF_FF_FF,
            size in prop::sample::select(vec![Size::Small, Size::Normal, Size::Large]), styled: bool,
            address: Option<std::net::IpAddr>,
        ) -> CommentDraft {
            let style = styled.then_some(Style { mode, color, size });
            let session_id = session.map(Snowflake);
            CommentDraft { room_id: None, content, client_msg_id, style, mentions, session_id, offset_ms, address }
        }
    }

    proptest! {
        #[test]
        fn a_comment_arrives_as_it_was_sent(who in any_identity(), draft in any_draft()) {
            let arrived = decode_request(encode_request(&who, &hall(), draft.clone()));
            prop_assert_eq!(arrived, Ok((who, hall(), draft)));
        }

        #[test]
        fn an_answer_arrives_as_it_was_given(
            id: u64, pending: bool, created_at_ms: i64, code in prop::sample::select(Code::ALL.to_vec()),
            message in ".{0,60}", retry_after_ms: Option<u64>, rule in prop::option::of("[a-z_]{1,20}"),
        ) {
            let status = if pending { CommentStatus::PendingReview } else { CommentStatus::Accepted };
            let admitted = Ok(Admitted { id: Snowflake(id), status, created_at_ms });
            prop_assert_eq!(decode_answer(Some(encode_answer(admitted.clone()))), admitted);
            let rule = rule.map(Into::into);
            let refused = Err(WireError { rule, retry_after_ms, ..WireError::new(code, message) });
            prop_assert_eq!(decode_answer(Some(encode_answer(refused.clone()))), refused);
        }
    }

    #[test]
    fn a_newer_node_is_never_fatal() {
        let refused = wire::Refused {
            code: "of_tomorrow".into(),
            message: "later".into(),
            retry_after_ms: Some(7),
            rule: String::new(),
        };
        let error = decode_answer(Some(Outcome::Refused(refused)));
        assert_eq!(error, Err(WireError::new(Code::Unavailable, "later").retry_after_ms(7)));
        assert!(decode_answer(None).is_err());
        assert!(decode_request(AdmitRequest::default()).is_err());
    }
}
