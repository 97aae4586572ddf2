-- Replies, edits and reactions, and the uploads that encrypted messages name.
CREATE TABLE IF NOT EXISTS reactions (
    message_id BIGINT NOT NULL,
    user_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    emoji      VARBINARY(64) NOT NULL,
    PRIMARY KEY (message_id, user_id, emoji)
);

CREATE TABLE IF NOT EXISTS message_uploads (
    upload_id  BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    PRIMARY KEY (upload_id, message_id),
    KEY message_uploads_of_message (message_id)
);

ALTER TABLE messages
    ADD COLUMN reply_to BIGINT NULL,
    ADD COLUMN edited_at_ms BIGINT NULL,
    -- How often each emoji was given: JSON, [[emoji, count], …] in the order of their first use. Null: never.
    ADD COLUMN reactions TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;
