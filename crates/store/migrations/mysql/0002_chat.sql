-- Private and group chat, the key directory, uploads. What is said at the head of the first migration holds here too.

-- The two orders of chat. Whoever takes numbers of one holds its row until the commit, so that a number is visible only
-- when all lower ones are, whichever node took them.
CREATE TABLE IF NOT EXISTS chat_orders (
    chat_order SMALLINT NOT NULL PRIMARY KEY, -- 1: positions of messages, 2: changes
    newest     BIGINT   NOT NULL
);
INSERT IGNORE INTO chat_orders (chat_order, newest) VALUES (1, 0), (2, 0);

CREATE TABLE IF NOT EXISTS users (
    user_id      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    username     TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    last_seen_ms BIGINT NULL,
    hidden       SMALLINT NOT NULL DEFAULT 0
);

-- Two people's, in the order of their ids; a group's when there are none. A group's number is its conversation's.
CREATE TABLE IF NOT EXISTS conversations (
    id              BIGINT NOT NULL PRIMARY KEY,
    low_user        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    high_user       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    name            TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    created_at_ms   BIGINT NOT NULL,
    closed_at_ms    BIGINT NULL,
    member_count    BIGINT NOT NULL,
    members_version BIGINT NOT NULL DEFAULT 1, -- rises with every change of `members`
    last_position   BIGINT NOT NULL,
    UNIQUE KEY conversations_direct (low_user, high_user)
);

CREATE TABLE IF NOT EXISTS members (
    conversation    BIGINT NOT NULL,
    user_id         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    role            SMALLINT NOT NULL,
    joined_position BIGINT NOT NULL, -- what came later is visible
    joined_at_ms    BIGINT NOT NULL,
    read_position   BIGINT NOT NULL, -- what came until then is read
    read_id         BIGINT NULL,     -- the message there
    PRIMARY KEY (conversation, user_id),
    KEY members_of_user (user_id)
);

-- One row a message, whatever the size of the group. Not partitioned: a unique key would have to contain the month.
CREATE TABLE IF NOT EXISTS messages (
    conversation   BIGINT NOT NULL,
    position       BIGINT NOT NULL,
    id             BIGINT NOT NULL,
    from_user      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    from_name      TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    to_user        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL, -- null in a group
    content        MEDIUMTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    msg_type       SMALLINT NOT NULL,
    client_msg_id  VARBINARY(255) NOT NULL,
    created_at_ms  BIGINT NOT NULL,
    recalled_at_ms BIGINT NULL,
    recalled_by    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    upload_id      BIGINT NULL, -- the content, when it is an upload's id
    PRIMARY KEY (conversation, position),
    UNIQUE KEY messages_by_id (id),
    UNIQUE KEY messages_once (from_user, client_msg_id),
    -- Who may see an upload is who may see a message that refers to it.
    KEY messages_of_upload (upload_id)
);

CREATE TABLE IF NOT EXISTS changes (
    conversation  BIGINT NOT NULL,
    change_number BIGINT NOT NULL,
    message_id    BIGINT NOT NULL,
    position      BIGINT NOT NULL, -- of the message
    kind          SMALLINT NOT NULL,
    by_user       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at_ms         BIGINT NOT NULL,
    -- Whose read mark it is; null for a recall. Of each reader only the newest is kept.
    reader        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    PRIMARY KEY (conversation, change_number),
    UNIQUE KEY changes_marks (conversation, reader),
    KEY changes_of_message (message_id)
);

CREATE TABLE IF NOT EXISTS devices (
    user_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    device_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    since_id   BIGINT NOT NULL,
    seen_at_ms BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id),
    KEY devices_by_age (seen_at_ms)
);

CREATE TABLE IF NOT EXISTS blocks (
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    blocked VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    at_ms   BIGINT NOT NULL,
    PRIMARY KEY (user_id, blocked)
);

-- Calls of the notification hook that are still to be made. A node that takes one puts it off for so long as it may
-- need, so that no other takes it too.
CREATE TABLE IF NOT EXISTS outbox (
    message_id BIGINT NOT NULL PRIMARY KEY,
    attempts   BIGINT NOT NULL DEFAULT 0,
    next_at_ms BIGINT NOT NULL,
    KEY outbox_by_time (next_at_ms)
);

-- The key directory. All of it is public; names and keys are what devices wrote.
CREATE TABLE IF NOT EXISTS device_keys (
    user_id            VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    device_id          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    identity_key       TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    signing_key        TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    signature          TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    fallback_id        VARBINARY(255) NULL,
    fallback_key       TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    fallback_signature TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    published_at_ms    BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

CREATE TABLE IF NOT EXISTS one_time_keys (
    user_id    VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    device_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    place      BIGINT NOT NULL,             -- the order of publication
    key_id     VARBINARY(255) NOT NULL,
    public_key TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    signature  TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    claimed    SMALLINT NOT NULL DEFAULT 0, -- handed out; only the name is still of use
    PRIMARY KEY (user_id, device_id, place),
    UNIQUE KEY one_time_keys_once (user_id, device_id, key_id),
    KEY one_time_keys_left (user_id, device_id, claimed, place)
);

-- Uploads; their bytes are in the archive, the messages that refer to them in `messages`.
CREATE TABLE IF NOT EXISTS uploads (
    id           BIGINT NOT NULL PRIMARY KEY,
    owner        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    msg_type     SMALLINT NOT NULL,
    content_type TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    size_bytes   BIGINT NOT NULL,
    name         TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
    complete     SMALLINT NOT NULL DEFAULT 0,
    check_at_ms  BIGINT NOT NULL, -- when to see whether anybody still needs it
    KEY uploads_to_check (check_at_ms)
);
