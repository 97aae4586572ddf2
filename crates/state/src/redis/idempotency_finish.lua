-- KEYS: a user's client_msg_id. ARGV: the answer, its time to live, the id in it.
-- The first answer stands, and so does the reservation of another attempt: returns either. Otherwise it returns nothing.
local there = redis.call('GET', KEYS[1])
if there then
  local holder = string.match(there, '^flight:(%d+):')
  if holder ~= ARGV[3] then return there end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return nil
