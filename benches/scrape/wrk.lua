-- The genuine calls (benches/genuine.lua), with the far end of the latencies; or, to fill the table of members,
-- each call with a member of its own.
--   JOB=.../genuine.lua wrk ... -s wrk.lua URL
--   JOB=.../genuine.lua wrk ... -s wrk.lua URL -- fill TURN
dofile(assert(os.getenv("JOB"), "JOB is not set"))

local genuine, threads, filling, turn, number = init, 0, false, 0, 0

function setup(thread)
    thread:set("place", threads)
    threads = threads + 1
end

function init(args)
    filling, turn = args[1] == "fill", args[2]
    if not filling then genuine() end
end

local taken = request

function request()
    if not filling then return taken() end
    number = number + 1
    return wrk.format("POST", "/widget?DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en",
        { ["Content-Type"] = "application/x-www-form-urlencoded" },
        string.format("member_id=%08x%08x%016x&PLACEMENT=CONTACT_CENTER", turn, place, number))
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\nRESULT {"requests":%d,"duration_us":%d,"p50":%d,"p99":%d,"p999":%d,"max":%d,"failed":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        latency:percentile(99.9), latency.max, e.status + e.connect + e.read + e.write + e.timeout))
end
