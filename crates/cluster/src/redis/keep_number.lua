-- KEYS: the leases by number, their holders. ARGV: token:card, ttl_ms, the number.
-- Answers 1 and prolongs the lease if nobody else has been given the number, 0 otherwise.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local holder = redis.call('HGET', KEYS[2], ARGV[3])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('ZADD', KEYS[1], now_ms + ARGV[2], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[1])
return 1
