-- A node has a socket of a user. KEYS: the user's nodes. ARGV: node, until when that counts, the key's time to live.
-- Returns node and moment of all previous entries.
local before = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return before
