//! Critical events for single users, kept until they are acknowledged.

use model::{Event, Snowflake, UserId};
use sqlx::{MySqlConnection, Result};

use super::row::{from_json, int, json, parsed};

pub(super) async fn keep(db: &mut MySqlConnection, event: &Event, users: &[UserId]) -> Result<()> {
    let text = json(event)?;
    for user in users {
        sqlx::query("INSERT IGNORE INTO unacknowledged_events (user_id, event_id, event) VALUES (?, ?, ?)")
            .bind(user.as_str())
            .bind(int(event.id.0))
            .bind(&text)
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

pub(super) async fn unacknowledged(db: &mut MySqlConnection, user: &UserId, limit: usize) -> Result<Vec<Event>> {
    let sql = "SELECT event FROM unacknowledged_events WHERE user_id = ? ORDER BY event_id LIMIT ?";
    let rows = sqlx::query(sql).bind(user.as_str()).bind(int(limit)).fetch_all(db).await?;
    rows.iter().filter_map(|row| from_json(row, 0).transpose()).collect()
}

pub(super) async fn users(db: &mut MySqlConnection, limit: usize) -> Result<Vec<UserId>> {
    let sql = "SELECT DISTINCT user_id FROM unacknowledged_events LIMIT ?";
    let rows = sqlx::query(sql).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| parsed(row, 0)).collect()
}

pub(super) async fn acknowledge(db: &mut MySqlConnection, user: &UserId, event: Snowflake) -> Result<()> {
    sqlx::query("DELETE FROM unacknowledged_events WHERE user_id = ? AND event_id = ?")
        .bind(user.as_str())
        .bind(int(event.0))
        .execute(db)
        .await
        .map(drop)
}
