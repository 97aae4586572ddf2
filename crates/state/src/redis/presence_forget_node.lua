-- All users of a dead node are taken over. KEYS: the nodes by the end of their leases. ARGV: node, now. Keeps a node that is
-- back.
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ends and tonumber(ends) <= tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
