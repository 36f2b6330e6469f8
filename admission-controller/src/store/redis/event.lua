-- All operations on one event. Every key begins with KEYS[1], whose braces hold the event: so all of
-- them are in one slot of a cluster, and one call is atomic. ARGV[1] names the operation. Time comes
-- with the call. Answers are arrays of strings, the first of which says what came of it.
--
-- Nothing is written, and nothing counted on, while this server's run id is not the one that the
-- room carries: after a restart or a failover, writes may be lost, and somebody must first bring
-- back what is known elsewhere (`recover`).

local room = KEYS[1] .. ':room'
local function field(name) return redis.call('HGET', room, name) or '' end
local NUMBER_MAX = 9007199254740992
local PARTS = { 'fronts', 'gaps:0', 'gaps:1', 'gaps:2', 'new_gaps', 'leases:0', 'leases:1', 'leases:2',
  'returned', 'passes', 'used', 'inside', 'places', 'flags', 'judged', 'judged_ids', 'judged_until',
  'restored', 'moves', 'transfers', 'transfer_of', 'transfers_until', 'transfers_used',
  'codes', 'batches', 'batch_codes', 'batch_used', 'grants', 'granted' }

-- What stands against an operation on the line ARGV[2], if anything does.
local function refusal(line)
  local known = redis.call('HMGET', room, 'line', 'run_id', 'deleted_at')
  if not known[1] then return { 'missing' } end
  if known[2] ~= run_id() then return distrust() end
  if known[3] or (line and known[1] ~= line) then return { 'missing' } end
  return nil
end

local function wipe()
  for _, part in ipairs(PARTS) do redis.call('DEL', key(part)) end
end

-- Appends to one of the two logs; the oldest fall out.
local function append(kind, entry, id_floor, most)
  local id = math.max(num(redis.call('GET', key('log_id'))) + 1, num(id_floor))
  redis.call('SET', key('log_id'), text(id))
  redis.call('ZADD', key('log:' .. kind), text(id), text(id) .. ' ' .. entry)
  redis.call('ZREMRANGEBYRANK', key('log:' .. kind), 0, -(num(most) + 1))
end

