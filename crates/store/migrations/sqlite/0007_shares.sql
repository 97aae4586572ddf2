-- What each user announced to upload in a day, so that a removed upload still counts.
CREATE TABLE upload_days (
    owner TEXT    NOT NULL,
    day   INTEGER NOT NULL, -- since 1970-01-01, UTC
    bytes INTEGER NOT NULL,
    PRIMARY KEY (owner, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_days_by_age ON upload_days (day);

-- One user's comments, in a room or in all: a replay of one user, and a purge. Carries the session, which a replay filters by.
CREATE INDEX comments_of_user ON comments (user_id, room_key, offset_ms, id, session_id) WHERE deleted = 0;
