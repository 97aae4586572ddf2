//! Comments: keeping them, finding them by place in the log or in the recording, erasing them.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Comment, RoomId, Session, Snowflake, Style, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, Statement, params};

use super::codes::Code;
use super::rooms::{self, RoomKeys};
use super::{column, from_json, int, json, uint};
use crate::{FirstAnswer, NewComment, Placed, ReplayQuery};

/// What [`comment_row`] reads; 15 columns.
pub(super) const COLUMNS: &str = "c.id, r.room_id, c.session_id, c.user_id, c.username, c.level, c.content, c.mode, \
     c.color, c.size, c.kind, c.mentions, c.created_at_ms, c.offset_ms, c.like_count";
/// Where [`COLUMNS`] are read from.
pub(super) const FROM: &str = "FROM comments c JOIN rooms r USING (room_key)";

/// [`FROM`] by one index: without statistics SQLite cannot tell which of a room's indexes is best.
pub(super) fn from_index(index: &str) -> String {
    format!("FROM rooms r CROSS JOIN comments c INDEXED BY {index} USING (room_key)")
}

/// A comment from [`COLUMNS`].
pub(super) fn comment_row(row: &Row<'_>) -> Result<Arc<Comment>> {
    let mentions = row.get_ref(11)?.as_str_or_null()?.is_some().then(|| from_json::<Box<[UserId]>>(row, 11));
    let (Code(mode), Code(size)) = (row.get(7)?, row.get(9)?);
    Ok(Arc::new(Comment {
        id: Snowflake(uint(row.get(0)?)),
        room_id: column(row, 1)?,
        session_id: row.get::<_, Option<i64>>(2)?.map(|id| Snowflake(uint(id))),
        user_id: column(row, 3)?,
        username: row.get(4)?,
        level: row.get::<_, Code<_>>(5)?.0,
        content: row.get(6)?,
        style: Style { mode, color: row.get(8)?, size },
        kind: row.get::<_, Code<_>>(10)?.0,
        mentions: mentions.transpose()?.unwrap_or_default(),
        created_at_ms: row.get(12)?,
        offset_ms: row.get(13)?,
        like_count: uint(row.get(14)?),
    }))
}

/// A list of people as its column: nothing for nobody.
pub(super) fn mentions_column(mentions: &[UserId]) -> Result<Option<String>> {
    if mentions.is_empty() { Ok(None) } else { json(&mentions).map(Some) }
}

const INSERT: &str = "INSERT INTO comments (id, room_key, position, session_id, offset_ms, created_at_ms, user_id,
     username, level, content, mode, color, size, kind, mentions) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
     ON CONFLICT (id) DO NOTHING";

/// Whether the comment was new.
fn insert(sql: &mut Statement<'_>, room_key: i64, position: u64, comment: &Comment) -> Result<bool> {
    let changed = sql.execute(params![
        int(comment.id.0),
        room_key,
        int(position),
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
    ])?;
    Ok(changed > 0)
}

pub(super) fn append(db: &Connection, run: &[NewComment]) -> Result<()> {
    let (mut keys, mut counts) = (RoomKeys::default(), SessionCounts::default());
    let mut sql = db.prepare_cached(INSERT)?;
    for NewComment { comment, position, client_msg_id } in run {
        if insert(&mut sql, keys.key(db, &comment.room_id)?, *position, comment)? {
            counts.add(comment.session_id.map(|id| int(id.0)), 1);
        }
        if let Some(client_msg_id) = client_msg_id {
            remember(db, comment, client_msg_id, false)?;
        }
    }
    counts.write(db)?;
    let newest = run.iter().map(|new| new.position).max().unwrap_or(0);
    db.prepare_cached("UPDATE high_water SET position = max(position, ?)")?.execute([int(newest)])?;
    Ok(())
}

