-- KEYS: a user's client_msg_id. ARGV: the answer, how long it is remembered. The first answer stands.
local there = redis.call('GET', KEYS[1])
if there and string.sub(there, 1, 7) == 'answer:' then return end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
