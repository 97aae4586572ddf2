-- The cold archive: segments of sessions that lie in objects.

ALTER TABLE sessions ADD COLUMN archive_state INTEGER NOT NULL DEFAULT 0;  -- 0 in the database, 1 archived, 2 changed since
ALTER TABLE sessions ADD COLUMN restored_at_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_to_archive ON sessions (ended_at_ms) WHERE archive_state = 0 AND ended_at_ms IS NOT NULL;
CREATE INDEX sessions_changed ON sessions (id) WHERE archive_state = 2;

CREATE TABLE archive_segments (
    session_id INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    room_key   INTEGER NOT NULL,
    object     TEXT    NOT NULL,
    checksum   TEXT    NOT NULL,
    bytes      INTEGER NOT NULL,
    count      INTEGER NOT NULL,
    ids_sum    INTEGER NOT NULL, -- the fingerprint, with `count` and `likes_sum`
    likes_sum  INTEGER NOT NULL,
    min_id     INTEGER NOT NULL,
    max_id     INTEGER NOT NULL,
    PRIMARY KEY (session_id, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX archive_segments_of_room ON archive_segments (room_key, n, session_id);
CREATE INDEX archive_segments_by_age ON archive_segments (room_key, min_id);
CREATE UNIQUE INDEX archive_segments_by_object ON archive_segments (object);
CREATE INDEX archive_segments_newest ON archive_segments (max_id);

-- Which ids are in which segment: a range of ids has a packed list for each segment.
CREATE TABLE archive_ids (
    line       INTEGER PRIMARY KEY,
    bucket     INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    n          INTEGER NOT NULL,
    ids        BLOB    NOT NULL
) STRICT;
CREATE INDEX archive_ids_by_bucket ON archive_ids (bucket);
CREATE INDEX archive_ids_of_segment ON archive_ids (session_id, n);

-- Hashes of who spoke in archived sessions.
CREATE TABLE archive_users (
    user_hash  INTEGER NOT NULL,
    session_id INTEGER NOT NULL,
    PRIMARY KEY (user_hash, session_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX archive_users_of_session ON archive_users (session_id);

-- Likes of archived comments.
CREATE TABLE archive_likes (
    session_id INTEGER NOT NULL,
    comment_id INTEGER NOT NULL,
    user_id    TEXT    NOT NULL,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (session_id, comment_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX archive_likes_of_user ON archive_likes (user_id);
