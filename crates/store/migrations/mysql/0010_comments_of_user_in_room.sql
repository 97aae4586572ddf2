-- One user's comments in a room, for a replay.
ALTER TABLE comments ADD KEY comments_of_user_in_room (user_id, room_key, offset_ms, id);
