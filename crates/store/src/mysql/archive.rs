//! The cold archive: segments that lie in objects, and comments on their way there and back.

use std::collections::HashSet;

use async_trait::async_trait;
use model::{RoomId, Session, Snowflake, UserId};
use sqlx::mysql::MySqlRow;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, QueryBuilder, Result, Row};

use super::batches::batches;
use super::comments::{COLUMNS, FROM, comment_row, mentions_column};
use super::rooms::{SESSION, session_row};
use super::row::{code, id, int, parsed, uint};
use super::{MySqlStore, read, write};
use crate::Positioned;
use crate::archive::{ArchiveStore, ArchivedSegment, Fingerprint, HotSegment, SEGMENT_MS, bucket, packed_ids, unpack};
use crate::retention::{days_before, first_id_of};

#[async_trait]
impl ArchiveStore for MySqlStore {
    async fn archived_segments(&self, session: Snowflake) -> crate::Result<Vec<ArchivedSegment>> {
        read!(self, "archived_segments", db => of_session(db, session))
    }

    async fn archived_segments_of_room(
        &self,
        room: &RoomId,
        numbers: (i64, i64),
        by_user: Option<i64>,
    ) -> crate::Result<Vec<ArchivedSegment>> {
        read!(self, "archived_segments_of_room", db => of_room(db, room, numbers, by_user))
    }

    async fn archived_segments_of_user(&self, room: Option<&RoomId>, user: i64) -> crate::Result<Vec<ArchivedSegment>> {
        read!(self, "archived_segments_of_user", db => of_user(db, room, user))
    }

    async fn archived_places(&self, ids: &[Snowflake]) -> crate::Result<Vec<(Snowflake, ArchivedSegment)>> {
        read!(self, "archived_places", db => places(db, ids))
    }

    async fn archived_likes(
        &self,
        room: &RoomId,
        session: Option<Snowflake>,
        limit: usize,
    ) -> crate::Result<Vec<(Snowflake, u64)>> {
        read!(self, "archived_likes", db => likes(db, room, session, limit))
    }

    async fn archived_likes_of_user(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        limit: usize,
    ) -> crate::Result<Vec<Snowflake>> {
        read!(self, "archived_likes_of_user", db => likes_of_user(db, user, room, limit))
    }

    async fn sessions_to_archive(&self, until_ms: i64, limit: usize) -> crate::Result<Vec<Session>> {
        read!(self, "sessions_to_archive", db => to_archive(db, until_ms, limit))
    }

    async fn changed_archives(&self, limit: usize) -> crate::Result<Vec<Session>> {
        read!(self, "changed_archives", db => changed(db, limit))
    }

    async fn archived_sessions(&self, after: Snowflake, limit: usize) -> crate::Result<Vec<(Session, u64)>> {
        read!(self, "archived_sessions", db => archived_sessions(db, after, limit))
    }

    async fn hot_fingerprints(&self, session: Snowflake) -> crate::Result<Vec<(i64, Fingerprint)>> {
        read!(self, "hot_fingerprints", db => hot_fingerprints(db, session))
    }

    async fn hot_segment(&self, session: Snowflake, n: i64) -> crate::Result<HotSegment> {
        read!(self, "hot_segment", db => hot_segment(db, session, n))
    }

    async fn segments_with_unseen(&self, session: Snowflake) -> crate::Result<Vec<i64>> {
        read!(self, "segments_with_unseen", db => segments_with_unseen(db, session))
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
        let ids = packed_ids(ids);
        write!(self, "swap_segment", db => swap(db, session, n, old, new, &ids, users))
    }

    async fn drop_archived(&self, segment: &ArchivedSegment, comments: &[(Snowflake, u64)]) -> crate::Result<u64> {
        write!(self, "drop_archived", db => drop_archived(db, segment, comments))
    }

    async fn thaw(&self, segment: &ArchivedSegment, comments: &[Positioned]) -> crate::Result<()> {
        write!(self, "thaw", db => thaw(db, segment, comments))
    }

    async fn finish_archive(&self, session: Snowflake) -> crate::Result<bool> {
        write!(self, "finish_archive", db => finish_archive(db, session))
    }