/// Notes the answer to a `client_msg_id`, unless one was given before.
pub(super) fn remember(db: &Connection, comment: &Comment, client_msg_id: &str, pending_review: bool) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO client_msg_ids (id, user_id, client_msg_id, pending_review, created_at_ms)
         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        int(comment.id.0),
        comment.user_id.as_str(),
        client_msg_id,
        pending_review,
        comment.created_at_ms
    ])?;
    Ok(())
}

pub(super) fn import(db: &Connection, session: &Session, comments: &[Arc<Comment>]) -> Result<u64> {
    rooms::add_finished_session(db, session)?;
    let (mut keys, mut counts) = (RoomKeys::default(), SessionCounts::default());
    let mut new = 0;
    let mut sql = db.prepare_cached(INSERT)?;
    for comment in comments {
        if insert(&mut sql, keys.key(db, &comment.room_id)?, 0, comment)? {
            new += 1;
            counts.add(comment.session_id.map(|id| int(id.0)), 1);
        }
    }
    counts.write(db)?;
    Ok(new)
}

pub(super) fn high_water(db: &Connection) -> Result<(u64, Option<Snowflake>)> {
    let sql = "SELECT (SELECT position FROM high_water), (SELECT max(id) FROM (
         SELECT max(id) AS id FROM comments UNION ALL SELECT max(id) FROM client_msg_ids
         UNION ALL SELECT max(id) FROM reviews UNION ALL SELECT max(id) FROM sessions
         UNION ALL SELECT max(id) FROM bans UNION ALL SELECT max(event_id) FROM unacknowledged_events
         UNION ALL SELECT max(id) FROM messages UNION ALL SELECT max(id) FROM conversations))";
    db.query_row(sql, [], |row| {
        let id: Option<i64> = row.get(1)?;
        Ok((uint(row.get(0)?), id.map(|id| Snowflake(uint(id)))))
    })
}

pub(super) fn first_answer(db: &Connection, user: &UserId, client_msg_id: &str) -> Result<Option<FirstAnswer>> {
    let mut sql = db.prepare_cached(
        "SELECT id, pending_review, created_at_ms FROM client_msg_ids WHERE user_id = ? AND client_msg_id = ?",
    )?;
    sql.query_row([user.as_str(), client_msg_id], |row| {
        let id = Snowflake(uint(row.get(0)?));
        Ok(FirstAnswer { id, pending_review: row.get(1)?, created_at_ms: row.get(2)? })
    })
    .optional()
}

pub(super) fn comment(db: &Connection, id: Snowflake) -> Result<Option<Arc<Comment>>> {
    let mut sql = db.prepare_cached(&format!("SELECT {COLUMNS} {FROM} WHERE c.id = ? AND c.deleted = 0"))?;
    sql.query_row([int(id.0)], comment_row).optional()
}

pub(super) fn position_of(db: &Connection, id: Snowflake) -> Result<Option<(RoomId, u64)>> {
    let mut sql = db.prepare_cached(&format!("SELECT r.room_id, c.position {FROM} WHERE c.id = ?"))?;
    sql.query_row([int(id.0)], |row| Ok((column(row, 0)?, uint(row.get(1)?)))).optional()
}

pub(super) fn deleted_among(db: &Connection, ids: &[Snowflake]) -> Result<Vec<Snowflake>> {
    let mut sql = db.prepare_cached("SELECT deleted FROM comments WHERE id = ?")?;
    let mut deleted = Vec::new();
    for id in ids {
        if sql.query_row([int(id.0)], |row| row.get(0)).optional()? == Some(true) {
            deleted.push(*id);
        }
    }
    Ok(deleted)
}

/// By the index of offsets, which rise with the comments of a live session.
pub(super) fn newest_ms(db: &Connection, session: Snowflake) -> Result<Option<i64>> {
    let sql = "SELECT created_at_ms FROM comments INDEXED BY comments_of_session
        WHERE session_id = ? AND position > 0 ORDER BY offset_ms DESC LIMIT 1";
    db.prepare_cached(sql)?.query_row([int(session.0)], |row| row.get(0)).optional()
}

