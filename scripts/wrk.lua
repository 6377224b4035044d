-- What bench_serve.py has wrk do: send the bodies of a file in turn, report as one line of JSON.
-- With COUNT set it counts the answers by status as well, which costs wrk a little.
local bodies, at = {}, 0
local worker
statuses = ""

function setup(thread)
  worker = thread
end

function init(args)
  for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  if os.getenv("KEY") then wrk.headers["Authorization"] = "Bearer " .. os.getenv("KEY") end
end

function request()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end

if os.getenv("COUNT") then
  local counts = {}
  function response(status)
    counts[status] = (counts[status] or 0) + 1
    local told = {}
    for code, number in pairs(counts) do told[#told + 1] = string.format('"%d":%d', code, number) end
    statuses = table.concat(told, ",")
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"max_ms":%f,"bad_status":%d,"broken":%d,"statuses":{%s}}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, e.status, e.connect + e.read + e.write + e.timeout,
    worker:get("statuses")))
end
