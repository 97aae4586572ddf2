-- The cold archive: segments of sessions that lie in objects.

ALTER TABLE sessions
    ADD COLUMN archive_state SMALLINT NOT NULL DEFAULT 0,  -- 0 in the database, 1 archived, 2 changed since
    ADD COLUMN restored_at_ms BIGINT NOT NULL DEFAULT 0,
    ADD KEY sessions_to_archive (archive_state, ended_at_ms);

CREATE TABLE IF NOT EXISTS archive_segments (
    session_id BIGINT NOT NULL,
    n          BIGINT NOT NULL,
    room_key   BIGINT NOT NULL,
    object     VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    checksum   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    bytes      BIGINT NOT NULL,
    count      BIGINT NOT NULL,
    ids_sum    BIGINT NOT NULL, -- the fingerprint, with `count` and `likes_sum`
    likes_sum  BIGINT NOT NULL,
    min_id     BIGINT NOT NULL,
    max_id     BIGINT NOT NULL,
    PRIMARY KEY (session_id, n),
    KEY archive_segments_of_room (room_key, n, session_id),
    KEY archive_segments_by_age (room_key, min_id),
    UNIQUE KEY archive_segments_by_object (object),
    KEY archive_segments_newest (max_id)
);

-- Which ids are in which segment: a range of ids has a packed list for each segment.
CREATE TABLE IF NOT EXISTS archive_ids (
    bucket     BIGINT NOT NULL,
    session_id BIGINT NOT NULL,
    n          BIGINT NOT NULL,
    ids        MEDIUMBLOB NOT NULL,
    PRIMARY KEY (session_id, n, bucket),
    KEY archive_ids_by_bucket (bucket)
);

-- Hashes of who spoke in archived sessions.
CREATE TABLE IF NOT EXISTS archive_users (
    user_hash  BIGINT NOT NULL,
    session_id BIGINT NOT NULL,
    PRIMARY KEY (user_hash, session_id),
    KEY archive_users_of_session (session_id)
);

-- Likes of archived comments.
CREATE TABLE IF NOT EXISTS archive_likes (
    session_id BIGINT NOT NULL,
    comment_id BIGINT NOT NULL,
    user_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at_ms      BIGINT NOT NULL,
    PRIMARY KEY (session_id, comment_id, user_id),
    KEY archive_likes_of_user (user_id)
);
