-- The first schema for MySQL 8, MariaDB 10.6 and TiDB. Ids are Snowflakes, times Unix milliseconds, flags 0 or 1,
-- enumerations the numbers pinned in src/sqlite/codes.rs. No foreign keys: partitioned tables have none. Identifiers are
-- ASCII by the contract; texts that must be told apart to the byte are VARBINARY, since collations ignore spaces at
-- the end. Every statement may be run again: DDL is no part of a transaction, so a migration may stop half-way.

CREATE TABLE IF NOT EXISTS rooms (
    -- Short name of the room inside this database; keeps the keys of `comments` narrow.
    room_key       BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    room_id        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    settings       TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, -- JSON; NULL is the default
    retention_days INT NULL,                                            -- as in `settings`, for the clean-up
    closed         SMALLINT NOT NULL DEFAULT 0,
    activity       BIGINT NOT NULL DEFAULT 0,                           -- rises with every change; orders the list of rooms
    UNIQUE KEY rooms_by_id (room_id),
    KEY rooms_by_activity (activity)
);

CREATE TABLE IF NOT EXISTS sessions (
    id            BIGINT NOT NULL,
    room_key      BIGINT NOT NULL,
    started_at_ms BIGINT NOT NULL,
    ended_at_ms   BIGINT NULL,
    explicit      SMALLINT NOT NULL,
    comment_count BIGINT NOT NULL DEFAULT 0,
    -- The room's key while the session is on, then nothing: a room has one session on.
    on_in         BIGINT NULL,
    PRIMARY KEY (room_key, id),
    UNIQUE KEY sessions_by_id (id),
    UNIQUE KEY sessions_on (on_in)
);

-- Partitioned by month: an id begins with its time, so ranges of ids are ranges of time. `p_rest` takes what no month
-- is made for yet and is split before anything gets there (src/mysql/partitions.rs).
CREATE TABLE IF NOT EXISTS comments (
    id            BIGINT NOT NULL,
    room_key      BIGINT NOT NULL,
    position      BIGINT NOT NULL, -- place in the log; 0 when it was brought in from a recording
    session_id    BIGINT NULL,
    offset_ms     BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    user_id       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    username      TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    level         SMALLINT NOT NULL,
    content       TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    mode          SMALLINT NOT NULL,
    color         BIGINT NOT NULL,
    size          SMALLINT NOT NULL,
    kind          SMALLINT NOT NULL,
    mentions      TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, -- JSON array of user ids
    like_count    BIGINT NOT NULL DEFAULT 0,
    deleted       SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (room_key, id),
    UNIQUE KEY comments_by_id (id),
    KEY comments_live (room_key, position),
    KEY comments_of_room (room_key, offset_ms, id),
    -- Deleted ones too, for they count in the ranking.
    KEY comments_of_session (session_id, offset_ms, id),
    KEY comments_of_user (user_id, id),
    KEY comments_liked_in_session (session_id, like_count),
    KEY comments_liked_in_room (room_key, like_count)
) PARTITION BY RANGE (id) (PARTITION p_rest VALUES LESS THAN MAXVALUE);

-- The newest log offset that was ever kept; it outlives the comments. Each server that writes takes one of many rows,
-- since a row that all write would make their commits wait for each other.
CREATE TABLE IF NOT EXISTS high_water (
    slot     INT NOT NULL PRIMARY KEY,
    position BIGINT NOT NULL,
    probes   BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE IF NOT EXISTS client_msg_ids (
    id             BIGINT NOT NULL,
    user_id        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    client_msg_id  VARBINARY(255) NOT NULL,
    pending_review SMALLINT NOT NULL,
    created_at_ms  BIGINT NOT NULL,
    PRIMARY KEY (user_id, client_msg_id),
    KEY client_msg_ids_by_age (id)
);

-- What each user gave in a session.
CREATE TABLE IF NOT EXISTS gifts (
    session_id BIGINT NOT NULL,
    user_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    username   TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    value      BIGINT NOT NULL,
    PRIMARY KEY (session_id, user_id)
);

CREATE TABLE IF NOT EXISTS likes (
    comment_id BIGINT NOT NULL,
    user_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at_ms      BIGINT NOT NULL,
    PRIMARY KEY (comment_id, user_id)
);

CREATE TABLE IF NOT EXISTS reviews (
    id            BIGINT NOT NULL PRIMARY KEY,
    room_key      BIGINT NOT NULL,
    session_id    BIGINT NULL,
    offset_ms     BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    user_id       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    username      TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    level         SMALLINT NOT NULL,
    content       TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    mode          SMALLINT NOT NULL,
    color         BIGINT NOT NULL,
    size          SMALLINT NOT NULL,
    kind          SMALLINT NOT NULL,
    mentions      TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    keep          SMALLINT NOT NULL,
    word          TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    status        SMALLINT NOT NULL,
    decided_by    TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    decided_at_ms BIGINT NULL,
    KEY reviews_by_status (status, id),
    KEY reviews_of_room (room_key, status, id)
);

CREATE TABLE IF NOT EXISTS words (
    list SMALLINT NOT NULL,
    word VARBINARY(512) NOT NULL, -- UTF-8
    PRIMARY KEY (list, word)
);

CREATE TABLE IF NOT EXISTS bans (
    id         BIGINT NOT NULL PRIMARY KEY,
    user_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    room_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    kind       SMALLINT NOT NULL,
    until_ms   BIGINT NOT NULL,
    reason     TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    imposed_by TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    at_ms      BIGINT NOT NULL,
    KEY bans_by_end (until_ms),
    KEY bans_of_user (user_id)
);

CREATE TABLE IF NOT EXISTS revocations (
    user_id   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    before_ms BIGINT NOT NULL
);

-- TiDB hands out ranges of an AUTO_INCREMENT to each of its servers, so there the order of lines is only nearly that of
-- writing.
CREATE TABLE IF NOT EXISTS audit_trail (
    line    BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    at_ms   BIGINT NOT NULL,
    actor   TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    action  TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    room_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    target  TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    detail  TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    KEY audit_trail_of_room (room_id, line)
);

CREATE TABLE IF NOT EXISTS unacknowledged_events (
    user_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    event_id BIGINT NOT NULL,
    event    MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, -- JSON
    PRIMARY KEY (user_id, event_id),
    KEY unacknowledged_events_by_age (event_id)
);
