//! Reviews, words, bans, revocations and the audit trail.

use async_trait::async_trait;
use model::{FirstAnswer, RoomId, Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::batches::batches;
use super::comments::{self, COLUMNS, comment_row, mentions_column};
use super::erasure::{self, Counted};
use super::rooms::{push_listed, push_scope};
use super::row::{code, coded, flag, from_json, id, int, json, optional_parsed, parsed, unreadable};
use super::{MySqlStore, read, rooms, write};
use crate::audit::{AuditLine, Seals};
use crate::{
    AuditEntry, AuditQuery, Ban, CLAIM_MS_MAX, ModerationStore, Review, ReviewStatus, ReviewsOf, RoomScope, WordList,
};

#[async_trait]
impl ModerationStore for MySqlStore {
    async fn hold(&self, review: &Review, client_msg_id: Option<&str>) -> crate::Result<Option<FirstAnswer>> {
        write!(self, "hold", db => hold(db, review, client_msg_id))
    }

    async fn review(&self, id: Snowflake) -> crate::Result<Option<Review>> {
        read!(self, "review", db => review(db, id))
    }

    async fn reviews(
        &self,
        status: Option<ReviewStatus>,
        of: &RoomScope,
        after: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<Review>> {
        read!(self, "reviews", db => reviews(db, status, of, after, limit))
    }

    async fn erase_reviews(
        &self,
        of: ReviewsOf<'_>,
        by: &str,
        at_ms: i64,
        receipt: Option<Snowflake>,
    ) -> crate::Result<Vec<Review>> {
        write!(self, "erase_reviews", db => erase_reviews(db, of, by, at_ms, receipt))
    }

    async fn held_of(&self, user: &UserId, max: u32) -> crate::Result<u32> {
        read!(self, "held_of", db => held_of(db, user, max))
    }

    async fn claim(&self, id: Snowflake, by: &str, now_ms: i64, until_ms: i64) -> crate::Result<Option<Review>> {
        write!(self, "claim", db => claim(db, id, by, now_ms, until_ms))
    }

    async fn due_reviews(&self, until_ms: i64, limit: usize) -> crate::Result<Vec<Review>> {
        read!(self, "due_reviews", db => due_reviews(db, until_ms, limit))
    }

    async fn forget_reviews(&self, ids: &[Snowflake]) -> crate::Result<()> {
        write!(self, "forget_reviews", db => forget_reviews(db, ids))
    }

    async fn decide(&self, id: Snowflake, status: ReviewStatus, by: &str, at_ms: i64) -> crate::Result<Option<Review>> {
        write!(self, "decide", db => decide(db, id, status, by, at_ms))
    }

    async fn undecide(&self, id: Snowflake) -> crate::Result<()> {
        write!(self, "undecide", db => undecide(db, id))
    }

    async fn words(&self) -> crate::Result<Vec<(WordList, String)>> {
        read!(self, "words", db => words(db))
    }

    async fn set_words(&self, words: Vec<(WordList, String)>) -> crate::Result<()> {
        write!(self, "set_words", db => set_words(db, &words))
    }

    async fn add_word(&self, list: WordList, word: &str) -> crate::Result<()> {
        write!(self, "add_word", db => add_word(db, list, word))
    }

    async fn remove_word(&self, list: WordList, word: &str) -> crate::Result<bool> {
        write!(self, "remove_word", db => remove_word(db, list, word))
    }

    async fn add_ban(&self, ban: &Ban) -> crate::Result<()> {
        write!(self, "add_ban", db => add_ban(db, ban))
    }

    async fn bans(
        &self,
        now_ms: i64,
        of: &RoomScope,
        before: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<Ban>> {
        read!(self, "bans", db => bans(db, now_ms, of, before, limit))
    }

    async fn bans_of(&self, user: &UserId, now_ms: i64) -> crate::Result<Vec<Ban>> {
        read!(self, "bans_of", db => bans_of(db, user, now_ms))
    }

    async fn ban(&self, id: Snowflake) -> crate::Result<Option<Ban>> {
        read!(self, "ban", db => ban(db, id))
    }

    async fn remove_ban(&self, id: Snowflake) -> crate::Result<Option<Ban>> {
        write!(self, "remove_ban", db => remove_ban(db, id))
    }

    async fn revoke_tokens(&self, user: &UserId, before_ms: i64) -> crate::Result<()> {
        write!(self, "revoke_tokens", db => revoke_tokens(db, user, before_ms))
    }

    async fn revocations(&self) -> crate::Result<Vec<(UserId, i64)>> {
        read!(self, "revocations", db => revocations(db))
    }

    async fn audit(&self, entries: Vec<AuditEntry>) -> crate::Result<()> {
        write!(self, "audit", db => audit_all(db, &entries))
    }

    async fn audit_trail(&self, query: &AuditQuery) -> crate::Result<Vec<(i64, AuditEntry)>> {
        read!(self, "audit_trail", db => audit_trail(db, query))
    }

    async fn audit_lines(&self, after: i64, limit: usize) -> crate::Result<Vec<AuditLine>> {
        read!(self, "audit_lines", db => audit_lines(db, after, limit))
    }

    async fn audit_head(&self) -> crate::Result<Option<(i64, String)>> {
        read!(self, "audit_head", db => audit_head(db))
    }
}

async fn hold(db: &mut MySqlConnection, review: &Review, client_msg_id: Option<&str>) -> Result<Option<FirstAnswer>> {
    let comment = &review.comment;
    let pending = review.status == ReviewStatus::Pending;
    if let Some(client_msg_id) = client_msg_id
        && let Some(repeat) = comments::claim(db, &[(comment, client_msg_id, pending)]).await?.pop()
    {
        return Ok(Some(repeat.first));
    }
    let room_key = rooms::ensure(db, &comment.room_id).await?;
    sqlx::query(
        "INSERT INTO reviews (id, room_key, session_id, offset_ms, created_at_ms, user_id, username, level, content,
             mode, color, size, kind, mentions, keep, word, status, decided_by, decided_at_ms, reason, labels, due_ms)
         VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON DUPLICATE KEY UPDATE status = reviews.status",
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
    .bind(&review.reason)
    .bind(json(&review.labels)?)
    .bind(review.due_ms)
    .execute(&mut *db)
    .await?;
    Ok(None)
}

fn review_sql() -> String {
    let columns = COLUMNS.replace("c.like_count", "0");
    format!(
        "SELECT {columns}, c.keep, c.word, c.status, c.decided_by, c.decided_at_ms, c.reason, c.labels, c.claimed_by,
             c.claimed_until_ms, c.due_ms
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
        reason: row.try_get(20)?,
        labels: from_json(row, 21)?.unwrap_or_default(),
        claimed_by: row.try_get(22)?,
        claimed_until_ms: row.try_get(23)?,
        due_ms: row.try_get(24)?,
    })
}

async fn review(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Review>> {
    let sql = AssertSqlSafe(format!("{}c.id = ?", review_sql()));
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    row.as_ref().map(review_row).transpose()
}

async fn reviews(
    db: &mut MySqlConnection,
    status: Option<ReviewStatus>,
    scope: &RoomScope,
    after: Option<Snowflake>,
    limit: usize,
) -> Result<Vec<Review>> {
    let mut sql = QueryBuilder::<MySql>::new(review_sql());
    push_scope(&mut sql, scope);
    sql.push(" AND c.id > ").push_bind(after.map_or(0, |id| int(id.0)));
    if let Some(status) = status {
        sql.push(" AND c.status = ").push_bind(code(status));
    }
    sql.push(" ORDER BY c.id LIMIT ").push_bind(int(limit));
    let rows = sql.build().fetch_all(db).await?;
    rows.iter().map(review_row).collect()
}

async fn erase_reviews(
    db: &mut MySqlConnection,
    of: ReviewsOf<'_>,
    by: &str,
    at_ms: i64,
    receipt: Option<Snowflake>,
) -> Result<Vec<Review>> {
    let mut sql = QueryBuilder::<MySql>::new(review_sql());
    match of {
        ReviewsOf::Comment(id) => sql.push("c.id = ").push_bind(int(id.0)),
        ReviewsOf::User(user, _) => sql.push("c.user_id = ").push_bind(user.to_string()),
    };
    if let ReviewsOf::User(_, Some(room)) = of {
        sql.push(" AND r.room_id = ").push_bind(room.to_string());
    }
    let rows = sql.push(" ORDER BY c.id FOR UPDATE").build().fetch_all(&mut *db).await?;
    let found = rows.iter().map(review_row).collect::<Result<Vec<_>>>()?;
    let (pending, rejected) = (code(ReviewStatus::Pending), code(ReviewStatus::Rejected));
    let delayed = code(ReviewStatus::Delayed);
    for review in &found {
        // MySQL assigns from left to right, so the status comes last.
        sqlx::query(
            "UPDATE reviews SET content = '', username = '', mentions = NULL,
                 decided_by = IF(status IN (?, ?), ?, decided_by),
                 decided_at_ms = IF(status IN (?, ?), ?, decided_at_ms),
                 due_ms = NULL, status = IF(status IN (?, ?), ?, status)
             WHERE id = ?",
        )
        .bind(pending)
        .bind(delayed)
        .bind(by)
        .bind(pending)
        .bind(delayed)
        .bind(at_ms)
        .bind(pending)
        .bind(delayed)
        .bind(rejected)
        .bind(int(review.comment.id.0))
        .execute(&mut *db)
        .await?;
    }
    // The text of an approved one counts among the published.
    let held = |review: &&Review| review.status != ReviewStatus::Approved && !review.comment.content.is_empty();
    erasure::add(db, receipt, Counted::Comments, found.iter().filter(held).count() as u64).await?;
    let undecided = |review: &Review| matches!(review.status, ReviewStatus::Pending | ReviewStatus::Delayed);
    Ok(found.into_iter().filter(undecided).collect())
}

async fn decide(
    db: &mut MySqlConnection,
    id: Snowflake,
    status: ReviewStatus,
    by: &str,
    at_ms: i64,
) -> Result<Option<Review>> {
    let sql = "UPDATE reviews SET status = ?, decided_by = ?, decided_at_ms = ?, due_ms = NULL
         WHERE id = ? AND status IN (?, ?)
             AND (claimed_by IS NULL OR claimed_by = ? OR claimed_until_ms NOT BETWEEN ? AND ?)";
    let query = sqlx::query(sql).bind(code(status)).bind(by).bind(at_ms).bind(int(id.0));
    let query = query.bind(code(ReviewStatus::Pending)).bind(code(ReviewStatus::Delayed)).bind(by);
    let query = query.bind(at_ms + 1).bind(at_ms + CLAIM_MS_MAX);
    let decided = query.execute(&mut *db).await?;
    if decided.rows_affected() == 0 { Ok(None) } else { review(db, id).await }
}

async fn held_of(db: &mut MySqlConnection, user: &UserId, max: u32) -> Result<u32> {
    let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM reviews WHERE user_id = ? AND status = 0 LIMIT ?) held";
    let held: i64 = sqlx::query_scalar(sql).bind(user.as_str()).bind(max).fetch_one(db).await?;
    Ok(u32::try_from(held).unwrap_or(max))
}

async fn claim(
    db: &mut MySqlConnection,
    id: Snowflake,
    by: &str,
    now_ms: i64,
    until_ms: i64,
) -> Result<Option<Review>> {
    let sql = AssertSqlSafe(format!("{}c.id = ? FOR UPDATE", review_sql()));
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(&mut *db).await?;
    let Some(found) = row.as_ref().map(review_row).transpose()? else { return Ok(None) };
    if found.status != ReviewStatus::Pending || found.claimed_at(now_ms).is_some_and(|other| other != by) {
        return Ok(None);
    }
    let sql = "UPDATE reviews SET claimed_by = ?, claimed_until_ms = ? WHERE id = ?";
    sqlx::query(sql).bind(by).bind(until_ms).bind(int(id.0)).execute(db).await?;
    Ok(Some(Review { claimed_by: Some(by.to_owned()), claimed_until_ms: until_ms, ..found }))
}

async fn due_reviews(db: &mut MySqlConnection, until_ms: i64, limit: usize) -> Result<Vec<Review>> {
    let sql = format!("{}c.due_ms <= ? AND c.status = ? ORDER BY c.due_ms, c.id LIMIT ?", review_sql());
    let query = sqlx::query(AssertSqlSafe(sql)).bind(until_ms).bind(code(ReviewStatus::Delayed)).bind(int(limit));
    query.fetch_all(db).await?.iter().map(review_row).collect()
}

async fn forget_reviews(db: &mut MySqlConnection, ids: &[Snowflake]) -> Result<()> {
    for id in ids {
        let sql = "DELETE FROM reviews WHERE id = ? AND status = ?";
        sqlx::query(sql).bind(int(id.0)).bind(code(ReviewStatus::Delayed)).execute(&mut *db).await?;
    }
    Ok(())
}

async fn undecide(db: &mut MySqlConnection, id: Snowflake) -> Result<()> {
    let sql = "UPDATE reviews SET status = ?, decided_by = NULL, decided_at_ms = NULL WHERE id = ? AND status = ?";
    let query = sqlx::query(sql).bind(code(ReviewStatus::Pending)).bind(int(id.0)).bind(code(ReviewStatus::Approved));
    query.execute(db).await.map(drop)
}

async fn words(db: &mut MySqlConnection) -> Result<Vec<(WordList, String)>> {
    let rows = sqlx::query("SELECT list, word FROM words ORDER BY list, word").fetch_all(db).await?;
    let word = |row: &MySqlRow| {
        let word: Vec<u8> = row.try_get(1)?;
        Ok((coded(row, 0)?, String::from_utf8(word).map_err(|error| unreadable(1, Box::new(error)))?))
    };
    rows.iter().map(word).collect()
}

async fn set_words(db: &mut MySqlConnection, words: &[(WordList, String)]) -> Result<()> {
    sqlx::query("DELETE FROM words").execute(&mut *db).await?;
    for some in batches(words) {
        let mut sql = QueryBuilder::<MySql>::new("INSERT IGNORE INTO words (list, word) ");
        sql.push_values(some, |mut row, (list, word)| {
            row.push_bind(code(*list)).push_bind(word.as_bytes().to_vec());
        });
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

async fn add_word(db: &mut MySqlConnection, list: WordList, word: &str) -> Result<()> {
    let sql = "INSERT INTO words (list, word) VALUES (?, ?) ON DUPLICATE KEY UPDATE list = words.list";
    sqlx::query(sql).bind(code(list)).bind(word.as_bytes()).execute(db).await.map(drop)
}

async fn remove_word(db: &mut MySqlConnection, list: WordList, word: &str) -> Result<bool> {
    let sql = "DELETE FROM words WHERE list = ? AND word = ?";
    let gone = sqlx::query(sql).bind(code(list)).bind(word.as_bytes()).execute(db).await?;
    Ok(gone.rows_affected() > 0)
}

async fn add_ban(db: &mut MySqlConnection, ban: &Ban) -> Result<()> {
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

async fn bans(
    db: &mut MySqlConnection,
    now_ms: i64,
    scope: &RoomScope,
    before: Option<Snowflake>,
    limit: usize,
) -> Result<Vec<Ban>> {
    let mut sql = QueryBuilder::<MySql>::new(format!("{BAN} WHERE until_ms > "));
    sql.push_bind(now_ms).push(" AND id < ").push_bind(before.map_or(i64::MAX, |id| int(id.0)));
    push_within(&mut sql, scope);
    sql.push(" ORDER BY id DESC LIMIT ").push_bind(int(limit));
    let rows = sql.build().fetch_all(db).await?;
    rows.iter().map(ban_row).collect()
}

/// Adds the condition that a row's `room_id` is in a scope. A room that nobody configured or wrote in may have bans, but is no
/// row of its own.
pub(super) fn push_within(sql: &mut QueryBuilder<MySql>, scope: &RoomScope) {
    match scope {
        RoomScope::All => {}
        RoomScope::Listed(rooms) => push_listed(sql.push(" AND "), "room_id", rooms),
        RoomScope::OwnedBy { .. } => {
            push_scope(sql.push(" AND room_id IN (SELECT r.room_id FROM rooms r WHERE "), scope);
            sql.push(")");
        }
    }
}

async fn bans_of(db: &mut MySqlConnection, user: &UserId, now_ms: i64) -> Result<Vec<Ban>> {
    let sql = AssertSqlSafe(format!("{BAN} WHERE user_id = ? AND until_ms > ?"));
    let rows = sqlx::query(sql).bind(user.as_str()).bind(now_ms).fetch_all(db).await?;
    rows.iter().map(ban_row).collect()
}

async fn ban(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Ban>> {
    let sql = AssertSqlSafe(format!("{BAN} WHERE id = ?"));
    sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?.as_ref().map(ban_row).transpose()
}

async fn remove_ban(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Ban>> {
    let sql = AssertSqlSafe(format!("{BAN} WHERE id = ? FOR UPDATE"));
    let Some(row) = sqlx::query(sql).bind(int(id.0)).fetch_optional(&mut *db).await? else {
        return Ok(None);
    };
    sqlx::query("DELETE FROM bans WHERE id = ?").bind(int(id.0)).execute(db).await?;
    ban_row(&row).map(Some)
}

async fn revoke_tokens(db: &mut MySqlConnection, user: &UserId, before_ms: i64) -> Result<()> {
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

async fn revocations(db: &mut MySqlConnection) -> Result<Vec<(UserId, i64)>> {
    let rows = sqlx::query("SELECT user_id, before_ms FROM revocations").fetch_all(db).await?;
    rows.iter().map(|row| Ok((parsed(row, 0)?, row.try_get(1)?))).collect()
}

async fn audit_all(db: &mut MySqlConnection, entries: &[AuditEntry]) -> Result<()> {
    for entry in entries {
        audit(db, entry).await?;
    }
    Ok(())
}

/// Adds a line and moves the head, whose lock gives the lines of all nodes one order.
pub(super) async fn audit(db: &mut MySqlConnection, entry: &AuditEntry) -> Result<()> {
    let head =
        sqlx::query("SELECT line, hash FROM audit_head WHERE only_row = 1 FOR UPDATE").fetch_one(&mut *db).await?;
    let (last, previous): (i64, String) = (head.try_get(0)?, head.try_get(1)?);
    let AuditLine { line, entry, previous, hash, seals } = AuditLine::after(&previous, last + 1, entry.clone());
    sqlx::query(
        "INSERT INTO audit_trail (line, at_ms, actor, action, room_id, target, detail, previous, hash, seals)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(line)
    .bind(entry.at_ms)
    .bind(&entry.actor)
    .bind(&entry.action)
    .bind(entry.room_id.as_ref().map(RoomId::as_str))
    .bind(&entry.target)
    .bind(&entry.detail)
    .bind(previous)
    .bind(&hash)
    .bind(seals.as_ref().map(Seals::to_column))
    .execute(&mut *db)
    .await?;
    let sql = "UPDATE audit_head SET line = ?, hash = ? WHERE only_row = 1";
    sqlx::query(sql).bind(line).bind(&hash).execute(db).await.map(drop)
}

async fn audit_head(db: &mut MySqlConnection) -> Result<Option<(i64, String)>> {
    let row = sqlx::query("SELECT line, hash FROM audit_head WHERE hash <> ''").fetch_optional(db).await?;
    row.as_ref().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

const AUDIT: &str =
    "SELECT line, at_ms, actor, action, room_id, target, detail, previous, hash, seals FROM audit_trail WHERE ";

fn audit_row(row: &MySqlRow) -> Result<AuditLine> {
    let entry = AuditEntry {
        at_ms: row.try_get(1)?,
        actor: row.try_get(2)?,
        action: row.try_get(3)?,
        room_id: optional_parsed(row, 4)?,
        target: row.try_get(5)?,
        detail: row.try_get(6)?,
    };
    let seals: Option<&str> = row.try_get(9)?;
    let seals = seals.and_then(Seals::from_column);
    Ok(AuditLine { line: row.try_get(0)?, entry, previous: row.try_get(7)?, hash: row.try_get(8)?, seals })
}

pub(super) async fn audit_line(db: &mut MySqlConnection, line: i64) -> Result<Option<AuditLine>> {
    let sql = AssertSqlSafe(format!("{AUDIT}line = ?"));
    sqlx::query(sql).bind(line).fetch_optional(db).await?.as_ref().map(audit_row).transpose()
}

async fn audit_trail(db: &mut MySqlConnection, query: &AuditQuery) -> Result<Vec<(i64, AuditEntry)>> {
    let mut sql = QueryBuilder::<MySql>::new(AUDIT);
    sql.push("line > 0");
    push_within(&mut sql, &query.of);
    if let Some(line) = query.before {
        sql.push(" AND line < ").push_bind(line);
    }
    if let Some(actor) = &query.actor {
        sql.push(" AND actor = ").push_bind(actor.clone());
    }
    if let Some(action) = &query.action {
        sql.push(" AND action = ").push_bind(action.clone());
    }
    if let Some(target) = &query.target {
        sql.push(" AND target = ").push_bind(target.clone());
    }
    if let Some(since_ms) = query.since_ms {
        sql.push(" AND at_ms >= ").push_bind(since_ms);
    }
    if let Some(until_ms) = query.until_ms {
        sql.push(" AND at_ms < ").push_bind(until_ms);
    }
    sql.push(" ORDER BY line DESC LIMIT ").push_bind(int(query.limit));
    let rows = sql.build().fetch_all(db).await?;
    rows.iter().map(|row| audit_row(row).map(|line| (line.line, line.entry))).collect()
}

async fn audit_lines(db: &mut MySqlConnection, after: i64, limit: usize) -> Result<Vec<AuditLine>> {
    let sql = AssertSqlSafe(format!("{AUDIT}line > ? ORDER BY line LIMIT ?"));
    sqlx::query(sql).bind(after).bind(int(limit)).fetch_all(db).await?.iter().map(audit_row).collect()
}
