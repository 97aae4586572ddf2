//! Critical events for single users, stored until acknowledged.

use async_trait::async_trait;
use model::{Event, Snowflake, UserId};
use sqlx::{MySqlConnection, Result};

use super::row::{from_json, int, json, parsed};
use super::{MySqlStore, read, write};
use crate::EventStore;

#[async_trait]
impl EventStore for MySqlStore {
    async fn keep_event(&self, event: &Event, users: &[UserId]) -> crate::Result<()> {
        write!(self, "keep_event", db => keep(db, event, users))
    }

    async fn users_with_events(&self, limit: usize) -> crate::Result<Vec<UserId>> {
        read!(self, "users_with_events", db => users(db, limit))
    }

    async fn unacknowledged(&self, user: &UserId, limit: usize) -> crate::Result<Vec<Event>> {
        read!(self, "unacknowledged", db => unacknowledged(db, user, limit))
    }

    async fn acknowledge(&self, user: &UserId, event: Snowflake) -> crate::Result<()> {
        write!(self, "acknowledge", db => acknowledge(db, user, event))
    }
}

async fn keep(db: &mut MySqlConnection, event: &Event, users: &[UserId]) -> Result<()> {
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

async fn unacknowledged(db: &mut MySqlConnection, user: &UserId, limit: usize) -> Result<Vec<Event>> {
    let sql = "SELECT event FROM unacknowledged_events WHERE user_id = ? ORDER BY event_id LIMIT ?";
    let rows = sqlx::query(sql).bind(user.as_str()).bind(int(limit)).fetch_all(db).await?;
    rows.iter().filter_map(|row| from_json(row, 0).transpose()).collect()
}

async fn users(db: &mut MySqlConnection, limit: usize) -> Result<Vec<UserId>> {
    let sql = "SELECT DISTINCT user_id FROM unacknowledged_events LIMIT ?";
    let rows = sqlx::query(sql).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| parsed(row, 0)).collect()
}

async fn acknowledge(db: &mut MySqlConnection, user: &UserId, event: Snowflake) -> Result<()> {
    sqlx::query("DELETE FROM unacknowledged_events WHERE user_id = ? AND event_id = ?")
        .bind(user.as_str())
        .bind(int(event.0))
        .execute(db)
        .await
        .map(drop)
}
