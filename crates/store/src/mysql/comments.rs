//! Comments: storing them, finding them by position or in a recording, erasing them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use model::{Comment, FirstAnswer, Repeat, RoomId, Session, Snowflake, Style, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::batches::{batches, batches_within};
use super::erasure::{self, Counted, Purges};
use super::rooms;
use super::row::{code, coded, flag, from_json, id, int, json, optional_id, parsed, text, uint};
use super::{MySqlStore, is_duplicate, read, write};
use crate::comments::COUNTED_MAX;
use crate::{CommentStore, NewComment, Positioned, Purged, RANKING, ReplayQuery};

#[async_trait]
impl CommentStore for MySqlStore {
    async fn append_comments(&self, batch: Vec<NewComment>) -> crate::Result<Vec<Repeat>> {
        // Nearly all are new. After a transaction that failed because of others, each is looked for.
        let tried = AtomicBool::new(false);
        write!(self, "append_comments", db => append(db, self.slot, &batch, tried.swap(true, Ordering::Relaxed)))
    }

    async fn first_answer(&self, user: &UserId, client_msg_id: &str) -> crate::Result<Option<FirstAnswer>> {
        read!(self, "first_answer", db => first_answer(db, user, client_msg_id))
    }

    async fn earliest_answer(&self, user: &UserId) -> crate::Result<Option<i64>> {
        read!(self, "earliest_answer", db => earliest_answer(db, user))
    }

    async fn client_msg_ids(&self, ids: &[Snowflake]) -> crate::Result<Vec<(Snowflake, Box<str>)>> {
        read!(self, "client_msg_ids", db => client_msg_ids(db, ids))
    }

    async fn comment(&self, id: Snowflake) -> crate::Result<Option<Arc<Comment>>> {
        read!(self, "comment", db => comment(db, id))
    }

    async fn position_of(&self, id: Snowflake) -> crate::Result<Option<(RoomId, u64)>> {
        read!(self, "position_of", db => position_of(db, id))
    }

    async fn author_of(&self, id: Snowflake) -> crate::Result<Option<(RoomId, UserId)>> {
        read!(self, "author_of", db => author_of(db, id))
    }

    async fn deleted_among(&self, ids: &[Snowflake]) -> crate::Result<Vec<Snowflake>> {
        read!(self, "deleted_among", db => deleted_among(db, ids))
    }

    async fn comments_after(&self, room: &RoomId, position: u64, limit: usize) -> crate::Result<Vec<Positioned>> {
        read!(self, "comments_after", db => after(db, room, position, limit))
    }

    async fn count_after(&self, room: &RoomId, position: u64) -> crate::Result<u64> {
        read!(self, "count_after", db => count_after(db, room, position))
    }

    async fn latest_comments(&self, room: &RoomId, limit: usize) -> crate::Result<Vec<Positioned>> {
        read!(self, "latest_comments", db => latest(db, room, limit))
    }

    async fn newest_comment_ms(&self, session: Snowflake) -> crate::Result<Option<i64>> {
        read!(self, "newest_comment_ms", db => newest_ms(db, session))
    }

    async fn replay(&self, query: ReplayQuery) -> crate::Result<Vec<Arc<Comment>>> {
        read!(self, "replay", db => replay(db, &query))
    }

    async fn delete_comments(&self, ids: &[Snowflake]) -> crate::Result<Vec<(Snowflake, RoomId)>> {
        write!(self, "delete_comments", db => delete(db, ids))
    }

    async fn purge_user(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
        receipt: Option<Snowflake>,
    ) -> crate::Result<Purged> {
        write!(self, "purge_user", db => purge_user(db, user, room, limit, receipt))
    }

    async fn hide_comments(&self, ids: &[Snowflake], hidden: bool) -> crate::Result<Vec<(Snowflake, RoomId)>> {
        write!(self, "hide_comments", db => hide(db, ids, hidden))
    }

    async fn comments_by_id(&self, ids: &[Snowflake]) -> crate::Result<Vec<Positioned>> {
        read!(self, "comments_by_id", db => by_id(db, ids))
    }

