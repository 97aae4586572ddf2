-- Shared by all scripts over a leaderboard. Its keys, in one slot:
--   board     hash: `session`; `seen:<key>` the highest position counted; `told:ranking`, `told:hot` digests of what viewers
--             were shown last, `told_ms` when
--   ranking   sorted set: minus the score; `<position at which it was reached> <user> <name>`, so that ties are in order
--   users     hash: user -> `<position> <name>`, to find the member above
--   given     hash: user -> the sum of the user's gifts
--   hot       sorted set: minus the likes; id
--   comments  hash: id -> the comment as JSON
--   gone      sorted set: when it was deleted; id
-- Ids and positions come as 20 digits, since Lua's numbers do not hold them.
local BOARD, RANKING, USERS, GIVEN, HOT, COMMENTS, GONE = unpack(KEYS, 1, 7)
local SCORE_MAX = 9007199254740991

local function whole(number) return string.format('%.0f', number) end

local function member(user, kept) return string.sub(kept, 1, 20) .. ' ' .. user .. string.sub(kept, 21) end

-- Makes room for one more user with these points: removes the user who has been longest at the lowest score.
local function make_room(points, users_max)
  if redis.call('ZCARD', RANKING) < users_max then return true end
  local lowest = redis.call('ZRANGE', RANKING, -1, -1, 'WITHSCORES')[2]
  if points < -tonumber(lowest) then return false end
  local victim = redis.call('ZRANGEBYSCORE', RANKING, lowest, lowest, 'LIMIT', 0, 1)[1]
  redis.call('ZREM', RANKING, victim)
  redis.call('HDEL', USERS, string.match(victim, '^%d+ (%S+)'))
  return true
end

local function raise(user, name, points, position, users_max)
  local kept = redis.call('HGET', USERS, user)
  local score = points
  if kept then
    local before = member(user, kept)
    score = math.min(points - tonumber(redis.call('ZSCORE', RANKING, before) or 0), SCORE_MAX)
    redis.call('ZREM', RANKING, before)
  elseif not make_room(points, users_max) then
    return
  end
  kept = position .. ' ' .. name
  redis.call('HSET', USERS, user, kept)
  redis.call('ZADD', RANKING, whole(-score), member(user, kept))
end

local function put_liked(id, count, comment, kept_max)
  if count == 0 then
    redis.call('ZREM', HOT, id)
    redis.call('HDEL', COMMENTS, id)
    return
  end
  redis.call('ZADD', HOT, whole(-count), id)
  redis.call('HSET', COMMENTS, id, comment)
  if redis.call('ZCARD', HOT) > kept_max then
    redis.call('HDEL', COMMENTS, redis.call('ZPOPMAX', HOT)[1])
  end
end

local function comments_of(ids)
  if #ids == 0 then return {} end
  return redis.call('HMGET', COMMENTS, unpack(ids))
end

local function keep_for(ttl_ms)
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ttl_ms) end
end
