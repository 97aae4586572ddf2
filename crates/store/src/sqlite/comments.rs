//! Comments: storing them, finding them by position or in a recording, erasing them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use model::{Comment, FirstAnswer, Repeat, RoomId, Session, Snowflake, Style, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, Statement, params};

use super::code_column::Code;
use super::erasure::{self, Counted, Purges};
use super::rooms::{self, RoomKeys};
use super::{SqliteStore, column, from_json, int, json, uint};
use crate::comments::COUNTED_MAX;
use crate::{CommentStore, NewComment, Positioned, Purged, RANKING, ReplayQuery};

#[async_trait]
impl CommentStore for SqliteStore {
    async fn append_comments(&self, batch: Vec<NewComment>) -> crate::Result<Vec<Repeat>> {
        self.write("append_comments", move |db| append(db, &batch)).await
    }

    async fn first_answer(&self, user: &UserId, client_msg_id: &str) -> crate::Result<Option<FirstAnswer>> {
        let (user, client_msg_id) = (user.clone(), client_msg_id.to_owned());
        self.read("first_answer", move |db| first_answer(db, &user, &client_msg_id)).await
    }

    async fn earliest_answer(&self, user: &UserId) -> crate::Result<Option<i64>> {
        let user = user.clone();
        self.read("earliest_answer", move |db| earliest_answer(db, &user)).await
    }

    async fn client_msg_ids(&self, ids: &[Snowflake]) -> crate::Result<Vec<(Snowflake, Box<str>)>> {
        let ids = ids.to_vec();
        self.read("client_msg_ids", move |db| client_msg_ids(db, &ids)).await
    }

    async fn comment(&self, id: Snowflake) -> crate::Result<Option<Arc<Comment>>> {
        self.read("comment", move |db| comment(db, id)).await
    }

    async fn position_of(&self, id: Snowflake) -> crate::Result<Option<(RoomId, u64)>> {
        self.read("position_of", move |db| position_of(db, id)).await
    }

    async fn author_of(&self, id: Snowflake) -> crate::Result<Option<(RoomId, UserId)>> {
        self.read("author_of", move |db| author_of(db, id)).await
    }

    async fn deleted_among(&self, ids: &[Snowflake]) -> crate::Result<Vec<Snowflake>> {
        let ids = ids.to_vec();
        self.read("deleted_among", move |db| deleted_among(db, &ids)).await
    }

    async fn comments_after(&self, room: &RoomId, position: u64, limit: usize) -> crate::Result<Vec<Positioned>> {
        let room = room.clone();
        self.read("comments_after", move |db| after(db, &room, position, limit)).await
    }

    async fn count_after(&self, room: &RoomId, position: u64) -> crate::Result<u64> {
        let room = room.clone();
        self.read("count_after", move |db| count_after(db, &room, position)).await
    }

    async fn latest_comments(&self, room: &RoomId, limit: usize) -> crate::Result<Vec<Positioned>> {
        let room = room.clone();
        self.read("latest_comments", move |db| latest(db, &room, limit)).await
    }

    async fn newest_comment_ms(&self, session: Snowflake) -> crate::Result<Option<i64>> {
        self.read("newest_comment_ms", move |db| newest_ms(db, session)).await
    }

    async fn replay(&self, query: ReplayQuery) -> crate::Result<Vec<Arc<Comment>>> {
        self.read("replay", move |db| replay(db, &query)).await
    }

    async fn delete_comments(&self, ids: &[Snowflake]) -> crate::Result<Vec<(Snowflake, RoomId)>> {
        let ids = ids.to_vec();
        self.write("delete_comments", move |db| delete(db, &ids)).await
    }

    async fn purge_user(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
        receipt: Option<Snowflake>,
    ) -> crate::Result<Purged> {
        let (user, room) = (user.clone(), room.cloned());
        let (whom, place) = (user.clone(), room.clone());
        let found = self.read("purge_user", move |db| find_by_user(db, &whom, place.as_ref(), limit)).await?;
        let more = found.len() >= limit;
        self.write("purge_user", move |db| {
            erasure::overwriting(db, |db| purge_user(db, &user, room.as_ref(), &found, more, receipt))
        })
        .await
    }

    async fn hide_comments(&self, ids: &[Snowflake], hidden: bool) -> crate::Result<Vec<(Snowflake, RoomId)>> {
        let ids = ids.to_vec();
        self.write("hide_comments", move |db| hide(db, &ids, hidden)).await
    }

