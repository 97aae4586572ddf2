-- A node holds a room. KEYS: the room's nodes. ARGV: now, node, until when that counts, its viewers, how long the key
-- lives. Forgets nodes that said nothing for too long. Returns node and `until viewers` of all.
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. ' ' .. ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
local nodes = redis.call('HGETALL', KEYS[1])
for at = 1, #nodes, 2 do
  local ends = tonumber(string.match(nodes[at + 1], '^%d+')) or 0
  if ends <= tonumber(ARGV[1]) then
    redis.call('HDEL', KEYS[1], nodes[at])
  end
end
return nodes
