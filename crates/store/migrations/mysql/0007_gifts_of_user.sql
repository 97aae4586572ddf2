-- What a purge looks for.
ALTER TABLE gifts ADD KEY gifts_of_user (user_id);
