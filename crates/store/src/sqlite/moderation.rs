//! Reviews, words, bans, revocations and the audit trail.

use model::{RoomId, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::codes::Code;
use super::comments::{self, COLUMNS, comment_row, mentions_column};
use super::{column, int, optional_column, rooms, uint};
use crate::{AuditEntry, Ban, Review, ReviewStatus, WordList};

pub(super) fn hold(db: &Connection, review: &Review, client_msg_id: Option<&str>) -> Result<()> {
    let comment = &review.comment;
    db.prepare_cached(
        "INSERT INTO reviews (id, room_key, session_id, offset_ms, created_at_ms, user_id, username, level, content,
             mode, color, size, kind, mentions, keep, word, status, decided_by, decided_at_ms)
         VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![
        int(comment.id.0),
        rooms::ensure(db, &comment.room_id)?,
        comment.session_id.map(|id| int(id.0)),
        comment.offset_ms,
        comment.created_at_ms,
        comment.user_id.as_str(),
        comment.username,
        Code(comment.level),
        comment.content,
        Code(comment.style.mode),
        comment.style.color,
        Code(comment.style.size),
        Code(comment.kind),
        mentions_column(&comment.mentions)?,
        review.keep,
        review.word,
        Code(review.status),
        review.decided_by,
        review.decided_at_ms,
    ])?;
    client_msg_id.map_or(Ok(()), |client_msg_id| comments::remember(db, comment, client_msg_id, true))
}

fn review_sql(filter: &str) -> String {
    let columns = COLUMNS.replace("c.like_count", "0");
    format!(
        "SELECT {columns}, c.keep, c.word, c.status, c.decided_by, c.decided_at_ms
         FROM reviews c JOIN rooms r USING (room_key) WHERE {filter}"
    )
}

fn review_row(row: &Row<'_>) -> Result<Review> {
    Ok(Review {
        comment: comment_row(row)?,
        keep: row.get(15)?,
        word: row.get(16)?,
        status: row.get::<_, Code<_>>(17)?.0,
        decided_by: row.get(18)?,
        decided_at_ms: row.get(19)?,
    })
}

pub(super) fn review(db: &Connection, id: Snowflake) -> Result<Option<Review>> {
    db.prepare_cached(&review_sql("c.id = ?"))?.query_row([int(id.0)], review_row).optional()
}

/// The statement for a list of reviews, by what it is narrowed to; unused parameters stay null.
pub(super) fn reviews_sql(by_status: bool, by_room: bool) -> String {
    let status = if by_status { "c.status = ?1" } else { "?1 IS NULL" };
    let room = if by_room { "r.room_id = ?2" } else { "?2 IS NULL" };
    review_sql(&format!("{status} AND {room} ORDER BY c.id LIMIT ?3"))
}

pub(super) fn reviews(
    db: &Connection,
    status: Option<ReviewStatus>,
    room: Option<&RoomId>,
    limit: usize,
) -> Result<Vec<Review>> {
    let mut sql = db.prepare_cached(&reviews_sql(status.is_some(), room.is_some()))?;
    sql.query_map(params![status.map(Code), room.map(RoomId::as_str), int(limit)], review_row)?.collect()
}

pub(super) fn decide(
    db: &Connection,
    id: Snowflake,
    status: ReviewStatus,
    by: &str,
    at_ms: i64,
) -> Result<Option<Review>> {
    let decided = db
        .prepare_cached("UPDATE reviews SET status = ?, decided_by = ?, decided_at_ms = ? WHERE id = ? AND status = ?")?
        .execute(params![Code(status), by, at_ms, int(id.0), Code(ReviewStatus::Pending)])?;
    if decided == 0 { Ok(None) } else { review(db, id) }
}

pub(super) fn undecide(db: &Connection, id: Snowflake) -> Result<()> {
    db.prepare_cached(
        "UPDATE reviews SET status = ?, decided_by = NULL, decided_at_ms = NULL WHERE id = ? AND status = ?",
    )?
    .execute(params![Code(ReviewStatus::Pending), int(id.0), Code(ReviewStatus::Approved)])?;
    Ok(())
}

pub(super) fn words(db: &Connection) -> Result<Vec<(WordList, String)>> {
    let mut sql = db.prepare_cached("SELECT list, word FROM words ORDER BY list, word")?;
    sql.query_map([], |row| Ok((row.get::<_, Code<_>>(0)?.0, row.get(1)?)))?.collect()
}

pub(super) fn set_words(db: &Connection, words: &[(WordList, String)]) -> Result<()> {
    db.execute("DELETE FROM words", [])?;
    words.iter().try_for_each(|(list, word)| add_word(db, *list, word))
}