    async fn shadowed_comment(&self, id: Snowflake) -> crate::Result<Option<Arc<Comment>>> {
        read!(self, "shadowed_comment", db => shadowed_comment(db, id))
    }

    async fn shadowed_comments(
        &self,
        room: &RoomId,
        by: Option<&UserId>,
        limit: usize,
    ) -> crate::Result<Vec<Positioned>> {
        read!(self, "shadowed_comments", db => shadowed(db, room, by, limit))
    }

    async fn import_comments(&self, session: &Session, comments: Vec<Arc<Comment>>) -> crate::Result<u64> {
        write!(self, "import_comments", db => import(db, session, &comments))
    }
}

/// What [`comment_row`] reads; 15 columns.
pub(super) const COLUMNS: &str = "c.id, r.room_id, c.session_id, c.user_id, c.username, c.level, c.content, c.mode, \
     c.color, c.size, c.kind, c.mentions, c.created_at_ms, c.offset_ms, c.like_count";
/// Where [`COLUMNS`] are read from.
pub(super) const FROM: &str = "FROM comments c JOIN rooms r ON r.room_key = c.room_key";

/// A comment from [`COLUMNS`].
pub(super) fn comment_row(row: &MySqlRow) -> Result<Arc<Comment>> {
    let color: i64 = row.try_get(8)?;
    Ok(Arc::new(Comment {
        id: id(row, 0)?,
        room_id: parsed(row, 1)?,
        session_id: optional_id(row, 2)?,
        user_id: parsed(row, 3)?,
        username: row.try_get::<&str, _>(4)?.into(),
        level: coded(row, 5)?,
        content: row.try_get::<&str, _>(6)?.into(),
        style: Style { mode: coded(row, 7)?, color: u32::try_from(color).unwrap_or(u32::MAX), size: coded(row, 9)? },
        kind: coded(row, 10)?,
        mentions: from_json(row, 11)?.unwrap_or_default(),
        created_at_ms: row.try_get(12)?,
        offset_ms: row.try_get(13)?,
        like_count: uint(row, 14)?,
        shadow: false,
    }))
}

/// Mentioned users as a column; null when there are none.
pub(super) fn mentions_column(mentions: &[UserId]) -> Result<Option<String>> {
    if mentions.is_empty() { Ok(None) } else { json(&mentions).map(Some) }
}

/// Stores those that are first under their senders' own ids; returns the others.
async fn append(
    db: &mut MySqlConnection,
    slot: i32,
    batch: &[NewComment],
    some_may_be_stored: bool,
) -> Result<Vec<Repeat>> {
    let Some(newest) = batch.iter().map(|new| new.position).max() else {
        return Ok(Vec::new());
    };
    let answers = batch.iter().filter_map(|new| Some((&*new.comment, new.client_msg_id.as_deref()?, false)));
    let repeats = claim(db, &answers.collect::<Vec<_>>()).await?;
    let is_first = |new: &&NewComment| !repeats.iter().any(|repeat| repeat.id == new.comment.id);
    let comments: Vec<_> = batch.iter().filter(is_first).map(|new| (&*new.comment, new.position)).collect();
    insert(db, &comments, some_may_be_stored).await?;
    let purges = Purges::since_oldest_of(db, batch).await?;
    let late = comments.iter().map(|(comment, _)| comment).filter(|comment| purges.cover(comment));
    let late: Vec<_> = late.map(|comment| comment.id).collect();
    for some in batches(&late) {
        erase(db, PURGED, some.len(), |sql| {
            push_ids(sql.push("c.id IN ("), some.iter().copied());
            sql.push(")");
        })
        .await?;
    }
    sqlx::query("UPDATE high_water SET position = GREATEST(position, ?) WHERE slot = ?")
        .bind(int(newest))
        .bind(slot)
        .execute(db)
        .await?;
    Ok(repeats)
}

