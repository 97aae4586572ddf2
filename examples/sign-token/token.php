<?php
// A token for a user of one's own site (JWT, HS256), with nothing but PHP.
function part(string $data): string
{
    return rtrim(strtr(base64_encode($data), '+/', '-_'), '=');
}

function sign_token(string $secret, array $claims, int $ttl_s = 3600): string
{
    $header = part(json_encode(['alg' => 'HS256', 'typ' => 'JWT']));
    $body = part(json_encode($claims + ['exp' => time() + $ttl_s]));
    return "$header.$body." . part(hash_hmac('sha256', "$header.$body", $secret, true));
}

echo sign_token(getenv('BARRAGE__AUTH__HMAC_SECRET'), ['sub' => 'alice', 'name' => 'Alice', 'level' => 'vip', 'rooms' => ['show']]), "\n";
