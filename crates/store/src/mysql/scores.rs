//! Scores: the comments and gifts of a session, summed up by user.

use async_trait::async_trait;
use futures::TryStreamExt;
use model::{Snowflake, UserId};
use sqlx::{MySqlConnection, Result, Row};

use super::comments::PURGED;
use super::documents::add as add_document;
use super::row::{int, parsed, uint};
use super::{MySqlStore, read, write};
use crate::score_accumulator::ScoreAccumulator;
use crate::{Document, ScoreStore, Scores};

#[async_trait]
impl ScoreStore for MySqlStore {
    async fn scores(&self, session: Snowflake) -> crate::Result<Scores> {
        read!(self, "scores", db => scores(db, session))
    }

    async fn add_gift(&self, session: Snowflake, user: &UserId, username: &str, value: u64) -> crate::Result<u64> {
        write!(self, "add_gift", db => add_gift(db, session, user, username, value))
    }

    async fn add_gift_once(
        &self,
        session: Snowflake,
        user: &UserId,
        username: &str,
        value: u64,
        key: &Document,
    ) -> crate::Result<Option<u64>> {
        write!(self, "add_gift_once", db => async {
            if add_document(db, key).await? {
                return add_gift(db, session, user, username, value).await.map(Some);
            }
            Ok(None)
        })
    }
}

/// Sums here rather than in SQL, which would sort the whole session. The shown name is that of the user's last comment, or
/// of the gifts when all comments are deleted.
async fn scores(db: &mut MySqlConnection, session: Snowflake) -> Result<Scores> {
    let mut sums = gifts(db, session).await?;
    let sql = "SELECT user_id, username, position, deleted FROM comments
               WHERE session_id = ? AND position > 0 AND deleted <> 3 ORDER BY offset_ms, id";
    let mut rows = sqlx::query(sql).bind(int(session.0)).fetch(db);
    while let Some(row) = rows.try_next().await? {
        if row.try_get::<i16, _>(3)? == PURGED {
            sums.purged(uint(&row, 2)?, parsed(&row, 0)?);
            continue;
        }
        sums.comment(row.try_get(0)?, row.try_get(1)?, uint(&row, 2)?, || parsed(&row, 0))?;
    }
    Ok(sums.scores())
}

async fn gifts(db: &mut MySqlConnection, session: Snowflake) -> Result<ScoreAccumulator> {
    let sql = "SELECT user_id, username, value FROM gifts WHERE session_id = ?";
    let mut sums = ScoreAccumulator::default();
    for row in sqlx::query(sql).bind(int(session.0)).fetch_all(db).await? {
        sums.gifts(parsed(&row, 0)?, row.try_get(1)?, uint(&row, 2)?);
    }
    Ok(sums)
}

/// Adds to what a user gave; the sum saturates instead of wrapping.
async fn add_gift(
    db: &mut MySqlConnection,
    session: Snowflake,
    user: &UserId,
    username: &str,
    value: u64,
) -> Result<u64> {
    sqlx::query(
        "INSERT INTO gifts (session_id, user_id, username, value) VALUES (?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE username = VALUES(username),
             value = IF(value > 9223372036854775807 - VALUES(value), 9223372036854775807, value + VALUES(value))",
    )
    .bind(int(session.0))
    .bind(user.as_str())
    .bind(username)
    .bind(int(value))
    .execute(&mut *db)
    .await?;
    let sum = sqlx::query("SELECT value FROM gifts WHERE session_id = ? AND user_id = ?")
        .bind(int(session.0))
        .bind(user.as_str())
        .fetch_one(db)
        .await?;
    uint(&sum, 0)
}
