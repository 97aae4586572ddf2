//! Reviews, words, bans, revocations and the audit trail.

use model::{RoomId, Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::comments::{self, COLUMNS, comment_row, mentions_column};
use super::rooms;
use super::row::{code, coded, flag, id, int, optional_parsed, parsed, unreadable};
use super::runs::runs;
use crate::{AuditEntry, Ban, Review, ReviewStatus, WordList};

pub(super) async fn hold(db: &mut MySqlConnection, review: &Review, client_msg_id: Option<&str>) -> Result<()> {
    let comment = &review.comment;
    let room_key = rooms::ensure(db, &comment.room_id).await?;
    sqlx::query(
        "INSERT INTO reviews (id, room_key, session_id, offset_ms, created_at_ms, user_id, username, level, content,
             mode, color, size, kind, mentions, keep, word, status, decided_by, decided_at_ms)
         VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON DUPLICATE KEY UPDATE status = reviews.status",
    )
    .bind(int(comment.id.0))
    .bind(room_key)
    .bind(comment.session_id.map(|id| int(id.0)))
    .bind(comment.offset_ms)
    .bind(comment.created_at_ms)
    .bind(comment.user_id.as_str())
    .bind(&*comment.username)
    .bind(code(comment.level))
    .bind(&*comment.content)
    .bind(code(comment.style.mode))
    .bind(i64::from(comment.style.color))
    .bind(code(comment.style.size))
    .bind(code(comment.kind))
    .bind(mentions_column(&comment.mentions)?)
    .bind(review.keep)
    .bind(&review.word)
    .bind(code(review.status))
    .bind(&review.decided_by)
    .bind(review.decided_at_ms)
    .execute(&mut *db)
    .await?;
    match client_msg_id {
        Some(client_msg_id) => comments::remember(db, &[(comment, client_msg_id, true)]).await,
        None => Ok(()),
    }
}

fn review_sql() -> String {
    let columns = COLUMNS.replace("c.like_count", "0");
    format!(
        "SELECT {columns}, c.keep, c.word, c.status, c.decided_by, c.decided_at_ms
         FROM reviews c JOIN rooms r ON r.room_key = c.room_key WHERE "
    )
}

fn review_row(row: &MySqlRow) -> Result<Review> {
    Ok(Review {
        comment: comment_row(row)?,
        keep: flag(row, 15)?,
        word: row.try_get(16)?,
        status: coded(row, 17)?,
        decided_by: row.try_get(18)?,
        decided_at_ms: row.try_get(19)?,
    })
}

