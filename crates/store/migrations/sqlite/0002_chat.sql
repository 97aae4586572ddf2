-- Private and group chat. A position is a message's place in the one order of storing, a change the
-- place of a recall or read mark in theirs; neither number is ever given twice.

CREATE TABLE users (
    user_id      TEXT PRIMARY KEY,
    username     TEXT,
    last_seen_ms INTEGER,
    hidden       INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Two people's, in the order of their ids; a group's when there are none. A group's number is its
-- conversation's.
CREATE TABLE conversations (
    id              INTEGER PRIMARY KEY,
    low_user        TEXT,
    high_user       TEXT,
    name            TEXT,
    created_at_ms   INTEGER NOT NULL,
    closed_at_ms    INTEGER,
    member_count    INTEGER NOT NULL,
    members_version INTEGER NOT NULL DEFAULT 1, -- rises with every change of `members`
    last_position   INTEGER NOT NULL,
    last_change     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX conversations_direct ON conversations (low_user, high_user) WHERE low_user IS NOT NULL;

CREATE TABLE members (
    conversation    INTEGER NOT NULL,
    user_id         TEXT    NOT NULL,
    role            INTEGER NOT NULL,
    joined_position INTEGER NOT NULL, -- what came later is visible
    joined_at_ms    INTEGER NOT NULL,
    read_position   INTEGER NOT NULL, -- what came until then is read
    read_id         INTEGER,          -- the message there
    PRIMARY KEY (conversation, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_user ON members (user_id);

CREATE TABLE messages (
    position       INTEGER PRIMARY KEY AUTOINCREMENT,
    id             INTEGER NOT NULL,
    conversation   INTEGER NOT NULL,
    from_user      TEXT    NOT NULL,
    from_name      TEXT    NOT NULL,
    to_user        TEXT, -- null in a group
    content        TEXT    NOT NULL,
    msg_type       INTEGER NOT NULL,
    client_msg_id  TEXT    NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    recalled_at_ms INTEGER,
    recalled_by    TEXT
) STRICT;
CREATE UNIQUE INDEX messages_by_id ON messages (id);
CREATE UNIQUE INDEX messages_once ON messages (from_user, client_msg_id);
-- Carries what counting unread messages looks at.
CREATE INDEX messages_of_conversation ON messages (conversation, position, from_user, recalled_at_ms);
-- Who may see an upload is who may see a message that refers to it.
CREATE INDEX messages_of_upload ON messages (content) WHERE msg_type IN (1, 2, 3);

CREATE TABLE changes (
    change       INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation INTEGER NOT NULL,
    message_id   INTEGER NOT NULL,
    position     INTEGER NOT NULL, -- of the message
    kind         INTEGER NOT NULL,
    by_user      TEXT    NOT NULL,
    at_ms        INTEGER NOT NULL
) STRICT;
CREATE INDEX changes_of_conversation ON changes (conversation, change, position);
CREATE UNIQUE INDEX changes_recalls ON changes (message_id) WHERE kind = 0;
CREATE UNIQUE INDEX changes_marks ON changes (conversation, by_user) WHERE kind = 1;

CREATE TABLE devices (
    user_id    TEXT    NOT NULL,
    device_id  TEXT    NOT NULL,
    since_id   INTEGER NOT NULL,
    seen_at_ms INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX devices_by_age ON devices (seen_at_ms);

CREATE TABLE blocks (
    user_id TEXT    NOT NULL,
    blocked TEXT    NOT NULL,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (user_id, blocked)
) STRICT, WITHOUT ROWID;

-- Calls of the notification hook that are still to be made.
CREATE TABLE outbox (
    message_id INTEGER PRIMARY KEY,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_by_time ON outbox (next_at_ms);
