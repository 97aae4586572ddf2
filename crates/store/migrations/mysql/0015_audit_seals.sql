-- How the chain of the audit trail covers names and texts, so that these can be taken out; and whom a document belongs to.
ALTER TABLE audit_trail
    ADD COLUMN seals TEXT CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD KEY audit_trail_of_actor (actor(64)),
    ADD KEY audit_trail_of_target (target(64)),
    ADD KEY audit_trail_of_action (action(32));
ALTER TABLE documents
    ADD COLUMN user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    ADD KEY documents_of_user (user_id);
ALTER TABLE document_marks ADD KEY document_marks_of_user (user_id);
UPDATE documents SET user_id = NULLIF(JSON_UNQUOTE(JSON_EXTRACT(body, '$.user_id')), 'null')
    WHERE kind IN ('appeal', 'question');
UPDATE documents SET user_id = id WHERE kind = 'person';
UPDATE documents SET user_id = SUBSTRING(id, LOCATE('/', id) + 1) WHERE kind = 'spoke';
