-- JSON null reads as the word, in all three databases.
UPDATE rooms SET
    owner_id = NULLIF(JSON_UNQUOTE(JSON_EXTRACT(settings, '$.owner_id')), 'null'),
    restricted = COALESCE(JSON_UNQUOTE(JSON_EXTRACT(settings, '$.private')), 'false') = 'true'
        OR COALESCE(JSON_UNQUOTE(JSON_EXTRACT(settings, '$.enabled')), 'true') = 'false';
