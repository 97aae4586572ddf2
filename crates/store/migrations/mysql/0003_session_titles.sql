-- What a recording is called.
ALTER TABLE sessions ADD COLUMN title VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL;
