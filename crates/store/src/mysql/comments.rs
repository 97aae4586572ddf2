//! Comments: keeping them, finding them by place in the log or in the recording, erasing them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::{Comment, RoomId, Session, Snowflake, Style, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::rooms;
use super::row::{code, coded, from_json, id, int, json, optional_id, parsed, uint};
use super::runs::runs;
use crate::{FirstAnswer, NewComment, Placed, ReplayQuery};

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
    }))
}

/// A list of people as its column: nothing for nobody.
pub(super) fn mentions_column(mentions: &[UserId]) -> Result<Option<String>> {
    if mentions.is_empty() { Ok(None) } else { json(&mentions).map(Some) }
}

pub(super) async fn append(db: &mut MySqlConnection, slot: i32, run: &[NewComment]) -> Result<()> {
    let Some(newest) = run.iter().map(|new| new.position).max() else {
        return Ok(());
    };
    let comments: Vec<_> = run.iter().map(|new| (&*new.comment, new.position)).collect();
    insert(db, &comments).await?;
    let answers = run.iter().filter_map(|new| Some((&*new.comment, new.client_msg_id.as_deref()?, false)));
    remember(db, &answers.collect::<Vec<_>>()).await?;
    sqlx::query("UPDATE high_water SET position = GREATEST(position, ?) WHERE slot = ?")
        .bind(int(newest))
        .bind(slot)
        .execute(db)
        .await
        .map(drop)
}

/// Keeps those that are new, and returns how many they were. Two nodes that keep the same id at once meet in a
/// duplicate key, and the later one begins anew and finds it kept.
async fn insert(db: &mut MySqlConnection, comments: &[(&Comment, u64)]) -> Result<u64> {
    let mut kept = kept_already(db, comments).await?;
    let new: Vec<_> = comments.iter().filter(|(comment, _)| kept.insert(comment.id)).collect();
    let keys = room_keys(db, new.iter().map(|(comment, _)| &comment.room_id)).await?;
    for rows in runs(&new) {
        let mut sql = QueryBuilder::<MySql>::new(
            "INSERT INTO comments (id, room_key, position, session_id, offset_ms, created_at_ms, user_id, username,
             level, content, mode, color, size, kind, mentions) ",
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
        });
        sql.build().execute(&mut *db).await?;
    }
    let mut counts = SessionCounts::default();
    new.iter().for_each(|(comment, _)| counts.add(comment.session_id, 1));
    counts.write(db).await?;
    Ok(new.len() as u64)
}

/// Which of these ids are kept, deleted ones included.
async fn kept_already(db: &mut MySqlConnection, comments: &[(&Comment, u64)]) -> Result<HashSet<Snowflake>> {
    let mut kept = HashSet::new();
    for some in runs(comments) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT id FROM comments WHERE id IN (");
        push_ids(&mut sql, some.iter().map(|(comment, _)| comment.id));
        let rows = sql.push(")").build().fetch_all(&mut *db).await?;
        for row in &rows {
            kept.insert(id(row, 0)?);
        }
    }
    Ok(kept)
}

/// The keys of rooms, which are made when they are new; in one order, so that two runs do not wait for each other.
async fn room_keys<'a>(
    db: &mut MySqlConnection,
    rooms: impl Iterator<Item = &'a RoomId>,
) -> Result<HashMap<RoomId, i64>> {
    let names: std::collections::BTreeSet<_> = rooms.collect();
    let mut keys = HashMap::with_capacity(names.len());
    for name in names {
        keys.insert(name.clone(), rooms::ensure(db, name).await?);
    }
    Ok(keys)
}

fn push_ids(sql: &mut QueryBuilder<MySql>, ids: impl Iterator<Item = Snowflake>) {
    let mut list = sql.separated(", ");
    ids.for_each(|id| {
        list.push_bind(int(id.0));
    });
}

