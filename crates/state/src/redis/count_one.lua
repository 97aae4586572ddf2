-- KEYS: a rate. ARGV: now_ms, interval_us, window_us. Counts one and returns 0, or returns the wait in milliseconds.
local now_us = tonumber(ARGV[1]) * 1000
local next_us, wait_ms = check(KEYS[1], now_us, tonumber(ARGV[2]), tonumber(ARGV[3]))
if not next_us then return wait_ms end
keep_tat(KEYS[1], next_us, now_us)
return 0
