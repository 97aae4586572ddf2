-- The erasure of a person: its receipts, what was purged, and indexes of what belongs to one person.

CREATE TABLE erasures (
    id             INTEGER PRIMARY KEY,
    user_id        TEXT,                       -- null once it has ended
    at_ms          INTEGER NOT NULL,           -- when it was asked for
    state          INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL DEFAULT 0, -- until then one node works on it
    attempts       INTEGER NOT NULL DEFAULT 0,
    comments       INTEGER NOT NULL DEFAULT 0,
    messages       INTEGER NOT NULL DEFAULT 0,
    uploads        INTEGER NOT NULL DEFAULT 0,
    likes          INTEGER NOT NULL DEFAULT 0,
    log_entries    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX erasures_running ON erasures (lease_until_ms) WHERE state = 0;
-- Rooms whose rankings have not been told yet.
CREATE TABLE erasure_rooms (
    erasure INTEGER NOT NULL,
    room_id TEXT    NOT NULL,
    PRIMARY KEY (erasure, room_id)
) STRICT, WITHOUT ROWID;

-- What arrives late of a purged person, from a node's spool, is stored without its text.
CREATE TABLE purges (
    user_id   TEXT    NOT NULL,
    room_id   TEXT    NOT NULL, -- empty: everywhere
    before_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, room_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX purges_by_time ON purges (before_ms);

CREATE INDEX likes_of_user ON likes (user_id);
CREATE INDEX uploads_of_owner ON uploads (owner);
CREATE INDEX reactions_of_user ON reactions (user_id);
CREATE INDEX reviews_waiting_of_user ON reviews (user_id) WHERE status = 0;
CREATE INDEX bans_of_user ON bans (user_id);
CREATE INDEX comments_unseen_of_user ON comments (user_id) WHERE deleted IN (3, 4);

-- How the chain covers names and texts, so that these can be taken out.
ALTER TABLE audit_trail ADD COLUMN seals TEXT;
CREATE INDEX audit_trail_of_actor ON audit_trail (actor);
CREATE INDEX audit_trail_of_target ON audit_trail (target);
CREATE INDEX audit_trail_of_action ON audit_trail (action);

-- Whom a document belongs to.
ALTER TABLE documents ADD COLUMN user_id TEXT;
UPDATE documents SET user_id = json_extract(body, '$.user_id') WHERE kind IN ('appeal', 'question');
UPDATE documents SET user_id = id WHERE kind = 'person';
UPDATE documents SET user_id = substr(id, instr(id, '/') + 1) WHERE kind = 'spoke';
CREATE INDEX documents_of_user ON documents (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX document_marks_of_user ON document_marks (user_id);
