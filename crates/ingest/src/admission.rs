//! Where comments are decided about: in this process, or by a node with the role `ingest`.
//!
//! Called by the gateway and the API, which cannot tell. Here a comment costs what it always did; elsewhere it crosses
//! the network with its verified sender, and the answer comes back as the client is to see it.

use std::sync::Arc;
use std::task::Waker;

use async_trait::async_trait;
use bus::Submission;
use bus::grpc::{Admit, IngestNodes, NoAnswer};
use bus::proto::cluster::v1::admit_response::Outcome;
use bus::proto::cluster::v1::{self as wire, AdmitRequest, AdmitResponse};
use model::{Code, CommentStatus, Identity, RoomId, Snowflake, Style, UserId, WireError};
use protocol::message::CommentDraft;
use tokio::runtime::Handle;

use crate::{Admitted, Ingest, here};

/// Where comments are decided about.
#[derive(Clone)]
pub enum Admission {
    /// In this process.
    Here(Arc<Ingest>),
    /// By nodes with the role `ingest`.
    Elsewhere(Arc<IngestNodes>),
}

impl Admission {
    /// Takes a comment into a room.
    ///
    /// # Errors
    /// Says why not, as the client is to see it.
    pub async fn admit(&self, who: &Identity, room: &RoomId, draft: CommentDraft) -> Result<Admitted, WireError> {
        match self {
            Self::Here(ingest) => Ok(ingest.admit(who, room, draft).await?),
            Self::Elsewhere(nodes) => {
                let answer = nodes.admit(&who.user_id, to_wire(who, room, draft)).await;
                from_wire(answer.map_err(no_answer)?)
            }
        }
    }

    /// As [`Ingest::admit_then`], wherever that is.
    pub fn admit_then(
        &self,
        runtime: &Handle,
        who: &Identity,
        room: &RoomId,
        draft: CommentDraft,
        then: impl FnOnce(Result<Admitted, WireError>) -> Option<Waker> + Send + 'static,
    ) -> Option<Submission> {
        match self {
            Self::Here(ingest) => {
                ingest.admit_then(runtime, who, room, draft, |outcome| then(outcome.map_err(WireError::from)))
            }
            Self::Elsewhere(_) => {
                let (here, who, room) = (self.clone(), who.clone(), room.clone());
                here::spawn(runtime, async move {
                    let woken = then(here.admit(&who, &room, draft).await);
                    woken.inspect(Waker::wake_by_ref);
                });
                None
            }
        }
    }
}

/// Comments of other nodes.
#[async_trait]
impl Admit for Ingest {
    async fn admit(&self, request: AdmitRequest) -> AdmitResponse {
        let outcome = match read(request) {
            Ok((who, room, draft)) => Self::admit(self, &who, &room, draft).await.map_err(WireError::from),
            Err(error) => Err(error),
        };
        answer(outcome)
    }
}

fn no_answer(failure: NoAnswer) -> WireError {
    match failure {
        NoAnswer::Full => WireError::new(Code::Overloaded, "too many comments; try again").retry_after_ms(1_000),
        NoAnswer::Unsent => WireError::unavailable(),
        NoAnswer::Lost => WireError::new(Code::Unavailable, "the answer was lost; the comment may have been taken")
            .retry_after_ms(1_000),
    }
}

fn to_wire(who: &Identity, room: &RoomId, draft: CommentDraft) -> AdmitRequest {
    let sender = wire::Identity {
        user_id: who.user_id.to_string(),
        username: who.username.to_string(),
        level: bus::proto::record::v1::Level::from(who.level).into(),
        certain_rooms: who.rooms.is_some(),
        this_room: who.may_enter(room),
        expires_at_ms: who.expires_at_ms,
        issued_at_ms: who.issued_at_ms,
    };
    let style = draft.style.map(|style| wire::Style {
        mode: bus::proto::record::v1::Mode::from(style.mode).into(),
        color: style.color,
        size: bus::proto::record::v1::Size::from(style.size).into(),
    });
    let draft = wire::Draft {
        content: draft.content,
        client_msg_id: draft.client_msg_id,
        style,
        mentions: draft.mentions.iter().map(UserId::to_string).collect(),
        session_id: draft.session_id.map(|id| id.0),
        offset_ms: draft.offset_ms,
    };
    AdmitRequest { call: 0, who: Some(sender), room_id: room.to_string(), draft: Some(draft) }
}

/// The comment of another node. A newer node may say what this one does not understand.
fn read(request: AdmitRequest) -> Result<(Identity, RoomId, CommentDraft), WireError> {
    let not_understood = |_| WireError::invalid("the node that decides does not understand this comment");
    let missing = || WireError::invalid("a comment needs a sender and a draft");
    let (who, draft) = (request.who.ok_or_else(missing)?, request.draft.ok_or_else(missing)?);
    let room = RoomId::new(&request.room_id).map_err(not_understood)?;
    let level = who.level().into();
    // Of the rooms a token names only this one matters here.
    let rooms = who.certain_rooms.then(|| who.this_room.then(|| room.clone()).into_iter().collect());
    let identity = Identity {
        user_id: UserId::new(&who.user_id).map_err(not_understood)?,
        username: who.username.into(),
        level,
        rooms,
        expires_at_ms: who.expires_at_ms,
        issued_at_ms: who.issued_at_ms,
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
    };
    Ok((identity, room, draft))
}

