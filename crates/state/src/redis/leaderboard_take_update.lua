-- Claims what to show to viewers. ARGV: how many of each, the pause in milliseconds, now_ms. Returns {0} unchanged, {1} too
-- soon, or {2, whether the ranking changed, members and minus scores in turn, whether the comments changed, comments}.
local UNCHANGED, TOO_SOON, CHANGED = 0, 1, 2
if redis.call('EXISTS', BOARD) == 0 then return {UNCHANGED} end
local first, pause_ms, now_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function digest(list)
  if #list == 0 then return false end
  return redis.sha1hex(table.concat(list, '\n'))
end

local ranking = redis.call('ZRANGE', RANKING, 0, first - 1, 'WITHSCORES')
local hot = redis.call('ZRANGE', HOT, 0, first - 1, 'WITHSCORES')
local ranking_digest, hot_digest = digest(ranking), digest(hot)
local shown = redis.call('HMGET', BOARD, 'told:ranking', 'told:hot', 'told_ms')
local ranking_new, hot_new = ranking_digest ~= shown[1], hot_digest ~= shown[2]
if not ranking_new and not hot_new then return {UNCHANGED} end

-- A clock that stepped back delays nothing.
local since_ms = now_ms - tonumber(shown[3] or 0)
if shown[3] and since_ms >= 0 and since_ms < pause_ms then return {TOO_SOON} end

redis.call('HSET', BOARD, 'told_ms', ARGV[3])
for field, now in pairs({['told:ranking'] = ranking_digest, ['told:hot'] = hot_digest}) do
  if now then redis.call('HSET', BOARD, field, now) else redis.call('HDEL', BOARD, field) end
end
local ids = {}
for n = 1, #hot, 2 do ids[#ids + 1] = hot[n] end
return {CHANGED, ranking_new and 1 or 0, ranking, hot_new and 1 or 0, comments_of(ids)}
