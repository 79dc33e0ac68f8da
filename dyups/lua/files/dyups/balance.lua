-- Chooses the server of each request as nginx's own balancing does (1.22: round robin,
-- least_conn, ip_hash, random, hash), and counts connections and failures as it does
-- in an upstream without a zone: each worker by itself.

local balancer = require "ngx.balancer"
local base = require "resty.core.base"
local ffi = require "ffi"
local parse = require "dyups.parse"
local state = require "dyups.state"

local byte, gmatch, gsub, match, sub = string.byte, string.gmatch, string.gsub, string.match, string.sub
local floor, max, random = math.floor, math.max, math.random
local cast, tonumber = ffi.cast, tonumber
local get_request = base.get_request
local time, var, exit, log = ngx.time, ngx.var, ngx.exit, ngx.log
local ERR, WARN, INFO = ngx.ERR, ngx.WARN, ngx.INFO
local get_last_failure, set_current_peer, set_more_tries = balancer.get_last_failure,
    balancer.set_current_peer, balancer.set_more_tries
local uintptr = ffi.typeof("uintptr_t")

local BUSY = base.FFI_BUSY -- nginx's word for "no live upstreams": 502
local HASH_TRIES = 20      -- after so many nginx goes on with round robin
local LONGEST_ROUND = 50000 -- steps, each a look at one server

local M = {}

-- health.calm, shared by all versions of an upstream, says that no failure of its servers
-- is remembered. Any failure ends that, until a round of them all has gone well again.

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

-- turn is a step of smooth weighted round robin where every server is usable.
local function turn(set)
    local best, total = nil, 0
    for i = 1, #set do
        local p = set[i]
        p.current = p.current + p.weight
        total = total + p.weight
        if not best or p.current > best.current then
            best = p
        end
    end
    best.current = best.current - total
    return best
end

local function round_is_over(set)
    for i = 1, #set do
        if set[i].current ~= 0 then
            return false
        end
    end
    return true
end

-- at_rest says that a round is over and that no failure is remembered of any server.
local function at_rest(set)
    for i = 1, #set do
        local p = set[i]
        if p.effective ~= p.weight or p.count.fails > 0 then
            return false
        end
    end
    return round_is_over(set)
end

