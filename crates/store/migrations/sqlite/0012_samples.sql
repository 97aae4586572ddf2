-- Passed comments that are kept for quality control, whatever becomes of the comments themselves.

CREATE TABLE comment_samples (
    id            INTEGER PRIMARY KEY, -- the comment's
    room_id       TEXT    NOT NULL,
    user_id       TEXT    NOT NULL,
    username      TEXT    NOT NULL,
    content       TEXT    NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX comment_samples_of_room ON comment_samples (room_id, id);
CREATE INDEX comment_samples_of_user ON comment_samples (user_id);
