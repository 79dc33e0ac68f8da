-- The methods by which a server is chosen: round robin, least_conn, ip_hash, random and hash, each as nginx 1.22 has it.
-- A set is the primary or the backup servers of an upstream, q a request.

local byte, gsub = string.byte, string.gsub
local floor, random = math.floor, math.random
local time, var = ngx.time, ngx.var

local HASH_TRIES = 20       -- after so many nginx goes on with round robin
local LONGEST_ROUND = 50000 -- steps, each a look at one server

local M = {}

-- set.health.calm, shared by all versions of an upstream, says that no failure of its servers
-- is remembered. Any failure ends that, until a round of them all has gone well again.

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
function M.turns_of(set)
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

M.choose = {
    [""] = round_robin,
    least_conn = least_conn,
    ip_hash = ip_hash,
    random = random_balance,
    hash = hash_balance,
}

return M
