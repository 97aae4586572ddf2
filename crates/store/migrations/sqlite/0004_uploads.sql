-- Uploads; their bytes are in the archive, the messages that refer to them in `messages`.

CREATE TABLE uploads (
    id           INTEGER PRIMARY KEY,
    owner        TEXT    NOT NULL,
    msg_type     INTEGER NOT NULL,
    content_type TEXT    NOT NULL,
    size_bytes   INTEGER NOT NULL,
    name         TEXT,
    complete     INTEGER NOT NULL DEFAULT 0,
    check_at_ms  INTEGER NOT NULL -- when to see whether anybody still needs it
) STRICT;
CREATE INDEX uploads_to_check ON uploads (check_at_ms);