/// Comments in their live order; the index `comments_live` holds just those.
pub(super) fn live_sql(order: &str) -> String {
    let from = from_index("comments_live");
    format!(
        "SELECT {COLUMNS}, c.position {from} WHERE r.room_id = ?1 AND c.deleted = 0 AND c.position > 0
         AND c.position > ?2 ORDER BY c.position {order} LIMIT ?3"
    )
}

fn live(db: &Connection, room: &RoomId, position: u64, order: &str, limit: usize) -> Result<Vec<Placed>> {
    let mut sql = db.prepare_cached(&live_sql(order))?;
    let placed = |row: &Row<'_>| Ok(Placed { comment: comment_row(row)?, position: uint(row.get(15)?) });
    sql.query_map(params![room.as_str(), int(position), int(limit)], placed)?.collect()
}

pub(super) fn after(db: &Connection, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Placed>> {
    live(db, room, position, "ASC", limit)
}

pub(super) fn count_after(db: &Connection, room: &RoomId, position: u64) -> Result<u64> {
    let from = from_index("comments_live");
    let mut sql = db.prepare_cached(&format!(
        "SELECT count(*) {from} WHERE r.room_id = ?1 AND c.deleted = 0 AND c.position > 0 AND c.position > ?2"
    ))?;
    sql.query_row(params![room.as_str(), int(position)], |row| row.get(0).map(uint))
}

pub(super) fn latest(db: &Connection, room: &RoomId, limit: usize) -> Result<Vec<Placed>> {
    let mut newest_first = live(db, room, 0, "DESC", limit)?;
    newest_first.reverse();
    Ok(newest_first)
}

/// The statement for a page, by what it is narrowed to; the unused parameters stay null.
pub(super) fn replay_sql(by_session: bool, by_user: bool) -> String {
    let session = if by_session { "c.session_id = ?2" } else { "?2 IS NULL" };
    let user = if by_user { "c.user_id = ?3" } else { "?3 IS NULL" };
    // The room's index tells the user without a visit to the row.
    let index = if by_session && !by_user { "comments_of_session" } else { "comments_of_room" };
    let from = from_index(index);
    format!(
        "SELECT {COLUMNS} {from} WHERE r.room_id = ?1 AND {session} AND {user} AND c.deleted = 0
         AND c.offset_ms >= ?4 AND (c.offset_ms, c.id) > (?4, ?5) AND c.offset_ms < ?6
         ORDER BY c.offset_ms, c.id LIMIT ?7"
    )
}

pub(super) fn replay(db: &Connection, query: &ReplayQuery) -> Result<Vec<Arc<Comment>>> {
    // Ids are positive, so (from_ms, 0) stands before everything at from_ms.
    let start = (query.from_ms, Snowflake(0));
    let (offset_ms, id) = query.after.map_or(start, |after| after.max(start));
    let mut sql = db.prepare_cached(&replay_sql(query.session_id.is_some(), query.by_user.is_some()))?;
    let parameters = params![
        query.room_id.as_str(),
        query.session_id.map(|id| int(id.0)),
        query.by_user.as_ref().map(UserId::as_str),
        offset_ms,
        int(id.0),
        query.to_ms,
        int(query.limit),
    ];
    sql.query_map(parameters, comment_row)?.collect()
}

/// One comment that was erased: id, room, session.
type Erased = (i64, i64, Option<i64>);

fn erase_where(db: &Connection, filter: &str, parameters: impl rusqlite::Params) -> Result<Vec<Erased>> {
    let mut sql = db.prepare_cached(&format!(
        "UPDATE comments SET deleted = 1, content = '', username = '', mentions = NULL
         WHERE deleted = 0 AND {filter} RETURNING id, room_key, session_id"
    ))?;
    sql.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

pub(super) fn delete(db: &Connection, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>> {
    let mut erased = Vec::with_capacity(ids.len());
    for id in ids {
        erased.extend(erase_where(db, "id = ?", [int(id.0)])?);
    }
    settle(db, &erased)
}

/// A user's comments, found before a purge by a look at all of the room's or everybody's.
pub(super) struct FoundByUser {
    ids: Vec<i64>,
    /// The newest id when it was looked; younger ones are found by the purge itself.
    newest: i64,
}

/// Looks for a user's comments; with millions of them this takes a second, so a reader does it.
pub(super) fn find_by_user(db: &Connection, user: &UserId, room: Option<&RoomId>) -> Result<FoundByUser> {
    let newest = db.query_row("SELECT coalesce(max(id), 0) FROM comments", [], |row| row.get(0))?;
    let mut sql = db.prepare_cached(&by_user_sql(room.is_some()))?;
    let ids = sql.query_map(params![user.as_str(), room.map(RoomId::as_str)], |row| row.get(0))?;
    Ok(FoundByUser { ids: ids.collect::<Result<_>>()?, newest })
}

/// The statement that looks through one room or all.
pub(super) fn by_user_sql(in_room: bool) -> String {
    let room = if in_room { "room_key = (SELECT room_key FROM rooms WHERE room_id = ?2)" } else { "?2 IS NULL" };
    format!("SELECT id FROM comments INDEXED BY comments_of_room WHERE {room} AND user_id = ?1 AND deleted = 0")
}

pub(super) fn purge_user(
    db: &Connection,
    user: &UserId,
    room: Option<&RoomId>,
    found: &FoundByUser,
) -> Result<Vec<(Snowflake, RoomId)>> {
    let mut erased = Vec::with_capacity(found.ids.len());
    for id in &found.ids {
        erased.extend(erase_where(db, "id = ?", [id])?);
    }
    let room_key = match room {
        Some(room) => rooms::find(db, room)?.unwrap_or(0), // No room has the key 0.
        None => 0,
    };
    let younger = "id > ?1 AND user_id = ?2 AND (?3 OR room_key = ?4)";
    erased.extend(erase_where(db, younger, params![found.newest, user.as_str(), room.is_none(), room_key])?);
    settle(db, &erased)
}

/// Brings in line what else speaks of erased comments: the sessions' counts and the texts of reviews.
fn settle(db: &Connection, erased: &[Erased]) -> Result<Vec<(Snowflake, RoomId)>> {
    let mut room_names = HashMap::new();
    let mut deleted = Vec::with_capacity(erased.len());
    let mut name = db.prepare_cached("SELECT room_id FROM rooms WHERE room_key = ?")?;
    let mut review =
        db.prepare_cached("UPDATE reviews SET content = '', username = '', mentions = NULL WHERE id = ?")?;
    for (id, key, _) in erased {
        review.execute([id])?;
        if !room_names.contains_key(key) {
            room_names.insert(*key, name.query_row([key], |row| column::<RoomId>(row, 0))?);
        }
        deleted.extend(room_names.get(key).map(|room| (Snowflake(uint(*id)), room.clone())));
    }
    let mut counts = SessionCounts::default();
    erased.iter().for_each(|(_, _, session)| counts.add(*session, -1));
    counts.write(db)?;
    Ok(deleted)
}

/// Changes of the sessions' numbers of comments, gathered so that each row is written once.
#[derive(Default)]
pub(super) struct SessionCounts(HashMap<i64, i64>);

impl SessionCounts {
    pub(super) fn add(&mut self, session: Option<i64>, change: i64) {
        if let Some(session) = session {
            *self.0.entry(session).or_default() += change;
        }
    }

    pub(super) fn write(self, db: &Connection) -> Result<()> {
        self.0.into_iter().try_for_each(|(session, change)| rooms::add_comment_count(db, session, change))
    }
}
