-- What a moderator's list of bans is filtered by.
ALTER TABLE bans ADD KEY bans_of_room (room_id);