    async fn comments_by_id(&self, ids: &[Snowflake]) -> crate::Result<Vec<Positioned>> {
        let ids = ids.to_vec();
        self.read("comments_by_id", move |db| by_id(db, &ids)).await
    }

    async fn shadowed_comment(&self, id: Snowflake) -> crate::Result<Option<Arc<Comment>>> {
        self.read("shadowed_comment", move |db| shadowed_comment(db, id)).await
    }

    async fn shadowed_comments(
        &self,
        room: &RoomId,
        by: Option<&UserId>,
        limit: usize,
    ) -> crate::Result<Vec<Positioned>> {
        let (room, by) = (room.clone(), by.cloned());
        self.read("shadowed_comments", move |db| shadowed(db, &room, by.as_ref(), limit)).await
    }

    async fn import_comments(&self, session: &Session, comments: Vec<Arc<Comment>>) -> crate::Result<u64> {
        let session = session.clone();
        self.write("import_comments", move |db| import(db, &session, &comments)).await
    }
}

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
        shadow: false,
    }))
}

/// Mentioned users as a column; null when there are none.
pub(super) fn mentions_column(mentions: &[UserId]) -> Result<Option<String>> {
    if mentions.is_empty() { Ok(None) } else { json(&mentions).map(Some) }
}

/// Values of the column `deleted` beside [`DELETED`] and [`PURGED`].
const SEEN: i64 = 0;
const SHADOWED: i64 = 3;
const HIDDEN: i64 = 4;

const INSERT: &str = "INSERT INTO comments (id, room_key, position, session_id, offset_ms, created_at_ms, user_id,
     username, level, content, mode, color, size, kind, mentions, deleted) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
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
        if comment.shadow { SHADOWED } else { SEEN },
    ])?;
    Ok(changed > 0)
}

/// Stores those that are first under their senders' own ids; returns the others.
pub(super) fn append(db: &Connection, batch: &[NewComment]) -> Result<Vec<Repeat>> {
    let (mut keys, mut counts, mut repeats) = (RoomKeys::default(), SessionCounts::default(), Vec::new());
    let mut sql = db.prepare_cached(INSERT)?;
    let mut erase_unread = db.prepare_cached(&format!(
        "UPDATE comments SET deleted = {PURGED}, content = '', username = '', mentions = NULL WHERE id = ?"
    ))?;
    let purges = Purges::since_oldest_of(db, batch)?;
    for NewComment { comment, position, client_msg_id } in batch {
        if let Some(client_msg_id) = client_msg_id
            && let Some(first) = claim(db, comment, client_msg_id, false)?
        {
            repeats.push(Repeat { id: comment.id, first });
            continue;
        }
        let is_purged = purges.cover(comment);
        if insert(&mut sql, keys.key(db, &comment.room_id)?, *position, comment)? {
            if is_purged {
                erase_unread.execute([int(comment.id.0)])?;
                continue;
            }
            counts.add(comment.session_id.filter(|_| !comment.shadow).map(|id| int(id.0)), 1);
        }
    }
    counts.write(db)?;
    let newest = batch.iter().map(|new| new.position).max().unwrap_or(0);
    db.prepare_cached("UPDATE high_water SET position = max(position, ?)")?.execute([int(newest)])?;
    Ok(repeats)
}

