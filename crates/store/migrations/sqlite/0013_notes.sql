-- What moderators write about a person, for each other.

CREATE TABLE notes (
    id      INTEGER PRIMARY KEY,
    user_id TEXT    NOT NULL,
    room_id TEXT,                -- null: the whole deployment
    author  TEXT    NOT NULL,    -- empty once that moderator was erased
    at_ms   INTEGER NOT NULL,
    content TEXT    NOT NULL
) STRICT;
CREATE INDEX notes_of_user ON notes (user_id);
CREATE INDEX notes_of_author ON notes (author);
