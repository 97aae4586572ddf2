-- Passed comments that are kept for quality control, whatever becomes of the comments themselves.
CREATE TABLE IF NOT EXISTS comment_samples (
    id            BIGINT NOT NULL PRIMARY KEY, -- the comment's
    room_id       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    user_id       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    username      TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    content       TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    created_at_ms BIGINT NOT NULL,
    KEY comment_samples_of_room (room_id, id),
    KEY comment_samples_of_user (user_id)
);
