//! The cold archive: segments that lie in objects, and comments on their way there and back.

use std::collections::HashSet;

use async_trait::async_trait;
use model::{RoomId, Session, Snowflake, UserId};
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use super::code_column::Code;
use super::comments::{COLUMNS, FROM, comment_row, mentions_column};
use super::rooms::{SESSION, session_row};
use super::{SqliteStore, column, int, uint};
use crate::Positioned;
use crate::archive::{ArchiveStore, ArchivedSegment, Fingerprint, HotSegment, bucket, packed_ids, unpack};
use crate::retention::{days_before, first_id_of};

#[async_trait]
impl ArchiveStore for SqliteStore {
    async fn archived_segments(&self, session: Snowflake) -> crate::Result<Vec<ArchivedSegment>> {
        self.read("archived_segments", move |db| of_session(db, session)).await
    }

    async fn archived_segments_of_room(
        &self,
        room: &RoomId,
        numbers: (i64, i64),
        by_user: Option<i64>,
    ) -> crate::Result<Vec<ArchivedSegment>> {
        let room = room.clone();
        self.read("archived_segments_of_room", move |db| of_room(db, &room, numbers, by_user)).await
    }

    async fn archived_segments_of_user(&self, room: Option<&RoomId>, user: i64) -> crate::Result<Vec<ArchivedSegment>> {
        let room = room.cloned();
        self.read("archived_segments_of_user", move |db| of_user(db, room.as_ref(), user)).await
    }

    async fn archived_places(&self, ids: &[Snowflake]) -> crate::Result<Vec<(Snowflake, ArchivedSegment)>> {
        let ids = ids.to_vec();
        self.read("archived_places", move |db| places(db, &ids)).await
    }

