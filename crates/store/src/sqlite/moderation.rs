//! Reviews, words, bans, revocations and the audit trail.

use async_trait::async_trait;
use model::{FirstAnswer, RoomId, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::code_column::Code;
use super::comments::{self, COLUMNS, comment_row, mentions_column};
use super::erasure::{self, Counted};
use super::rooms::Scope;
use super::{SqliteStore, column, from_json, int, json, optional_column, rooms, uint};
use crate::audit::{AuditLine, Seals};
use crate::{
    AuditEntry, AuditQuery, Ban, CLAIM_MS_MAX, ModerationStore, Review, ReviewStatus, ReviewsOf, RoomScope, WordList,
};

#[async_trait]
impl ModerationStore for SqliteStore {
    async fn hold(&self, review: &Review, client_msg_id: Option<&str>) -> crate::Result<Option<FirstAnswer>> {
        let (review, client_msg_id) = (review.clone(), client_msg_id.map(str::to_owned));
        self.write("hold", move |db| hold(db, &review, client_msg_id.as_deref())).await
    }

    async fn review(&self, id: Snowflake) -> crate::Result<Option<Review>> {
        self.read("review", move |db| review(db, id)).await
    }

    async fn reviews(
        &self,
        status: Option<ReviewStatus>,
        of: &RoomScope,
        after: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<Review>> {
        let scope = Scope::from(of);
        self.read("reviews", move |db| reviews(db, status, &scope, after, limit)).await
    }

    async fn erase_reviews(
        &self,
        of: ReviewsOf<'_>,
        by: &str,
        at_ms: i64,
        receipt: Option<Snowflake>,
    ) -> crate::Result<Vec<Review>> {
        let (id, user, room) = match of {
            ReviewsOf::Comment(id) => (Some(id), None, None),
            ReviewsOf::User(user, room) => (None, Some(user.clone()), room.cloned()),
        };
        let by = by.to_owned();
        self.write("erase_reviews", move |db| {
            let found = erasure::overwriting(db, |db| erase_reviews(db, id, user.as_ref(), room.as_ref(), &by, at_ms))?;
            erasure::add(db, receipt, Counted::Comments, found.iter().filter(|one| is_held(one)).count())?;
            Ok(found.into_iter().filter(is_undecided).collect())
        })
        .await
    }

    async fn held_of(&self, user: &UserId, max: u32) -> crate::Result<u32> {
        let user = user.clone();
        self.read("held_of", move |db| {
            let sql = "SELECT count(*) FROM (SELECT 1 FROM reviews WHERE user_id = ? AND status = 0 LIMIT ?)";
            db.prepare_cached(sql)?.query_row(params![user.as_str(), max], |row| row.get(0))
        })
        .await
    }

    async fn claim(&self, id: Snowflake, by: &str, now_ms: i64, until_ms: i64) -> crate::Result<Option<Review>> {
        let by = by.to_owned();
        self.write("claim", move |db| claim(db, id, &by, now_ms, until_ms)).await
    }

    async fn due_reviews(&self, until_ms: i64, limit: usize) -> crate::Result<Vec<Review>> {
        self.read("due_reviews", move |db| due_reviews(db, until_ms, limit)).await
    }

    async fn forget_reviews(&self, ids: &[Snowflake]) -> crate::Result<()> {
        let ids = ids.to_vec();
        self.write("forget_reviews", move |db| forget_reviews(db, &ids)).await
    }

    async fn decide(&self, id: Snowflake, status: ReviewStatus, by: &str, at_ms: i64) -> crate::Result<Option<Review>> {
        let by = by.to_owned();
        self.write("decide", move |db| decide(db, id, status, &by, at_ms)).await
    }

    async fn undecide(&self, id: Snowflake) -> crate::Result<()> {
        self.write("undecide", move |db| undecide(db, id)).await
    }

    async fn words(&self) -> crate::Result<Vec<(WordList, String)>> {
        self.read("words", words).await
    }

    async fn set_words(&self, words: Vec<(WordList, String)>) -> crate::Result<()> {
        self.write("set_words", move |db| set_words(db, &words)).await
    }

    async fn add_word(&self, list: WordList, word: &str) -> crate::Result<()> {
        let word = word.to_owned();
        self.write("add_word", move |db| add_word(db, list, &word)).await
    }

    async fn remove_word(&self, list: WordList, word: &str) -> crate::Result<bool> {
        let word = word.to_owned();
        self.write("remove_word", move |db| remove_word(db, list, &word)).await
    }

    async fn add_ban(&self, ban: &Ban) -> crate::Result<()> {
        let ban = ban.clone();
        self.write("add_ban", move |db| add_ban(db, &ban)).await
    }

    async fn bans(
        &self,
        now_ms: i64,
        of: &RoomScope,
        before: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<Ban>> {
        let scope = Scope::from(of);
        self.read("bans", move |db| bans(db, now_ms, &scope, before, limit)).await
    }

    async fn bans_of(&self, user: &UserId, now_ms: i64) -> crate::Result<Vec<Ban>> {
        let user = user.clone();
        self.read("bans_of", move |db| bans_of(db, &user, now_ms)).await
    }

    async fn ban(&self, id: Snowflake) -> crate::Result<Option<Ban>> {
        self.read("ban", move |db| ban(db, id)).await
    }

    async fn remove_ban(&self, id: Snowflake) -> crate::Result<Option<Ban>> {
        self.write("remove_ban", move |db| remove_ban(db, id)).await
    }

    async fn revoke_tokens(&self, user: &UserId, before_ms: i64) -> crate::Result<()> {
        let user = user.clone();
        self.write("revoke_tokens", move |db| revoke_tokens(db, &user, before_ms)).await
    }

    async fn revocations(&self) -> crate::Result<Vec<(UserId, i64)>> {
        self.read("revocations", revocations).await
    }

    async fn audit(&self, entries: Vec<AuditEntry>) -> crate::Result<()> {
        self.write("audit", move |db| entries.iter().try_for_each(|entry| audit(db, entry))).await
    }

    async fn audit_trail(&self, query: &AuditQuery) -> crate::Result<Vec<(i64, AuditEntry)>> {
        let query = query.clone();
        self.read("audit_trail", move |db| audit_trail(db, &query)).await
    }

    async fn audit_lines(&self, after: i64, limit: usize) -> crate::Result<Vec<AuditLine>> {
        self.read("audit_lines", move |db| audit_lines(db, after, limit)).await
    }

    async fn audit_head(&self) -> crate::Result<Option<(i64, String)>> {
        self.read("audit_head", audit_head).await
    }
}

fn hold(db: &Connection, review: &Review, client_msg_id: Option<&str>) -> Result<Option<FirstAnswer>> {
    let comment = &review.comment;
    if let Some(client_msg_id) = client_msg_id
        && let Some(first) = comments::claim(db, comment, client_msg_id, review.status == ReviewStatus::Pending)?
    {
        return Ok(Some(first));
    }
    db.prepare_cached(
        "INSERT INTO reviews (id, room_key, session_id, offset_ms, created_at_ms, user_id, username, level, content,
             mode, color, size, kind, mentions, keep, word, status, decided_by, decided_at_ms, reason, labels, due_ms)
         VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
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
        review.reason,
        json(&review.labels)?,
        review.due_ms,
    ])?;
    Ok(None)
}

/// Rooms whose queues are read one by one.
const ROOMS_APART_MAX: usize = 64;
const FROM_REVIEWS: &str = "reviews c JOIN rooms r USING (room_key)";
/// From the rooms on, which are few. CROSS JOIN keeps the order (<https://www.sqlite.org/optoverview.html#crossjoin>).
const FROM_ROOMS: &str = "rooms r CROSS JOIN reviews c USING (room_key)";

fn review_sql(from: &str, filter: &str) -> String {
    let columns = COLUMNS.replace("c.like_count", "0");
    format!(
        "SELECT {columns}, c.keep, c.word, c.status, c.decided_by, c.decided_at_ms, c.reason, c.labels, c.claimed_by,
             c.claimed_until_ms, c.due_ms
         FROM {from} WHERE {filter}"
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
        reason: row.get(20)?,
        labels: if row.get_ref(21)?.as_str_or_null()?.is_some() { from_json(row, 21)? } else { Vec::new() },
        claimed_by: row.get(22)?,
        claimed_until_ms: row.get(23)?,
        due_ms: row.get(24)?,
    })
}

