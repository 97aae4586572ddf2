-- KEYS: a user's client_msg_id. ARGV: now_ms, the id, how long a reservation holds, the jitter of clocks.
-- Returns the value (`answer:…` or `flight:<id>:<since_ms>`), or reserves and returns nothing.
local now_ms, holds_ms = tonumber(ARGV[1]), tonumber(ARGV[3])
local there = redis.call('GET', KEYS[1])
if there then
  local since_ms = string.match(there, '^flight:%d+:(-?%d+)$')
  if not since_ms then return there end
  local age_ms = now_ms - tonumber(since_ms)
  if age_ms >= -tonumber(ARGV[4]) and age_ms < holds_ms then return there end
end
redis.call('SET', KEYS[1], 'flight:' .. ARGV[2] .. ':' .. ARGV[1], 'PX', holds_ms)
return nil