    async fn archived_likes(
        &self,
        room: &RoomId,
        session: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<(Snowflake, u64)>> {
        let room = room.clone();
        self.read("archived_likes", move |db| likes(db, &room, session, limit)).await
    }

    async fn archived_likes_of_user(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
    ) -> crate::Result<Vec<Snowflake>> {
        let (user, room) = (user.clone(), room.cloned());
        self.read("archived_likes_of_user", move |db| {
            let mut sql = db.prepare_cached(
                "SELECT l.comment_id FROM archive_likes l JOIN sessions s ON s.id = l.session_id
                 JOIN rooms r USING (room_key) WHERE l.user_id = ?1 AND (?2 IS NULL OR r.room_id = ?2) LIMIT ?3",
            )?;
            let parameters = params![user.as_str(), room.as_ref().map(RoomId::as_str), int(limit)];
            sql.query_map(parameters, |row| row.get(0).map(uint).map(Snowflake))?.collect()
        })
        .await
    }

    async fn sessions_to_archive(&self, until_ms: i64, limit: usize) -> crate::Result<Vec<Session>> {
        self.read("sessions_to_archive", move |db| {
            let sql = "s.archive_state = 0 AND s.ended_at_ms <= ?1 AND s.restored_at_ms <= ?1
                 ORDER BY s.ended_at_ms LIMIT ?2";
            sessions(db, sql, params![until_ms, int(limit)])
        })
        .await
    }

    async fn changed_archives(&self, limit: usize) -> crate::Result<Vec<Session>> {
        self.read("changed_archives", move |db| {
            sessions(
                db,
                "s.archive_state = 2 AND s.ended_at_ms IS NOT NULL ORDER BY s.id LIMIT ?1",
                params![int(limit)],
            )
        })
        .await
    }

    async fn archived_sessions(&self, after: Snowflake, limit: usize) -> crate::Result<Vec<(Session, u64)>> {
        self.read("archived_sessions", move |db| {
            let mut sql = db.prepare_cached(&format!(
                "{SESSION} WHERE s.id > ? AND s.id IN (SELECT session_id FROM archive_segments) ORDER BY s.id LIMIT ?"
            ))?;
            let rows = sql.query_map(params![int(after.0), int(limit)], session_row)?;
            rows.map(|row| row.map(|row| (row.session, row.comment_count))).collect()
        })
        .await
    }

    async fn hot_fingerprints(&self, session: Snowflake) -> crate::Result<Vec<(i64, Fingerprint)>> {
        self.read("hot_fingerprints", move |db| hot_fingerprints(db, session)).await
    }

    async fn hot_segment(&self, session: Snowflake, n: i64) -> crate::Result<HotSegment> {
        self.read("hot_segment", move |db| hot_segment(db, session, n)).await
    }

    async fn segments_with_unseen(&self, session: Snowflake) -> crate::Result<Vec<i64>> {
        self.read("segments_with_unseen", move |db| segments_with_unseen(db, session)).await
    }

    async fn swap_segment(
        &self,
        session: Snowflake,
        n: i64,
        old: Option<&str>,
        new: Option<&ArchivedSegment>,
        ids: &[Snowflake],
        users: &[i64],
    ) -> crate::Result<bool> {
        let (old, new) = (old.map(str::to_owned), new.cloned());
        let (ids, users) = (packed_ids(ids), users.to_vec());
        self.write("swap_segment", move |db| swap(db, session, n, old.as_deref(), new.as_ref(), &ids, &users)).await
    }

    async fn drop_archived(&self, segment: &ArchivedSegment, comments: &[(Snowflake, u64)]) -> crate::Result<u64> {
        let (segment, comments) = (segment.clone(), comments.to_vec());
        self.write("drop_archived", move |db| drop_archived(db, &segment, &comments)).await
    }

    async fn thaw(&self, segment: &ArchivedSegment, comments: &[Positioned]) -> crate::Result<()> {
        let (segment, comments) = (segment.clone(), comments.to_vec());
        self.write("thaw", move |db| thaw(db, &segment, &comments)).await
    }

    async fn finish_archive(&self, session: Snowflake) -> crate::Result<bool> {
        self.write("finish_archive", move |db| {
            let sql = "UPDATE sessions SET archive_state = 1, comment_count =
                     (SELECT coalesce(sum(count), 0) FROM archive_segments WHERE session_id = ?1)
                 WHERE id = ?1 AND ended_at_ms IS NOT NULL
                     AND NOT EXISTS (SELECT 1 FROM comments WHERE session_id = ?1 AND deleted = 0)";
            Ok(db.prepare_cached(sql)?.execute([int(session.0)])? > 0)
        })
        .await
    }

    async fn finish_restore(&self, session: Snowflake, at_ms: i64) -> crate::Result<bool> {
        self.write("finish_restore", move |db| {
            let sql = "UPDATE sessions SET archive_state = 0, restored_at_ms = ?2 WHERE id = ?1
                 AND NOT EXISTS (SELECT 1 FROM archive_segments WHERE session_id = ?1)";
            let restored = db.prepare_cached(sql)?.execute(params![int(session.0), at_ms])? > 0;
            if restored {
                db.prepare_cached("DELETE FROM archive_users WHERE session_id = ?")?.execute([int(session.0)])?;
            }
            Ok(restored)
        })
        .await
    }

    async fn expired_segments(
        &self,
        now_ms: i64,
        default_days: u32,
        limit: usize,
    ) -> crate::Result<Vec<(ArchivedSegment, Snowflake)>> {
        self.read("expired_segments", move |db| expired(db, now_ms, default_days, limit)).await
    }

    async fn named_objects(&self, objects: &[String]) -> crate::Result<Vec<String>> {
        let objects = objects.to_vec();
        self.read("named_objects", move |db| {
            let mut sql = db.prepare_cached("SELECT 1 FROM archive_segments WHERE object = ?")?;
            let mut named = Vec::new();
            for object in objects {
                if sql.exists([&object])? {
                    named.push(object);
                }
            }
            Ok(named)
        })
        .await
    }
}

const SEGMENT: &str =
    "SELECT r.room_id, a.session_id, a.n, a.object, a.checksum, a.bytes, a.count, a.ids_sum, a.likes_sum,
     a.min_id, a.max_id FROM archive_segments a JOIN rooms r USING (room_key)";

fn segment_row(row: &Row<'_>) -> Result<ArchivedSegment> {
    Ok(ArchivedSegment {
        room_id: column(row, 0)?,
        session_id: Snowflake(uint(row.get(1)?)),
        n: row.get(2)?,
        object: row.get(3)?,
        checksum: row.get(4)?,
        bytes: uint(row.get(5)?),
        fingerprint: Fingerprint { count: uint(row.get(6)?), ids: uint(row.get(7)?), likes: uint(row.get(8)?) },
        min_id: Snowflake(uint(row.get(9)?)),
        max_id: Snowflake(uint(row.get(10)?)),
    })
}

fn of_session(db: &Connection, session: Snowflake) -> Result<Vec<ArchivedSegment>> {
    let mut sql = db.prepare_cached(&format!("{SEGMENT} WHERE a.session_id = ? ORDER BY a.n"))?;
    sql.query_map([int(session.0)], segment_row)?.collect()
}

fn of_room(
    db: &Connection,
    room: &RoomId,
    (from, to): (i64, i64),
    by_user: Option<i64>,
) -> Result<Vec<ArchivedSegment>> {
    let user = match by_user {
        Some(_) => "a.session_id IN (SELECT session_id FROM archive_users WHERE user_hash = ?4)",
        None => "?4 IS NULL",
    };
    let mut sql = db.prepare_cached(&format!(
        "{SEGMENT} WHERE r.room_id = ?1 AND a.n BETWEEN ?2 AND ?3 AND {user} ORDER BY a.n, a.session_id"
    ))?;
    sql.query_map(params![room.as_str(), from, to, by_user], segment_row)?.collect()
}

fn of_user(db: &Connection, room: Option<&RoomId>, user: i64) -> Result<Vec<ArchivedSegment>> {
    let mut sql = db.prepare_cached(&format!(
        "{SEGMENT} WHERE a.session_id IN (SELECT session_id FROM archive_users WHERE user_hash = ?1)
         AND (?2 IS NULL OR r.room_id = ?2) ORDER BY a.session_id, a.n"
    ))?;
    sql.query_map(params![user, room.map(RoomId::as_str)], segment_row)?.collect()
}

fn places(db: &Connection, ids: &[Snowflake]) -> Result<Vec<(Snowflake, ArchivedSegment)>> {
    let mut lists = db.prepare_cached("SELECT session_id, n, ids FROM archive_ids WHERE bucket = ?")?;
    let mut segment = db.prepare_cached(&format!("{SEGMENT} WHERE a.session_id = ? AND a.n = ?"))?;
    let mut wanted: Vec<_> = ids.to_vec();
    wanted.sort_unstable();
    let mut found = Vec::new();
    for ids in wanted.chunk_by(|a, b| bucket(*a) == bucket(*b)) {
        let Some(first) = ids.first() else { continue };
        let mut rows = lists.query([bucket(*first)])?;
        while let Some(row) = rows.next()? {
            let here: Vec<_> = unpack(row.get_ref(2)?.as_blob()?).filter(|id| ids.binary_search(id).is_ok()).collect();
            if here.is_empty() {
                continue;
            }
            let key: (i64, i64) = (row.get(0)?, row.get(1)?);
            if let Some(segment) = segment.query_row(key, segment_row).optional()? {
                found.extend(here.into_iter().map(|id| (id, segment.clone())));
            }
        }
    }
    Ok(found)
}

fn likes(db: &Connection, room: &RoomId, session: Option<Snowflake>, limit: usize) -> Result<Vec<(Snowflake, u64)>> {
    let of_session = if session.is_some() { "s.id = ?2" } else { "?2 IS NULL" };
    let mut sql = db.prepare_cached(&format!(
        "SELECT l.comment_id, count(*) AS likes FROM rooms r JOIN sessions s USING (room_key)
         JOIN archive_likes l ON l.session_id = s.id WHERE r.room_id = ?1 AND {of_session}
         GROUP BY l.comment_id ORDER BY likes DESC, l.comment_id LIMIT ?3"
    ))?;
    let parameters = params![room.as_str(), session.map(|id| int(id.0)), int(limit)];
    sql.query_map(parameters, |row| Ok((Snowflake(uint(row.get(0)?)), uint(row.get(1)?))))?.collect()
}

fn sessions(db: &Connection, filter: &str, parameters: impl rusqlite::Params) -> Result<Vec<Session>> {
    let mut sql = db.prepare_cached(&format!("{SESSION} WHERE {filter}"))?;
    sql.query_map(parameters, |row| Ok(session_row(row)?.session))?.collect()
}

/// Divides as [`crate::archive::segment_of`] does.
const NUMBER: &str = "max(offset_ms, 0) / 360000";

fn hot_fingerprints(db: &Connection, session: Snowflake) -> Result<Vec<(i64, Fingerprint)>> {
    let mut sql = db.prepare_cached(&format!(
        "SELECT {NUMBER} AS n, count(*), sum(id % 2147483647), sum(like_count * (id % 65521))
         FROM comments INDEXED BY comments_of_session WHERE session_id = ? AND deleted = 0 GROUP BY n ORDER BY n"
    ))?;
    let fingerprint = |row: &Row<'_>| {
        let fingerprint = Fingerprint { count: uint(row.get(1)?), ids: uint(row.get(2)?), likes: uint(row.get(3)?) };
        Ok((row.get(0)?, fingerprint))
    };
    sql.query_map([int(session.0)], fingerprint)?.collect()
}

