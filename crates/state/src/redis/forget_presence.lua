-- Nobody is left of a node that is gone. KEYS: the nodes by the end of their leases. ARGV: node, now. It may be back.
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ends and tonumber(ends) <= tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
