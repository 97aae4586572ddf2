-- KEYS: a user's client_msg_id. ARGV: the id of the reservation.
local there = redis.call('GET', KEYS[1])
if there and string.match(there, '^flight:(%d+):') == ARGV[1] then redis.call('DEL', KEYS[1]) end