/// Stores those that are new, and returns how many they were. Where they are likely new, the database finds out by storing
/// them: a statement that meets a stored one stores nothing, and its comments are looked for. When two nodes store one id at
/// once, the later gets a duplicate key, retries, and finds it stored.
async fn insert(db: &mut MySqlConnection, comments: &[(&Comment, u64)], some_may_be_stored: bool) -> Result<u64> {
    let mut kept = if some_may_be_stored { stored_among(db, comments).await? } else { HashSet::new() };
    let new: Vec<_> = comments.iter().filter(|(comment, _)| kept.insert(comment.id)).copied().collect();
    let keys = room_keys(db, new.iter().map(|(comment, _)| &comment.room_id)).await?;
    let (mut counts, mut stored) = (SessionCounts::default(), 0);
    for rows in batches_within(&new, |(comment, _)| row_bytes(comment)) {
        let mut rows = rows.to_vec();
        match insert_rows(db, &rows, &keys).await {
            Err(error) if !some_may_be_stored && is_duplicate(&error) => {
                let kept = stored_among(db, &rows).await?;
                rows.retain(|(comment, _)| !kept.contains(&comment.id));
                for rows in batches(&rows) {
                    insert_rows(db, rows, &keys).await?;
                }
            }
            done => done?,
        }
        let seen = rows.iter().filter(|(comment, _)| !comment.shadow);
        seen.for_each(|(comment, _)| counts.add(comment.session_id, 1));
        stored += rows.len() as u64;
    }
    counts.write(db).await?;
    Ok(stored)
}

/// What a row takes of a statement, at most.
fn row_bytes(comment: &Comment) -> usize {
    let mentions: usize = comment.mentions.iter().map(|user| user.as_str().len() + 3).sum();
    256 + comment.username.len() + comment.content.len() + mentions
}

async fn insert_rows(db: &mut MySqlConnection, rows: &[(&Comment, u64)], keys: &HashMap<RoomId, i64>) -> Result<()> {
    let mut sql = QueryBuilder::<MySql>::new(
        "INSERT INTO comments (id, room_key, position, session_id, offset_ms, created_at_ms, user_id, username,
         level, content, mode, color, size, kind, mentions, deleted) ",
    );
    let mentions: Result<Vec<_>> = rows.iter().map(|(comment, _)| mentions_column(&comment.mentions)).collect();
    sql.push_values(rows.iter().zip(mentions?), |mut row, ((comment, position), mentions)| {
        row.push_bind(int(comment.id.0)).push_bind(keys.get(&comment.room_id).copied()).push_bind(int(*position));
        row.push_bind(comment.session_id.map(|id| int(id.0))).push_bind(comment.offset_ms);
        row.push_bind(comment.created_at_ms).push_bind(comment.user_id.as_str().to_owned());
        row.push_bind(comment.username.to_string()).push_bind(code(comment.level));
        row.push_bind(comment.content.to_string()).push_bind(code(comment.style.mode));
        row.push_bind(i64::from(comment.style.color)).push_bind(code(comment.style.size));
        row.push_bind(code(comment.kind)).push_bind(mentions);
        row.push_bind(if comment.shadow { SHADOWED } else { SEEN });
    });
    sql.build().execute(db).await.map(drop)
}

/// Which of these ids are stored, deleted ones included.
async fn stored_among(db: &mut MySqlConnection, comments: &[(&Comment, u64)]) -> Result<HashSet<Snowflake>> {
    let mut kept = HashSet::new();
    for some in batches_within(comments, |_| ID_BYTES) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT id FROM comments WHERE id IN (");
        push_ids(&mut sql, some.iter().map(|(comment, _)| comment.id));
        let rows = sql.push(")").build().fetch_all(&mut *db).await?;
        for row in &rows {
            kept.insert(id(row, 0)?);
        }
    }
    Ok(kept)
}