fn review(db: &Connection, id: Snowflake) -> Result<Option<Review>> {
    db.prepare_cached(&review_sql(FROM_REVIEWS, "c.id = ?"))?.query_row([int(id.0)], review_row).optional()
}

/// The statement for a list of reviews, by its filters; unused parameters stay null.
pub(super) fn reviews_sql(by_status: bool, scope: &Scope) -> String {
    let status = if by_status { "c.status = ?3" } else { "?3 IS NULL" };
    let from = if scope.is_all() { FROM_REVIEWS } else { FROM_ROOMS };
    review_sql(from, &format!("{} AND {status} AND c.id > ?4 ORDER BY c.id LIMIT ?5", scope.condition()))
}

/// The statement for the reviews of one room in one state. The index has them in this order.
pub(super) fn reviews_of_room_sql() -> String {
    review_sql(FROM_REVIEWS, "c.room_key = ?1 AND c.status = ?2 AND c.id > ?3 ORDER BY c.id LIMIT ?4")
}

fn reviews(
    db: &Connection,
    status: Option<ReviewStatus>,
    scope: &Scope,
    after: Option<Snowflake>,
    limit: usize,
) -> Result<Vec<Review>> {
    let (owner, rooms) = scope.parameters();
    let after = after.map_or(0, |id| int(id.0));
    if let Some(status) = status.filter(|_| !scope.is_all()) {
        let sql = format!("SELECT r.room_key FROM rooms r WHERE {} LIMIT ?3", scope.condition());
        let keys = params![owner, rooms, int(ROOMS_APART_MAX + 1)];
        let keys: Vec<i64> = db.prepare_cached(&sql)?.query_map(keys, |row| row.get(0))?.collect::<Result<_>>()?;
        if keys.len() <= ROOMS_APART_MAX {
            // Apart, none of a long queue is read beyond the limit; together, all of it would be sorted.
            let (mut found, mut sql) = (Vec::new(), db.prepare_cached(&reviews_of_room_sql())?);
            for key in keys {
                for review in sql.query_map(params![key, Code(status), after, int(limit)], review_row)? {
                    found.push(review?);
                }
            }
            found.sort_by_key(|review: &Review| review.comment.id);
            found.truncate(limit);
            return Ok(found);
        }
    }
    let mut sql = db.prepare_cached(&reviews_sql(status.is_some(), scope))?;
    sql.query_map(params![owner, rooms, status.map(Code), after, int(limit)], review_row)?.collect()
}

