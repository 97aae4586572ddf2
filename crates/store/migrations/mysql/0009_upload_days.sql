-- What each user announced to upload in a day, so that a removed upload still counts.
CREATE TABLE IF NOT EXISTS upload_days (
    owner VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    day   BIGINT NOT NULL, -- since 1970-01-01, UTC
    bytes BIGINT NOT NULL,
    PRIMARY KEY (owner, day),
    KEY upload_days_by_age (day)
);