    async fn finish_restore(&self, session: Snowflake, at_ms: i64) -> crate::Result<bool> {
        write!(self, "finish_restore", db => finish_restore(db, session, at_ms))
    }

    async fn expired_segments(
        &self,
        now_ms: i64,
        default_days: u32,
        limit: usize,
    ) -> crate::Result<Vec<(ArchivedSegment, Snowflake)>> {
        read!(self, "expired_segments", db => expired(db, now_ms, default_days, limit))
    }

    async fn named_objects(&self, objects: &[String]) -> crate::Result<Vec<String>> {
        read!(self, "named_objects", db => named_objects(db, objects))
    }
}

const SEGMENT: &str =
    "SELECT r.room_id, a.session_id, a.n, a.object, a.checksum, a.bytes, a.count, a.ids_sum, a.likes_sum,
     a.min_id, a.max_id FROM archive_segments a JOIN rooms r ON r.room_key = a.room_key";

fn segment_row(row: &MySqlRow) -> Result<ArchivedSegment> {
    Ok(ArchivedSegment {
        room_id: parsed(row, 0)?,
        session_id: id(row, 1)?,
        n: row.try_get(2)?,
        object: row.try_get(3)?,
        checksum: row.try_get(4)?,
        bytes: uint(row, 5)?,
        fingerprint: Fingerprint { count: uint(row, 6)?, ids: uint(row, 7)?, likes: uint(row, 8)? },
        min_id: id(row, 9)?,
        max_id: id(row, 10)?,
    })
}

async fn of_session(db: &mut MySqlConnection, session: Snowflake) -> Result<Vec<ArchivedSegment>> {
    let sql = AssertSqlSafe(format!("{SEGMENT} WHERE a.session_id = ? ORDER BY a.n"));
    let rows = sqlx::query(sql).bind(int(session.0)).fetch_all(db).await?;
    rows.iter().map(segment_row).collect()
}

async fn of_room(
    db: &mut MySqlConnection,
    room: &RoomId,
    (from, to): (i64, i64),
    by_user: Option<i64>,
) -> Result<Vec<ArchivedSegment>> {
    let user = match by_user {
        Some(_) => "AND a.session_id IN (SELECT session_id FROM archive_users WHERE user_hash = ?)",
        None => "",
    };
    let sql = format!("{SEGMENT} WHERE r.room_id = ? AND a.n BETWEEN ? AND ? {user} ORDER BY a.n, a.session_id");
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(room.as_str()).bind(from).bind(to);
    if let Some(user) = by_user {
        query = query.bind(user);
    }
    query.fetch_all(db).await?.iter().map(segment_row).collect()
}