/// Notes the answers to `client_msg_id`s, unless one was given before.
pub(super) async fn remember(db: &mut MySqlConnection, answers: &[(&Comment, &str, bool)]) -> Result<()> {
    for some in runs(answers) {
        let mut sql = QueryBuilder::<MySql>::new(
            "INSERT INTO client_msg_ids (id, user_id, client_msg_id, pending_review, created_at_ms) ",
        );
        sql.push_values(some, |mut row, (comment, client_msg_id, pending_review)| {
            row.push_bind(int(comment.id.0)).push_bind(comment.user_id.as_str().to_owned());
            row.push_bind(client_msg_id.as_bytes().to_vec()).push_bind(*pending_review);
            row.push_bind(comment.created_at_ms);
        });
        sql.push(" ON DUPLICATE KEY UPDATE created_at_ms = client_msg_ids.created_at_ms");
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

pub(super) async fn import(db: &mut MySqlConnection, session: &Session, comments: &[Arc<Comment>]) -> Result<u64> {
    rooms::add_finished_session(db, session).await?;
    insert(db, &comments.iter().map(|comment| (&**comment, 0)).collect::<Vec<_>>()).await
}

pub(super) async fn high_water(db: &mut MySqlConnection) -> Result<(u64, Option<Snowflake>)> {
    let sql = "SELECT (SELECT COALESCE(MAX(position), 0) FROM high_water), (SELECT MAX(id) FROM (
         SELECT MAX(id) AS id FROM comments UNION ALL SELECT MAX(id) FROM client_msg_ids
         UNION ALL SELECT MAX(id) FROM reviews UNION ALL SELECT MAX(id) FROM sessions
         UNION ALL SELECT MAX(id) FROM bans UNION ALL SELECT MAX(event_id) FROM unacknowledged_events
         UNION ALL SELECT MAX(id) FROM messages UNION ALL SELECT MAX(id) FROM conversations) ids)";
    let row = sqlx::query(sql).fetch_one(db).await?;
    Ok((uint(&row, 0)?, optional_id(&row, 1)?))
}

pub(super) async fn first_answer(
    db: &mut MySqlConnection,
    user: &UserId,
    client_msg_id: &str,
) -> Result<Option<FirstAnswer>> {
    let sql = "SELECT id, pending_review, created_at_ms FROM client_msg_ids WHERE user_id = ? AND client_msg_id = ?";
    let row = sqlx::query(sql).bind(user.as_str()).bind(client_msg_id.as_bytes()).fetch_optional(db).await?;
    let answer = |row: &MySqlRow| {
        let pending_review = super::row::flag(row, 1)?;
        Ok(FirstAnswer { id: id(row, 0)?, pending_review, created_at_ms: row.try_get(2)? })
    };
    row.as_ref().map(answer).transpose()
}

