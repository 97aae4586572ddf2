-- What a purge looks for.
ALTER TABLE reviews ADD KEY reviews_of_user (user_id);
