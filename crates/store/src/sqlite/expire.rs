//! Removes what is past its retention.
//!
//! Finding may take long and runs on a reader; removing is bounded and runs on the writer.

use rusqlite::{Connection, OptionalExtension, Result, params};

use super::comments::SessionCounts;
use super::int;
use crate::erasure::PURGE_DAYS;
use crate::retention::{EVENT_DAYS, days_before, first_id_of};

/// What is past its retention, by id; at most the limit of each.
pub(super) struct Expired {
    comments: Vec<i64>,
    reviews: Vec<i64>,
    sessions: Vec<i64>,
}

/// Finds what is past its room's retention.
pub(super) fn find(db: &Connection, now_ms: i64, default_days: u32, limit: usize) -> Result<Expired> {
    let mut found = Expired { comments: Vec::new(), reviews: Vec::new(), sessions: Vec::new() };
    let mut retentions = db.prepare_cached("SELECT DISTINCT coalesce(retention_days, ?) FROM rooms")?;
    let retentions: Vec<u32> = retentions.query_map([default_days], |row| row.get(0))?.collect::<Result<_>>()?;
    for days in retentions {
        let cutoff_ms = days_before(now_ms, days);
        for (list, table, before) in [
            (&mut found.comments, "comments x ON x.room_key = r.room_key AND x.id < ?3", first_id_of(cutoff_ms)),
            (&mut found.reviews, "reviews x ON x.room_key = r.room_key AND x.id < ?3", first_id_of(cutoff_ms)),
            (&mut found.sessions, EMPTY_SESSIONS, cutoff_ms),
        ] {
            let wanted = int(limit.saturating_sub(list.len()));
            let mut sql = db.prepare_cached(&format!(
                "SELECT x.id FROM rooms r CROSS JOIN {table} WHERE coalesce(r.retention_days, ?1) = ?2 LIMIT ?4"
            ))?;
            for id in sql.query_map(params![default_days, days, before, wanted], |row| row.get(0))? {
                list.push(id?);
            }
        }
    }
    Ok(found)
}

const EMPTY_SESSIONS: &str = "sessions x ON x.room_key = r.room_key AND x.ended_at_ms < ?3
     AND NOT EXISTS (SELECT 1 FROM comments c WHERE c.session_id = x.id)
     AND NOT EXISTS (SELECT 1 FROM archive_segments a WHERE a.session_id = x.id)";

/// Removes what was found, and what expires in all rooms alike. Returns how many comments it removed.
pub(super) fn remove(
    db: &Connection,
    expired: &Expired,
    now_ms: i64,
    client_msg_days: u32,
    limit: usize,
) -> Result<u64> {
    let removed = remove_comments(db, &expired.comments)?;
    let mut review = db.prepare_cached("DELETE FROM reviews WHERE id = ?")?;
    for id in &expired.reviews {
        review.execute([id])?;
    }
    remove_sessions(db, &expired.sessions, limit)?;
    let limited = |sql: &str, before: i64| db.prepare_cached(sql)?.execute(params![before, int(limit)]).map(|_| ());
    limited(
        "DELETE FROM client_msg_ids WHERE id IN (SELECT id FROM client_msg_ids WHERE id < ? LIMIT ?)",
        first_id_of(days_before(now_ms, client_msg_days)),
    )?;
    limited(
        "DELETE FROM documents WHERE line IN (SELECT line FROM documents
             WHERE kind = 'gift' AND state IN ('counted', 'shown') AND due_ms < ? LIMIT ?)",
        days_before(now_ms, client_msg_days),
    )?;
    limited("DELETE FROM bans WHERE id IN (SELECT id FROM bans WHERE until_ms <= ? LIMIT ?)", now_ms)?;
    limited(
        "DELETE FROM unacknowledged_events WHERE (user_id, event_id) IN
             (SELECT user_id, event_id FROM unacknowledged_events WHERE event_id < ? LIMIT ?)",
        first_id_of(days_before(now_ms, EVENT_DAYS)),
    )?;
    limited(
        "DELETE FROM purges WHERE (user_id, room_id) IN
             (SELECT user_id, room_id FROM purges WHERE before_ms < ? LIMIT ?)",
        days_before(now_ms, PURGE_DAYS),
    )?;
    Ok(removed)
}

fn remove_comments(db: &Connection, ids: &[i64]) -> Result<u64> {
    let mut sql = db.prepare_cached("DELETE FROM comments WHERE id = ? RETURNING session_id, deleted")?;
    let (mut removed, mut counts) = (0, SessionCounts::default());
    for id in ids {
        let gone: Option<(Option<i64>, bool)> = sql.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if let Some((session, deleted)) = gone {
            removed += 1;
            counts.add(session.filter(|_| !deleted), -1);
        }
    }
    counts.write(db)?;
    Ok(removed)
}

/// Removes a session after its gifts, which may take several calls.
fn remove_sessions(db: &Connection, ids: &[i64], limit: usize) -> Result<()> {
    let mut gifts = db.prepare_cached(
        "DELETE FROM gifts WHERE (session_id, user_id) IN
             (SELECT session_id, user_id FROM gifts WHERE session_id = ? LIMIT ?)",
    )?;
    let mut session = db.prepare_cached("DELETE FROM sessions WHERE id = ?")?;
    let mut left = limit;
    for id in ids {
        left -= gifts.execute([*id, int(left)])?.min(left);
        if left == 0 {
            break;
        }
        session.execute([id])?;
        for archived in
            ["DELETE FROM archive_users WHERE session_id = ?", "DELETE FROM archive_likes WHERE session_id = ?"]
        {
            db.prepare_cached(archived)?.execute([id])?;
        }
        // What it showed beside comments.
        db.prepare_cached("DELETE FROM documents WHERE kind = 'moment' AND state = ?")?.execute([id.to_string()])?;
    }
    Ok(())
}
