//! What a session showed beside comments, for its replay: pins, polls and questions, each at its time.
//!
//! Kept as documents of the store, which go with their session, and a question with its author's data. A pin is kept without
//! its comment's text, so a deleted comment is never replayed. Called by [`crate::interactions`] and the API.

use model::{EventBody, Poll, Question, RoomId, Snowflake};
use serde::{Deserialize, Serialize};
use store::{Document, DocumentQuery, StoreError};

use crate::Ingest;

/// The kind of the documents; their state is the session, and they are due at the offset in it.
const KIND: &str = "moment";
/// Moments of a session that are replayed.
const MOMENTS_MAX: usize = 2_000;

/// What is kept of a moment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Moment {
    /// A comment stands at the top from here on, or none.
    Pin { comment_id: Option<Snowflake>, until_ms: Option<i64> },
    /// A poll was opened or closed.
    Poll(Poll),
    /// A question was asked or answered.
    Question(Question),
}

impl Ingest {
    /// Keeps a moment of the session that is on. Viewers have seen it: should the store be away, the replay lacks it, and the
    /// store has logged that.
    pub(crate) async fn keep_moment(&self, room: &RoomId, moment: Moment) {
        let Ok(info) = self.rooms.info(room).await else { return };
        let (Some(session), Ok(id)) = (&info.session, self.ids.next()) else { return };
        if !info.settings.store {
            return;
        }
        let user_id = match &moment {
            Moment::Question(question) => Some(question.user_id.clone()),
            Moment::Pin { .. } | Moment::Poll(_) => None,
        };
        let document = Document {
            kind: KIND,
            id: id.to_string(),
            room_id: Some(room.clone()),
            state: session.id.to_string(),
            due_ms: (self.clock.now_ms() - session.started_at_ms).max(0),
            version: 0,
            user_id,
            body: serde_json::to_string(&moment).unwrap_or_default(),
        };
        let _ = self.store.add_document(&document).await;
    }

    /// What a session showed from one offset on and before another, in order, each with its offset.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn moments(
        &self,
        room: &RoomId,
        session: Snowflake,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(i64, EventBody)>, StoreError> {
        let state = session.to_string();
        let query = DocumentQuery {
            kind: KIND,
            rooms: Some(std::slice::from_ref(room)),
            state: Some(&state),
            due_until_ms: Some(to_ms),
            limit: MOMENTS_MAX,
            ..DocumentQuery::default()
        };
        let mut moments = Vec::new();
        for found in self.store.documents(query).await? {
            if !(from_ms..to_ms).contains(&found.due_ms) {
                continue;
            }
            let body = match serde_json::from_str(&found.body) {
                Ok(Moment::Pin { comment_id: Some(id), until_ms }) => {
                    let Some(comment) = self.store.comment(id).await? else { continue };
                    EventBody::Pin { comment: Some(comment), until_ms }
                }
                Ok(Moment::Pin { comment_id: None, .. }) => EventBody::Pin { comment: None, until_ms: None },
                Ok(Moment::Poll(poll)) => EventBody::Poll(poll),
                Ok(Moment::Question(question)) => EventBody::Question(question),
                Err(_) => continue,
            };
            moments.push((found.due_ms, body));
        }
        moments.sort_by_key(|(offset_ms, _)| *offset_ms);
        Ok(moments)
    }
}
