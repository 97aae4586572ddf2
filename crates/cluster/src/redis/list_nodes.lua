-- KEYS: the leases by number, their holders. Answers number, token:card, … of those that hold one now.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local nodes = {}
for _, number in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now_ms, '+inf')) do
  nodes[#nodes + 1] = number
  nodes[#nodes + 1] = redis.call('HGET', KEYS[2], number) or ':'
end
return nodes
