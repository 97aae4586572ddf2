-- Renews a node's lease. KEYS: the nodes by the end of their leases. ARGV: node, the new end.
-- Returns the previous end, 0 for none, then node and end of all.
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return {before or '0', redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')}