fn answer(outcome: Result<Admitted, WireError>) -> AdmitResponse {
    let outcome = match outcome {
        Ok(Admitted { id, status, created_at_ms }) => Outcome::Admitted(wire::Admitted {
            id: id.0,
            pending_review: status == CommentStatus::PendingReview,
            created_at_ms,
        }),
        Err(WireError { code, message, retry_after_ms }) => Outcome::Refused(wire::Refused {
            code: code.as_str().to_owned(),
            message: message.into_owned(),
            retry_after_ms,
        }),
    };
    AdmitResponse { call: 0, outcome: Some(outcome) }
}

fn from_wire(answer: AdmitResponse) -> Result<Admitted, WireError> {
    match answer.outcome {
        Some(Outcome::Admitted(wire::Admitted { id, pending_review, created_at_ms })) => {
            let status = if pending_review { CommentStatus::PendingReview } else { CommentStatus::Accepted };
            Ok(Admitted { id: Snowflake(id), status, created_at_ms })
        }
        Some(Outcome::Refused(wire::Refused { code, message, retry_after_ms })) => {
            // A newer node's code is one that clients of this version do not know either.
            let code = Code::named(&code).unwrap_or(Code::Unavailable);
            Err(WireError { code, message: message.into(), retry_after_ms })
        }
        None => Err(WireError::unavailable()),
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
        fn any_user()(text in "[A-Za-z0-9_.:@-]{1,64}") -> UserId {
            UserId::new(&text).expect("an id")
        }
    }

    prop_compose! {
        fn any_identity()(
            user_id in any_user(), username in ".{1,32}", expires_at_ms: Option<i64>, issued_at_ms: i64,
            level in prop::sample::select(vec![Level::Normal, Level::Vip, Level::Owner, Level::Moderator, Level::Admin]),
            rooms in prop::option::of(prop::sample::select(vec![vec![], vec![hall()]])),
        ) -> Identity {
            let rooms = rooms.map(Into::into);
            Identity { user_id, username: username.into(), level, rooms, expires_at_ms, issued_at_ms }
        }
    }

    prop_compose! {
        fn any_draft()(
            content in ".{0,200}", client_msg_id in prop::option::of(".{0,64}"), offset_ms: Option<i64>,
            mentions in prop::collection::vec(any_user(), 0..4), session in prop::option::of(1..=u64::MAX),
            mode in prop::sample::select(vec![Mode::Scroll, Mode::Top, Mode::Bottom]), color in 0u32..=0xFF_FF_FF,
            size in prop::sample::select(vec![Size::Small, Size::Normal, Size::Large]), styled: bool,
        ) -> CommentDraft {
            let style = styled.then_some(Style { mode, color, size });
            let session_id = session.map(Snowflake);
            CommentDraft { room_id: None, content, client_msg_id, style, mentions, session_id, offset_ms }
        }
    }

    proptest! {
        #[test]
        fn a_comment_arrives_as_it_was_sent(who in any_identity(), draft in any_draft()) {
            let arrived = read(to_wire(&who, &hall(), draft.clone()));
            prop_assert_eq!(arrived, Ok((who, hall(), draft)));
        }

        #[test]
        fn an_answer_arrives_as_it_was_given(
            id: u64, pending: bool, created_at_ms: i64, code in prop::sample::select(Code::ALL.to_vec()),
            message in ".{0,60}", retry_after_ms: Option<u64>,
        ) {
            let status = if pending { CommentStatus::PendingReview } else { CommentStatus::Accepted };
            let admitted = Ok(Admitted { id: Snowflake(id), status, created_at_ms });
            prop_assert_eq!(from_wire(answer(admitted.clone())), admitted);
            let refused = Err(WireError { code, message: message.into(), retry_after_ms });
            prop_assert_eq!(from_wire(answer(refused.clone())), refused);
        }
    }

    #[test]
    fn what_a_newer_node_says_is_never_fatal() {
        let refused = wire::Refused { code: "of_tomorrow".into(), message: "later".into(), retry_after_ms: Some(7) };
        let error = from_wire(AdmitResponse { call: 1, outcome: Some(Outcome::Refused(refused)) });
        assert_eq!(error, Err(WireError::new(Code::Unavailable, "later").retry_after_ms(7)));
        assert!(from_wire(AdmitResponse { call: 1, outcome: None }).is_err());
        assert!(read(AdmitRequest::default()).is_err());
    }
}
