-- The generic cell rate algorithm of one key, by this server's clock.
-- KEYS[1]  what holds the key's theoretical arrival time, in microseconds since 2025
-- ARGV     microseconds per request, burst, requests to charge in any case (below zero: to give back), requests wanted
-- answer   how many of the wanted are granted, microseconds until one more would be (0: at once), and until the whole
--          burst is there (0: it is)
local time = redis.call('TIME')
local now = (time[1] - 1735689600) * 1000000 + time[2]
local cell, burst, owed, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local span = cell * burst
local arrival, is_too_late = now, false
local kept = redis.call('GET', KEYS[1])
if kept then
  arrival = tonumber(kept)
  if not arrival or arrival ~= arrival then
    return redis.error_reply('FOREIGN the key holds no arrival time')
  end
  is_too_late = arrival > now + 2 * span
end
-- A key is overdrawn by one burst at most, whoever wrote what is there, and under whatever quota: what is later is
-- written anew, or it would be as late with each question.
local function within(at) return math.min(math.max(at, now), now + 2 * span) end
arrival = within(within(arrival) + owed * cell)
local free = math.floor((now + span - arrival) / cell + 0.001)
local granted = math.max(0, math.min(wanted, free))
arrival = arrival + granted * cell
if owed ~= 0 or granted > 0 or is_too_late then
  local left = math.ceil((arrival - now) / 1000)
  if left > 0 then
    redis.call('SET', KEYS[1], string.format('%.3f', arrival), 'PX', left)
  else
    redis.call('DEL', KEYS[1])
  end
end
return { granted, math.max(0, math.ceil(arrival + cell - span - now)), math.max(0, math.ceil(arrival - now)) }
