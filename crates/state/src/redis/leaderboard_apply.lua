-- Applies a batch. ARGV: session (20 digits, all 0: none), from_start (0 or 1), now_ms, ttl_ms, users_max, stored_max,
-- deleted_max, the number of checks, for each: key, forgotten, applied; then changes, each a letter and its fields.
-- Returns 0 applied, 1 superseded, 2 missing, 3 behind, 4 lost.
local APPLIED, SUPERSEDED, MISSING, BEHIND, LOST = 0, 1, 2, 3, 4
local NONE, NOTHING = string.rep('0', 20), string.rep('0', 20)
local session, from_start, now_ms, ttl_ms = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]
local users_max, stored_max, deleted_max = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local checks = tonumber(ARGV[8])

local ours = redis.call('HGET', BOARD, 'session')
local start = not ours or ours < session
if session == NONE then
  if not ours then return SUPERSEDED end
elseif not start and session < ours then
  return SUPERSEDED
elseif start and not from_start then
  return MISSING
end

local seen, at = {}, 9
for _ = 1, checks do
  local key, forgotten, applied = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  seen[key] = not start and redis.call('HGET', BOARD, 'seen:' .. key) or NOTHING
  if seen[key] < forgotten then return LOST end
  if seen[key] < applied then return BEHIND end
  at = at + 3
end

if start and session ~= NONE then
  redis.call('DEL', BOARD, RANKING, USERS, GIVEN, HOT, COMMENTS)
  redis.call('HSET', BOARD, 'session', session)
end

-- The points of a user in this batch, given at its end as one: who says much costs no more than who says little.
local added, users = {}, {}
local function add(user, name, points, position)
  local sum = added[user]
  if not sum then
    sum = {points = 0}
    added[user], users[#users + 1] = sum, user
  end
  sum.points, sum.name, sum.position = sum.points + points, name, position
end

local changed = {}
local function commented(key, position, user, name)
  local last = seen[key] or redis.call('HGET', BOARD, 'seen:' .. key) or NOTHING
  seen[key] = last
  if position <= last then return end
  seen[key], changed[key] = position, true
  add(user, name, 1, position)
end

local function gifted(position, user, name, given)
  local more = tonumber(given) - tonumber(redis.call('HGET', GIVEN, user) or 0)
  if more <= 0 then return end
  redis.call('HSET', GIVEN, user, given)
  add(user, name, more, position)
end

local function liked(how, id, count, comment)
  if redis.call('ZSCORE', GONE, id) then return end
  local known = redis.call('ZSCORE', HOT, id)
  if known and how == 'more' and count < -tonumber(known) then return end
  if known and how == 'fewer' and count > -tonumber(known) then return end
  put_liked(id, count, comment, stored_max)
end

local function deleted(id)
  redis.call('ZADD', GONE, now_ms, id)
  redis.call('ZREMRANGEBYRANK', GONE, 0, -deleted_max - 1)
  put_liked(id, 0)
end

while at <= #ARGV do
  local letter = ARGV[at]
  if letter == 's' then
    commented(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    at = at + 5
  elseif letter == 'g' then
    gifted(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    at = at + 5
  elseif letter == 'l' then
    liked(ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4])
    at = at + 5
  else
    deleted(ARGV[at + 1])
    at = at + 2
  end
end
for _, user in ipairs(users) do
  local sum = added[user]
  raise(user, sum.name, math.min(sum.points, SCORE_MAX), sum.position, users_max)
end
-- A script is one step for everybody else, so once a key is enough.
for key in pairs(changed) do redis.call('HSET', BOARD, 'seen:' .. key, seen[key]) end
keep_for(ttl_ms)
return APPLIED
