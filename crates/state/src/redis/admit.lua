-- KEYS: the user's cool-down, rate, slow mode, text.
-- ARGV: now_ms, the user's interval_us and window_us, slow mode's (0: none), the decision of the room or the deployment
-- (a code and a wait, 0: admitted), duplicate_window_ms.
-- Returns {code, wait_ms}. Only code 0, admitted, writes anything but a corrected TAT.
local ADMITTED, COOLING_DOWN, USER, SLOW_MODE, DUPLICATE = 0, 1, 2, 3, 6
local now_ms = tonumber(ARGV[1])
local now_us = now_ms * 1000

local mute_ms = left_ms(redis.call('GET', KEYS[1]), now_ms)
if mute_ms then return {COOLING_DOWN, mute_ms} end

local user_us, user_wait_ms = check(KEYS[2], now_us, tonumber(ARGV[2]), tonumber(ARGV[3]))
local slow_us, slow_wait_ms
local slow_interval_us = tonumber(ARGV[4])
if slow_interval_us > 0 then
  slow_us, slow_wait_ms = check(KEYS[3], now_us, slow_interval_us, tonumber(ARGV[5]))
end
-- After the shorter wait, a user would retry in vain.
if slow_wait_ms and slow_wait_ms > (user_wait_ms or 0) then return {SLOW_MODE, slow_wait_ms} end
if user_wait_ms then return {USER, user_wait_ms} end

local outer, outer_wait_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
if outer > 0 then return {outer, outer_wait_ms} end

local window_ms = tonumber(ARGV[8])
local repeat_ms = window_ms > 0 and left_ms(redis.call('GET', KEYS[4]), now_ms)
if repeat_ms then return {DUPLICATE, repeat_ms} end

keep_tat(KEYS[2], user_us, now_us)
if slow_us then keep_tat(KEYS[3], slow_us, now_us) end
if window_ms > 0 then
  redis.call('SET', KEYS[4], span(now_ms, window_ms), 'PX', whole(window_ms + SLACK_MS))
end
return {ADMITTED, 0}
