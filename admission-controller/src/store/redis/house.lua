-- What belongs to no event: who leads, which events there are, and which controllers. KEYS[1] has a
-- slot of its own in a cluster.

local ops = {}

-- Takes or keeps the lead for a while. Its length is measured here, by one clock; what protects the
-- fronts is the epoch, not the time.
function ops.lead(name, session, ttl_ms, epoch_floor)
  local time = redis.call('TIME')
  local now = text(num(time[1]) * 1000 + math.floor(num(time[2]) / 1000))
  local held = redis.call('HMGET', key('leader'), 'name', 'session', 'epoch')
  if held[1] == name and held[2] == session then
    redis.call('PEXPIRE', key('leader'), ttl_ms)
    return { 'leads', held[3], now }
  end
  -- Our name under another session is our former self, which is dead or will be fenced.
  if held[1] and held[1] ~= name then return { 'follows', held[1], now } end
  local epoch = text(math.max(num(redis.call('GET', key('epoch'))) + 1, num(epoch_floor)))
  redis.call('SET', key('epoch'), epoch)
  redis.call('HSET', key('leader'), 'name', name, 'session', session, 'epoch', epoch)
  redis.call('PEXPIRE', key('leader'), ttl_ms)
  return { 'leads', epoch, now }
end

function ops.resign(session)
  if redis.call('HGET', key('leader'), 'session') == session then redis.call('DEL', key('leader')) end
  return { 'ok' }
end

-- All events; `unsafe` if writes may have been lost.
function ops.index()
  local trusted = redis.call('GET', key('run_id'))
  local word = 'ok'
  if not trusted then word = 'empty' elseif trusted ~= run_id() then word = distrust()[1] end
  return { word, unpack(redis.call('SMEMBERS', key('events'))) }
end

function ops.events() return { 'ok', unpack(redis.call('SMEMBERS', key('events'))) } end

function ops.add(...)
  redis.call('SADD', key('events'), ...)
  return { 'ok' }
end

function ops.remove(event)
  redis.call('SREM', key('events'), event)
  return { 'ok' }
end

-- Everything is brought back: this server is trusted.
function ops.trust(...)
  if #{ ... } > 0 then redis.call('SADD', key('events'), ...) end
  redis.call('SET', key('run_id'), run_id())
  return { 'ok' }
end

-- Leaves word for the other controllers, and takes theirs.
function ops.meet(board, name, word, ttl_ms)
  redis.call('HSET', key(board), name, word)
  redis.call('PEXPIRE', key(board), ttl_ms)
  return { 'ok', unpack(redis.call('HGETALL', key(board))) }
end

local operation = ops[ARGV[1]]
if not operation then return redis.error_reply('unknown operation') end
return operation(unpack(ARGV, 2))