fn erase_reviews(
    db: &Connection,
    id: Option<Snowflake>,
    user: Option<&UserId>,
    room: Option<&RoomId>,
    by: &str,
    at_ms: i64,
) -> Result<Vec<Review>> {
    let which = if id.is_some() { "c.id = ?1 AND ?2 IS NULL" } else { "?1 IS NULL AND c.user_id = ?2" };
    let filter = format!("{which} AND (?3 IS NULL OR r.room_id = ?3)");
    let key = params![id.map(|id| int(id.0)), user.map(UserId::as_str), room.map(RoomId::as_str)];
    let found: Vec<Review> =
        db.prepare_cached(&review_sql(FROM_REVIEWS, &filter))?.query_map(key, review_row)?.collect::<Result<_>>()?;
    let mut erase = db.prepare_cached(
        "UPDATE reviews SET content = '', username = '', mentions = NULL,
             decided_by = iif(status IN (?2, ?6), ?3, decided_by),
             decided_at_ms = iif(status IN (?2, ?6), ?4, decided_at_ms),
             status = iif(status IN (?2, ?6), ?5, status), due_ms = NULL
         WHERE id = ?1",
    )?;
    let (pending, rejected) = (Code(ReviewStatus::Pending), Code(ReviewStatus::Rejected));
    let delayed = Code(ReviewStatus::Delayed);
    for review in &found {
        erase.execute(params![int(review.comment.id.0), pending, by, at_ms, rejected, delayed])?;
    }
    Ok(found)
}

