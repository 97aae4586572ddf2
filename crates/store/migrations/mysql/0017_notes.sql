-- What moderators write about a person, for each other.
CREATE TABLE IF NOT EXISTS notes (
    id      BIGINT NOT NULL PRIMARY KEY,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    room_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,     -- null: the whole deployment
    author  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- empty once that moderator was erased
    at_ms   BIGINT NOT NULL,
    content TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    KEY notes_of_user (user_id, id),
    KEY notes_of_author (author)
);
