-- Reviews with claims, labels and reasons; comments that only some see; the chained audit trail; documents.

ALTER TABLE reviews ADD COLUMN reason TEXT;
ALTER TABLE reviews ADD COLUMN labels TEXT;                                  -- JSON
ALTER TABLE reviews ADD COLUMN claimed_by TEXT;
ALTER TABLE reviews ADD COLUMN claimed_until_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE reviews ADD COLUMN due_ms INTEGER;
CREATE INDEX reviews_due ON reviews (due_ms) WHERE due_ms IS NOT NULL;

-- `deleted` of comments: 0 everybody sees it, 1 erased, 2 purged, 3 its sender and moderators see it, 4 hidden and can come
-- back.
CREATE INDEX comments_shadowed ON comments (room_key, id) WHERE deleted = 3;

ALTER TABLE audit_trail ADD COLUMN previous TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_trail ADD COLUMN hash TEXT NOT NULL DEFAULT '';
CREATE TABLE audit_head (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    line     INTEGER NOT NULL,
    hash     TEXT    NOT NULL
) STRICT;

CREATE TABLE documents (
    line    INTEGER PRIMARY KEY,
    kind    TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    room_id TEXT,
    state   TEXT    NOT NULL,
    due_ms  INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT    NOT NULL -- JSON
) STRICT;
CREATE UNIQUE INDEX documents_by_id ON documents (kind, id);
CREATE INDEX documents_of_room ON documents (kind, room_id);
CREATE INDEX documents_by_state ON documents (kind, state, due_ms);

CREATE TABLE document_marks (
    kind    TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    user_id TEXT    NOT NULL,
    value   INTEGER NOT NULL,
    PRIMARY KEY (kind, id, user_id)
) STRICT, WITHOUT ROWID;