fn hot_segment(db: &Connection, session: Snowflake, n: i64) -> Result<HotSegment> {
    let from = if n == 0 { i64::MIN } else { n.saturating_mul(crate::archive::SEGMENT_MS) };
    let to = n.saturating_add(1).saturating_mul(crate::archive::SEGMENT_MS);
    let range = "c.session_id = ?1 AND c.offset_ms >= ?2 AND c.offset_ms < ?3";
    let index = FROM.replace("comments c", "comments c INDEXED BY comments_of_session");
    let mut sql = db.prepare_cached(&format!(
        "SELECT {COLUMNS}, c.position {index} WHERE {range} AND c.deleted = 0 ORDER BY c.offset_ms, c.id"
    ))?;
    let positioned = |row: &Row<'_>| Ok(Positioned { comment: comment_row(row)?, position: uint(row.get(15)?) });
    let visible = sql.query_map(params![int(session.0), from, to], positioned)?.collect::<Result<_>>()?;
    let mut sql = db.prepare_cached(&format!(
        "SELECT c.id FROM comments c INDEXED BY comments_of_session WHERE {range} AND c.deleted <> 0"
    ))?;
    let unseen = sql.query_map(params![int(session.0), from, to], |row| row.get(0).map(uint).map(Snowflake))?;
    Ok(HotSegment { visible, unseen: unseen.collect::<Result<_>>()? })
}

