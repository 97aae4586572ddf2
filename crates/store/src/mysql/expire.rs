//! The clean-up of what is past its time, row by row; whole months go in [`super::partitions`].
//!
//! Age is told by the id, which carries the time when it was made: a recording brought in today is
//! young, whatever dates it carries.

use model::snowflake::EPOCH_MS;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result};

use super::comments::SessionCounts;
use super::row::{flag, id, int, optional_id};
use super::runs::runs;

const DAY_MS: i64 = 86_400_000;
/// How long an event waits for its acknowledgement.
const EVENT_DAYS: u32 = 7;
/// Bits of a Snowflake below its milliseconds.
const TIME_SHIFT: u32 = 22;
/// What is past its time, by id; at most the limit of each.
#[derive(Default)]
pub(super) struct Expired {
    comments: Vec<i64>,
    reviews: Vec<i64>,
    sessions: Vec<i64>,
}

/// The smallest id made at `ms`.
pub(super) fn first_id_of(ms: i64) -> i64 {
    ms.saturating_sub(EPOCH_MS).max(0) << TIME_SHIFT
}

fn days_before(now_ms: i64, days: u32) -> i64 {
    now_ms.saturating_sub(i64::from(days) * DAY_MS)
}

/// Finds what is past the retention of its room.
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
     AND NOT EXISTS (SELECT 1 FROM comments c WHERE c.session_id = x.id)";

/// Removes what was found, and what is past its time everywhere. Returns how many comments went.
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
        ("DELETE FROM bans WHERE until_ms <= ? LIMIT ?", now_ms),
        ("DELETE FROM unacknowledged_events WHERE event_id < ? LIMIT ?", first_id_of(days_before(now_ms, EVENT_DAYS))),
    ] {
        sqlx::query(sql).bind(before).bind(int(limit)).execute(&mut *db).await?;
    }
    Ok(removed)
}

/// Another node may have removed some of them meanwhile: what is there is locked, and only that is counted.
async fn remove_comments(db: &mut MySqlConnection, ids: &[i64]) -> Result<u64> {
    let mut removed = 0;
    let mut counts = SessionCounts::default();
    for some in runs(ids) {
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

/// How many rows went.
pub(super) async fn delete_by_id(db: &mut MySqlConnection, sql: &str, ids: &[i64]) -> Result<u64> {
    let mut removed = 0;
    for some in runs(ids) {
        removed += listed(sql, some).build().execute(&mut *db).await?.rows_affected();
    }
    Ok(removed)
}

/// A session goes after its gifts, which may take several calls.
async fn remove_sessions(db: &mut MySqlConnection, ids: &[i64], limit: usize) -> Result<()> {
    let mut left = limit as u64;
    for id in ids {
        let gifts = sqlx::query("DELETE FROM gifts WHERE session_id = ? LIMIT ?").bind(id).bind(int(left));
        left = left.saturating_sub(gifts.execute(&mut *db).await?.rows_affected());
        if left == 0 {
            break;
        }
        sqlx::query("DELETE FROM sessions WHERE id = ?").bind(id).execute(&mut *db).await?;
    }
    Ok(())
}
