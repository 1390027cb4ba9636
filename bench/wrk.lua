-- Sends one request after another to random targets. Arguments: method, file of targets, token, seed.
-- A line of the file is a path, followed by a space and a token if it has one of its own.
-- The request is built by hand, because wrk.format costs more than everything else here.
local method, default_token, paths, tokens

function init(arguments)
   method, default_token = arguments[1], arguments[3]
   paths, tokens = {}, {}
   for line in io.lines(arguments[2]) do
      local path, token = line:match("^(%S+) ?(%S*)$")
      paths[#paths + 1] = path
      if token ~= "" then tokens[#paths] = token end
   end
   math.randomseed(tonumber(arguments[4]))
end

function request()
   local chosen = math.random(#paths)
   local head = method .. " " .. paths[chosen] .. " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
      .. (tokens[chosen] or default_token)
   if method == "GET" then return head .. "\r\n\r\n" end
   local body = string.format('{"first_name":"Ada%06d","last_name":"Byron%06d"}',
      math.random(0, 999999), math.random(0, 999999))
   return head .. "\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "max": %d, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