fn segments_with_unseen(db: &Connection, session: Snowflake) -> Result<Vec<i64>> {
    let mut sql = db.prepare_cached(
        "SELECT id FROM comments INDEXED BY comments_of_session WHERE session_id = ? AND deleted <> 0",
    )?;
    let unseen = sql.query_map([int(session.0)], |row| row.get(0).map(uint).map(Snowflake))?;
    let unseen = unseen.collect::<Result<HashSet<_>>>()?;
    let mut numbers = Vec::new();
    if !unseen.is_empty() {
        let mut lists = db.prepare_cached("SELECT n, ids FROM archive_ids WHERE session_id = ? ORDER BY n")?;
        let mut rows = lists.query([int(session.0)])?;
        while let Some(row) = rows.next()? {
            if unpack(row.get_ref(1)?.as_blob()?).any(|id| unseen.contains(&id)) {
                numbers.push(row.get(0)?);
            }
        }
        numbers.dedup();
    }
    Ok(numbers)
}

fn swap(
    db: &Connection,
    session: Snowflake,
    n: i64,
    old: Option<&str>,
    new: Option<&ArchivedSegment>,
    ids: &[(i64, Vec<u8>)],
    users: &[i64],
) -> Result<bool> {
    let key = params![int(session.0), n];
    let mut sql = db.prepare_cached("SELECT object FROM archive_segments WHERE session_id = ? AND n = ?")?;
    let there: Option<String> = sql.query_row(key, |row| row.get(0)).optional()?;
    if there.as_deref() != old {
        return Ok(false);
    }
    forget_likes(db, session, n, ids)?;
    db.prepare_cached("DELETE FROM archive_segments WHERE session_id = ? AND n = ?")?.execute(key)?;
    db.prepare_cached("DELETE FROM archive_ids WHERE session_id = ? AND n = ?")?.execute(key)?;
    let Some(new) = new else { return Ok(true) };
    let stored = db
        .prepare_cached(
            "INSERT INTO archive_segments (session_id, n, room_key, object, checksum, bytes, count, ids_sum, likes_sum,
                 min_id, max_id)
             SELECT ?1, ?2, room_key, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM sessions WHERE id = ?1",
        )?
        .execute(params![
            int(session.0),
            n,
            new.object,
            new.checksum,
            int(new.bytes),
            int(new.fingerprint.count),
            int(new.fingerprint.ids),
            int(new.fingerprint.likes),
            int(new.min_id.0),
            int(new.max_id.0),
        ])?;
    if stored == 0 {
        // The session is gone.
        return Ok(false);
    }
    let mut list = db.prepare_cached("INSERT INTO archive_ids (bucket, session_id, n, ids) VALUES (?, ?, ?, ?)")?;
    for (bucket, ids) in ids {
        list.execute(params![bucket, int(session.0), n, ids])?;
    }
    let mut spoke =
        db.prepare_cached("INSERT INTO archive_users (user_hash, session_id) VALUES (?, ?) ON CONFLICT DO NOTHING")?;
    for user in users {
        spoke.execute(params![user, int(session.0)])?;
    }
    Ok(true)
}