async fn of_user(db: &mut MySqlConnection, room: Option<&RoomId>, user: i64) -> Result<Vec<ArchivedSegment>> {
    let in_room = if room.is_some() { "AND r.room_id = ?" } else { "" };
    let sql = format!(
        "{SEGMENT} WHERE a.session_id IN (SELECT session_id FROM archive_users WHERE user_hash = ?) {in_room}
         ORDER BY a.session_id, a.n"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(user);
    if let Some(room) = room {
        query = query.bind(room.as_str());
    }
    query.fetch_all(db).await?.iter().map(segment_row).collect()
}

async fn places(db: &mut MySqlConnection, ids: &[Snowflake]) -> Result<Vec<(Snowflake, ArchivedSegment)>> {
    let mut wanted: Vec<_> = ids.to_vec();
    wanted.sort_unstable();
    let mut found = Vec::new();
    for ids in wanted.chunk_by(|a, b| bucket(*a) == bucket(*b)) {
        let Some(first) = ids.first() else { continue };
        let sql = "SELECT session_id, n, ids FROM archive_ids WHERE bucket = ?";
        let rows = sqlx::query(sql).bind(bucket(*first)).fetch_all(&mut *db).await?;
        for row in &rows {
            let list: &[u8] = row.try_get(2)?;
            let here: Vec<_> = unpack(list).filter(|id| ids.binary_search(id).is_ok()).collect();
            if here.is_empty() {
                continue;
            }
            let (session, n): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let sql = AssertSqlSafe(format!("{SEGMENT} WHERE a.session_id = ? AND a.n = ?"));
            if let Some(segment) = sqlx::query(sql).bind(session).bind(n).fetch_optional(&mut *db).await? {
                let segment = segment_row(&segment)?;
                found.extend(here.into_iter().map(|id| (id, segment.clone())));
            }
        }
    }
    Ok(found)
}

async fn likes(
    db: &mut MySqlConnection,
    room: &RoomId,
    session: Option<Snowflake>,
    limit: usize,
) -> Result<Vec<(Snowflake, u64)>> {
    let of_session = if session.is_some() { "AND s.id = ?" } else { "" };
    let sql = format!(
        "SELECT l.comment_id, COUNT(*) AS likes FROM rooms r JOIN sessions s ON s.room_key = r.room_key
         JOIN archive_likes l ON l.session_id = s.id WHERE r.room_id = ? {of_session}
         GROUP BY l.comment_id ORDER BY likes DESC, l.comment_id LIMIT ?"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(room.as_str());
    if let Some(session) = session {
        query = query.bind(int(session.0));
    }
    let rows = query.bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| Ok((id(row, 0)?, uint(row, 1)?))).collect()
}

async fn likes_of_user(
    db: &mut MySqlConnection,
    user: &UserId,
    room: Option<&RoomId>,
    limit: usize,
) -> Result<Vec<Snowflake>> {
    let in_room = if room.is_some() { "AND r.room_id = ?" } else { "" };
    let sql = format!(
        "SELECT l.comment_id FROM archive_likes l JOIN sessions s ON s.id = l.session_id
         JOIN rooms r ON r.room_key = s.room_key WHERE l.user_id = ? {in_room} LIMIT ?"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(user.as_str());
    if let Some(room) = room {
        query = query.bind(room.as_str());
    }
    query.bind(int(limit)).fetch_all(db).await?.iter().map(|row| id(row, 0)).collect()
}

async fn to_archive(db: &mut MySqlConnection, until_ms: i64, limit: usize) -> Result<Vec<Session>> {
    let sql = AssertSqlSafe(format!(
        "{SESSION} WHERE s.archive_state = 0 AND s.ended_at_ms <= ? AND s.restored_at_ms <= ?
         ORDER BY s.ended_at_ms LIMIT ?"
    ));
    let rows = sqlx::query(sql).bind(until_ms).bind(until_ms).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| Ok(session_row(row)?.session)).collect()
}

async fn changed(db: &mut MySqlConnection, limit: usize) -> Result<Vec<Session>> {
    let sql = AssertSqlSafe(format!(
        "{SESSION} WHERE s.archive_state = 2 AND s.ended_at_ms IS NOT NULL ORDER BY s.id LIMIT ?"
    ));
    let rows = sqlx::query(sql).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| Ok(session_row(row)?.session)).collect()
}

async fn archived_sessions(db: &mut MySqlConnection, after: Snowflake, limit: usize) -> Result<Vec<(Session, u64)>> {
    let sql = AssertSqlSafe(format!(
        "{SESSION} WHERE s.id > ? AND EXISTS (SELECT 1 FROM archive_segments a WHERE a.session_id = s.id)
         ORDER BY s.id LIMIT ?"
    ));
    let rows = sqlx::query(sql).bind(int(after.0)).bind(int(limit)).fetch_all(db).await?;
    rows.iter().map(|row| session_row(row).map(|row| (row.session, row.comment_count))).collect()
}

/// Divides as [`crate::archive::segment_of`] does.
async fn hot_fingerprints(db: &mut MySqlConnection, session: Snowflake) -> Result<Vec<(i64, Fingerprint)>> {
    let sql = "SELECT CAST(GREATEST(offset_ms, 0) DIV 360000 AS SIGNED) AS n, COUNT(*),
             CAST(SUM(id % 2147483647) AS SIGNED), CAST(SUM(like_count * (id % 65521)) AS SIGNED)
         FROM comments WHERE session_id = ? AND deleted = 0 GROUP BY n ORDER BY n";
    let rows = sqlx::query(sql).bind(int(session.0)).fetch_all(db).await?;
    let fingerprint = |row: &MySqlRow| {
        Ok((row.try_get(0)?, Fingerprint { count: uint(row, 1)?, ids: uint(row, 2)?, likes: uint(row, 3)? }))
    };
    rows.iter().map(fingerprint).collect()
}