fn is_undecided(review: &Review) -> bool {
    matches!(review.status, ReviewStatus::Pending | ReviewStatus::Delayed)
}

/// Whether its text was in the queue alone: an approved one counts among the published.
fn is_held(review: &Review) -> bool {
    review.status != ReviewStatus::Approved && !review.comment.content.is_empty()
}

fn decide(db: &Connection, id: Snowflake, status: ReviewStatus, by: &str, at_ms: i64) -> Result<Option<Review>> {
    let decided = db
        .prepare_cached(
            "UPDATE reviews SET status = ?1, decided_by = ?2, decided_at_ms = ?3, due_ms = NULL
             WHERE id = ?4 AND status IN (?5, ?6) AND (claimed_by IS NULL OR claimed_by = ?2
                 OR claimed_until_ms NOT BETWEEN ?3 + 1 AND ?3 + ?7)",
        )?
        .execute(params![
            Code(status),
            by,
            at_ms,
            int(id.0),
            Code(ReviewStatus::Pending),
            Code(ReviewStatus::Delayed),
            CLAIM_MS_MAX
        ])?;
    if decided == 0 { Ok(None) } else { review(db, id) }
}

fn claim(db: &Connection, id: Snowflake, by: &str, now_ms: i64, until_ms: i64) -> Result<Option<Review>> {
    let claimed = db
        .prepare_cached(
            "UPDATE reviews SET claimed_by = ?1, claimed_until_ms = ?2
             WHERE id = ?3 AND status = ?4 AND (claimed_by IS NULL OR claimed_by = ?1
                 OR claimed_until_ms NOT BETWEEN ?5 + 1 AND ?5 + ?6)",
        )?
        .execute(params![by, until_ms, int(id.0), Code(ReviewStatus::Pending), now_ms, CLAIM_MS_MAX])?;
    if claimed == 0 { Ok(None) } else { review(db, id) }
}

fn due_reviews(db: &Connection, until_ms: i64, limit: usize) -> Result<Vec<Review>> {
    let mut sql = db.prepare_cached(&review_sql(
        FROM_REVIEWS,
        "c.due_ms IS NOT NULL AND c.due_ms <= ?1 AND c.status = ?2 ORDER BY c.due_ms, c.id LIMIT ?3",
    ))?;
    sql.query_map(params![until_ms, Code(ReviewStatus::Delayed), int(limit)], review_row)?.collect()
}

fn forget_reviews(db: &Connection, ids: &[Snowflake]) -> Result<()> {
    let mut sql = db.prepare_cached("DELETE FROM reviews WHERE id = ? AND status = ?")?;
    ids.iter().try_for_each(|id| sql.execute(params![int(id.0), Code(ReviewStatus::Delayed)]).map(drop))
}

fn undecide(db: &Connection, id: Snowflake) -> Result<()> {
    db.prepare_cached(
        "UPDATE reviews SET status = ?, decided_by = NULL, decided_at_ms = NULL WHERE id = ? AND status = ?",
    )?
    .execute(params![Code(ReviewStatus::Pending), int(id.0), Code(ReviewStatus::Approved)])?;
    Ok(())
}

fn words(db: &Connection) -> Result<Vec<(WordList, String)>> {
    let mut sql = db.prepare_cached("SELECT list, word FROM words ORDER BY list, word")?;
    sql.query_map([], |row| Ok((row.get::<_, Code<_>>(0)?.0, row.get(1)?)))?.collect()
}

