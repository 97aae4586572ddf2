//! Rankings of ended sessions, counted once and kept in the store.
//!
//! Counting means reading all of a session's comments. Once a session has been over for a while nothing changes its ranking
//! but a purge, which removes what is kept here. Used by [`crate::leaderboards`] when it reads a session's scores.

use model::{RoomId, Score, Session};
use store::{Document, Scores, Store, StoreError};

/// The kind of the documents; a purge knows it.
const KIND: &str = store::RANKING;
/// A session is settled so long after its end, in milliseconds: a spool may still hold comments of it.
const SETTLED_MS: i64 = 3_600_000;
/// Users kept: more than can be read.
const USERS_MAX: usize = 10_000;

type Row = (String, String, u64, u64, u64);

/// The scores of a session: as they were kept, or counted now, and kept if nothing will change them.
pub(crate) async fn scores(store: &dyn Store, session: &Session, now_ms: i64) -> Result<Scores, StoreError> {
    let is_settled = session.ended_at_ms.is_some_and(|ended_at_ms| now_ms - ended_at_ms > SETTLED_MS);
    if !is_settled {
        return store.scores(session.id).await;
    }
    let id = session.id.to_string();
    if let Some(kept) = store.document(KIND, &id).await?
        && let Ok(rows) = serde_json::from_str::<Vec<Row>>(&kept.body)
    {
        return Ok(Scores { users: rows.into_iter().filter_map(score).collect(), seen: Vec::new() });
    }
    let scores = store.scores(session.id).await?;
    store.add_document(&document(&session.room_id, id, &scores)).await?;
    Ok(scores)
}

fn document(room: &RoomId, id: String, scores: &Scores) -> Document {
    let mut best: Vec<&Score> = scores.users.iter().collect();
    best.sort_unstable_by(|a, b| (b.score, a.reached, &a.user_id).cmp(&(a.score, b.reached, &b.user_id)));
    let rows = best.into_iter().take(USERS_MAX);
    let rows: Vec<(&str, &str, u64, u64, u64)> =
        rows.map(|one| (one.user_id.as_str(), &*one.username, one.score, one.given, one.reached)).collect();
    let body = serde_json::to_string(&rows).unwrap_or_default();
    Document { kind: KIND, id, room_id: Some(room.clone()), body, ..Document::default() }
}

fn score((user_id, username, score, given, reached): Row) -> Option<Score> {
    Some(Score { user_id: user_id.parse().ok()?, username, score, given, reached })
}
