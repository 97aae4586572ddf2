-- KEYS: the user's cool-down, refusals that still count.
-- ARGV: now_ms, refusals, within_ms, mute_ms, mute_ms_max, the quiet factor.
-- Counts a refusal. Returns the length of the cool-down that it starts, or nothing.
local now_ms = tonumber(ARGV[1])
local mute = redis.call('GET', KEYS[1])
if left_ms(mute, now_ms) then return nil end

local counted = {span(now_ms, tonumber(ARGV[3]))}
for _, strike in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if left_ms(strike, now_ms) then counted[#counted + 1] = strike end
end
redis.call('DEL', KEYS[2])
if #counted < tonumber(ARGV[2]) then
  redis.call('RPUSH', KEYS[2], unpack(counted))
  redis.call('PEXPIRE', KEYS[2], whole(tonumber(ARGV[3]) + SLACK_MS))
  return nil
end

local length_ms, quiet = tonumber(ARGV[4]), tonumber(ARGV[6])
if mute then
  local from_ms, until_ms = string.match(mute, '^(-?%d+):(-?%d+)$')
  local last_ms = tonumber(until_ms) - tonumber(from_ms)
  if left_ms(from_ms .. ':' .. whole(tonumber(until_ms) + last_ms * quiet), now_ms) then length_ms = last_ms * 2 end
end
length_ms = math.min(length_ms, tonumber(ARGV[5]))
redis.call('SET', KEYS[1], span(now_ms, length_ms), 'PX', whole(length_ms * (quiet + 1) + SLACK_MS))
return length_ms
