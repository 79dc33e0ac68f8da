-- Chooses the server of each request as nginx's own balancing does (dyups.methods), and counts
-- connections and failures as it does in an upstream without a zone: each worker by itself.

local balancer = require "ngx.balancer"
local base = require "resty.core.base"
local ffi = require "ffi"
local methods = require "dyups.methods"
local parse = require "dyups.parse"
local state = require "dyups.state"

local gmatch, match, sub = string.gmatch, string.match, string.sub
local floor, max = math.floor, math.max
local cast, tonumber = ffi.cast, tonumber
local get_request = base.get_request
local time, var, exit, log = ngx.time, ngx.var, ngx.exit, ngx.log
local ERR, WARN, INFO = ngx.ERR, ngx.WARN, ngx.INFO
local get_last_failure, set_current_peer, set_more_tries = balancer.get_last_failure,
    balancer.set_current_peer, balancer.set_more_tries
local uintptr = ffi.typeof("uintptr_t")

local BUSY = base.FFI_BUSY -- nginx's word for "no live upstreams": 502

local M = {}

-- What is known of a server over changes of its upstream: a change elsewhere forgives no
-- failures, and a connection ends on the count that it began on.
local function counters_of(old, new, addr)
    local key, n = addr, 1
    while new[key] do -- the same server twice
        n = n + 1
        key = addr .. "#" .. n
    end
    new[key] = old and old[key] or { conns = 0, fails = 0, checked = 0, accessed = 0 }
    return new[key]
end


-- build makes what requests are balanced by.
local function build(text, old)
    local health = old and old.health or { calm = false }
    local u = { id = text.id, name = text.name, counters = {}, health = health }
    local primary = { total = 0, up = 0, plain = true, health = health }
    local backup = { total = 0, up = 0, health = health }
    for addr, weight, max_conns, max_fails, fail_timeout, is_backup, down in parse.each_server(text.lines) do
        local set = is_backup == "1" and backup or primary
        local w = tonumber(weight)
        set[#set + 1] = {
            addr = addr, weight = w, effective = w, current = 0,
            max_conns = tonumber(max_conns), max_fails = tonumber(max_fails),
            fail_timeout = tonumber(fail_timeout), down = down == "1",
            count = counters_of(old and old.counters, u.counters, addr),
        }
        set.total = set.total + w
        if down == "0" then
            set.up = set.up + 1
        end
        set.plain = set.plain and down == "0" and max_conns == "0"
    end
    if #backup > 0 then
        primary.next = backup
    end
    if primary.plain and text.method == "" and #primary > 1 then
        primary.turns = methods.turns_of(primary)
        primary.period = primary.turns and #primary.turns
    end
    primary.single = #primary == 1 and not primary.next
    u.primary = primary
    u.more_tries = primary.up + backup.up - 1
    local method, argument = match(text.method, "^(%S*) ?(.*)$")
    u.choose, u.argument = methods.choose[method], argument
    return u
end

local cache, loads = {}, 0 -- of this worker, by name

-- forget drops what was deleted and is never asked for again.
local function forget()
    for name in pairs(cache) do
        if not state.get(name, 0) then
            cache[name] = nil
        end
    end
end

local function find_upstream(name)
    local version = state.version()
    local u = cache[name]
    if u and u.version == version then
        return u
    end
    if #name > state.MAX_NAME then
        return nil
    end
    name = parse.key(name)
    u = cache[name]
    local text = state.get(name, u and u.id)
    if not text then
        cache[name] = nil
        return nil
    end
    if not u or text ~= u.id then
        u = build(text, u)
        cache[name] = u
        loads = loads + 1
        if loads % 4096 == 0 then
            forget()
        end
    end
    u.version = version
    return u
end

-- Requests that have a server, by the address of nginx's own structure: ngx.ctx is lost when
-- an error_page or X-Accel-Redirect leads elsewhere, and the count of connections with it.
local inflight = {}

local function this_request()
    return tonumber(cast(uintptr, get_request()))
end

