-- ARGV: how many ranks, how many comments. Returns {members and minus scores in turn, comments}, or nothing.
if redis.call('EXISTS', BOARD) == 0 then return nil end
local ranks, comments = tonumber(ARGV[1]), tonumber(ARGV[2])
local ranking, hot = {}, {}
if ranks > 0 then ranking = redis.call('ZRANGE', RANKING, 0, ranks - 1, 'WITHSCORES') end
if comments > 0 then hot = comments_of(redis.call('ZRANGE', HOT, 0, comments - 1)) end
return {ranking, hot}
