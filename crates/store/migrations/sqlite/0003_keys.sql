-- The key directory. All of it is public; names and keys are what devices wrote.

CREATE TABLE device_keys (
    user_id            TEXT    NOT NULL,
    device_id          TEXT    NOT NULL,
    identity_key       TEXT    NOT NULL,
    signing_key        TEXT    NOT NULL,
    signature          TEXT    NOT NULL,
    fallback_id        TEXT,
    fallback_key       TEXT,
    fallback_signature TEXT,
    published_at_ms    INTEGER NOT NULL,
    PRIMARY KEY (user_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE one_time_keys (
    place     INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of publication
    user_id   TEXT    NOT NULL,
    device_id TEXT    NOT NULL,
    key_id    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    signature TEXT    NOT NULL,
    claimed   INTEGER NOT NULL DEFAULT 0,        -- handed out; only the name is still of use
    UNIQUE (user_id, device_id, key_id)
) STRICT;
CREATE INDEX one_time_keys_left ON one_time_keys (user_id, device_id, claimed, place);
