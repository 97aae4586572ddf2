-- A node has no more sockets of a user. KEYS: the user's nodes. ARGV: node. Returns node and moment of the others.
redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('HGETALL', KEYS[1])