pub(super) async fn review(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Review>> {
    let sql = AssertSqlSafe(format!("{}c.id = ?", review_sql()));
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    row.as_ref().map(review_row).transpose()
}

pub(super) async fn reviews(
    db: &mut MySqlConnection,
    status: Option<ReviewStatus>,
    room: Option<&RoomId>,
    limit: usize,
) -> Result<Vec<Review>> {
    let mut sql = QueryBuilder::<MySql>::new(review_sql());
    sql.push("c.id > 0");
    if let Some(status) = status {
        sql.push(" AND c.status = ").push_bind(code(status));
    }
    if let Some(room) = room {
        sql.push(" AND r.room_id = ").push_bind(room.as_str().to_owned());
    }
    sql.push(" ORDER BY c.id LIMIT ").push_bind(int(limit));
    let rows = sql.build().fetch_all(db).await?;
    rows.iter().map(review_row).collect()
}

pub(super) async fn decide(
    db: &mut MySqlConnection,
    id: Snowflake,
    status: ReviewStatus,
    by: &str,
    at_ms: i64,
) -> Result<Option<Review>> {
    let sql = "UPDATE reviews SET status = ?, decided_by = ?, decided_at_ms = ? WHERE id = ? AND status = ?";
    let query = sqlx::query(sql).bind(code(status)).bind(by).bind(at_ms).bind(int(id.0));
    let decided = query.bind(code(ReviewStatus::Pending)).execute(&mut *db).await?;
    if decided.rows_affected() == 0 { Ok(None) } else { review(db, id).await }
}

pub(super) async fn undecide(db: &mut MySqlConnection, id: Snowflake) -> Result<()> {
    let sql = "UPDATE reviews SET status = ?, decided_by = NULL, decided_at_ms = NULL WHERE id = ? AND status = ?";
    let query = sqlx::query(sql).bind(code(ReviewStatus::Pending)).bind(int(id.0)).bind(code(ReviewStatus::Approved));
    query.execute(db).await.map(drop)
}

pub(super) async fn words(db: &mut MySqlConnection) -> Result<Vec<(WordList, String)>> {
    let rows = sqlx::query("SELECT list, word FROM words ORDER BY list, word").fetch_all(db).await?;
    let word = |row: &MySqlRow| {
        let word: Vec<u8> = row.try_get(1)?;
        Ok((coded(row, 0)?, String::from_utf8(word).map_err(|error| unreadable(1, Box::new(error)))?))
    };
    rows.iter().map(word).collect()
}

pub(super) async fn set_words(db: &mut MySqlConnection, words: &[(WordList, String)]) -> Result<()> {
    sqlx::query("DELETE FROM words").execute(&mut *db).await?;
    for some in runs(words) {
        let mut sql = QueryBuilder::<MySql>::new("INSERT IGNORE INTO words (list, word) ");
        sql.push_values(some, |mut row, (list, word)| {
            row.push_bind(code(*list)).push_bind(word.as_bytes().to_vec());
        });
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

pub(super) async fn add_word(db: &mut MySqlConnection, list: WordList, word: &str) -> Result<()> {
    let sql = "INSERT INTO words (list, word) VALUES (?, ?) ON DUPLICATE KEY UPDATE list = words.list";
    sqlx::query(sql).bind(code(list)).bind(word.as_bytes()).execute(db).await.map(drop)
}

pub(super) async fn remove_word(db: &mut MySqlConnection, list: WordList, word: &str) -> Result<bool> {
    let sql = "DELETE FROM words WHERE list = ? AND word = ?";
    let gone = sqlx::query(sql).bind(code(list)).bind(word.as_bytes()).execute(db).await?;
    Ok(gone.rows_affected() > 0)
}

pub(super) async fn add_ban(db: &mut MySqlConnection, ban: &Ban) -> Result<()> {
    sqlx::query(
        "INSERT INTO bans (id, user_id, room_id, kind, until_ms, reason, imposed_by, at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(int(ban.id.0))
    .bind(ban.user_id.as_str())
    .bind(ban.room_id.as_ref().map(RoomId::as_str))
    .bind(code(ban.kind))
    .bind(ban.until_ms)
    .bind(&ban.reason)
    .bind(&ban.by)
    .bind(ban.at_ms)
    .execute(db)
    .await
    .map(drop)
}

const BAN: &str = "SELECT id, user_id, room_id, kind, until_ms, reason, imposed_by, at_ms FROM bans";

fn ban_row(row: &MySqlRow) -> Result<Ban> {
    Ok(Ban {
        id: id(row, 0)?,
        user_id: parsed(row, 1)?,
        room_id: optional_parsed(row, 2)?,
        kind: coded(row, 3)?,
        until_ms: row.try_get(4)?,
        reason: row.try_get(5)?,
        by: row.try_get(6)?,
        at_ms: row.try_get(7)?,
    })
}

pub(super) async fn bans(
    db: &mut MySqlConnection,
    now_ms: i64,
    room: Option<&RoomId>,
    limit: usize,
) -> Result<Vec<Ban>> {
    let mut sql = QueryBuilder::<MySql>::new(format!("{BAN} WHERE until_ms > "));
    sql.push_bind(now_ms);
    if let Some(room) = room {
        sql.push(" AND room_id = ").push_bind(room.as_str().to_owned());
    }
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(int(limit));
    let rows = sql.build().fetch_all(db).await?;
    rows.iter().map(ban_row).collect()
}

pub(super) async fn bans_of(db: &mut MySqlConnection, user: &UserId, now_ms: i64) -> Result<Vec<Ban>> {
    let sql = AssertSqlSafe(format!("{BAN} WHERE user_id = ? AND until_ms > ?"));
    let rows = sqlx::query(sql).bind(user.as_str()).bind(now_ms).fetch_all(db).await?;
    rows.iter().map(ban_row).collect()
}

pub(super) async fn ban(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Ban>> {
    let sql = AssertSqlSafe(format!("{BAN} WHERE id = ?"));
    sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?.as_ref().map(ban_row).transpose()
}

pub(super) async fn remove_ban(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Ban>> {
    let sql = AssertSqlSafe(format!("{BAN} WHERE id = ? FOR UPDATE"));
    let Some(row) = sqlx::query(sql).bind(int(id.0)).fetch_optional(&mut *db).await? else {
        return Ok(None);
    };
    sqlx::query("DELETE FROM bans WHERE id = ?").bind(int(id.0)).execute(db).await?;
    ban_row(&row).map(Some)
}

pub(super) async fn revoke_tokens(db: &mut MySqlConnection, user: &UserId, before_ms: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO revocations (user_id, before_ms) VALUES (?, ?)
         ON DUPLICATE KEY UPDATE before_ms = GREATEST(before_ms, VALUES(before_ms))",
    )
    .bind(user.as_str())
    .bind(before_ms)
    .execute(db)
    .await
    .map(drop)
}

pub(super) async fn revocations(db: &mut MySqlConnection) -> Result<Vec<(UserId, i64)>> {
    let rows = sqlx::query("SELECT user_id, before_ms FROM revocations").fetch_all(db).await?;
    rows.iter().map(|row| Ok((parsed(row, 0)?, row.try_get(1)?))).collect()
}

pub(super) async fn audit(db: &mut MySqlConnection, entry: &AuditEntry) -> Result<()> {
    sqlx::query("INSERT INTO audit_trail (at_ms, actor, action, room_id, target, detail) VALUES (?, ?, ?, ?, ?, ?)")
        .bind(entry.at_ms)
        .bind(&entry.actor)
        .bind(&entry.action)
        .bind(entry.room_id.as_ref().map(RoomId::as_str))
        .bind(&entry.target)
        .bind(&entry.detail)
        .execute(db)
        .await
        .map(drop)
}

pub(super) async fn audit_trail(
    db: &mut MySqlConnection,
    room: Option<&RoomId>,
    limit: usize,
) -> Result<Vec<AuditEntry>> {
    let mut sql = QueryBuilder::<MySql>::new("SELECT at_ms, actor, action, room_id, target, detail FROM audit_trail");
    if let Some(room) = room {
        sql.push(" WHERE room_id = ").push_bind(room.as_str().to_owned());
    }
    sql.push(" ORDER BY line DESC LIMIT ").push_bind(int(limit));
    let entry = |row: &MySqlRow| {
        Ok(AuditEntry {
            at_ms: row.try_get(0)?,
            actor: row.try_get(1)?,
            action: row.try_get(2)?,
            room_id: optional_parsed(row, 3)?,
            target: row.try_get(4)?,
            detail: row.try_get(5)?,
        })
    };
    let rows = sql.build().fetch_all(db).await?;
    rows.iter().map(entry).collect()
}
