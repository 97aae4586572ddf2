//! Removes what is past its retention, row by row; [`super::partitions`] drops whole months.

use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result};

use super::batches::batches;
use super::comments::SessionCounts;
use super::row::{flag, id, int, optional_id};
use crate::erasure::PURGE_DAYS;
use crate::retention::{EVENT_DAYS, days_before, first_id_of};

/// What is past its retention, by id; at most the limit of each.
#[derive(Default)]
pub(super) struct Expired {
    comments: Vec<i64>,
    reviews: Vec<i64>,
    sessions: Vec<i64>,
}

/// Finds what is past its room's retention.
pub(super) async fn find(db: &mut MySqlConnection, now_ms: i64, default_days: u32, limit: usize) -> Result<Expired> {
    let sql = "SELECT DISTINCT CAST(COALESCE(retention_days, ?) AS SIGNED) FROM rooms";
    let retentions: Vec<i64> = sqlx::query_scalar(sql).bind(default_days).fetch_all(&mut *db).await?;
    let mut found = Expired::default();
    for days in retentions {
        let cutoff_ms = days_before(now_ms, u32::try_from(days).unwrap_or(u32::MAX));
        for (list, table, before) in [
            (&mut found.comments, "comments x ON x.room_key = r.room_key AND x.id < ?", first_id_of(cutoff_ms)),
            (&mut found.reviews, "reviews x ON x.room_key = r.room_key AND x.id < ?", first_id_of(cutoff_ms)),
            (&mut found.sessions, EMPTY_SESSIONS, cutoff_ms),
        ] {
            let sql = format!("SELECT x.id FROM rooms r JOIN {table} WHERE COALESCE(r.retention_days, ?) = ? LIMIT ?");
            let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(before).bind(default_days).bind(days);
            let more: Vec<i64> = query.bind(int(limit.saturating_sub(list.len()))).fetch_all(&mut *db).await?;
            list.extend(more);
        }
    }
    Ok(found)
}

const EMPTY_SESSIONS: &str = "sessions x ON x.room_key = r.room_key AND x.ended_at_ms < ?
     AND NOT EXISTS (SELECT 1 FROM comments c WHERE c.session_id = x.id)
     AND NOT EXISTS (SELECT 1 FROM archive_segments a WHERE a.session_id = x.id)";

/// Removes what was found, and what expires in all rooms alike. Returns how many comments it removed.
pub(super) async fn remove(
    db: &mut MySqlConnection,
    expired: &Expired,
    now_ms: i64,
    client_msg_days: u32,
    limit: usize,
) -> Result<u64> {
    let removed = remove_comments(db, &expired.comments).await?;
    delete_by_id(db, "DELETE FROM reviews WHERE id", &expired.reviews).await?;
    remove_sessions(db, &expired.sessions, limit).await?;
    for (sql, before) in [
        ("DELETE FROM client_msg_ids WHERE id < ? LIMIT ?", first_id_of(days_before(now_ms, client_msg_days))),
        (
            "DELETE FROM documents WHERE kind = 'gift' AND state IN ('counted', 'shown') AND due_ms < ? LIMIT ?",
            days_before(now_ms, client_msg_days),
        ),
        ("DELETE FROM bans WHERE until_ms <= ? LIMIT ?", now_ms),
        ("DELETE FROM unacknowledged_events WHERE event_id < ? LIMIT ?", first_id_of(days_before(now_ms, EVENT_DAYS))),
        ("DELETE FROM purges WHERE before_ms < ? LIMIT ?", days_before(now_ms, PURGE_DAYS)),
    ] {
        sqlx::query(sql).bind(before).bind(int(limit)).execute(&mut *db).await?;
    }
    Ok(removed)
}

/// Locks the rows first and counts only those: another node may have removed some meanwhile.
async fn remove_comments(db: &mut MySqlConnection, ids: &[i64]) -> Result<u64> {
    let mut removed = 0;
    let mut counts = SessionCounts::default();
    for some in batches(ids) {
        let mut sql = listed("SELECT id, session_id, deleted FROM comments WHERE id", some);
        let rows = sql.push(" FOR UPDATE").build().fetch_all(&mut *db).await?;
        let mut gone = Vec::with_capacity(rows.len());
        for row in &rows {
            gone.push(int(id(row, 0)?.0));
            let deleted = flag(row, 2)?;
            counts.add(optional_id(row, 1)?.filter(|_| !deleted), -1);
        }
        delete_by_id(db, "DELETE FROM likes WHERE comment_id", &gone).await?;
        delete_by_id(db, "DELETE FROM comments WHERE id", &gone).await?;
        removed += gone.len() as u64;
    }
    counts.write(db).await?;
    Ok(removed)
}

fn listed(sql: &str, ids: &[i64]) -> QueryBuilder<MySql> {
    let mut sql = QueryBuilder::new(format!("{sql} IN ("));
    let mut list = sql.separated(", ");
    ids.iter().for_each(|id| {
        list.push_bind(*id);
    });
    sql.push(")");
    sql
}

/// Returns how many rows it removed.
pub(super) async fn delete_by_id(db: &mut MySqlConnection, sql: &str, ids: &[i64]) -> Result<u64> {
    let mut removed = 0;
    for some in batches(ids) {
        removed += listed(sql, some).build().execute(&mut *db).await?.rows_affected();
    }
    Ok(removed)
}

/// Removes a session after its gifts, which may take several calls.
async fn remove_sessions(db: &mut MySqlConnection, ids: &[i64], limit: usize) -> Result<()> {
    let mut left = limit as u64;
    for id in ids {
        let gifts = sqlx::query("DELETE FROM gifts WHERE session_id = ? LIMIT ?").bind(id).bind(int(left));
        left = left.saturating_sub(gifts.execute(&mut *db).await?.rows_affected());
        if left == 0 {
            break;
        }
        for sql in [
            "DELETE FROM sessions WHERE id = ?",
            "DELETE FROM archive_users WHERE session_id = ?",
            "DELETE FROM archive_likes WHERE session_id = ?",
        ] {
            sqlx::query(sql).bind(id).execute(&mut *db).await?;
        }
        // What it showed beside comments.
        let moments = sqlx::query("DELETE FROM documents WHERE kind = 'moment' AND state = ?").bind(id.to_string());
        moments.execute(&mut *db).await?;
    }
    Ok(())
}
