-- The first schema. Ids are Snowflakes, times Unix milliseconds, flags 0 or 1, enumerations the
-- numbers pinned in src/sqlite/codes.rs.

CREATE TABLE rooms (
    -- Short name of the room inside this file; keeps the indexes of `comments` narrow.
    room_key       INTEGER PRIMARY KEY,
    room_id        TEXT    NOT NULL UNIQUE,
    settings       TEXT    NOT NULL DEFAULT '{}', -- JSON
    retention_days INTEGER,                       -- as in `settings`, for the clean-up
    closed         INTEGER NOT NULL DEFAULT 0,
    activity       INTEGER NOT NULL DEFAULT 0     -- rises with every change; orders the list of rooms
) STRICT;
CREATE INDEX rooms_by_activity ON rooms (activity);

CREATE TABLE sessions (
    id            INTEGER PRIMARY KEY,
    room_key      INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms   INTEGER,
    explicit      INTEGER NOT NULL,
    comment_count INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_of_room ON sessions (room_key);
CREATE UNIQUE INDEX sessions_on ON sessions (room_key) WHERE ended_at_ms IS NULL;

CREATE TABLE comments (
    id            INTEGER PRIMARY KEY,
    room_key      INTEGER NOT NULL,
    position      INTEGER NOT NULL, -- place in the log; 0 when it was brought in from a recording
    session_id    INTEGER,
    offset_ms     INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    user_id       TEXT    NOT NULL,
    username      TEXT    NOT NULL,
    level         INTEGER NOT NULL,
    content       TEXT    NOT NULL,
    mode          INTEGER NOT NULL,
    color         INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    kind          INTEGER NOT NULL,
    mentions      TEXT,             -- JSON array of user ids
    like_count    INTEGER NOT NULL DEFAULT 0,
    deleted       INTEGER NOT NULL DEFAULT 0
) STRICT;
-- Comments arrive by time, so new entries of these indexes stand beside each other and a commit
-- writes few pages. An index led by the user would spread a run of comments over as many pages: a
-- user's comments are found in `comments_of_room`, which carries the user and need not visit the row.
CREATE INDEX comments_live ON comments (room_key, position) WHERE deleted = 0 AND position > 0;
CREATE INDEX comments_of_room ON comments (room_key, offset_ms, id, user_id) WHERE deleted = 0;
-- Deleted ones too, for they count in the ranking.
CREATE INDEX comments_of_session ON comments (session_id, offset_ms, id);
CREATE INDEX comments_by_age ON comments (room_key);
CREATE INDEX comments_liked_in_session ON comments (session_id, like_count DESC)
    WHERE deleted = 0 AND like_count > 0;
CREATE INDEX comments_liked_in_room ON comments (room_key, like_count DESC)
    WHERE deleted = 0 AND like_count > 0;

-- The newest log offset that was ever kept; it outlives the comments.
CREATE TABLE high_water (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    position INTEGER NOT NULL
) STRICT;
INSERT INTO high_water VALUES (1, 0);

-- Keyed by the comment's id, so that the oldest are found without another index.
CREATE TABLE client_msg_ids (
    id             INTEGER PRIMARY KEY,
    user_id        TEXT    NOT NULL,
    client_msg_id  TEXT    NOT NULL,
    pending_review INTEGER NOT NULL,
    created_at_ms  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX client_msg_ids_of_user ON client_msg_ids (user_id, client_msg_id);

-- What each user gave in a session.
CREATE TABLE gifts (
    session_id INTEGER NOT NULL,
    user_id    TEXT    NOT NULL,
    username   TEXT    NOT NULL,
    value      INTEGER NOT NULL,
    PRIMARY KEY (session_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE likes (
    comment_id INTEGER NOT NULL REFERENCES comments (id) ON DELETE CASCADE,
    user_id    TEXT    NOT NULL,
    at_ms      INTEGER NOT NULL,
    PRIMARY KEY (comment_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE reviews (
    id            INTEGER PRIMARY KEY,
    room_key      INTEGER NOT NULL,
    session_id    INTEGER,
    offset_ms     INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    user_id       TEXT    NOT NULL,
    username      TEXT    NOT NULL,
    level         INTEGER NOT NULL,
    content       TEXT    NOT NULL,
    mode          INTEGER NOT NULL,
    color         INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    kind          INTEGER NOT NULL,
    mentions      TEXT,
    keep          INTEGER NOT NULL,
    word          TEXT,
    status        INTEGER NOT NULL,
    decided_by    TEXT,
    decided_at_ms INTEGER
) STRICT;
CREATE INDEX reviews_by_status ON reviews (status);
CREATE INDEX reviews_of_room ON reviews (room_key, status);
CREATE INDEX reviews_by_age ON reviews (room_key);

CREATE TABLE words (
    list INTEGER NOT NULL,
    word TEXT    NOT NULL,
    PRIMARY KEY (list, word)
) STRICT, WITHOUT ROWID;

CREATE TABLE bans (
    id         INTEGER PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    room_id    TEXT,
    kind       INTEGER NOT NULL,
    until_ms   INTEGER NOT NULL,
    reason     TEXT,
    imposed_by TEXT    NOT NULL,
    at_ms      INTEGER NOT NULL
) STRICT;
CREATE INDEX bans_by_end ON bans (until_ms);

CREATE TABLE revocations (
    user_id   TEXT PRIMARY KEY,
    before_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit_trail (
    line    INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    room_id TEXT,
    target  TEXT    NOT NULL,
    detail  TEXT
) STRICT;
CREATE INDEX audit_trail_of_room ON audit_trail (room_id);

CREATE TABLE unacknowledged_events (
    user_id  TEXT    NOT NULL,
    event_id INTEGER NOT NULL,
    event    TEXT    NOT NULL, -- JSON
    PRIMARY KEY (user_id, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX unacknowledged_events_by_age ON unacknowledged_events (event_id);