/// Removes the likes of comments that a segment no longer holds. One that came back into the database took them along.
fn forget_likes(db: &Connection, session: Snowflake, n: i64, stay: &[(i64, Vec<u8>)]) -> Result<()> {
    let stay: HashSet<_> = stay.iter().flat_map(|(_, ids)| unpack(ids)).collect();
    let mut forget = db.prepare_cached("DELETE FROM archive_likes WHERE session_id = ? AND comment_id = ?")?;
    let mut lists = db.prepare_cached("SELECT ids FROM archive_ids WHERE session_id = ? AND n = ?")?;
    let mut rows = lists.query(params![int(session.0), n])?;
    while let Some(row) = rows.next()? {
        for id in unpack(row.get_ref(0)?.as_blob()?).filter(|id| !stay.contains(id)) {
            forget.execute([int(session.0), int(id.0)])?;
        }
    }
    Ok(())
}

fn drop_archived(db: &Connection, segment: &ArchivedSegment, comments: &[(Snowflake, u64)]) -> Result<u64> {
    let session = int(segment.session_id.0);
    let mut named =
        db.prepare_cached("SELECT 1 FROM archive_segments WHERE session_id = ? AND n = ? AND object = ?")?;
    if !named.exists(params![session, segment.n, segment.object])? {
        return Ok(0);
    }
    let unchanged = "id = ?1 AND deleted = 0 AND like_count = ?2";
    let mut keep_likes = db.prepare_cached(&format!(
        "INSERT INTO archive_likes (session_id, comment_id, user_id, at_ms)
         SELECT ?3, comment_id, user_id, at_ms FROM likes WHERE comment_id = ?1
             AND EXISTS (SELECT 1 FROM comments WHERE {unchanged}) ON CONFLICT DO NOTHING"
    ))?;
    let mut remove = db.prepare_cached(&format!("DELETE FROM comments WHERE {unchanged}"))?;
    let mut gone = 0;
    for (id, like_count) in comments {
        if *like_count > 0 {
            keep_likes.execute(params![int(id.0), int(*like_count), session])?;
        }
        gone += remove.execute(params![int(id.0), int(*like_count)])? as u64;
    }
    Ok(gone)
}

fn thaw(db: &Connection, segment: &ArchivedSegment, comments: &[Positioned]) -> Result<()> {
    let session = int(segment.session_id.0);
    let mut back = db.prepare_cached(
        "INSERT INTO comments (id, room_key, position, session_id, offset_ms, created_at_ms, user_id, username, level,
             content, mode, color, size, kind, mentions, deleted, like_count)
         SELECT ?1, room_key, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 0,
             (SELECT count(*) FROM archive_likes WHERE session_id = ?3 AND comment_id = ?1)
         FROM sessions WHERE id = ?3 ON CONFLICT (id) DO NOTHING",
    )?;
    let mut likes = db.prepare_cached(
        "INSERT INTO likes (comment_id, user_id, at_ms)
         SELECT comment_id, user_id, at_ms FROM archive_likes WHERE session_id = ? AND comment_id = ?
         ON CONFLICT DO NOTHING",
    )?;
    let mut forget = db.prepare_cached("DELETE FROM archive_likes WHERE session_id = ? AND comment_id = ?")?;
    for Positioned { comment, position } in comments {
        let new = back.execute(params![
            int(comment.id.0),
            int(*position),
            session,
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
        if new > 0 {
            likes.execute(params![session, int(comment.id.0)])?;
            forget.execute(params![session, int(comment.id.0)])?;
        }
    }
    db.prepare_cached("UPDATE sessions SET archive_state = 2 WHERE id = ? AND archive_state = 1")?
        .execute([session])?;
    Ok(())
}

fn expired(db: &Connection, now_ms: i64, default_days: u32, limit: usize) -> Result<Vec<(ArchivedSegment, Snowflake)>> {
    let mut retentions = db.prepare_cached("SELECT DISTINCT coalesce(retention_days, ?) FROM rooms")?;
    let retentions: Vec<u32> = retentions.query_map([default_days], |row| row.get(0))?.collect::<Result<_>>()?;
    let mut found = Vec::new();
    for days in retentions {
        let cutoff = first_id_of(days_before(now_ms, days));
        let mut sql = db.prepare_cached(&format!(
            "{SEGMENT} WHERE coalesce(r.retention_days, ?1) = ?2 AND a.min_id < ?3 LIMIT ?4"
        ))?;
        let wanted = int(limit.saturating_sub(found.len()));
        for segment in sql.query_map(params![default_days, days, cutoff, wanted], segment_row)? {
            found.push((segment?, Snowflake(uint(cutoff))));
        }
    }
    Ok(found)
}
