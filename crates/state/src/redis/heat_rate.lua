-- A node tells a room's rate. KEYS: the rates of its nodes. ARGV: now, node, until when its rate counts, comments a
-- second, how long the key lives. Returns the sum of what counts, and forgets the rest.
if ARGV[4] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. ' ' .. ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
local rates, sum = redis.call('HGETALL', KEYS[1]), 0
for at = 1, #rates, 2 do
  local ends, per_s = string.match(rates[at + 1], '^(%d+) (%d+)$')
  if ends and tonumber(ends) > tonumber(ARGV[1]) then
    sum = sum + tonumber(per_s)
  else
    redis.call('HDEL', KEYS[1], rates[at])
  end
end
return sum