pub(super) async fn comment(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<Arc<Comment>>> {
    let sql = AssertSqlSafe(format!("SELECT {COLUMNS} {FROM} WHERE c.id = ? AND c.deleted = 0"));
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    row.as_ref().map(comment_row).transpose()
}

pub(super) async fn position_of(db: &mut MySqlConnection, id: Snowflake) -> Result<Option<(RoomId, u64)>> {
    let sql = AssertSqlSafe(format!("SELECT r.room_id, c.position {FROM} WHERE c.id = ?"));
    let row = sqlx::query(sql).bind(int(id.0)).fetch_optional(db).await?;
    row.as_ref().map(|row| Ok((parsed(row, 0)?, uint(row, 1)?))).transpose()
}

pub(super) async fn deleted_among(db: &mut MySqlConnection, ids: &[Snowflake]) -> Result<Vec<Snowflake>> {
    let mut deleted = Vec::new();
    for some in runs(ids) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT id FROM comments WHERE deleted = 1 AND id IN (");
        push_ids(&mut sql, some.iter().copied());
        let rows = sql.push(")").build().fetch_all(&mut *db).await?;
        for row in &rows {
            deleted.push(id(row, 0)?);
        }
    }
    Ok(deleted)
}

/// By the index of offsets, which rise with the comments of a live session.
pub(super) async fn newest_ms(db: &mut MySqlConnection, session: Snowflake) -> Result<Option<i64>> {
    let sql =
        "SELECT created_at_ms FROM comments WHERE session_id = ? AND position > 0 ORDER BY offset_ms DESC LIMIT 1";
    sqlx::query_scalar(sql).bind(int(session.0)).fetch_optional(db).await
}

/// Comments that have a place in the live order.
const LIVE: &str = "r.room_id = ? AND c.deleted = 0 AND c.position > ?";

async fn live(
    db: &mut MySqlConnection,
    room: &RoomId,
    position: u64,
    order: &str,
    limit: usize,
) -> Result<Vec<Placed>> {
    let sql = format!("SELECT {COLUMNS}, c.position {FROM} WHERE {LIVE} ORDER BY c.position {order} LIMIT ?");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(room.as_str()).bind(int(position)).bind(int(limit));
    let rows = query.fetch_all(db).await?;
    rows.iter().map(|row| Ok(Placed { comment: comment_row(row)?, position: uint(row, 15)? })).collect()
}

pub(super) async fn after(db: &mut MySqlConnection, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Placed>> {
    live(db, room, position, "ASC", limit).await
}

pub(super) async fn count_after(db: &mut MySqlConnection, room: &RoomId, position: u64) -> Result<u64> {
    let sql = AssertSqlSafe(format!("SELECT COUNT(*) {FROM} WHERE {LIVE}"));
    let row = sqlx::query(sql).bind(room.as_str()).bind(int(position)).fetch_one(db).await?;
    uint(&row, 0)
}

pub(super) async fn latest(db: &mut MySqlConnection, room: &RoomId, limit: usize) -> Result<Vec<Placed>> {
    let mut newest_first = live(db, room, 0, "DESC", limit).await?;
    newest_first.reverse();
    Ok(newest_first)
}

pub(super) async fn replay(db: &mut MySqlConnection, query: &ReplayQuery) -> Result<Vec<Arc<Comment>>> {
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

/// One comment that is to be erased.
struct Erased {
    id: Snowflake,
    room: RoomId,
    session: Option<Snowflake>,
}

/// Erases the comments that `filter` names, and brings in line what else speaks of them: the sessions' counts and the
/// texts of reviews. They are locked first, so that two who erase count each once.
async fn erase(
    db: &mut MySqlConnection,
    filter: impl FnOnce(&mut QueryBuilder<MySql>),
) -> Result<Vec<(Snowflake, RoomId)>> {
    let mut sql =
        QueryBuilder::<MySql>::new(format!("SELECT c.id, r.room_id, c.session_id {FROM} WHERE c.deleted = 0 AND "));
    filter(&mut sql);
    let rows = sql.push(" ORDER BY c.id FOR UPDATE").build().fetch_all(&mut *db).await?;
    let erased = |row| Ok(Erased { id: id(row, 0)?, room: parsed(row, 1)?, session: optional_id(row, 2)? });
    let found = rows.iter().map(erased).collect::<Result<Vec<_>>>()?;
    for some in runs(&found) {
        for update in ["UPDATE comments SET deleted = 1,", "UPDATE reviews SET"] {
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

pub(super) async fn delete(db: &mut MySqlConnection, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>> {
    let mut deleted = Vec::with_capacity(ids.len());
    for some in runs(ids) {
        deleted.extend(
            erase(db, |sql| {
                push_ids(sql.push("c.id IN ("), some.iter().copied());
                sql.push(")");
            })
            .await?,
        );
    }
    Ok(deleted)
}

pub(super) async fn purge_user(
    db: &mut MySqlConnection,
    user: &UserId,
    room: Option<&RoomId>,
) -> Result<Vec<(Snowflake, RoomId)>> {
    erase(db, |sql| {
        sql.push("c.user_id = ").push_bind(user.as_str().to_owned());
        if let Some(room) = room {
            sql.push(" AND r.room_id = ").push_bind(room.as_str().to_owned());
        }
    })
    .await
}

/// Changes of the sessions' numbers of comments, gathered so that each row is written once; in the order of ids, so
/// that two transactions do not wait for each other.
#[derive(Default)]
pub(super) struct SessionCounts(BTreeMap<i64, i64>);

impl SessionCounts {
    pub(super) fn add(&mut self, session: Option<Snowflake>, change: i64) {
        if let Some(session) = session {
            *self.0.entry(int(session.0)).or_default() += change;
        }
    }

    pub(super) async fn write(self, db: &mut MySqlConnection) -> Result<()> {
        for (session, change) in self.0 {
            rooms::add_comment_count(db, session, change).await?;
        }
        Ok(())
    }
}
