-- Replies, edits and reactions, and the uploads that encrypted messages name.
ALTER TABLE messages ADD COLUMN reply_to INTEGER;
ALTER TABLE messages ADD COLUMN edited_at_ms INTEGER;
-- How often each emoji was given: JSON, [["👍", 2], …] in the order of their first use. Null: never.
ALTER TABLE messages ADD COLUMN reactions TEXT;

CREATE TABLE reactions (
    message_id INTEGER NOT NULL,
    user_id    TEXT    NOT NULL,
    emoji      TEXT    NOT NULL,
    PRIMARY KEY (message_id, user_id, emoji)
) STRICT, WITHOUT ROWID;

CREATE TABLE message_uploads (
    upload_id  INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    PRIMARY KEY (upload_id, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_uploads_of_message ON message_uploads (message_id);

-- Of the edits of a message, and of its reactions, only the newest change is kept.
CREATE UNIQUE INDEX changes_edits ON changes (message_id) WHERE kind = 2;
CREATE UNIQUE INDEX changes_reactions ON changes (message_id) WHERE kind = 3;
