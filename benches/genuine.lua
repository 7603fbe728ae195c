-- Genuine calls of 10 000 members in turn, for wrk. All are rendered before the clock starts: what the load
-- generator does per request is to pick the next one.
--   wrk ... -s genuine.lua URL
local members, requests, turn = 10000, {}, 0

-- LuaJIT hashes a string by its ends and middle, and each one made is compared with all of the same hash. So what
-- differs stands at the end once more.
local function genuine(member)
    return "AUTH_ID=8f21aa66007b3c110058f18a00000001f0f1075c0e9d3b7a1f2e4d6c8b0a9f1e3d5c7b&AUTH_EXPIRES=3600"
        .. "&REFRESH_ID=7fa0d166007b3c110058f18a00000001f0f107e1d2c3b4a5968778695a4b3c2d1e0f91"
        .. "&SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info%2Frest%2F"
        .. "&APPLICATION_TOKEN=c4ca4238a0b923820dcc509a6f75849b"
        .. "&APPLICATION_SCOPE=contact_center%2Cimopenlines%2Cplacement"
        .. string.format("&member_id=3f7a90c1d2e45b68a0719cbe%08x", member)
        .. "&status=L&PLACEMENT=CONTACT_CENTER"
        .. "&PLACEMENT_OPTIONS=%7B%22ID%22%3A%22717%22%2C%22URI%22%3A%22%5C%2Fcontact_center%5C%2F%22%7D"
        .. string.format("&x=%08x", member)
end

function init()
    for member = 1, members do
        requests[member] = wrk.format("POST",
            "/widgets/contact-center?DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=5d41402abc4b2a76b9719d911017c592",
            { ["Content-Type"] = "application/x-www-form-urlencoded", ["Origin"] = "https://portal.bitrix24.com",
              ["Referer"] = "https://portal.bitrix24.com/",
              ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0 Safari/537.36" },
            genuine(member))
    end
end

function request()
    turn = turn % members + 1
    return requests[turn]
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\nRESULT {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d,"timeout":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        e.status, e.connect + e.read + e.write, e.timeout))
end
