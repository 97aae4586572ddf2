//! Scores: the comments and gifts of a session, summed up by user.

use async_trait::async_trait;
use model::{Snowflake, UserId};
use rusqlite::{Connection, Result, params};

use super::documents::add as add_document;
use super::{SqliteStore, column, int, uint};
use crate::score_accumulator::ScoreAccumulator;
use crate::{Document, ScoreStore, Scores};

#[async_trait]
impl ScoreStore for SqliteStore {
    async fn scores(&self, session: Snowflake) -> crate::Result<Scores> {
        self.read("scores", move |db| scores(db, session)).await
    }

    async fn add_gift(&self, session: Snowflake, user: &UserId, username: &str, value: u64) -> crate::Result<u64> {
        let (user, username) = (user.clone(), username.to_owned());
        self.write("add_gift", move |db| add_gift(db, session, &user, &username, value)).await
    }

    async fn add_gift_once(
        &self,
        session: Snowflake,
        user: &UserId,
        username: &str,
        value: u64,
        key: &Document,
    ) -> crate::Result<Option<u64>> {
        let (user, username, key) = (user.clone(), username.to_owned(), key.clone());
        let add = move |db: &Connection| match add_document(db, &key)? {
            true => add_gift(db, session, &user, &username, value).map(Some),
            false => Ok(None),
        };
        self.write("add_gift_once", add).await
    }
}

/// Sums here rather than in SQL, which would sort the whole session. The shown name is that of the user's last comment, or
/// of the gifts when all comments are deleted.
fn scores(db: &Connection, session: Snowflake) -> Result<Scores> {
    let mut sums = gifts(db, session)?;
    let mut sql = db.prepare_cached(
        "SELECT user_id, username, position, deleted = 2 FROM comments INDEXED BY comments_of_session
         WHERE session_id = ? AND position > 0 AND deleted <> 3 ORDER BY offset_ms, id",
    )?;
    let mut rows = sql.query([int(session.0)])?;
    while let Some(row) = rows.next()? {
        if row.get(3)? {
            sums.purged(uint(row.get(2)?), column(row, 0)?);
            continue;
        }
        let (user, username) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        sums.comment(user, username, uint(row.get(2)?), || column(row, 0))?;
    }
    Ok(sums.scores())
}

fn gifts(db: &Connection, session: Snowflake) -> Result<ScoreAccumulator> {
    let mut sql = db.prepare_cached("SELECT user_id, username, value FROM gifts WHERE session_id = ?")?;
    let (mut sums, mut rows) = (ScoreAccumulator::default(), sql.query([int(session.0)])?);
    while let Some(row) = rows.next()? {
        sums.gifts(column(row, 0)?, row.get(1)?, uint(row.get(2)?));
    }
    Ok(sums)
}

/// Adds to what a user gave; the sum saturates instead of wrapping.
fn add_gift(db: &Connection, session: Snowflake, user: &UserId, username: &str, value: u64) -> Result<u64> {
    db.prepare_cached(
        "INSERT INTO gifts (session_id, user_id, username, value) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET username = excluded.username,
             value = CASE WHEN value > 9223372036854775807 - excluded.value THEN 9223372036854775807
                          ELSE value + excluded.value END
         RETURNING value",
    )?
    .query_row(params![int(session.0), user.as_str(), username, int(value)], |row| Ok(uint(row.get(0)?)))
}
