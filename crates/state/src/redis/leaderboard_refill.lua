-- Replaces the leaderboard with what was gathered. KEYS 8: the claim; 9 to 13: what was gathered, in the order board, ranking,
-- users, given, hot; 14: comments. ARGV: the claim, session, ttl_ms. Returns whether the claim held.
if redis.call('GET', KEYS[8]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[8])
local ours = redis.call('HGET', BOARD, 'session')
local later = ours and ours > ARGV[2]
for n = 1, 6 do
  if later then
    redis.call('DEL', KEYS[8 + n])
  elseif redis.call('EXISTS', KEYS[8 + n]) == 1 then
    redis.call('RENAME', KEYS[8 + n], KEYS[n])
  else
    redis.call('DEL', KEYS[n])
  end
end
for _, id in ipairs(redis.call('ZRANGE', GONE, 0, -1)) do put_liked(id, 0) end
keep_for(ARGV[3])
return 1
