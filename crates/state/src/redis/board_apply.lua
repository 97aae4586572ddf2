-- ARGV: session (20 digits, all 0: none), young (0 or 1), now_ms, ttl_ms, users_max, kept_max, gone_max,
-- the number of checks, for each: lane, forgotten, applied; then changes, each a letter and its fields.
-- Answers 0 done, 1 past, 2 missing, 3 behind, 4 lost.
local DONE, PAST, MISSING, BEHIND, LOST = 0, 1, 2, 3, 4
local NONE, NOTHING = string.rep('0', 20), string.rep('0', 20)
local session, young, now_ms, ttl_ms = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4]
local users_max, kept_max, gone_max = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local checks = tonumber(ARGV[8])

local ours = redis.call('HGET', BOARD, 'session')
local start = not ours or ours < session
if session == NONE then
  if not ours then return PAST end
elseif not start and session < ours then
  return PAST
elseif start and not young then
  return MISSING
end

local seen, at = {}, 9
for _ = 1, checks do
  local lane, forgotten, applied = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  seen[lane] = not start and redis.call('HGET', BOARD, 'seen:' .. lane) or NOTHING
  if seen[lane] < forgotten then return LOST end
  if seen[lane] < applied then return BEHIND end
  at = at + 3
end

if start and session ~= NONE then
  redis.call('DEL', BOARD, RANKING, USERS, GIVEN, HOT, COMMENTS)
  redis.call('HSET', BOARD, 'session', session)
end

local function said(lane, place, user, name)
  local last = seen[lane] or redis.call('HGET', BOARD, 'seen:' .. lane) or NOTHING
  seen[lane] = last
  if place <= last then return end
  seen[lane] = place
  redis.call('HSET', BOARD, 'seen:' .. lane, place)
  raise(user, name, 1, place, users_max)
end

local function gave(place, user, name, given)
  local more = tonumber(given) - tonumber(redis.call('HGET', GIVEN, user) or 0)
  if more <= 0 then return end
  redis.call('HSET', GIVEN, user, given)
  raise(user, name, more, place, users_max)
end

local function liked(how, id, count, comment)
  if redis.call('ZSCORE', GONE, id) then return end
  local known = redis.call('ZSCORE', HOT, id)
  if known and how == 'more' and count < -tonumber(known) then return end
  if known and how == 'fewer' and count > -tonumber(known) then return end
  put_liked(id, count, comment, kept_max)
end

local function deleted(id)
  redis.call('ZADD', GONE, now_ms, id)
  redis.call('ZREMRANGEBYRANK', GONE, 0, -gone_max - 1)
  put_liked(id, 0)
end

while at <= #ARGV do
  local letter = ARGV[at]
  if letter == 's' then
    said(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    at = at + 5
  elseif letter == 'g' then
    gave(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    at = at + 5
  elseif letter == 'l' then
    liked(ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4])
    at = at + 5
  else
    deleted(ARGV[at + 1])
    at = at + 2
  end
end
keep_for(ttl_ms)
return DONE