fn set_words(db: &Connection, words: &[(WordList, String)]) -> Result<()> {
    db.execute("DELETE FROM words", [])?;
    words.iter().try_for_each(|(list, word)| add_word(db, *list, word))
}

fn add_word(db: &Connection, list: WordList, word: &str) -> Result<()> {
    db.prepare_cached("INSERT INTO words (list, word) VALUES (?, ?) ON CONFLICT DO NOTHING")?
        .execute(params![Code(list), word])?;
    Ok(())
}

fn remove_word(db: &Connection, list: WordList, word: &str) -> Result<bool> {
    let gone =
        db.prepare_cached("DELETE FROM words WHERE list = ? AND word = ?")?.execute(params![Code(list), word])?;
    Ok(gone > 0)
}

fn add_ban(db: &Connection, ban: &Ban) -> Result<()> {
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

/// Whether a row's `room_id` is in a scope. A room that nobody configured or wrote in may have bans, but is no row of its own.
pub(super) fn within(scope: &Scope) -> String {
    column_within("room_id", scope)
}

fn column_within(column: &str, scope: &Scope) -> String {
    match scope.parameters() {
        (None, None) => "?1 IS ?2".into(),
        (None, Some(_)) => format!("?1 IS NULL AND {column} IN (SELECT value FROM json_each(?2))"),
        (Some(_), _) => format!("{column} IN (SELECT r.room_id FROM rooms r WHERE {})", scope.condition()),
    }
}

fn bans(db: &Connection, now_ms: i64, scope: &Scope, before: Option<Snowflake>, limit: usize) -> Result<Vec<Ban>> {
    let (owner, rooms) = scope.parameters();
    let within = within(scope);
    let mut sql = db.prepare_cached(&format!(
        "SELECT {BAN} FROM bans WHERE {within} AND until_ms > ?3 AND id < ?4 ORDER BY id DESC LIMIT ?5"
    ))?;
    let before = before.map_or(i64::MAX, |id| int(id.0));
    sql.query_map(params![owner, rooms, now_ms, before, int(limit)], ban_row)?.collect()
}

fn bans_of(db: &Connection, user: &UserId, now_ms: i64) -> Result<Vec<Ban>> {
    let mut sql = db.prepare_cached(&format!("SELECT {BAN} FROM bans WHERE user_id = ? AND until_ms > ?"))?;
    sql.query_map(params![user.as_str(), now_ms], ban_row)?.collect()
}

fn ban(db: &Connection, id: Snowflake) -> Result<Option<Ban>> {
    let mut sql = db.prepare_cached(&format!("SELECT {BAN} FROM bans WHERE id = ?"))?;
    sql.query_row([int(id.0)], ban_row).optional()
}

fn remove_ban(db: &Connection, id: Snowflake) -> Result<Option<Ban>> {
    let mut sql = db.prepare_cached(&format!("DELETE FROM bans WHERE id = ? RETURNING {BAN}"))?;
    sql.query_row([int(id.0)], ban_row).optional()
}

fn revoke_tokens(db: &Connection, user: &UserId, before_ms: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO revocations (user_id, before_ms) VALUES (?, ?)
         ON CONFLICT DO UPDATE SET before_ms = max(before_ms, excluded.before_ms)",
    )?
    .execute(params![user.as_str(), before_ms])?;
    Ok(())
}

fn revocations(db: &Connection) -> Result<Vec<(UserId, i64)>> {
    let mut sql = db.prepare_cached("SELECT user_id, before_ms FROM revocations")?;
    sql.query_map([], |row| Ok((column(row, 0)?, row.get(1)?)))?.collect()
}

