-- What lists are filtered by, as in `settings`: who owns a room, and whether not everybody may enter it.
ALTER TABLE rooms ADD COLUMN owner_id TEXT;
ALTER TABLE rooms ADD COLUMN restricted INTEGER NOT NULL DEFAULT 0;
UPDATE rooms SET owner_id = json_extract(settings, '$.owner_id'),
    restricted = coalesce(json_extract(settings, '$.private'), 0) OR NOT coalesce(json_extract(settings, '$.enabled'), 1);
CREATE INDEX rooms_of_owner ON rooms (owner_id, activity) WHERE owner_id IS NOT NULL;
CREATE INDEX rooms_open ON rooms (activity) WHERE restricted = 0;
CREATE INDEX bans_of_room ON bans (room_id) WHERE room_id IS NOT NULL;

-- What a purge looks for. Comments that were deleted are few, so this index costs nothing when comments arrive.
CREATE INDEX reviews_of_user ON reviews (user_id);
CREATE INDEX gifts_of_user ON gifts (user_id);
CREATE INDEX comments_deleted_of_user ON comments (user_id) WHERE deleted = 1;
