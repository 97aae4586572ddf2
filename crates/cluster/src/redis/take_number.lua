-- KEYS: the leases by number (until, Redis's Unix milliseconds), their holders (token:card), the last number given.
-- ARGV: token:card, ttl_ms, the largest number, where to begin when no number was given yet, and for how long after its
-- lease a number is not given to another.
-- Answers a number that nobody holds. Numbers go round, so one that was given back, or that was lost with a master,
-- is given again as late as possible.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local count = tonumber(ARGV[3]) + 1
local last = tonumber(redis.call('GET', KEYS[3]) or ARGV[4])
for step = 1, count do
  local number = (last + step) % count
  local until_ms = redis.call('ZSCORE', KEYS[1], number)
  if not until_ms or tonumber(until_ms) + ARGV[5] <= now_ms then
    redis.call('ZADD', KEYS[1], now_ms + ARGV[2], number)
    redis.call('HSET', KEYS[2], number, ARGV[1])
    redis.call('SET', KEYS[3], number)
    return number
  end
end
return nil