/// Adds a line and moves the head: the one writer does so inside of one transaction.
pub(super) fn audit(db: &Connection, entry: &AuditEntry) -> Result<()> {
    let (last, previous) = match audit_head(db)? {
        Some(head) => head,
        // Lines of versions that kept no chain stand before it.
        None => (db.query_row("SELECT coalesce(max(line), 0) FROM audit_trail", [], |row| row.get(0))?, String::new()),
    };
    let AuditLine { line, entry, previous, hash, seals } = AuditLine::after(&previous, last + 1, entry.clone());
    db.prepare_cached(
        "INSERT INTO audit_trail (line, at_ms, actor, action, room_id, target, detail, previous, hash, seals)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(params![
        line,
        entry.at_ms,
        entry.actor,
        entry.action,
        entry.room_id.as_ref().map(RoomId::as_str),
        entry.target,
        entry.detail,
        previous,
        hash,
        seals.as_ref().map(Seals::to_column),
    ])?;
    db.prepare_cached("INSERT OR REPLACE INTO audit_head (only_row, line, hash) VALUES (1, ?, ?)")?
        .execute(params![line, hash])?;
    Ok(())
}

pub(super) fn audit_head(db: &Connection) -> Result<Option<(i64, String)>> {
    let mut sql = db.prepare_cached("SELECT line, hash FROM audit_head")?;
    sql.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

const AUDIT: &str = "line, at_ms, actor, action, room_id, target, detail, previous, hash, seals";

fn audit_row(row: &Row<'_>) -> Result<AuditLine> {
    let entry = AuditEntry {
        at_ms: row.get(1)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        room_id: optional_column(row, 4)?,
        target: row.get(5)?,
        detail: row.get(6)?,
    };
    let seals: Option<String> = row.get(9)?;
    let seals = seals.as_deref().and_then(Seals::from_column);
    Ok(AuditLine { line: row.get(0)?, entry, previous: row.get(7)?, hash: row.get(8)?, seals })
}

pub(super) fn audit_line(db: &Connection, line: i64) -> Result<Option<AuditLine>> {
    let mut sql = db.prepare_cached(&format!("SELECT {AUDIT} FROM audit_trail WHERE line = ?"))?;
    sql.query_row([line], audit_row).optional()
}

/// The statement for a page of the trail, by its filters; unused parameters stay null. Each index has the lines in this order.
pub(super) fn audit_trail_sql(query: &AuditQuery, scope: &Scope) -> String {
    let is = |column: &str, number: u8, is_set: bool| {
        if is_set { format!("{column} = ?{number}") } else { format!("?{number} IS NULL") }
    };
    // A person or a comment has few lines, a room may have most of them: with a target its index serves, not the room's
    // (<https://www.sqlite.org/optoverview.html#disqualifying_where_clause_terms_using_unary_>).
    let within = column_within(if query.target.is_some() { "+room_id" } else { "room_id" }, scope);
    format!(
        "SELECT {AUDIT} FROM audit_trail WHERE {within} AND {} AND {} AND {} AND (?6 IS NULL OR at_ms >= ?6)
         AND (?7 IS NULL OR at_ms < ?7) AND line < ?8 ORDER BY line DESC LIMIT ?9",
        is("actor", 3, query.actor.is_some()),
        is("action", 4, query.action.is_some()),
        is("target", 5, query.target.is_some()),
    )
}

fn audit_trail(db: &Connection, query: &AuditQuery) -> Result<Vec<(i64, AuditEntry)>> {
    let AuditQuery { actor, action, target, of, since_ms, until_ms, before, limit } = query;
    let scope = Scope::from(of);
    let (owner, rooms) = scope.parameters();
    let mut sql = db.prepare_cached(&audit_trail_sql(query, &scope))?;
    let before = before.unwrap_or(i64::MAX);
    let parameters = params![owner, rooms, actor, action, target, since_ms, until_ms, before, int(*limit)];
    sql.query_map(parameters, |row| audit_row(row).map(|line| (line.line, line.entry)))?.collect()
}

pub(super) fn audit_lines(db: &Connection, after: i64, limit: usize) -> Result<Vec<AuditLine>> {
    let mut sql =
        db.prepare_cached(&format!("SELECT {AUDIT} FROM audit_trail WHERE line > ? ORDER BY line LIMIT ?"))?;
    sql.query_map(params![after, int(limit)], audit_row)?.collect()
}
