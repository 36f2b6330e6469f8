-- What both scripts begin with.

local function key(name) return KEYS[1] .. ':' .. name end
local function num(value) return tonumber(value or 0) or 0 end
local function text(number) return string.format('%.0f', number) end
local function run_id() return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') end

-- What a server says that is not the one that was trusted: one that follows another takes nothing.
local function distrust()
  local is_replica = string.match(redis.call('INFO', 'replication'), 'role:slave')
  return { is_replica and 'replica' or 'unsafe' }
end