async fn hot_segment(db: &mut MySqlConnection, session: Snowflake, n: i64) -> Result<HotSegment> {
    let from = if n == 0 { i64::MIN } else { n.saturating_mul(SEGMENT_MS) };
    let to = n.saturating_add(1).saturating_mul(SEGMENT_MS);
    let range = "c.session_id = ? AND c.offset_ms >= ? AND c.offset_ms < ?";
    let sql = format!("SELECT {COLUMNS}, c.position {FROM} WHERE {range} AND c.deleted = 0 ORDER BY c.offset_ms, c.id");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(int(session.0)).bind(from).bind(to).fetch_all(&mut *db).await?;
    let positioned = |row: &MySqlRow| Ok(Positioned { comment: comment_row(row)?, position: uint(row, 15)? });
    let visible = rows.iter().map(positioned).collect::<Result<Vec<_>>>()?;
    let sql = AssertSqlSafe(format!("SELECT c.id FROM comments c WHERE {range} AND c.deleted <> 0"));
    let rows = sqlx::query(sql).bind(int(session.0)).bind(from).bind(to).fetch_all(db).await?;
    Ok(HotSegment { visible, unseen: rows.iter().map(|row| id(row, 0)).collect::<Result<_>>()? })
}

async fn segments_with_unseen(db: &mut MySqlConnection, session: Snowflake) -> Result<Vec<i64>> {
    let sql = "SELECT id FROM comments WHERE session_id = ? AND deleted <> 0";
    let rows = sqlx::query(sql).bind(int(session.0)).fetch_all(&mut *db).await?;
    let unseen = rows.iter().map(|row| id(row, 0)).collect::<Result<HashSet<_>>>()?;
    let mut numbers = Vec::new();
    if !unseen.is_empty() {
        let sql = "SELECT n, ids FROM archive_ids WHERE session_id = ? ORDER BY n";
        for row in sqlx::query(sql).bind(int(session.0)).fetch_all(db).await? {
            let list: &[u8] = row.try_get(1)?;
            if unpack(list).any(|id| unseen.contains(&id)) {
                numbers.push(row.try_get(0)?);
            }
        }
        numbers.dedup();
    }
    Ok(numbers)
}

/// The object that a segment names; nobody else changes it before this transaction ends.
async fn lock(db: &mut MySqlConnection, session: Snowflake, n: i64) -> Result<Option<String>> {
    // The session's row stands for segments that do not exist yet.
    sqlx::query("SELECT id FROM sessions WHERE id = ? FOR UPDATE")
        .bind(int(session.0))
        .fetch_optional(&mut *db)
        .await?;
    let sql = "SELECT object FROM archive_segments WHERE session_id = ? AND n = ? FOR UPDATE";
    sqlx::query_scalar(sql).bind(int(session.0)).bind(n).fetch_optional(db).await
}

async fn swap(
    db: &mut MySqlConnection,
    session: Snowflake,
    n: i64,
    old: Option<&str>,
    new: Option<&ArchivedSegment>,
    ids: &[(i64, Vec<u8>)],
    users: &[i64],
) -> Result<bool> {
    if lock(db, session, n).await?.as_deref() != old {
        return Ok(false);
    }
    forget_likes(db, session, n, ids).await?;
    for sql in [
        "DELETE FROM archive_segments WHERE session_id = ? AND n = ?",
        "DELETE FROM archive_ids WHERE session_id = ? AND n = ?",
    ] {
        sqlx::query(sql).bind(int(session.0)).bind(n).execute(&mut *db).await?;
    }
    let Some(new) = new else { return Ok(true) };
    let stored = sqlx::query(
        "INSERT INTO archive_segments (session_id, n, room_key, object, checksum, bytes, count, ids_sum, likes_sum,
             min_id, max_id) SELECT id, ?, room_key, ?, ?, ?, ?, ?, ?, ?, ? FROM sessions WHERE id = ?",
    )
    .bind(n)
    .bind(&new.object)
    .bind(&new.checksum)
    .bind(int(new.bytes))
    .bind(int(new.fingerprint.count))
    .bind(int(new.fingerprint.ids))
    .bind(int(new.fingerprint.likes))
    .bind(int(new.min_id.0))
    .bind(int(new.max_id.0))
    .bind(int(session.0))
    .execute(&mut *db)
    .await?;
    if stored.rows_affected() == 0 {
        // The session is gone.
        return Ok(false);
    }
    for (bucket, ids) in ids {
        sqlx::query("INSERT INTO archive_ids (bucket, session_id, n, ids) VALUES (?, ?, ?, ?)")
            .bind(bucket)
            .bind(int(session.0))
            .bind(n)
            .bind(ids)
            .execute(&mut *db)
            .await?;
    }
    for some in batches(users) {
        let mut sql = QueryBuilder::<MySql>::new("INSERT IGNORE INTO archive_users (user_hash, session_id) ");
        sql.push_values(some, |mut row, user| {
            row.push_bind(*user).push_bind(int(session.0));
        });
        sql.build().execute(&mut *db).await?;
    }
    Ok(true)
}

