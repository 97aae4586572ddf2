-- The rule of gcra.rs over one key, which holds its TAT in whole Unix microseconds: Lua's numbers hold those
-- exactly until the year 2255. Intervals and windows come as whole microseconds too, so nothing is rounded here.
local JITTER_MS = 100
-- A key outlives its meaning a little: nodes' clocks differ, and a key that expires too early admits too much.
local SLACK_MS = 5000

local function whole(number) return string.format('%.0f', number) end

local function keep_tat(key, tat_us, now_us)
  local ttl_ms = math.ceil(math.max(tat_us - now_us, 0) / 1000) + SLACK_MS
  redis.call('SET', key, whole(tat_us), 'PX', whole(ttl_ms))
end

-- Returns the TAT to store if one more is admitted, or nil and the wait in milliseconds.
local function check(key, now_us, interval_us, window_us)
  local full_us = now_us + window_us
  local tat_us = tonumber(redis.call('GET', key) or now_us)
  if tat_us > full_us + JITTER_MS * 1000 then
    tat_us = full_us
    keep_tat(key, tat_us, now_us)
  end
  local next_us = math.max(tat_us, now_us) + interval_us
  if next_us <= full_us then return next_us end
  return nil, math.ceil((next_us - full_us) / 1000)
end

-- A span is stored as `from:until`. Returns what is left of it; a clock before its start ends it.
local function left_ms(span, now_ms)
  if not span then return nil end
  local from_ms, until_ms = string.match(span, '^(-?%d+):(-?%d+)$')
  from_ms, until_ms = tonumber(from_ms), tonumber(until_ms)
  if from_ms - JITTER_MS <= now_ms and now_ms < until_ms then return until_ms - now_ms, until_ms - from_ms end
end

local function span(now_ms, length_ms) return whole(now_ms) .. ':' .. whole(now_ms + length_ms) end
