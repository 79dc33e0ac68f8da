-- The upstreams in shared memory, which belongs to nginx's master: it outlives a worker
-- that crashes and a reload. Each change is one switch that every worker sees at once.
--
--   n/NAME   (in lower case) the number of the upstream's text
--   t/NUMBER its text: spelling of the name, balancing method, servers as /detail has them
--   seq      the last number given
--   version  grows with each change, so that workers notice one
--
-- A text is added under a new number before the name is switched to it. Storing a value of
-- another size over an old one would drop the old one first, and find no room for the new.

local parse = require "dyups.parse"
local static = require "dyups.static"

local dict = ngx.shared.dyups
local byte, gsub, match, sub = string.byte, string.gsub, string.match, string.sub

-- Limits of what is read from the conf file, and of names.
local MAX_FILE = 64 * 1024 * 1024
local MAX_NAME = 4000
-- A text that no name leads to and that is older than so many changes is garbage: of a
-- worker that died between two steps, or of two changes of one name at the same time.
local GARBAGE_AGE = 1000

local M = { MAX_NAME = MAX_NAME }

-- version is a number that changes with every change of anything.
function M.version()
    return dict:get("version")
end

local function encode(name, u)
    return #name .. ":" .. name .. u.method .. "\n" .. parse.lines(u.servers)
end

local function decode(text)
    local digits, from = match(text, "^(%d+):()")
    local name = sub(text, from, from + digits - 1)
    local method, lines = match(text, "^([^\n]*)\n()", from + digits)
    return { name = name, method = method, lines = sub(text, lines) }
end

-- put adds or replaces an upstream: all of it, or nothing and what is wrong.
function M.put(name, u)
    local key = "n/" .. parse.key(name)
    local id, err = dict:incr("seq", 1)
    if not id then
        return nil, err
    end
    local ok
    ok, err = dict:safe_add("t/" .. id, encode(name, u))
    if not ok then
        return nil, err
    end
    local old = dict:get(key)
    ok, err = dict:safe_set(key, id) -- where there is an old number, in its place
    if not ok then
        dict:delete("t/" .. id)
        return nil, err
    end
    dict:incr("version", 1)
    if old then
        dict:delete("t/" .. old)
    end
    return true
end

-- remove takes an upstream away and reports whether it was there.
function M.remove(name)
    local key = "n/" .. parse.key(name)
    local id = dict:get(key)
    if not id then
        return false
    end
    dict:delete(key)
    dict:incr("version", 1)
    dict:delete("t/" .. id)
    return true
end

-- get is { id, name, method, lines } of an upstream, or nil. Where its number is still the
-- known one, that alone is returned.
function M.get(name, known)
    local key = "n/" .. parse.key(name)
    for _ = 1, 100 do
        local id = dict:get(key)
        if not id then
            return nil
        elseif id == known then
            return known
        end
        local text = dict:get("t/" .. id)
        if text then -- else it was replaced between the two look-ups
            local u = decode(text)
            u.id = id
            return u
        end
    end
    return nil
end

local index, index_version -- of this worker: the names as they were at that version

-- names lists all names in lower case, the upstream changed last at the end.
function M.names()
    local version = M.version()
    if version == index_version then
        return index
    end
    local newest = dict:get("seq")
    local list, id_of, led_to, texts = {}, {}, {}, {}
    for _, key in ipairs(dict:get_keys(0)) do
        if byte(key) == 110 and byte(key, 2) == 47 then -- n/
            local name = sub(key, 3)
            local id = dict:get(key)
            if id then
                list[#list + 1], id_of[name], led_to[id] = name, id, true
            end
        elseif byte(key) == 116 and byte(key, 2) == 47 then -- t/
            texts[#texts + 1] = tonumber(sub(key, 3))
        end
    end
    for _, id in ipairs(texts) do
        if not led_to[id] and id < newest - GARBAGE_AGE then
            dict:delete("t/" .. id)
        end
    end
    table.sort(list, function(a, b) return id_of[a] < id_of[b] end)
    index, index_version = list, version
    return list
end

local function read_file(path, level, missing)
    local file, err = io.open(path, "rb")
    if not file then
        ngx.log(level, "dyups: ", missing, err)
        return ""
    end
    local text = file:read(MAX_FILE + 1) or ""
    file:close()
    if #text > MAX_FILE then
        ngx.log(ngx.CRIT, "dyups: ", path, " is longer than ", MAX_FILE, " bytes and was not read")
        return ""
    end
    return text
end

-- read_conf is the text of the conf file. A large one has a line for each of its parts, which are files.
local function read_conf(path)
    local text = read_file(path, ngx.NOTICE, "starting without upstreams: ")
    return (gsub(text, "%f[^\n]include (/[^\n;]+);", function(part)
        return read_file(part, ngx.CRIT, "a part of the upstreams can't be read: ")
    end))
end

local function load(path, text)
    local count = 0
    local ok, reason = parse.blocks(text, function(name, u)
        local stored, why = M.put(name, u)
        if stored then
            count = count + 1
        else
            ngx.log(ngx.CRIT, "dyups: upstream ", name, " of ", path, " was not taken: ", why,
                ": raise the size of lua_shared_dict dyups")
        end
    end)
    if not ok then
        ngx.log(ngx.CRIT, "dyups: ", path, " was read up to an error: ", reason)
    end
    ngx.log(ngx.NOTICE, "dyups: ", count, " upstreams read from ", path)
end

-- start runs when nginx reads its configuration. After a reload the memory is as it was
-- and right: changes go there as well as to the file, so the file is read only into
-- memory that is new. Its names are not those of nginx's own configuration at any time.
function M.start(path)
    if not dict then
        error("dyups: lua_shared_dict dyups SIZE; is missing")
    end
    local text = path and path ~= "" and read_conf(path) or ""
    static.start(parse.names(text))
    if not dict:safe_add("version", 1) then
        return
    end
    dict:safe_add("seq", 0)
    if text ~= "" then
        load(path, text)
    end
end

return M