local function split(value, by)
  local parts = {}
  for part in string.gmatch(value .. by, '(.-)%' .. by) do parts[#parts + 1] = part end
  return parts
end

-- A pass: I|jti|lane|num|risk|generation|first|renewed|exp|place_exp|returned. One that has ended:
-- U|lane|num, and |first|exp if it ended by its own time and the visitor has not come back before.
-- Who has come back and stands near the front: B|lane|num|position|had_pass.
local function pass_of(sub)
  local value = redis.call('HGET', key('passes'), sub)
  return value and split(value, '|') or nil
end

-- Passes of a generation that was taken away as a whole have ended, though they still say I.
local function is_taken(pass) return num(pass[6]) < num(field('taken_below')) end

local function is_inside(pass, now)
  return pass[1] == 'I' and num(pass[9]) > num(now) and not is_taken(pass)
end

local function use_up(sub, pass)
  redis.call('HSET', key('passes'), sub, 'U|' .. pass[3] .. '|' .. pass[4])
  redis.call('ZREM', key('inside'), sub)
end

-- A pass whose time is over: its visitor may come back, once.
local function lapse(sub, pass)
  use_up(sub, pass)
  if pass[11] ~= '1' and not is_taken(pass) then
    local lapsed = { 'U', pass[3], pass[4], pass[7], pass[9] }
    redis.call('HSET', key('passes'), sub, table.concat(lapsed, '|'))
  end
end

-- Tells edges of a pass that ends before its time; they honour it until `from`.
local function tell_end(pass, now, from)
  local at = math.max(num(redis.call('GET', key('revoked_at'))) + 1, num(now) * 1000)
  redis.call('SET', key('revoked_at'), text(at))
  redis.call('ZADD', key('revoked'), text(at), pass[2] .. ':' .. from .. ':' .. pass[9])
end

local function cut_short(sub, pass, now, from)
  use_up(sub, pass)
  tell_end(pass, now, from)
end

local function is_handed_out(lane, number)
  return field('is_off') == '1' or (num(number) >= 1 and num(number) <= num(field('issued' .. lane)))
end

local ops = {}

function ops.status(now, revoked_after)
  local known = redis.call('HMGET', room, 'line', 'generation', 'version', 'spec', 'issued0',
    'issued1', 'issued2', 'run_id', 'deleted_at', 'admitted0', 'admitted1', 'admitted2')
  if not known[1] then return { 'missing' } end
  if known[8] ~= run_id() then return distrust() end
  if known[9] then return { 'deleted', known[9] } end
  local inside = redis.call('ZCOUNT', key('inside'), '(' .. now, '+inf')
  local answer = { 'ok', known[1], known[2], known[3], known[4], known[5], known[6], known[7],
    known[10] or '0', known[11] or '0', known[12] or '0', tostring(inside) }
  local ends = redis.call('ZRANGEBYSCORE', key('revoked'), '(' .. revoked_after, '+inf',
    'WITHSCORES', 'LIMIT', 0, 10000)
  for _, value in ipairs(ends) do answer[#answer + 1] = value end
  return answer
end

-- What a server that is not trusted says of the room: it was so at some time.
function ops.recall()
  local known = redis.call('HMGET', room, 'line', 'generation', 'version', 'spec', 'issued0',
    'issued1', 'issued2', 'deleted_at')
  if not known[1] or known[8] then return { 'missing' } end
  return { 'ok', known[1], known[2], known[3], known[4], known[5], known[6], known[7] }
end

function ops.generation() return { 'ok', field('line') } end

function ops.create(line, generation, spec, is_off, deed, id_floor, deeds_max, kind_configured)
  local known = redis.call('HMGET', room, 'line', 'run_id', 'deleted_at', 'version')
  if known[1] and known[2] ~= run_id() then return distrust() end
  if known[1] and not known[3] then return { 'conflict', known[4] } end
  if num(known[1]) >= num(line) then return { 'again' } end
  local fence = field('fence')
  wipe()
  redis.call('DEL', room)
  redis.call('HSET', room, 'line', line, 'generation', generation, 'version', '1', 'spec', spec,
    'is_off', is_off, 'issued0', '0', 'issued1', '0', 'issued2', '0',
    'fence', fence, 'run_id', run_id())
  if kind_configured ~= '' then redis.call('SET', key('configured'), kind_configured) end
  append('deeds', deed, id_floor, deeds_max)
  return { 'ok' }
end

function ops.change(version, spec, is_off, deed, id_floor, deeds_max, kind_configured)
  local refused = refusal(nil)
  if refused then return refused end
  local at = field('version')
  if at ~= version then return { 'conflict', at } end
  redis.call('HSET', room, 'version', text(num(version) + 1), 'spec', spec, 'is_off', is_off)
  if kind_configured ~= '' then redis.call('SET', key('configured'), kind_configured) end
  append('deeds', deed, id_floor, deeds_max)
  return { 'ok', field('line'), field('generation') }
end

function ops.delete(version, now, deed, id_floor, deeds_max)
  local refused = refusal(nil)
  if refused then return refused end
  local known = redis.call('HMGET', room, 'line', 'generation', 'version', 'spec', 'fence')
  if version ~= '' and version ~= known[3] then return { 'conflict', known[3] } end
  wipe()
  -- What is left says that it was deleted, and not lost.
  redis.call('DEL', room)
  redis.call('HSET', room, 'line', known[1], 'fence', known[5], 'deleted_at', now, 'run_id', run_id())
  append('deeds', deed, id_floor, deeds_max)
  return { 'ok', known[1], known[2], known[3], known[4] }
end

function ops.bury(before)
  if num(field('deleted_at')) == 0 or num(field('deleted_at')) > num(before) then return { 'no' } end
  redis.call('DEL', room, key('revoked'), key('revoked_at'), key('configured'), key('log:pace'),
    key('log:deeds'), key('log_id'))
  return { 'ok' }
end

function ops.configured() return { 'ok', redis.call('GET', key('configured')) or '', field('version') } end

function ops.lease(line, lane, count, edge, now, forget_before, leases_max)
  local refused = refusal(line)
  if refused then return refused end
  local first = num(field('issued' .. lane)) + 1
  local last = first + num(count) - 1
  if num(count) == 0 or last > NUMBER_MAX then return { 'missing' } end
  redis.call('HSET', room, 'issued' .. lane, text(last))
  local leases = key('leases:' .. lane)
  redis.call('ZADD', leases, text(first), text(first) .. '|' .. text(last) .. '|' .. now .. '|' .. edge)
  -- In the order of their numbers they are in that of time as well.
  local oldest = redis.call('ZRANGE', leases, 0, 15)
  local too_many = redis.call('ZCARD', leases) - num(leases_max)
  for index, lease in ipairs(oldest) do
    local parts = split(lease, '|')
    if index > too_many and num(parts[3]) >= num(forget_before) then break end
    redis.call('ZREM', leases, lease)
    redis.call('HDEL', key('returned'), lane .. ':' .. parts[1])
  end
  return { 'ok', text(first) }
end

-- Takes one gap back, as far as it was not taken back before and was this edge's to give.
local function take_back(edge, lane, first, count)
  local last = first + count - 1
  local found = redis.call('ZREVRANGEBYSCORE', key('leases:' .. lane), text(first), '-inf', 'LIMIT', 0, 1)
  if count == 0 or not found[1] then return end
  local lease = split(found[1], '|')
  if lease[4] ~= edge or last > num(lease[2]) then return end
  local returned = redis.call('HGET', key('returned'), lane .. ':' .. lease[1]) or ''
  local ranges = {}
  for range in string.gmatch(returned, '[^,]+') do
    local ends = split(range, '-')
    ranges[#ranges + 1] = { num(ends[1]), num(ends[2]) }
  end
  table.sort(ranges, function(a, b) return a[1] < b[1] end)
  local function give(from, to)
    local gap = text(from) .. ':' .. text(to - from + 1)
    redis.call('ZADD', key('gaps:' .. lane), text(from), gap)
    redis.call('RPUSH', key('new_gaps'), lane .. ':' .. gap)
    ranges[#ranges + 1] = { from, to }
  end
  local from = first
  for index = 1, #ranges do
    local start, stop = ranges[index][1], ranges[index][2]
    if stop >= from and start <= last then
      if start > from then give(from, start - 1) end
      from = stop + 1
    end
  end
  if from <= last then give(from, last) end
  local told = {}
  for _, range in ipairs(ranges) do told[#told + 1] = text(range[1]) .. '-' .. text(range[2]) end
  redis.call('HSET', key('returned'), lane .. ':' .. lease[1], table.concat(told, ','))
end

function ops.give_back(line, edge, most, ...)
  local refused = refusal(line)
  if refused then return refused end
  local gaps = { ... }
  for index = 1, #gaps, 3 do take_back(edge, gaps[index], num(gaps[index + 1]), num(gaps[index + 2])) end
  redis.call('LTRIM', key('new_gaps'), -num(most), -1)
  return { 'ok' }
end

function ops.gaps(line)
  local refused = refusal(line)
  if refused then return refused end
  local answer = { 'ok' }
  for lane = 0, 2 do
    for _, gap in ipairs(redis.call('ZRANGE', key('gaps:' .. lane), 0, -1)) do
      answer[#answer + 1] = lane .. ':' .. gap
    end
  end
  return answer
end

function ops.new_gaps(line, epoch)
  local refused = refusal(line)
  if refused then return refused end
  if num(field('fence')) > num(epoch) then return { 'superseded' } end
  local answer = { 'ok' }
  for _, gap in ipairs(redis.call('LRANGE', key('new_gaps'), 0, -1)) do answer[#answer + 1] = gap end
  redis.call('DEL', key('new_gaps'))
  return answer
end

-- From here on nobody of an older epoch publishes.
function ops.resume(line, epoch)
  local refused = refusal(line)
  if refused then return refused end
  if num(field('fence')) > num(epoch) then return { 'superseded' } end
  redis.call('HSET', room, 'fence', epoch)
  redis.call('DEL', key('new_gaps'))
  return { 'ok', unpack(redis.call('ZRANGE', key('fronts'), 0, -1)) }
end

function ops.fronts(line)
  local refused = refusal(line)
  if refused then return refused end
  return { 'ok', unpack(redis.call('ZRANGE', key('fronts'), 0, -1)) }
end

-- `passed` is for each lane the number up to which gaps are of no more use, or nothing.
function ops.put_front(line, epoch, seq, t0, until_ms, front, passed0, passed1, passed2)
  local refused = refusal(line)
  if refused then return refused end
  local fence, last_epoch, last_seq = num(field('fence')), num(field('front_epoch')), num(field('front_seq'))
  local is_newer = num(epoch) > last_epoch or (num(epoch) == last_epoch and num(seq) > last_seq)
  if fence > num(epoch) or not is_newer then return { 'superseded' } end
  redis.call('ZREMRANGEBYSCORE', key('fronts'), '-inf', '(' .. t0)
  redis.call('ZADD', key('fronts'), until_ms, front)
  redis.call('HSET', room, 'fence', epoch, 'front_epoch', epoch, 'front_seq', seq)
  for lane, passed in ipairs({ passed0, passed1, passed2 }) do
    if passed ~= '' then
      local gaps = key('gaps:' .. (lane - 1))
      for _, gap in ipairs(redis.call('ZRANGEBYSCORE', gaps, '-inf', passed, 'LIMIT', 0, 1000)) do
        local parts = split(gap, ':')
        if num(parts[1]) + num(parts[2]) <= num(passed) then redis.call('ZREM', gaps, gap) end
      end
    end
  end
  return { 'ok' }
end

function ops.keep_law(line, law)
  local refused = refusal(line)
  if refused then return refused end
  redis.call('HSET', room, 'law', law)
  return { 'ok' }
end

function ops.law(line)
  local refused = refusal(line)
  if refused then return refused end
  return { 'ok', field('law') }
end

local function draw()
  if field('draw_secret') == '' then return { 'none' } end
  local known = redis.call('HMGET', room, 'draw_secret', 'draw_beacon', 'draw_value', 'draw_counts')
  return { 'ok', known[1], known[2], known[3] and '1' or '', known[3] or '', known[4] or '' }
end

function ops.draw(line)
  local refused = refusal(line)
  if refused then return refused end
  return draw()
end

function ops.announce_draw(line, secret, beacon)
  local refused = refusal(line)
  if refused then return refused end
  if field('draw_secret') == '' then
    redis.call('HSET', room, 'draw_secret', secret, 'draw_beacon', beacon)
  end
  return draw()
end

function ops.give_beacon(line, value, deed, id_floor, deeds_max)
  local refused = refusal(line)
  if refused then return refused end
  if field('draw_secret') == '' then return { 'none' } end
  if field('draw_counts') ~= '' then return { 'opened' } end
  if redis.call('HEXISTS', room, 'draw_value') == 1 then return { 'already' } end
  redis.call('HSET', room, 'draw_value', value)
  append('deeds', deed, id_floor, deeds_max)
  return { 'ok' }
end

function ops.open_draw(line, value)
  local refused = refusal(line)
  if refused then return refused end
  if field('draw_secret') == '' then return { 'none' } end
  if field('draw_counts') == '' then
    redis.call('HSETNX', room, 'draw_value', value)
    local counts = { field('issued0'), field('issued1'), field('issued2') }
    redis.call('HSET', room, 'draw_counts', '[' .. table.concat(counts, ',') .. ']')
  end
  return draw()
end

function ops.known(line, sub)
  local refused = refusal(line)
  if refused then return refused end
  local pass = pass_of(sub)
  if pass and pass[1] == 'I' and is_taken(pass) then pass = { 'U', pass[3], pass[4] } end
  return { 'ok', pass and table.concat(pass, '|') or '', redis.call('HGET', key('flags'), sub) or '',
    redis.call('HGET', key('moves'), sub) or '0' }
end

function ops.claim(line, sub, now, lane, number, pass, exp, keep_until)
  local refused = refusal(line)
  if refused then return refused end
  local known = pass_of(sub)
  if known and known[1] ~= 'B' then
    if not is_inside(known, now) then return { 'ended' } end
    return { 'repeat', table.concat(known, '|') }
  end
  -- A number of the priority lane is somebody's by name, whoever signed the place.
  if lane == '0' and field('is_off') ~= '1' and redis.call('HGET', key('granted'), number) ~= sub then
    return { 'not_theirs' }
  end
  local is_back = known and known[2] == lane and known[3] == number
  if known and not is_back then return { 'not_theirs' } end
  if not (is_back and known[5] == '1') then
    if not is_handed_out(lane, number) then return { 'not_theirs' } end
    local name = lane .. ':' .. number
    if num(number) > 0 and redis.call('SADD', key('used'), name) == 0 then return { 'not_theirs' } end
  end
  redis.call('HSET', key('passes'), sub, pass)
  redis.call('ZADD', key('inside'), exp, sub)
  redis.call('ZADD', key('places'), keep_until, sub)
  redis.call('HINCRBY', room, 'admitted' .. lane, 1)
  return { 'ok' }
end

-- Lets a visitor come back who missed the turn or whose pass lapsed: one at a position.
function ops.come_back(line, sub, now, lane, number, at_least, at_most, keep_until)
  local refused = refusal(line)
  if refused then return refused end
  local pass = pass_of(sub)
  if pass and pass[1] == 'B' then return { 'ok', pass[4] } end
  if pass and is_inside(pass, now) then return { 'ok', '0' } end
  if pass and pass[1] == 'I' then
    lapse(sub, pass)
    pass = pass_of(sub)
  end
  local had_pass = pass and '1' or '0'
  if pass and (not pass[4] or pass[2] ~= lane or pass[3] ~= number) then return { 'not_theirs' } end
  if not pass and not is_handed_out(lane, number) then return { 'not_theirs' } end
  local last = num(field('back' .. lane))
  local position = math.min(math.max(num(at_least), last + 1), num(at_most))
  redis.call('HSET', room, 'back' .. lane, text(math.max(last, position)))
  redis.call('HSET', key('passes'), sub, table.concat({ 'B', lane, number, text(position), had_pass }, '|'))
  redis.call('ZADD', key('places'), 'GT', keep_until, sub)
  return { 'ok', text(position) }
end

-- `shown` is what the pass says of itself: a server that has lost writes takes it for what it lost.
function ops.renew(line, sub, jti, generation, idle_ms, max_ms, now, shown, shown_exp, keep_until)
  local refused = refusal(line)
  if refused then return refused end
  local pass = pass_of(sub)
  if not pass and num(shown_exp) > num(now) then
    redis.call('HSET', key('passes'), sub, shown)
    redis.call('ZADD', key('inside'), shown_exp, sub)
    redis.call('ZADD', key('places'), keep_until, sub)
    pass = pass_of(sub)
  end
  if not pass or not is_inside(pass, now) then return { 'ended' } end
  if pass[2] ~= jti or num(pass[6]) < num(generation) then return { 'ended' } end
  local exp = math.min(num(now) + num(idle_ms), num(pass[7]) + num(max_ms))
  exp = exp - exp % 1000
  if exp > num(pass[9]) then
    pass[8], pass[9] = now, text(exp)
    redis.call('HSET', key('passes'), sub, table.concat(pass, '|'))
    redis.call('ZADD', key('inside'), pass[9], sub)
    redis.call('ZADD', key('places'), 'GT', pass[9], sub)
  end
  return { 'ok', table.concat(pass, '|') }
end

function ops.finish(line, sub, jti, now, from)
  local refused = refusal(line)
  if refused then return refused end
  local pass = pass_of(sub)
  if not pass or not is_inside(pass, now) or pass[2] ~= jti then return { 'no' } end
  cut_short(sub, pass, now, from)
  return { 'ok' }
end

-- Takes a visitor's pass away, or makes the place void from which there is none yet.
function ops.revoke(line, sub, now, keep_until, deed, id_floor, deeds_max)
  local refused = refusal(line)
  if refused then return refused end
  local pass = pass_of(sub)
  local was_inside = pass and is_inside(pass, now)
  if was_inside then
    cut_short(sub, pass, now, now)
  else
    if pass and pass[1] == 'I' then
      lapse(sub, pass)
      pass = pass_of(sub)
    end
    if pass and pass[1] == 'U' and not pass[4] then return { 'before' } end
    -- Neither a claim nor a return is left.
    local lane, number = '1', '0'
    if pass and (pass[1] == 'U' or pass[5] == '1') then lane, number = pass[2], pass[3] end
    redis.call('HSET', key('passes'), sub, 'U|' .. lane .. '|' .. number)
    redis.call('ZADD', key('places'), 'GT', keep_until, sub)
  end
  append('deeds', deed, id_floor, deeds_max)
  return { was_inside and 'ended' or 'voided' }
end

-- Takes all passes away: those of a generation from before have ended.
function ops.revoke_all(deed, id_floor, deeds_max)
  local refused = refusal(nil)
  if refused then return refused end
  local known = redis.call('HMGET', room, 'line', 'generation', 'version', 'spec')
  local generation, version = text(num(known[2]) + 1), text(num(known[3]) + 1)
  redis.call('HSET', room, 'generation', generation, 'version', version, 'taken_below', generation)
  redis.call('DEL', key('inside'))
  append('deeds', deed, id_floor, deeds_max)
  return { 'ok', known[1], generation, version, known[4] }
end

-- A batch of access codes: from|until|uses|revoked|label.
local function batch_of(id)
  local batch = redis.call('HGET', key('batches'), id)
  if not batch then return nil end
  local from, until_ms, uses, revoked, label = string.match(batch, '^(%d*)|(%d*)|(%d+)|(%d)|(.*)$')
  return { from = from, until_ms = until_ms, uses = uses, revoked = revoked, label = label }
end

local function put_batch(id, batch)
  redis.call('HSET', key('batches'), id, table.concat({ batch.from, batch.until_ms, batch.uses,
    batch.revoked, batch.label }, '|'))
end

function ops.new_batch(line, from, until_ms, uses, label, deed, id_floor, deeds_max)
  local refused = refusal(line)
  if refused then return refused end
  local id = text(redis.call('HINCRBY', room, 'batch', 1))
  put_batch(id, { from = from, until_ms = until_ms, uses = uses, revoked = '0', label = label })
  append('deeds', deed, id_floor, deeds_max)
  return { 'ok', id }
end

-- Codes are kept as hash = batch|uses that are left. One that is known stays what it is.
function ops.put_codes(line, id, most, ...)
  local refused = refusal(line)
  if refused then return refused end
  local batch, added = batch_of(id), 0
  if not batch then return { 'missing' } end
  for _, hash in ipairs({ ... }) do
    if redis.call('HLEN', key('codes')) >= num(most) then break end
    added = added + redis.call('HSETNX', key('codes'), hash, id .. '|' .. batch.uses)
  end
  redis.call('HINCRBY', key('batch_codes'), id, added)
  return { 'ok', text(added), text(redis.call('HLEN', key('codes'))) }
end

function ops.batches(line)
  local refused = refusal(line)
  if refused then return refused end
  local answer = { 'ok' }
  for id = 1, num(field('batch')) do
    local batch = batch_of(text(id))
    if batch then
      for _, value in ipairs({ text(id), batch.from, batch.until_ms, batch.uses, batch.revoked,
        batch.label, redis.call('HGET', key('batch_codes'), text(id)) or '0',
        redis.call('HGET', key('batch_used'), text(id)) or '0' }) do
        answer[#answer + 1] = value
      end
    end
  end
  return answer
end

function ops.revoke_batch(line, id, deed, id_floor, deeds_max)
  local refused = refusal(line)
  if refused then return refused end
  local batch = batch_of(id)
  if not batch then return { 'none' } end
  if batch.revoked == '0' then
    batch.revoked = '1'
    put_batch(id, batch)
    append('deeds', deed, id_floor, deeds_max)
  end
  return { 'ok' }
end

function ops.revoke_code(line, hash, deed, id_floor, deeds_max)
  local refused = refusal(line)
  if refused then return refused end
  local code = redis.call('HGET', key('codes'), hash)
  if not code then return { 'none' } end
  redis.call('HSET', key('codes'), hash, split(code, '|')[1] .. '|revoked')
  append('deeds', deed, id_floor, deeds_max)
  return { 'ok' }
end

-- Gives a visitor a number in the priority lane for a code or a ticket; asked again, the same.
function ops.grant(line, sub, hash, is_ticket, at_most, now, grants_max)
  local refused = refusal(line)
  if refused then return refused end
  local use = hash .. ':' .. sub
  local before = redis.call('HGET', key('grants'), use)
  if before then return { 'ok', before } end
  if redis.call('HEXISTS', key('passes'), sub) == 1 then return { 'place_used' } end
  local batch, left
  if is_ticket == '1' then
    if redis.call('HEXISTS', key('codes'), hash) == 1 then return { 'code_used' } end
  else
    local code = redis.call('HGET', key('codes'), hash)
    if not code then return { 'unknown_code' } end
    code = split(code, '|')
    batch, left = code[1], code[2]
    local rules = batch_of(batch)
    if left == 'revoked' or not rules or rules.revoked == '1' then return { 'code_revoked' } end
    if rules.from ~= '' and num(now) < num(rules.from) then return { 'code_not_yet' } end
    if rules.until_ms ~= '' and num(now) >= num(rules.until_ms) then return { 'code_over' } end
    if num(left) == 0 then return { 'code_used' } end
  end
  local number = num(field('issued0')) + 1
  local is_full = at_most ~= '' and redis.call('HLEN', key('granted')) >= num(at_most)
  if is_full or redis.call('HLEN', key('grants')) >= num(grants_max) then return { 'lane_full' } end
  redis.call('HSET', room, 'issued0', text(number))
  redis.call('HSET', key('grants'), use, text(number))
  redis.call('HSET', key('granted'), text(number), sub)
  if is_ticket == '1' then
    redis.call('HSET', key('codes'), hash, '0|0')
  else
    redis.call('HSET', key('codes'), hash, batch .. '|' .. text(num(left) - 1))
    redis.call('HINCRBY', key('batch_used'), batch, 1)
  end
  return { 'ok', text(number) }
end

local function forget_transfer(hash)
  local transfer = redis.call('HGET', key('transfers'), hash)
  if transfer then redis.call('HDEL', key('transfer_of'), string.match(transfer, '^[^|]+')) end
  redis.call('HDEL', key('transfers'), hash)
  redis.call('HDEL', key('transfers_used'), hash)
  redis.call('ZREM', key('transfers_until'), hash)
end

-- Keeps what a code is good for, until it is used or its time is over. A visitor has one at a time.
function ops.open_transfer(line, hash, sub, place, now, until_ms, open_max, moved_max)
  local refused = refusal(line)
  if refused then return refused end
  local over = redis.call('ZRANGEBYSCORE', key('transfers_until'), '-inf', now, 'LIMIT', 0, 100)
  for _, old in ipairs(over) do forget_transfer(old) end
  local before = redis.call('HGET', key('transfer_of'), sub)
  if before then forget_transfer(before) end
  local open = redis.call('HLEN', key('transfers')) - redis.call('HLEN', key('transfers_used'))
  local is_full = open >= num(open_max)
  if is_full or redis.call('HLEN', key('moves')) >= num(moved_max) then return { 'full' } end
  redis.call('HSET', key('transfers'), hash, sub .. '|' .. place)
  redis.call('HSET', key('transfer_of'), sub, hash)
  redis.call('ZADD', key('transfers_until'), until_ms, hash)
  return { 'ok' }
end

-- A code is good once: the place's count of moves grows, and a pass gets another id. Whoever has used
-- it may ask again, as long as nobody has moved the place since.
function ops.redeem_transfer(line, hash, asker, jti, now, keep_until)
  local refused = refusal(line)
  if refused then return refused end
  local transfer = redis.call('HGET', key('transfers'), hash)
  local ends_at = redis.call('ZSCORE', key('transfers_until'), hash)
  if not transfer or num(ends_at) <= num(now) then return { 'none' } end
  local sub, place = string.match(transfer, '^([^|]+)|(.*)$')
  local pass = pass_of(sub)
  local was_inside = pass and is_inside(pass, now)
  local moves = redis.call('HGET', key('moves'), sub) or '0'
  local used = redis.call('HGET', key('transfers_used'), hash)
  if used then
    if used ~= moves .. '|' .. asker then return { 'none' } end
    return { 'ok', place, moves, was_inside and '1' or '' }
  end
  moves = text(redis.call('HINCRBY', key('moves'), sub, 1))
  redis.call('HSET', key('transfers_used'), hash, moves .. '|' .. asker)
  redis.call('ZADD', key('places'), 'GT', keep_until, sub)
  if was_inside then
    tell_end(pass, now, now)
    pass[2] = jti
    redis.call('HSET', key('passes'), sub, table.concat(pass, '|'))
  end
  return { 'ok', place, moves, was_inside and '1' or '' }
end

-- Forgets what is of no use any more, some of it: `more` asks to be called again.
function ops.sweep(now, ended_before_us, most)
  local refused = refusal(nil)
  if refused then return refused end
  redis.call('ZREMRANGEBYSCORE', key('revoked'), '-inf', ended_before_us)
  local expired = redis.call('ZRANGEBYSCORE', key('inside'), '-inf', now, 'LIMIT', 0, most)
  for _, sub in ipairs(expired) do
    local pass = pass_of(sub)
    if pass and pass[1] == 'I' then lapse(sub, pass) else redis.call('ZREM', key('inside'), sub) end
  end
  local places = redis.call('ZRANGEBYSCORE', key('places'), '-inf', now, 'LIMIT', 0, most)
  for _, sub in ipairs(places) do
    local pass = pass_of(sub)
    if pass then
      local lane, number = pass[2], pass[3]
      if pass[1] == 'I' then lane, number = pass[3], pass[4] end
      if pass[1] ~= 'B' or pass[5] == '1' then
        redis.call('SREM', key('used'), lane .. ':' .. number)
      end
    end
    redis.call('HDEL', key('passes'), sub)
    redis.call('HDEL', key('moves'), sub)
    redis.call('ZREM', key('inside'), sub)
    redis.call('ZREM', key('places'), sub)
  end
  local judged = redis.call('ZRANGEBYSCORE', key('judged_until'), '-inf', now, 'LIMIT', 0, most)
  for _, sub in ipairs(judged) do
    for _, part in ipairs({ 'flags', 'judged', 'restored' }) do redis.call('HDEL', key(part), sub) end
    redis.call('ZREM', key('judged_ids'), sub)
    redis.call('ZREM', key('judged_until'), sub)
  end
  local count = math.max(#expired, #places, #judged)
  return { count >= num(most) and 'more' or 'ok' }
end

function ops.suspect(line, sub, id_floor, until_ms, flag, moved, admitted, most)
  local refused = refusal(line)
  if refused then return refused end
  if redis.call('HEXISTS', key('judged'), sub) == 1 then return { 'known' } end
  if redis.call('HLEN', key('judged')) >= num(most) then return { 'dropped' } end
  local id = math.max(num(field('judged_id')) + 1, num(id_floor))
  redis.call('HSET', room, 'judged_id', text(id))
  redis.call('ZADD', key('judged_ids'), text(id), sub)
  redis.call('ZADD', key('judged_until'), until_ms, sub)
  -- Without a number in the suspect lane it is of somebody who was seen inside.
  if string.match(flag, ':0$') or redis.call('HEXISTS', key('passes'), sub) == 1 then
    redis.call('HSET', key('judged'), sub, admitted)
  else
    redis.call('HSET', key('judged'), sub, moved)
    redis.call('HSET', key('flags'), sub, flag .. ':0')
  end
  return { 'added' }
end

function ops.suspicions(before, limit)
  local refused = refusal(nil)
  if refused then return refused end
  local ids = redis.call('ZREVRANGEBYSCORE', key('judged_ids'), '(' .. before, '-inf', 'WITHSCORES',
    'LIMIT', 0, limit)
  local answer = { 'ok' }
  for index = 1, #ids, 2 do
    answer[#answer + 1] = ids[index + 1]
    answer[#answer + 1] = redis.call('HGET', key('judged'), ids[index]) or ''
  end
  return answer
end

function ops.judged(sub)
  local refused = refusal(nil)
  if refused then return refused end
  local judged = redis.call('HGET', key('judged'), sub)
  if not judged then return { 'none' } end
  return { 'ok', text(num(redis.call('ZSCORE', key('judged_ids'), sub))), judged }
end

function ops.restore(sub, before, after, standard, deed, id_floor, deeds_max)
  local refused = refusal(nil)
  if refused then return refused end
  if redis.call('HGET', key('judged'), sub) ~= before then return { 'again' } end
  redis.call('HSET', key('judged'), sub, after)
  local flag = redis.call('HGET', key('flags'), sub)
  if flag then redis.call('HSET', key('flags'), sub, (string.gsub(flag, ':%d$', ':1'))) end
  redis.call('HSET', key('restored'), sub, standard)
  append('deeds', deed, id_floor, deeds_max)
  return { 'ok' }
end

function ops.restored()
  local refused = refusal(nil)
  if refused then return refused end
  return { 'ok', field('line'), unpack(redis.call('HGETALL', key('restored'))) }
end

function ops.append(kind, entry, id_floor, most)
  append(kind, entry, id_floor, most)
  return { 'ok' }
end

function ops.entries(since, limit)
  local answer = { 'ok' }
  for _, kind in ipairs({ 'log:pace', 'log:deeds' }) do
    local found
    if since == '' then
      found = redis.call('ZREVRANGE', key(kind), 0, num(limit) - 1)
    else
      found = redis.call('ZRANGEBYSCORE', key(kind), '(' .. since, '+inf', 'LIMIT', 0, limit)
    end
    for _, entry in ipairs(found) do answer[#answer + 1] = entry end
  end
  return answer
end

-- Brings back what may be lost, and makes this server trusted again. Numbers go on above the highest
-- that anybody knows of, by a margin for those of which nobody knows; the margin becomes a gap.
function ops.recover(epoch, line, generation, version, spec, is_off, secret, beacon, has_value, value,
    counts, margin, floor0, floor1, floor2, ...)
  local known = redis.call('HMGET', room, 'line', 'version', 'fence', 'deleted_at')
  if num(known[3]) > num(epoch) then return { 'superseded' } end
  if line ~= '' and num(known[1]) < num(line) then
    wipe()
    redis.call('DEL', room)
    redis.call('HSET', room, 'line', line, 'generation', generation, 'version', version, 'spec', spec,
      'is_off', is_off, 'issued0', '0', 'issued1', '0', 'issued2', '0')
  elseif known[1] == line and not known[4] and num(known[2]) < num(version) then
    redis.call('HSET', room, 'version', version, 'spec', spec, 'is_off', is_off)
    if num(field('generation')) < num(generation) then
      redis.call('HSET', room, 'generation', generation, 'taken_below', generation)
      redis.call('DEL', key('inside'))
    end
  end
  redis.call('HSET', room, 'fence', epoch, 'run_id', run_id())
  if field('deleted_at') ~= '' then return { 'ok' } end
  local is_same = field('line') == line
  for lane, floor in ipairs({ floor0, floor1, floor2 }) do
    local name = 'issued' .. (lane - 1)
    local highest = math.max(num(field(name)), is_same and num(floor) or 0)
    if highest > 0 then
      redis.call('HSET', room, name, text(highest + num(margin)))
      local gap = text(highest + 1) .. ':' .. margin
      redis.call('ZADD', key('gaps:' .. (lane - 1)), text(highest + 1), gap)
    end
  end
  if not is_same then return { 'ok' } end
  if secret ~= '' and field('draw_secret') == '' then
    redis.call('HSET', room, 'draw_secret', secret, 'draw_beacon', beacon)
  end
  if field('draw_secret') == secret and secret ~= '' then
    if has_value == '1' then redis.call('HSETNX', room, 'draw_value', value) end
    if counts ~= '' then redis.call('HSET', room, 'draw_value', value, 'draw_counts', counts) end
  end
  local fronts = { ... }
  for index = 1, #fronts, 4 do
    local front_epoch, front_seq = num(fronts[index]), num(fronts[index + 1])
    local last_epoch, last_seq = num(field('front_epoch')), num(field('front_seq'))
    redis.call('ZADD', key('fronts'), fronts[index + 2], fronts[index + 3])
    if front_epoch > last_epoch or (front_epoch == last_epoch and front_seq > last_seq) then
      redis.call('HSET', room, 'front_epoch', fronts[index], 'front_seq', fronts[index + 1])
    end
  end
  return { 'ok' }
end

local operation = ops[ARGV[1]]
if not operation then return redis.error_reply('unknown operation') end
return operation(unpack(ARGV, 2))