/// Removes the likes of comments that a segment no longer holds. One that came back into the database took them along.
async fn forget_likes(db: &mut MySqlConnection, session: Snowflake, n: i64, stay: &[(i64, Vec<u8>)]) -> Result<()> {
    let stay: HashSet<_> = stay.iter().flat_map(|(_, ids)| unpack(ids)).collect();
    let sql = "SELECT ids FROM archive_ids WHERE session_id = ? AND n = ?";
    let rows = sqlx::query(sql).bind(int(session.0)).bind(n).fetch_all(&mut *db).await?;
    let mut gone = Vec::new();
    for row in &rows {
        let list: &[u8] = row.try_get(0)?;
        gone.extend(unpack(list).filter(|id| !stay.contains(id)));
    }
    for some in batches(&gone) {
        let mut sql = QueryBuilder::<MySql>::new("DELETE FROM archive_likes WHERE session_id = ");
        sql.push_bind(int(session.0));
        push_ids(sql.push(" AND comment_id IN ("), some);
        sql.build().execute(&mut *db).await?;
    }
    Ok(())
}

fn push_ids(sql: &mut QueryBuilder<MySql>, ids: &[Snowflake]) {
    let mut list = sql.separated(", ");
    ids.iter().for_each(|id| {
        list.push_bind(int(id.0));
    });
    sql.push(")");
}

async fn drop_archived(
    db: &mut MySqlConnection,
    segment: &ArchivedSegment,
    comments: &[(Snowflake, u64)],
) -> Result<u64> {
    if lock(db, segment.session_id, segment.n).await?.as_deref() != Some(&segment.object) {
        return Ok(0);
    }
    let mut gone = 0;
    for some in batches(comments) {
        let ids: Vec<_> = some.iter().map(|(id, _)| *id).collect();
        let mut sql = QueryBuilder::<MySql>::new("SELECT id, like_count FROM comments WHERE deleted = 0 AND id IN (");
        push_ids(&mut sql, &ids);
        let rows = sql.push(" ORDER BY id FOR UPDATE").build().fetch_all(&mut *db).await?;
        let mut unchanged = Vec::with_capacity(rows.len());
        for row in &rows {
            let found = (id(row, 0)?, uint(row, 1)?);
            if some.contains(&found) {
                unchanged.push(found.0);
            }
        }
        for some in batches(&unchanged) {
            let mut sql = QueryBuilder::<MySql>::new(
                "INSERT IGNORE INTO archive_likes (session_id, comment_id, user_id, at_ms) SELECT ",
            );
            sql.push_bind(int(segment.session_id.0));
            push_ids(sql.push(", comment_id, user_id, at_ms FROM likes WHERE comment_id IN ("), some);
            sql.build().execute(&mut *db).await?;
            for delete in ["DELETE FROM likes WHERE comment_id IN (", "DELETE FROM comments WHERE id IN ("] {
                let mut sql = QueryBuilder::<MySql>::new(delete);
                push_ids(&mut sql, some);
                sql.build().execute(&mut *db).await?;
            }
        }
        gone += unchanged.len() as u64;
    }
    Ok(gone)
}

