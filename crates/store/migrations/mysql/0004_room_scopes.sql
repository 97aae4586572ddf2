-- What lists are filtered by, as in `settings`: who owns a room, and whether not everybody may enter it.
ALTER TABLE rooms
    ADD COLUMN owner_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD COLUMN restricted SMALLINT NOT NULL DEFAULT 0,
    ADD KEY rooms_of_owner (owner_id, activity),
    ADD KEY rooms_open (restricted, activity);
