-- Marks rooms as hot. KEYS: the marks. ARGV: now, until when these count, rooms. Returns all that are marked.
for at = 3, #ARGV do
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[at])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)
