-- The genuine call (benches/genuine.lua) with a body that is padded to a size, or of so many
-- members in turn, from the START-th on.
--   JOB=.../genuine.lua wrk ... -s wrk.lua URL -- BYTES MEMBERS START
dofile(assert(os.getenv("JOB"), "JOB is not set"))

local genuine, taken, call = init, request, nil
local before, after, members, turn = nil, nil, 0, 0

function init(args)
    local size = tonumber(args[1]) or 0
    genuine()
    if size > 0 then
        -- One call is enough: what differs between members is measured elsewhere.
        local head, body = taken():match("^(.-)\r\n\r\n(.*)$")
        body = body .. "&x=" .. string.rep("a", math.max(0, size - #body - 3))
        head = head:gsub("Content%-Length: %d+", "Content-Length: " .. #body)
        call = head .. "\r\n\r\n" .. body
    end
    members, turn = tonumber(args[2]) or 0, tonumber(args[3]) or 0
    if members > 0 then
        before, after = taken():match("^(.*&member_id=%x+)%x%x%x%x%x%x%x%x(&.*&x=)%x+$")
    end
end

function request()
    if not before then return call or taken() end
    local id = string.format("%08x", turn % members)
    turn = turn + 1
    return before .. id .. after .. id
end
