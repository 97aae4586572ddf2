-- A node has a socket of a user. KEYS: the user's nodes. ARGV: node, until when that counts, how long the key lives.
-- Returns node and moment of all that were there before.
local before = redis.call('HGETALL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return before
