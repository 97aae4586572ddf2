-- KEYS: the leases by number, their holders. ARGV: token, name, ttl_ms, the number.
-- Answers 1 and prolongs the lease if nobody else has been given the number, 0 otherwise.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local mine = ARGV[1] .. ':' .. ARGV[2]
local holder = redis.call('HGET', KEYS[2], ARGV[4])
if holder and holder ~= mine then return 0 end
redis.call('ZADD', KEYS[1], now_ms + ARGV[3], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[4], mine)
return 1
