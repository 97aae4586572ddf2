-- KEYS: a rate. ARGV: now_ms, interval_us. Uncounts one that was counted and not used.
local now_us, tat_us = tonumber(ARGV[1]) * 1000, tonumber(redis.call('GET', KEYS[1]) or 0)
if tat_us > now_us then keep_tat(KEYS[1], tat_us - tonumber(ARGV[2]), now_us) end
return 0
