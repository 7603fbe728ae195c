-- The race's genuine call (benches/compare/wrk.lua) with a body that is padded to a size.
--   JOB=.../compare/wrk.lua wrk ... -s wrk.lua URL -- BYTES
dofile(assert(os.getenv("JOB"), "JOB is not set"))

local compare, taken, call = init, request, nil

function init(args)
    local size = tonumber(args[1]) or 0
    compare({ "accepted" })
    if size > 0 then
        -- One call is enough: what differs between members is measured elsewhere.
        local head, body = taken():match("^(.-)\r\n\r\n(.*)$")
        body = body .. "&x=" .. string.rep("a", math.max(0, size - #body - 3))
        head = head:gsub("Content%-Length: %d+", "Content-Length: " .. #body)
        call = head .. "\r\n\r\n" .. body
    end
end

function request() return call or taken() end
