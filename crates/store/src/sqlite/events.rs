//! Critical events for single users, kept until they are acknowledged.

use model::{Event, Snowflake, UserId};
use rusqlite::{Connection, Result, params};

use super::{column, from_json, int, json};

pub(super) fn keep(db: &Connection, event: &Event, users: &[UserId]) -> Result<()> {
    let text = json(event)?;
    let mut sql = db.prepare_cached(
        "INSERT INTO unacknowledged_events (user_id, event_id, event) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    for user in users {
        sql.execute(params![user.as_str(), int(event.id.0), text])?;
    }
    Ok(())
}

pub(super) fn users(db: &Connection, limit: usize) -> Result<Vec<UserId>> {
    let mut sql = db.prepare_cached("SELECT DISTINCT user_id FROM unacknowledged_events LIMIT ?")?;
    sql.query_map([int(limit)], |row| column(row, 0))?.collect()
}

pub(super) fn unacknowledged(db: &Connection, user: &UserId, limit: usize) -> Result<Vec<Event>> {
    let mut sql =
        db.prepare_cached("SELECT event FROM unacknowledged_events WHERE user_id = ? ORDER BY event_id LIMIT ?")?;
    sql.query_map(params![user.as_str(), int(limit)], |row| from_json(row, 0))?.collect()
}

pub(super) fn acknowledge(db: &Connection, user: &UserId, event: Snowflake) -> Result<()> {
    db.prepare_cached("DELETE FROM unacknowledged_events WHERE user_id = ? AND event_id = ?")?
        .execute(params![user.as_str(), int(event.0)])?;
    Ok(())
}