/// Stores the first answer to a `client_msg_id`. Returns the one that another comment got before; it stays.
pub(super) fn claim(
    db: &Connection,
    comment: &Comment,
    client_msg_id: &str,
    pending_review: bool,
) -> Result<Option<FirstAnswer>> {
    let new = db
        .prepare_cached(
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
    if new > 0 {
        return Ok(None);
    }
    let first = first_answer(db, &comment.user_id, client_msg_id)?;
    Ok(first.filter(|first| first.id != comment.id))
}

fn import(db: &Connection, session: &Session, comments: &[Arc<Comment>]) -> Result<u64> {
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

fn first_answer(db: &Connection, user: &UserId, client_msg_id: &str) -> Result<Option<FirstAnswer>> {
    let mut sql = db.prepare_cached(
        "SELECT id, pending_review, created_at_ms FROM client_msg_ids WHERE user_id = ? AND client_msg_id = ?",
    )?;
    sql.query_row([user.as_str(), client_msg_id], |row| {
        let id = Snowflake(uint(row.get(0)?));
        Ok(FirstAnswer { id, pending_review: row.get(1)?, created_at_ms: row.get(2)? })
    })
    .optional()
}

fn earliest_answer(db: &Connection, user: &UserId) -> Result<Option<i64>> {
    let mut sql = db.prepare_cached("SELECT min(created_at_ms) FROM client_msg_ids WHERE user_id = ?")?;
    sql.query_row([user.as_str()], |row| row.get(0))
}

fn client_msg_ids(db: &Connection, ids: &[Snowflake]) -> Result<Vec<(Snowflake, Box<str>)>> {
    let mut sql = db.prepare_cached("SELECT client_msg_id FROM client_msg_ids WHERE id = ?")?;
    let mut found = Vec::new();
    for id in ids {
        if let Some(client_msg_id) = sql.query_row([int(id.0)], |row| row.get(0)).optional()? {
            found.push((*id, client_msg_id));
        }
    }
    Ok(found)
}

fn comment(db: &Connection, id: Snowflake) -> Result<Option<Arc<Comment>>> {
    let mut sql = db.prepare_cached(&format!("SELECT {COLUMNS} {FROM} WHERE c.id = ? AND c.deleted = 0"))?;
    sql.query_row([int(id.0)], comment_row).optional()
}

fn position_of(db: &Connection, id: Snowflake) -> Result<Option<(RoomId, u64)>> {
    let mut sql = db.prepare_cached(&format!("SELECT r.room_id, c.position {FROM} WHERE c.id = ?"))?;
    sql.query_row([int(id.0)], |row| Ok((column(row, 0)?, uint(row.get(1)?)))).optional()
}

fn author_of(db: &Connection, id: Snowflake) -> Result<Option<(RoomId, UserId)>> {
    let mut sql = db.prepare_cached(&format!("SELECT r.room_id, c.user_id {FROM} WHERE c.id = ?"))?;
    sql.query_row([int(id.0)], |row| Ok((column(row, 0)?, column(row, 1)?))).optional()
}

fn deleted_among(db: &Connection, ids: &[Snowflake]) -> Result<Vec<Snowflake>> {
    let mut sql = db.prepare_cached("SELECT deleted FROM comments WHERE id = ?")?;
    let mut deleted = Vec::new();
    for id in ids {
        if sql.query_row([int(id.0)], |row| row.get(0)).optional()? == Some(true) {
            deleted.push(*id);
        }
    }
    Ok(deleted)
}

/// By the index of offsets, which rise in a live session.
fn newest_ms(db: &Connection, session: Snowflake) -> Result<Option<i64>> {
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

fn live(db: &Connection, room: &RoomId, position: u64, order: &str, limit: usize) -> Result<Vec<Positioned>> {
    let mut sql = db.prepare_cached(&live_sql(order))?;
    let positioned = |row: &Row<'_>| Ok(Positioned { comment: comment_row(row)?, position: uint(row.get(15)?) });
    sql.query_map(params![room.as_str(), int(position), int(limit)], positioned)?.collect()
}

fn after(db: &Connection, room: &RoomId, position: u64, limit: usize) -> Result<Vec<Positioned>> {
    live(db, room, position, "ASC", limit)
}

fn count_after(db: &Connection, room: &RoomId, position: u64) -> Result<u64> {
    let from = from_index("comments_live");
    let mut sql = db.prepare_cached(&format!(
        "SELECT count(*) FROM (SELECT 1 {from}
             WHERE r.room_id = ?1 AND c.deleted = 0 AND c.position > 0 AND c.position > ?2 LIMIT ?3)"
    ))?;
    sql.query_row(params![room.as_str(), int(position), COUNTED_MAX], |row| row.get(0).map(uint))
}

fn latest(db: &Connection, room: &RoomId, limit: usize) -> Result<Vec<Positioned>> {
    let mut newest_first = live(db, room, 0, "DESC", limit)?;
    newest_first.reverse();
    Ok(newest_first)
}

/// The statement for a page, by its filters; unused parameters stay null.
pub(super) fn replay_sql(by_session: bool, by_user: bool) -> String {
    let session = if by_session { "c.session_id = ?2" } else { "?2 IS NULL" };
    let user = if by_user { "c.user_id = ?3" } else { "?3 IS NULL" };
    let index = match (by_user, by_session) {
        // It holds the session, so a row of another one need not be read.
        (true, _) => "comments_of_user",
        (false, true) => "comments_of_session",
        (false, false) => "comments_of_room",
    };
    let from = from_index(index);
    format!(
        "SELECT {COLUMNS} {from} WHERE r.room_id = ?1 AND {session} AND {user} AND c.deleted = 0
         AND c.offset_ms >= ?4 AND (c.offset_ms, c.id) > (?4, ?5) AND c.offset_ms < ?6
         ORDER BY c.offset_ms, c.id LIMIT ?7"
    )
}

fn replay(db: &Connection, query: &ReplayQuery) -> Result<Vec<Arc<Comment>>> {
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

/// How a comment is marked as deleted. A purged one counts in no ranking any more.
const DELETED: i64 = 1;
const PURGED: i64 = 2;

fn erase_where(db: &Connection, mark: i64, filter: &str, parameters: impl rusqlite::Params) -> Result<Vec<Erased>> {
    let mut sql = db.prepare_cached(&format!(
        "UPDATE comments SET deleted = {mark}, content = '', username = '', mentions = NULL
         WHERE deleted = 0 AND {filter} RETURNING id, room_key, session_id"
    ))?;
    sql.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

fn delete(db: &Connection, ids: &[Snowflake]) -> Result<Vec<(Snowflake, RoomId)>> {
    let mut erased = Vec::with_capacity(ids.len());
    for id in ids {
        erased.extend(erase_where(db, DELETED, "id = ?", [int(id.0)])?);
        erased.extend(erase_unseen(db, DELETED, "id = ?", [int(id.0)])?);
    }
    update_dependents(db, &erased)
}

/// Erases comments that not everybody sees; no session counts them.
fn erase_unseen(db: &Connection, mark: i64, filter: &str, parameters: impl rusqlite::Params) -> Result<Vec<Erased>> {
    let mut sql = db.prepare_cached(&format!(
        "UPDATE comments SET deleted = {mark}, content = '', username = '', mentions = NULL
         WHERE deleted IN ({SHADOWED}, {HIDDEN}) AND {filter} RETURNING id, room_key"
    ))?;
    sql.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?, None)))?.collect()
}

fn hide(db: &Connection, ids: &[Snowflake], hidden: bool) -> Result<Vec<(Snowflake, RoomId)>> {
    let (from, to, change) = if hidden { (SEEN, HIDDEN, -1) } else { (HIDDEN, SEEN, 1) };
    let mut sql = db.prepare_cached(
        "UPDATE comments SET deleted = ?1 WHERE id = ?2 AND deleted = ?3
         RETURNING session_id, (SELECT room_id FROM rooms r WHERE r.room_key = comments.room_key)",
    )?;
    let (mut changed, mut counts) = (Vec::new(), SessionCounts::default());
    for id in ids {
        let found = sql.query_row(params![to, int(id.0), from], |row| Ok((row.get(0)?, column::<RoomId>(row, 1)?)));
        if let Some((session, room)) = found.optional()? {
            counts.add(session, change);
            changed.push((*id, room));
        }
    }
    counts.write(db)?;
    Ok(changed)
}

fn by_id(db: &Connection, ids: &[Snowflake]) -> Result<Vec<Positioned>> {
    let mut sql =
        db.prepare_cached(&format!("SELECT {COLUMNS}, c.position {FROM} WHERE c.id = ? AND c.deleted = 0"))?;
    let positioned = |row: &Row<'_>| Ok(Positioned { comment: comment_row(row)?, position: uint(row.get(15)?) });
    let found = ids.iter().map(|id| sql.query_row([int(id.0)], positioned).optional());
    found.filter_map(Result::transpose).collect()
}

fn shadow_row(row: &Row<'_>) -> Result<Positioned> {
    let comment = Arc::unwrap_or_clone(comment_row(row)?);
    Ok(Positioned { comment: Arc::new(Comment { shadow: true, ..comment }), position: uint(row.get(15)?) })
}

fn shadowed_comment(db: &Connection, id: Snowflake) -> Result<Option<Arc<Comment>>> {
    let mut sql =
        db.prepare_cached(&format!("SELECT {COLUMNS}, c.position {FROM} WHERE c.id = ? AND c.deleted = {SHADOWED}"))?;
    Ok(sql.query_row([int(id.0)], shadow_row).optional()?.map(|found| found.comment))
}

fn shadowed(db: &Connection, room: &RoomId, by: Option<&UserId>, limit: usize) -> Result<Vec<Positioned>> {
    let from = from_index("comments_shadowed");
    let mut sql = db.prepare_cached(&format!(
        "SELECT {COLUMNS}, c.position {from} WHERE r.room_id = ?1 AND c.deleted = {SHADOWED}
         AND (?2 IS NULL OR c.user_id = ?2) ORDER BY c.id DESC LIMIT ?3"
    ))?;
    let found = sql.query_map(params![room.as_str(), by.map(UserId::as_str), int(limit)], shadow_row)?;
    let mut newest_first = found.collect::<Result<Vec<_>>>()?;
    newest_first.reverse();
    Ok(newest_first)
}

/// Finds a user's comments, by an index that holds nothing else.
fn find_by_user(db: &Connection, user: &UserId, room: Option<&RoomId>, limit: usize) -> Result<Vec<i64>> {
    let mut sql = db.prepare_cached(&by_user_sql(room.is_some()))?;
    sql.query_map(params![user.as_str(), room.map(RoomId::as_str), int(limit)], |row| row.get(0))?.collect()
}

/// The statement that finds them in one room or all.
pub(super) fn by_user_sql(in_room: bool) -> String {
    let room = if in_room { "room_key = (SELECT room_key FROM rooms WHERE room_id = ?2)" } else { "?2 IS NULL" };
    format!(
        "SELECT id FROM comments INDEXED BY comments_of_user WHERE {room} AND user_id = ?1 AND deleted = 0 LIMIT ?3"
    )
}

/// Erases what was found and, at the end, what not everybody saw, and the user's place in the scores. Comments that arrive
/// after the last search were purged before they arrived.
fn purge_user(
    db: &Connection,
    user: &UserId,
    room: Option<&RoomId>,
    found: &[i64],
    more: bool,
    receipt: Option<Snowflake>,
) -> Result<Purged> {
    let mut erased = Vec::with_capacity(found.len());
    for id in found {
        erased.extend(erase_where(db, PURGED, "id = ?", [id])?);
    }
    let room_key = match room {
        Some(room) => rooms::find(db, room)?.unwrap_or(0), // No room has the key 0.
        None => 0,
    };
    if !more {
        let unseen = "user_id = ?1 AND (?2 OR room_key = ?3)";
        erased.extend(erase_unseen(db, PURGED, unseen, params![user.as_str(), room.is_none(), room_key])?);
    }
    let comments = update_dependents(db, &erased)?;
    let mut keys: BTreeSet<i64> = erased.iter().map(|(_, key, _)| *key).collect();
    if !more {
        keys.extend(purge_scores(db, user, room.is_none(), room_key)?);
    }
    let mut name = db.prepare_cached("SELECT room_id FROM rooms WHERE room_key = ?")?;
    let rooms: Vec<RoomId> =
        keys.iter().map(|key| name.query_row([key], |row| column(row, 0))).collect::<Result<_>>()?;
    erasure::add(db, receipt, Counted::Comments, comments.len())?;
    erasure::note_rooms(db, receipt, &rooms)?;
    let mut kept = db.prepare_cached("DELETE FROM documents WHERE kind = ? AND room_id = ?")?;
    for room in &rooms {
        kept.execute([RANKING, room.as_str()])?;
    }
    Ok(Purged { comments, rooms, more })
}

/// Takes a user out of the scores: comments that were deleted before, and gifts. Returns the rooms' keys.
fn purge_scores(db: &Connection, user: &UserId, everywhere: bool, room_key: i64) -> Result<Vec<i64>> {
    let key = params![user.as_str(), everywhere, room_key];
    let mut deleted = db.prepare_cached(&format!(
        "UPDATE comments SET deleted = {PURGED} WHERE deleted = {DELETED} AND user_id = ?1 AND (?2 OR room_key = ?3)
         RETURNING room_key"
    ))?;
    let mut keys: Vec<i64> = deleted.query_map(key, |row| row.get(0))?.collect::<Result<_>>()?;
    let gifts = "user_id = ?1 AND (?2 OR session_id IN (SELECT id FROM sessions WHERE room_key = ?3))";
    let mut given = db.prepare_cached(&format!(
        "SELECT DISTINCT room_key FROM sessions WHERE id IN (SELECT session_id FROM gifts WHERE {gifts})"
    ))?;
    keys.extend(given.query_map(key, |row| row.get(0))?.collect::<Result<Vec<i64>>>()?);
    db.prepare_cached(&format!("DELETE FROM gifts WHERE {gifts}"))?.execute(key)?;
    Ok(keys)
}

/// Updates what depends on erased comments: the sessions' counts and the texts of reviews.
fn update_dependents(db: &Connection, erased: &[Erased]) -> Result<Vec<(Snowflake, RoomId)>> {
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

/// Changes of the sessions' comment counts, summed so that each row is written once.
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