/// The keys of rooms; creates new rooms. Goes by name, so that two transactions do not deadlock.
async fn room_keys<'a>(
    db: &mut MySqlConnection,
    rooms: impl Iterator<Item = &'a RoomId>,
) -> Result<HashMap<RoomId, i64>> {
    let names: Vec<_> = rooms.collect::<BTreeSet<_>>().into_iter().collect();
    let mut keys = HashMap::with_capacity(names.len());
    for some in batches_within(&names, |name| name.as_str().len()) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT room_id, room_key FROM rooms WHERE room_id IN (");
        let mut list = sql.separated(", ");
        some.iter().for_each(|name| {
            list.push_bind(name.as_str().to_owned());
        });
        let rows = sql.push(")").build().fetch_all(&mut *db).await?;
        for row in &rows {
            keys.insert(parsed(row, 0)?, row.try_get(1)?);
        }
    }
    for name in names {
        if !keys.contains_key(name) {
            keys.insert(name.clone(), rooms::ensure(db, name).await?);
        }
    }
    Ok(keys)
}

fn push_ids(sql: &mut QueryBuilder<MySql>, ids: impl Iterator<Item = Snowflake>) {
    let mut list = sql.separated(", ");
    ids.for_each(|id| {
        list.push_bind(int(id.0));
    });
}

/// Bytes of an id in a statement.
const ID_BYTES: usize = 9;
/// Bytes of the column `client_msg_id`.
const CLIENT_MSG_ID_BYTES_MAX: usize = 255;

/// Stores the first answers to `client_msg_id`s. Returns the comments whose `client_msg_id` another one got before, in this
/// list or earlier, with its answer. A transaction that holds the same key is waited for, so of two nodes one is first.
pub(super) async fn claim(db: &mut MySqlConnection, answers: &[(&Comment, &str, bool)]) -> Result<Vec<Repeat>> {
    // IGNORE would cut it to the column's length, and take two that begin alike for one.
    if answers.iter().any(|(_, client_msg_id, _)| client_msg_id.len() > CLIENT_MSG_ID_BYTES_MAX) {
        return Err(sqlx::Error::Protocol("a client_msg_id is longer than its column".into()));
    }
    let mut repeats = Vec::new();
    for some in batches_within(answers, |_| 2 * CLIENT_MSG_ID_BYTES_MAX) {
        let mut sql = QueryBuilder::<MySql>::new(
            "INSERT IGNORE INTO client_msg_ids (id, user_id, client_msg_id, pending_review, created_at_ms) ",
        );
        sql.push_values(some, |mut row, (comment, client_msg_id, pending_review)| {
            row.push_bind(int(comment.id.0)).push_bind(comment.user_id.as_str().to_owned());
            row.push_bind(client_msg_id.as_bytes().to_vec()).push_bind(*pending_review);
            row.push_bind(comment.created_at_ms);
        });
        let new = sql.build().execute(&mut *db).await?.rows_affected();
        if new < some.len() as u64 {
            repeats.extend(repeats_among(db, some).await?);
        }
    }
    Ok(repeats)
}

async fn repeats_among(db: &mut MySqlConnection, answers: &[(&Comment, &str, bool)]) -> Result<Vec<Repeat>> {
    let mut repeats = Vec::new();
    for (comment, client_msg_id, _) in answers {
        let first = first_answer(db, &comment.user_id, client_msg_id).await?;
        repeats.extend(first.filter(|first| first.id != comment.id).map(|first| Repeat { id: comment.id, first }));
    }
    Ok(repeats)
}

async fn import(db: &mut MySqlConnection, session: &Session, comments: &[Arc<Comment>]) -> Result<u64> {
    rooms::add_finished_session(db, session).await?;
    insert(db, &comments.iter().map(|comment| (&**comment, 0)).collect::<Vec<_>>(), true).await
}