-- turns_of is the order of a whole round, or nil where that is long: while all is well a
-- request takes the next turn without a look at each server.
local function turns_of(set)
    local turns = {}
    repeat
        turns[#turns + 1] = turn(set)
    until round_is_over(set) or #turns * #set > LONGEST_ROUND
    local whole = round_is_over(set)
    for i = 1, #set do
        set[i].current = 0
    end
    return whole and turns or nil
end

local choose -- by method, below

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
        primary.turns = turns_of(primary)
        primary.period = primary.turns and #primary.turns
    end
    primary.single = #primary == 1 and not primary.next
    u.primary = primary
    u.more_tries = primary.up + backup.up - 1
    local method, argument = match(text.method, "^(%S*) ?(.*)$")
    u.choose, u.argument = choose[method], argument
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

-- usable says whether a server may be tried now.
local function usable(p, q, now)
    if p.down or q.tried and q.tried[p] then
        return false
    end
    local c = p.count
    if p.max_fails > 0 and c.fails >= p.max_fails and now - c.checked <= p.fail_timeout then
        return false
    end
    return p.max_conns == 0 or c.conns < p.max_conns
end

-- seen lets one request through to a server whose time is over; the next must wait again.
local function seen(p, now)
    local c = p.count
    if now - c.checked > p.fail_timeout then
        c.checked = now
    end
    return p
end

-- leave_round goes back to looking at each server, from where the round was.
local function leave_round(set)
    for _ = 1, set.at do
        turn(set)
    end
    set.at = nil
end

local function round_robin(q, set)
    if set.single then
        local p = set[1]
        if p.down or p.max_conns > 0 and p.count.conns >= p.max_conns then
            return nil
        end
        return p
    end
    if set.at then
        if set.health.calm and not q.tried then
            local next_at = set.at < set.period and set.at + 1 or 1
            set.at = next_at
            return seen(set.turns[next_at], time())
        end
        leave_round(set)
    end
    local now, best, total = time(), nil, 0
    for i = 1, #set do
        local p = set[i]
        if usable(p, q, now) then
            local effective = p.effective
            p.current = p.current + effective
            total = total + effective
            if effective < p.weight then
                p.effective = effective + 1
            end
            if not best or p.current > best.current then
                best = p
            end
        end
    end
    if not best then
        return nil
    end
    best.current = best.current - total
    -- A first try is of the newest version: an older one does not know all servers.
    if set.turns and not q.tried and at_rest(set) then
        set.at, set.health.calm = set.period, true
    end
    return seen(best, now)
end

-- least_conn takes the server with the fewest connections for its weight; among equals
-- the turn goes round.
local function least_conn(q, set)
    if set.single then
        return round_robin(q, set)
    end
    local now, best, first, many = time(), nil, 1, false
    for i = 1, #set do
        local p = set[i]
        if usable(p, q, now) then
            local mine = best and p.count.conns * best.weight
            local its = best and best.count.conns * p.weight
            if not best or mine < its then
                best, first, many = p, i, false
            elseif mine == its then
                many = true
            end
        end
    end
    if not best then
        return nil
    end
    if many then
        local total, least = 0, best
        for i = first, #set do
            local p = set[i]
            if usable(p, q, now) and p.count.conns * least.weight == least.count.conns * p.weight then
                p.current = p.current + p.effective
                total = total + p.effective
                if p.effective < p.weight then
                    p.effective = p.effective + 1
                end
                if p.current > best.current then
                    best = p
                end
            end
        end
        best.current = best.current - total
    end
    return seen(best, now)
end

-- at is the server on whose share of the weights the number falls.
local function at(set, w)
    for i = 1, #set do
        local p = set[i]
        if w < p.weight then
            return p
        end
        w = w - p.weight
    end
end

-- draw asks for servers until one is usable.
local function draw(q, set, another)
    if set.single or not another then
        return round_robin(q, set)
    end
    local now = time()
    q.draws = q.draws or 0
    while q.draws <= HASH_TRIES do
        local p = another()
        if usable(p, q, now) then
            return seen(p, now)
        end
        q.draws = q.draws + 1
    end
    return round_robin(q, set)
end

local function ip_hash(q, set)
    local address = var.binary_remote_addr or ""
    local used = #address == 4 and 3 or #address -- of IPv4 the network alone
    q.hash = q.hash or 89
    return draw(q, set, function()
        local hash = q.hash
        for i = 1, used do
            hash = (hash * 113 + byte(address, i)) % 6271
        end
        q.hash = hash
        return at(set, hash % set.total)
    end)
end

local function random_one(set)
    return at(set, random(0, set.total - 1))
end

local function random_balance(q, set, argument)
    if argument ~= "two" or set.single then
        return draw(q, set, function() return random_one(set) end)
    end
    -- Of two that are drawn, the one with fewer connections for its weight.
    local now, before = time(), nil
    q.draws = q.draws or 0
    while q.draws <= HASH_TRIES do
        local p = random_one(set)
        if p ~= before and usable(p, q, now) then
            if before then
                if p.count.conns * before.weight > before.count.conns * p.weight then
                    p = before
                end
                return seen(p, now)
            end
            before = p
        else
            q.draws = q.draws + 1
        end
    end
    return round_robin(q, set)
end

local function hash_balance(q, set, argument)
    local key = gsub(argument, "%$({?)([%w_]+)}?", function(_, name) return var[name] or "" end)
    q.hash, q.rehash = q.hash or 0, q.rehash or 0
    return draw(q, set, key ~= "" and function()
        local crc = ngx.crc32_long((q.rehash > 0 and q.rehash or "") .. key)
        q.hash = q.hash + floor(crc / 65536) % 32768
        q.rehash = q.rehash + 1
        return at(set, q.hash % set.total)
    end)
end

choose = {
    [""] = round_robin,
    least_conn = least_conn,
    ip_hash = ip_hash,
    random = random_balance,
    hash = hash_balance,
}

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

local function begin(r)
    local name = var.dyups_upstream
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

-- pick is for balancer_by_lua: it chooses the server of a request, or of its next try.
function M.pick()
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
    q = q or begin(r)
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

-- pick_http is pick for an upstream that keeps connections. nginx finds a kept one by its address
-- alone, so all of them have to be alike.
function M.pick_http()
    if var.dyups_plain ~= "1" then
        log(ERR, "dyups: the upstream dyups_http is for proxy_pass http:// alone, use dyups")
        return exit(BUSY)
    end
    return M.pick()
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