-- release ends an attempt as nginx does when it frees a peer.
local function release(q, failed)
    local p, c = q.peer, q.peer.count
    q.peer = nil
    c.conns = c.conns - 1
    if q.set.single then
        return
    end
    if not failed then
        if c.accessed < c.checked then
            c.fails = 0
        end
        return
    end
    local now = time()
    q.set.health.calm = false
    c.fails, c.accessed, c.checked = c.fails + 1, now, now
    if p.max_fails > 0 then
        p.effective = max(0, p.effective - floor(p.weight / p.max_fails))
        if c.fails >= p.max_fails then
            log(WARN, "dyups: server ", p.addr, " of ", q.upstream.name, " temporarily disabled")
        end
    end
end

-- words lists the words of a variable that has one an attempt, "502, 200" or, where an
-- error_page has led from one location to another, "502 : 200".
local function words(list)
    local out = {}
    for word in gmatch(list or "", "[^, ]+") do
        out[#out + 1] = word
    end
    return out
end

-- failed says how the last attempt of a request ended, which nginx tells only before a
-- next one: nothing was read from the server, and nginx itself made the answer.
local function failed(q)
    local list = var.upstream_status
    if not list or #list == 3 and list ~= "502" and list ~= "504" then
        return false
    end
    local addresses, statuses = words(var.upstream_addr), words(list)
    for i = #addresses, 1, -1 do
        if addresses[i] == q.peer.addr then
            return (statuses[i] == "502" or statuses[i] == "504")
                and words(var.upstream_header_time)[i] == "-"
        end
    end
    return false
end

local function finish(q)
    if q.peer then
        release(q, not q.set.single and failed(q))
    end
end

local function begin(r, name)
    local u = name and name ~= "" and find_upstream(name)
    if not u then
        local made_up = name and name == var.host -- by the client: not worth a line of the log
        log(made_up and INFO or ERR, "dyups: no upstream ", name and sub(name, 1, 100) or "")
        return nil
    end
    local q = { upstream = u, set = u.primary, peer = nil, tried = nil }
    inflight[r] = q
    if u.more_tries > 0 then
        set_more_tries(u.more_tries)
    end
    return q
end

-- pick is for balancer_by_lua: it chooses the server of a request, or of its next try. The upstream is
-- the one that $dyups_upstream names, or the one named here.
function M.pick(name)
    local r = this_request()
    local q = inflight[r]
    if q then
        local outcome = get_last_failure()
        if outcome then
            if q.peer then
                q.tried = q.tried or {}
                q.tried[q.peer] = true
                release(q, outcome == "failed")
            end
        else -- the same request comes in a second time, by an error_page or the like
            finish(q)
            q = nil
        end
    end
    q = q or begin(r, name or var.dyups_upstream)
    if not q then
        return exit(BUSY)
    end
    local u = q.upstream
    local p = u.choose(q, q.set, u.argument)
    if not p and q.set.next then
        q.set = q.set.next
        p = u.choose(q, q.set, u.argument)
    end
    if not p then
        return exit(BUSY)
    end
    local ok, err = set_current_peer(p.addr)
    if not ok then
        log(ERR, "dyups: server ", p.addr, " of ", u.name, ": ", err)
        return exit(BUSY)
    end
    q.peer = p
    p.count.conns = p.count.conns + 1
end

-- plain reports whether a request goes to an upstream that keeps connections by proxy_pass http://. nginx
-- finds a kept one by its address alone, so all of them have to be alike.
local function plain(upstream)
    if var.dyups_plain == "1" then
        return true
    end
    log(ERR, "dyups: the upstream ", upstream, " is for proxy_pass http:// alone, use dyups")
    return false
end

-- pick_http is pick for all that goes to upstreams by plain HTTP.
function M.pick_http()
    if not plain("dyups_http") then
        return exit(BUSY)
    end
    return M.pick()
end

-- pick_auth is pick_http for what auth_request asks.
function M.pick_auth()
    if not plain("dyups_auth") then
        return exit(BUSY)
    end
    return M.pick(var.dyups_auth or "")
end

-- done is for log_by_lua: it ends what pick began.
function M.done()
    local r = this_request()
    local q = inflight[r]
    if q then
        inflight[r] = nil
        finish(q)
    end
end

return M