async fn first_answer(db: &mut MySqlConnection, user: &UserId, client_msg_id: &str) -> Result<Option<FirstAnswer>> {
    let sql = "SELECT id, pending_review, created_at_ms FROM client_msg_ids WHERE user_id = ? AND client_msg_id = ?";
    let row = sqlx::query(sql).bind(user.as_str()).bind(client_msg_id.as_bytes()).fetch_optional(db).await?;
    let answer = |row: &MySqlRow| {
        let pending_review = flag(row, 1)?;
        Ok(FirstAnswer { id: id(row, 0)?, pending_review, created_at_ms: row.try_get(2)? })
    };
    row.as_ref().map(answer).transpose()
}

async fn earliest_answer(db: &mut MySqlConnection, user: &UserId) -> Result<Option<i64>> {
    let sql = "SELECT MIN(created_at_ms) FROM client_msg_ids WHERE user_id = ?";
    sqlx::query_scalar(sql).bind(user.as_str()).fetch_one(db).await
}

async fn client_msg_ids(db: &mut MySqlConnection, ids: &[Snowflake]) -> Result<Vec<(Snowflake, Box<str>)>> {
    let mut found = Vec::new();
    for some in batches(ids) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT id, client_msg_id FROM client_msg_ids WHERE id IN (");
        push_ids(&mut sql, some.iter().copied());
        let rows = sql.push(")").build().fetch_all(&mut *db).await?;
        for row in &rows {
            found.push((id(row, 0)?, text(row, 1)?));
        }
    }
    Ok(found)
}

