//! Critical events for single users, stored until acknowledged.

use async_trait::async_trait;
use model::{Event, Snowflake, UserId};
use rusqlite::{Connection, Result, params};

use super::{SqliteStore, column, from_json, int, json};
use crate::EventStore;

#[async_trait]
impl EventStore for SqliteStore {
    async fn keep_event(&self, event: &Event, users: &[UserId]) -> crate::Result<()> {
        let (event, users) = (event.clone(), users.to_vec());
        self.write("keep_event", move |db| keep(db, &event, &users)).await
    }

    async fn users_with_events(&self, limit: usize) -> crate::Result<Vec<UserId>> {
        self.read("users_with_events", move |db| users(db, limit)).await
    }

    async fn unacknowledged(&self, user: &UserId, limit: usize) -> crate::Result<Vec<Event>> {
        let user = user.clone();
        self.read("unacknowledged", move |db| unacknowledged(db, &user, limit)).await
    }

    async fn acknowledge(&self, user: &UserId, event: Snowflake) -> crate::Result<()> {
        let user = user.clone();
        self.write("acknowledge", move |db| acknowledge(db, &user, event)).await
    }
}

fn keep(db: &Connection, event: &Event, users: &[UserId]) -> Result<()> {
    let text = json(event)?;
    let mut sql = db.prepare_cached(
        "INSERT INTO unacknowledged_events (user_id, event_id, event) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    for user in users {
        sql.execute(params![user.as_str(), int(event.id.0), text])?;
    }
    Ok(())
}

fn users(db: &Connection, limit: usize) -> Result<Vec<UserId>> {
    let mut sql = db.prepare_cached("SELECT DISTINCT user_id FROM unacknowledged_events LIMIT ?")?;
    sql.query_map([int(limit)], |row| column(row, 0))?.collect()
}

fn unacknowledged(db: &Connection, user: &UserId, limit: usize) -> Result<Vec<Event>> {
    let mut sql =
        db.prepare_cached("SELECT event FROM unacknowledged_events WHERE user_id = ? ORDER BY event_id LIMIT ?")?;
    sql.query_map(params![user.as_str(), int(limit)], |row| from_json(row, 0))?.collect()
}

fn acknowledge(db: &Connection, user: &UserId, event: Snowflake) -> Result<()> {
    db.prepare_cached("DELETE FROM unacknowledged_events WHERE user_id = ? AND event_id = ?")?
        .execute(params![user.as_str(), int(event.0)])?;
    Ok(())
}