pub(super) fn add_word(db: &Connection, list: WordList, word: &str) -> Result<()> {
    db.prepare_cached("INSERT INTO words (list, word) VALUES (?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![Code(list), word])?;
    Ok(())
}

pub(super) fn remove_word(db: &Connection, list: WordList, word: &str) -> Result<bool> {
    let gone =
        db.prepare_cached("DELETE FROM words WHERE list = ? AND word = ?")?.execute(params![Code(list), word])?;
    Ok(gone > 0)
}

pub(super) fn add_ban(db: &Connection, ban: &Ban) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO bans (id, user_id, room_id, kind, until_ms, reason, imposed_by, at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        int(ban.id.0),
        ban.user_id.as_str(),
        ban.room_id.as_ref().map(RoomId::as_str),
        Code(ban.kind),
        ban.until_ms,
        ban.reason,
        ban.by,
        ban.at_ms,
    ])?;
    Ok(())
}

const BAN: &str = "id, user_id, room_id, kind, until_ms, reason, imposed_by, at_ms";

fn ban_row(row: &Row<'_>) -> Result<Ban> {
    Ok(Ban {
        id: Snowflake(uint(row.get(0)?)),
        user_id: column(row, 1)?,
        room_id: optional_column(row, 2)?,
        kind: row.get::<_, Code<_>>(3)?.0,
        until_ms: row.get(4)?,
        reason: row.get(5)?,
        by: row.get(6)?,
        at_ms: row.get(7)?,
    })
}

pub(super) fn bans(db: &Connection, now_ms: i64, room: Option<&RoomId>, limit: usize) -> Result<Vec<Ban>> {
    let mut sql = db.prepare_cached(&format!(
        "SELECT {BAN} FROM bans WHERE until_ms > ?1 AND (?2 IS NULL OR room_id = ?2) ORDER BY id DESC LIMIT ?3"
    ))?;
    sql.query_map(params![now_ms, room.map(RoomId::as_str), int(limit)], ban_row)?.collect()
}

pub(super) fn bans_of(db: &Connection, user: &UserId, now_ms: i64) -> Result<Vec<Ban>> {
    let mut sql = db.prepare_cached(&format!("SELECT {BAN} FROM bans WHERE user_id = ? AND until_ms > ?"))?;
    sql.query_map(params![user.as_str(), now_ms], ban_row)?.collect()
}

pub(super) fn ban(db: &Connection, id: Snowflake) -> Result<Option<Ban>> {
    let mut sql = db.prepare_cached(&format!("SELECT {BAN} FROM bans WHERE id = ?"))?;
    sql.query_row([int(id.0)], ban_row).optional()
}

pub(super) fn remove_ban(db: &Connection, id: Snowflake) -> Result<Option<Ban>> {
    let mut sql = db.prepare_cached(&format!("DELETE FROM bans WHERE id = ? RETURNING {BAN}"))?;
    sql.query_row([int(id.0)], ban_row).optional()
}

pub(super) fn revoke_tokens(db: &Connection, user: &UserId, before_ms: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO revocations (user_id, before_ms) VALUES (?, ?)
         ON CONFLICT DO UPDATE SET before_ms = max(before_ms, excluded.before_ms)",
    )?
    .execute(params![user.as_str(), before_ms])?;
    Ok(())
}

pub(super) fn revocations(db: &Connection) -> Result<Vec<(UserId, i64)>> {
    let mut sql = db.prepare_cached("SELECT user_id, before_ms FROM revocations")?;
    sql.query_map([], |row| Ok((column(row, 0)?, row.get(1)?)))?.collect()
}

pub(super) fn audit(db: &Connection, entry: &AuditEntry) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO audit_trail (at_ms, actor, action, room_id, target, detail) VALUES (?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        entry.at_ms,
        entry.actor,
        entry.action,
        entry.room_id.as_ref().map(RoomId::as_str),
        entry.target,
        entry.detail,
    ])?;
    Ok(())
}

pub(super) fn audit_trail(db: &Connection, room: Option<&RoomId>, limit: usize) -> Result<Vec<AuditEntry>> {
    let filter = if room.is_some() { "room_id = ?1" } else { "?1 IS NULL" };
    let mut sql = db.prepare_cached(&format!(
        "SELECT at_ms, actor, action, room_id, target, detail FROM audit_trail WHERE {filter}
         ORDER BY line DESC LIMIT ?2"
    ))?;
    let entry = |row: &Row<'_>| {
        Ok(AuditEntry {
            at_ms: row.get(0)?,
            actor: row.get(1)?,
            action: row.get(2)?,
            room_id: optional_column(row, 3)?,
            target: row.get(4)?,
            detail: row.get(5)?,
        })
    };
    sql.query_map(params![room.map(RoomId::as_str), int(limit)], entry)?.collect()
}