async fn comment(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Arc<Comment>>> {
    let sql = AssertSqlSafe(format!("SELECT {COLUMNS} {FROM} WHERE c.id = ? AND c.deleted = 0"));
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    row.as_ref().map(comment_row).transpose()
}

async fn position_of(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<(RoomId, u64)>> {
    let sql = AssertSqlSafe(format!("SELECT r.room_id, c.position {FROM} WHERE c.id = ?"));
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    row.as_ref().map(|row| Ok((parsed(row, 0)?, uint(row, 1)?))).transpose()
}

async fn author_of(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<(RoomId, UserId)>> {
    let sql = AssertSqlSafe(format!("SELECT r.room_id, c.user_id {FROM} WHERE c.id = ?"));
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    row.as_ref().map(|row| Ok((parsed(row, 0)?, parsed(row, 1)?))).transpose()
}

async fn deleted_among(db: &mut MySqlConnection, ids: &[Snowflake]) -> Result<Vec<Snowflake>> {
    let mut deleted = Vec::new();
    for some in batches(ids) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT id FROM comments WHERE deleted <> 0 AND id IN (");
        push_ids(&mut sql, some.iter().copied());
        let rows = sql.push(")").build().fetch_all(&mut *db).await?;
        for row in &rows {
            deleted.push(id(row, 0)?);
        }
    }
    Ok(deleted)
}

/// By the index of offsets, which rise in a live session.
async fn newest_ms(db: &mut MySqlConnection, session: Snowflake) -> Result<Option<i64>> {
    let sql =
        "SELECT created_at_ms FROM comments WHERE session_id = ? AND position > 0 ORDER BY offset_ms DESC LIMIT 1";
    sqlx::query_scalar(sql).bind(int(session.0)).fetch_optional(db).await
}

/// Comments of the live order.
const LIVE: &str = "r.room_id = ? AND c.deleted = 0 AND c.position > ?";

async fn live(
    db: &mut MySqlConnection,
    room: &RoomId,
    position: u64,
    order: &str,
    limit: usize,
) -> Result<Vec<Positioned>> {
    let sql = format!("SELECT {COLUMNS}, c.position {FROM} WHERE {LIVE} ORDER BY c.position {order} LIMIT ?");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(room.as_str()).bind(int(position)).bind(int(limit));
    let rows = query.fetch_all(db).await?;
    rows.iter().map(|row| Ok(Positioned { comment: comment_row(row)?, position: uint(row, 15)? })).collect()
}

async fn after(db: &mut MySqlConnection, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Positioned>> {
    live(db, room, position, "ASC", limit).await
}

async fn count_after(db: &mut MySqlConnection, room: &RoomId, position: u64) -> Result<u64> {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM (SELECT 1 {FROM} WHERE {LIVE} LIMIT ?) missed"));
    let row = sqlx::query(sql).bind(room.as_str()).bind(int(position)).bind(COUNTED_MAX).fetch_one(db).await?;
    uint(&row, 0)
}

async fn latest(db: &mut MySqlConnection, room: &RoomId, limit: usize) -> Result<Vec<Positioned>> {
    let mut newest_first = live(db, room, 0, "DESC", limit).await?;
    newest_first.reverse();
    Ok(newest_first)
}

async fn replay(db: &mut MySqlConnection, query: &ReplayQuery) -> Result<Vec<Arc<Comment>>> {
    // Ids are positive, so (from_ms, 0) stands before everything at from_ms.
    let start = (query.from_ms, Snowflake(0));
    let (offset_ms, id) = query.after.map_or(start, |after| after.max(start));
    let mut sql = QueryBuilder::<MySql>::new(format!("SELECT {COLUMNS} {FROM} WHERE r.room_id = "));
    sql.push_bind(query.room_id.as_str().to_owned());
    if let Some(session) = query.session_id {
        sql.push(" AND c.session_id = ").push_bind(int(session.0));
    }
    if let Some(user) = &query.by_user {
        sql.push(" AND c.user_id = ").push_bind(user.as_str().to_owned());
    }
    // The first condition alone is a range of an index; the second cuts its beginning.
    sql.push(" AND c.deleted = 0 AND c.offset_ms >= ").push_bind(offset_ms);
    sql.push(" AND (c.offset_ms > ").push_bind(offset_ms).push(" OR c.id > ").push_bind(int(id.0));
    sql.push(") AND c.offset_ms < ").push_bind(query.to_ms);
    sql.push(" ORDER BY c.offset_ms, c.id LIMIT ").push_bind(int(query.limit));
    let rows = sql.build().fetch_all(db).await?;
    rows.iter().map(comment_row).collect()
}

/// Values of the column `deleted` beside [`DELETED`] and [`PURGED`].
const SEEN: i16 = 0;
const SHADOWED: i16 = 3;
const HIDDEN: i16 = 4;

async fn hide(db: &mut MySqlConnection, ids: &[Snowflake], hidden: bool) -> Result<Vec<(Snowflake, RoomId)>> {
    let (from, to, change) = if hidden { (SEEN, HIDDEN, -1) } else { (HIDDEN, SEEN, 1) };
    let (mut changed, mut counts) = (Vec::new(), SessionCounts::default());
    for some in batches(ids) {
        let mut sql =
            QueryBuilder::<MySql>::new(format!("SELECT c.id, r.room_id, c.session_id {FROM} WHERE c.deleted = "));
        push_ids(sql.push_bind(from).push(" AND c.id IN ("), some.iter().copied());
        let rows = sql.push(") ORDER BY c.id FOR UPDATE").build().fetch_all(&mut *db).await?;
        for row in &rows {
            counts.add(optional_id(row, 2)?, change);
            changed.push((id(row, 0)?, parsed(row, 1)?));
        }
        let mut sql = QueryBuilder::<MySql>::new("UPDATE comments SET deleted = ");
        push_ids(
            sql.push_bind(to).push(" WHERE deleted = ").push_bind(from).push(" AND id IN ("),
            some.iter().copied(),
        );
        sql.push(")").build().execute(&mut *db).await?;
    }
    counts.write(db).await?;
    Ok(changed)
}

async fn by_id(db: &mut MySqlConnection, ids: &[Snowflake]) -> Result<Vec<Positioned>> {
    let mut found = Vec::new();
    for some in batches(ids) {
        let mut sql = QueryBuilder::<MySql>::new(format!(
            "SELECT {COLUMNS}, c.position {FROM} WHERE c.deleted = 0 AND c.id IN ("
        ));
        push_ids(&mut sql, some.iter().copied());
        let rows = sql.push(")").build().fetch_all(&mut *db).await?;
        for row in &rows {
            found.push(Positioned { comment: comment_row(row)?, position: uint(row, 15)? });
        }
    }
    Ok(found)
}

fn shadow_row(row: &MySqlRow) -> Result<Positioned> {
    let comment = Arc::unwrap_or_clone(comment_row(row)?);
    Ok(Positioned { comment: Arc::new(Comment { shadow: true, ..comment }), position: uint(row, 15)? })
}

async fn shadowed_comment(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Arc<Comment>>> {
    let sql = AssertSqlSafe(format!("SELECT {COLUMNS}, c.position {FROM} WHERE c.id = ? AND c.deleted = ?"));
    let row = sqlx::query(sql).bind(int(id.0)).bind(SHADOWED).fetch_optional(db).await?;
    row.as_ref().map(|row| Ok(shadow_row(row)?.comment)).transpose()
}

async fn shadowed(
    db: &mut MySqlConnection,
    room: &RoomId,
    by: Option<&UserId>,
    limit: usize,
) -> Result<Vec<Positioned>> {
    let mut sql = QueryBuilder::<MySql>::new(format!("SELECT {COLUMNS}, c.position {FROM} WHERE r.room_id = "));
    sql.push_bind(room.as_str().to_owned()).push(" AND c.deleted = ").push_bind(SHADOWED);
    if let Some(user) = by {
        sql.push(" AND c.user_id = ").push_bind(user.as_str().to_owned());
    }
    sql.push(" ORDER BY c.id DESC LIMIT ").push_bind(int(limit));
    let rows = sql.build().fetch_all(db).await?;
    let mut newest_first = rows.iter().map(shadow_row).collect::<Result<Vec<_>>>()?;
    newest_first.reverse();
    Ok(newest_first)
}
/// How a comment is marked as deleted. A purged one counts in no ranking any more.
const DELETED: i16 = 1;
pub(super) const PURGED: i16 = 2;

/// A comment to erase.
struct Erased {
    id: Snowflake,
    room: RoomId,
    /// The session that counts it.
    session: Option<Snowflake>,
}

/// Erases the comments that match `filter`, and updates what depends on them: the sessions' counts and the texts of reviews.
/// Locks them first, so that two erasing transactions count each comment once.
async fn erase(
    db: &mut MySqlConnection,
    mark: i16,
    limit: usize,
    filter: impl FnOnce(&mut QueryBuilder<MySql>),
) -> Result<Vec<(Snowflake, RoomId)>> {
    let mut sql = QueryBuilder::<MySql>::new(format!(
        "SELECT c.id, r.room_id, c.session_id, c.deleted {FROM} WHERE c.deleted NOT IN ({DELETED}, {PURGED}) AND "
    ));
    filter(&mut sql);
    sql.push(" ORDER BY c.id LIMIT ").push_bind(int(limit)).push(" FOR UPDATE");
    let rows = sql.build().fetch_all(&mut *db).await?;
    let erased = |row| {
        let session = optional_id(row, 2)?.filter(|_| !flag(row, 3).unwrap_or(true));
        Ok(Erased { id: id(row, 0)?, room: parsed(row, 1)?, session })
    };
    let found = rows.iter().map(erased).collect::<Result<Vec<_>>>()?;
    for some in batches(&found) {
        for update in [&*format!("UPDATE comments SET deleted = {mark},"), "UPDATE reviews SET"] {
            let mut sql = QueryBuilder::<MySql>::new(update);
            push_ids(
                sql.push(" content = '', username = '', mentions = NULL WHERE id IN ("),
                some.iter().map(|one| one.id),
            );
            sql.push(")").build().execute(&mut *db).await?;
        }
    }
    let mut counts = SessionCounts::default();
    found.iter().for_each(|one| counts.add(one.session, -1));
    counts.write(db).await?;
    Ok(found.into_iter().map(|one| (one.id, one.room)).collect())
}

async fn delete(db: &mut MySqlConnection, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>> {
    let mut deleted = Vec::with_capacity(ids.len());
    for some in batches(ids) {
        deleted.extend(
            erase(db, DELETED, some.len(), |sql| {
                push_ids(sql.push("c.id IN ("), some.iter().copied());
                sql.push(")");
            })
            .await?,
        );
    }
    Ok(deleted)
}

async fn purge_user(
    db: &mut MySqlConnection,
    user: &UserId,
    room: Option<&RoomId>,
    limit: usize,
    receipt: Option<Snowflake>,
) -> Result<Purged> {
    let comments = erase(db, PURGED, limit, |sql| {
        sql.push("c.user_id = ").push_bind(user.as_str().to_owned());
        push_room(sql, room);
    })
    .await?;
    let mut rooms: BTreeSet<RoomId> = comments.iter().map(|(_, room)| room.clone()).collect();
    let more = comments.len() >= limit;
    if !more {
        rooms.extend(purge_scores(db, user, room).await?);
    }
    let rooms: Vec<RoomId> = rooms.into_iter().collect();
    erasure::add(db, receipt, Counted::Comments, comments.len() as u64).await?;
    erasure::note_rooms(db, receipt, &rooms).await?;
    for room in &rooms {
        let sql = "DELETE FROM documents WHERE kind = ? AND room_id = ?";
        sqlx::query(sql).bind(RANKING).bind(room.as_str()).execute(&mut *db).await?;
    }
    Ok(Purged { comments, rooms, more })
}

fn push_room(sql: &mut QueryBuilder<MySql>, room: Option<&RoomId>) {
    if let Some(room) = room {
        sql.push(" AND r.room_id = ").push_bind(room.as_str().to_owned());
    }
}

/// Takes a user out of the scores: comments that were deleted before, and gifts. Returns the rooms.
async fn purge_scores(db: &mut MySqlConnection, user: &UserId, room: Option<&RoomId>) -> Result<Vec<RoomId>> {
    let mut rooms = Vec::new();
    for (find, change) in [
        (
            format!("SELECT DISTINCT r.room_id {FROM} WHERE c.deleted = {DELETED} AND c.user_id = "),
            format!(
                "UPDATE comments c JOIN rooms r ON r.room_key = c.room_key SET c.deleted = {PURGED}
                 WHERE c.deleted = {DELETED} AND c.user_id = "
            ),
        ),
        (
            "SELECT DISTINCT r.room_id FROM gifts g JOIN sessions s ON s.id = g.session_id
             JOIN rooms r ON r.room_key = s.room_key WHERE g.user_id = "
                .into(),
            match room {
                Some(_) => {
                    "DELETE g FROM gifts g JOIN sessions s ON s.id = g.session_id
                            JOIN rooms r ON r.room_key = s.room_key WHERE g.user_id = "
                }
                None => "DELETE FROM gifts WHERE user_id = ",
            }
            .into(),
        ),
    ] {
        let mut sql = QueryBuilder::<MySql>::new(find);
        push_room(sql.push_bind(user.as_str().to_owned()), room);
        for row in sql.build().fetch_all(&mut *db).await? {
            rooms.push(parsed(&row, 0)?);
        }
        let mut sql = QueryBuilder::<MySql>::new(change);
        push_room(sql.push_bind(user.as_str().to_owned()), room);
        sql.build().execute(&mut *db).await?;
    }
    Ok(rooms)
}

/// Changes of the sessions' comment counts, summed so that each row is written once. Written in the order of ids, so that two
/// transactions do not deadlock.
#[derive(Default)]
pub(super) struct SessionCounts(BTreeMap<i64, i64>);

impl SessionCounts {
    pub(super) fn add(&mut self, session: Option<Snowflake>, change: i64) {
        if let Some(session) = session {
            *self.0.entry(int(session.0)).or_default() += change;
        }
    }

    pub(super) async fn write(self, db: &mut MySqlConnection) -> Result<()> {
        let changes: Vec<_> = self.0.into_iter().collect();
        for some in batches_within(&changes, |_| 3 * ID_BYTES) {
            rooms::add_comment_counts(db, some).await?;
        }
        Ok(())
    }
}
