-- What a recording is called.
ALTER TABLE sessions ADD COLUMN title TEXT;
