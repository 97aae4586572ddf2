-- A node has no socket of a user any more. KEYS: the user's nodes. ARGV: node. Returns node and moment of the others.
redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('HGETALL', KEYS[1])