async fn thaw(db: &mut MySqlConnection, segment: &ArchivedSegment, comments: &[Positioned]) -> Result<()> {
    lock(db, segment.session_id, segment.n).await?;
    let session = int(segment.session_id.0);
    let sql = "INSERT IGNORE INTO comments (id, room_key, position, session_id, offset_ms, created_at_ms, user_id,
             username, level, content, mode, color, size, kind, mentions, deleted, like_count)
         SELECT ?, room_key, ?, id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0,
             (SELECT COUNT(*) FROM archive_likes WHERE session_id = ? AND comment_id = ?)
         FROM sessions WHERE id = ?";
    for Positioned { comment, position } in comments {
        let id = int(comment.id.0);
        let new = sqlx::query(sql)
            .bind(id)
            .bind(int(*position))
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
            .bind(session)
            .bind(id)
            .bind(session)
            .execute(&mut *db)
            .await?;
        if new.rows_affected() == 0 {
            continue;
        }
        for sql in [
            "INSERT IGNORE INTO likes (comment_id, user_id, at_ms)
                 SELECT comment_id, user_id, at_ms FROM archive_likes WHERE session_id = ? AND comment_id = ?",
            "DELETE FROM archive_likes WHERE session_id = ? AND comment_id = ?",
        ] {
            sqlx::query(sql).bind(session).bind(id).execute(&mut *db).await?;
        }
    }
    sqlx::query("UPDATE sessions SET archive_state = 2 WHERE id = ? AND archive_state = 1")
        .bind(session)
        .execute(db)
        .await
        .map(drop)
}

async fn finish_archive(db: &mut MySqlConnection, session: Snowflake) -> Result<bool> {
    let sql = "UPDATE sessions SET archive_state = 1, comment_count =
             (SELECT COALESCE(SUM(count), 0) FROM archive_segments WHERE session_id = ?)
         WHERE id = ? AND ended_at_ms IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM comments WHERE session_id = ? AND deleted = 0)";
    let id = int(session.0);
    sqlx::query(sql).bind(id).bind(id).bind(id).execute(db).await.map(|done| done.rows_affected() > 0)
}

async fn finish_restore(db: &mut MySqlConnection, session: Snowflake, at_ms: i64) -> Result<bool> {
    let sql = "UPDATE sessions SET archive_state = 0, restored_at_ms = ? WHERE id = ?
         AND NOT EXISTS (SELECT 1 FROM archive_segments WHERE session_id = ?)";
    let id = int(session.0);
    let restored = sqlx::query(sql).bind(at_ms).bind(id).bind(id).execute(&mut *db).await?.rows_affected() > 0;
    if restored {
        sqlx::query("DELETE FROM archive_users WHERE session_id = ?").bind(id).execute(db).await?;
    }
    Ok(restored)
}

async fn expired(
    db: &mut MySqlConnection,
    now_ms: i64,
    default_days: u32,
    limit: usize,
) -> Result<Vec<(ArchivedSegment, Snowflake)>> {
    let sql = "SELECT DISTINCT CAST(COALESCE(retention_days, ?) AS SIGNED) FROM rooms";
    let retentions: Vec<i64> = sqlx::query_scalar(sql).bind(default_days).fetch_all(&mut *db).await?;
    let mut found = Vec::new();
    for days in retentions {
        let cutoff = first_id_of(days_before(now_ms, u32::try_from(days).unwrap_or(u32::MAX)));
        let sql = format!("{SEGMENT} WHERE COALESCE(r.retention_days, ?) = ? AND a.min_id < ? LIMIT ?");
        let query = sqlx::query(AssertSqlSafe(sql)).bind(default_days).bind(days).bind(cutoff);
        for row in query.bind(int(limit.saturating_sub(found.len()))).fetch_all(&mut *db).await? {
            found.push((segment_row(&row)?, Snowflake(u64::try_from(cutoff).unwrap_or(0))));
        }
    }
    Ok(found)
}

async fn named_objects(db: &mut MySqlConnection, objects: &[String]) -> Result<Vec<String>> {
    let mut named = Vec::new();
    for some in batches(objects) {
        let mut sql = QueryBuilder::<MySql>::new("SELECT object FROM archive_segments WHERE object IN (");
        let mut list = sql.separated(", ");
        for object in some {
            list.push_bind(object.clone());
        }
        for row in sql.push(")").build().fetch_all(&mut *db).await? {
            named.push(row.try_get(0)?);
        }
    }
    Ok(named)
}
