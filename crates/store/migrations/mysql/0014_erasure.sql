-- The erasure of a person: its receipts, what was purged, and indexes of what belongs to one person.
CREATE TABLE IF NOT EXISTS erasures (
    id             BIGINT NOT NULL PRIMARY KEY,
    user_id        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL, -- null once it has ended
    at_ms          BIGINT NOT NULL,                                        -- when it was asked for
    state          SMALLINT NOT NULL,
    lease_until_ms BIGINT NOT NULL DEFAULT 0,                              -- until then one node works on it
    attempts       BIGINT NOT NULL DEFAULT 0,
    comments       BIGINT NOT NULL DEFAULT 0,
    messages       BIGINT NOT NULL DEFAULT 0,
    uploads        BIGINT NOT NULL DEFAULT 0,
    likes          BIGINT NOT NULL DEFAULT 0,
    log_entries    BIGINT NOT NULL DEFAULT 0,
    KEY erasures_running (state, lease_until_ms)
);

-- Rooms whose rankings have not been told yet.
CREATE TABLE IF NOT EXISTS erasure_rooms (
    erasure BIGINT NOT NULL,
    room_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    PRIMARY KEY (erasure, room_id)
);

-- What arrives late of a purged person, from a node's spool, is stored without its text.
CREATE TABLE IF NOT EXISTS purges (
    user_id   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    room_id   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- empty: everywhere
    before_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, room_id),
    KEY purges_by_time (before_ms)
);

ALTER TABLE likes ADD KEY likes_of_user (user_id);
ALTER TABLE reviews ADD KEY reviews_waiting_of_user (user_id, status);
ALTER TABLE uploads ADD KEY uploads_of_owner (owner);
ALTER TABLE reactions ADD KEY reactions_of_user (user_id);
