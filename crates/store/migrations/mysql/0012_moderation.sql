-- Reviews with claims, labels and reasons; comments that only some see; the chained audit trail; documents.

ALTER TABLE reviews
    ADD COLUMN reason TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    ADD COLUMN labels TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, -- JSON
    ADD COLUMN claimed_by TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    ADD COLUMN claimed_until_ms BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN due_ms BIGINT NULL,
    ADD KEY reviews_due (due_ms);

-- `deleted` of comments: 0 everybody sees it, 1 erased, 2 purged, 3 its sender and moderators see it, 4 hidden and can come
-- back.
ALTER TABLE comments ADD KEY comments_unseen (room_key, deleted, id);

ALTER TABLE audit_trail
    ADD COLUMN previous VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    ADD COLUMN hash VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

CREATE TABLE IF NOT EXISTS audit_head (
    only_row INT NOT NULL PRIMARY KEY,
    line     BIGINT NOT NULL,
    hash     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
);
INSERT IGNORE INTO audit_head (only_row, line, hash) SELECT 1, COALESCE(MAX(line), 0), '' FROM audit_trail;

CREATE TABLE IF NOT EXISTS documents (
    line    BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    kind    VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id      VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    room_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    state   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    due_ms  BIGINT NOT NULL,
    version BIGINT NOT NULL,
    body    MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, -- JSON
    UNIQUE KEY documents_by_id (kind, id),
    KEY documents_of_room (kind, room_id, line),
    KEY documents_by_state (kind, state, due_ms)
);

CREATE TABLE IF NOT EXISTS document_marks (
    kind    VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    id      VARCHAR(191) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    value   BIGINT NOT NULL,
    PRIMARY KEY (kind, id, user_id)
);
