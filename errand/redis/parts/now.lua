-- What time it is: a part of scripts. The server's clock decides, so that clients and workers with skewed ones agree.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
