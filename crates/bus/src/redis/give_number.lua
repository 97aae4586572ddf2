-- KEYS: the leases by number, their holders. ARGV: token, name, the number.
if redis.call('HGET', KEYS[2], ARGV[3]) == ARGV[1] .. ':' .. ARGV[2] then
  redis.call('ZREM', KEYS[1], ARGV[3])
  redis.call('HDEL', KEYS[2], ARGV[3])
end
