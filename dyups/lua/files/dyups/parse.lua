-- Reads the inside of an nginx upstream block, as a POST body and the conf file have it,
-- and refuses by name what this library does not know. Touches no network: a host name
-- is refused, because a look-up would hold up the worker and may fail at the next start.

local ffi = require "ffi"

local C = ffi.C
local byte, find, gsub, lower, match, sub = string.byte, string.find, string.gsub, string.lower,
    string.match, string.sub
local concat = table.concat

ffi.cdef [[
int inet_pton(int af, const char *src, void *dst);
const char *inet_ntop(int af, const void *src, char *dst, uint32_t size);
]]

local AF_INET = 2
local AF_INET6 = ({ Linux = 10, OSX = 30 })[ffi.os] or 28
local MAX_NUMBER = 2147483647 -- what clients can be relied on to read back
local MAX_UNIX_PATH = 107     -- the room in a sockaddr_un on Linux

local M = {}

-- Errors are raised as tables, so that a fault in this file is not taken for bad input.
local function fail(reader, pos, reason)
    local _, newlines = gsub(sub(reader.text, 1, pos - 1), "\n", "")
    error({ reason = "line " .. newlines + 1 .. ": " .. reason }, 0)
end

local function quote(s)
    if #s > 60 then
        s = sub(s, 1, 60) .. "..."
    end
    return '"' .. gsub(s, "[^\32-\126]", "?") .. '"'
end

-- skip is the position of the next word or mark, or nil at the end.
local function skip(text, pos)
    while true do
        pos = find(text, "[^ \t\r\n]", pos)
        if not pos or byte(text, pos) ~= 35 then -- #
            return pos
        end
        pos = find(text, "\n", pos, true)
        if not pos then
            return nil
        end
    end
end

local ESCAPES = { ['"'] = '"', ["'"] = "'", ["\\"] = "\\", t = "\t", r = "\r", n = "\n" }

local function unescape(s)
    return (gsub(s, "\\(.)", function(c) return ESCAPES[c] end))
end

local function quoted(reader, pos)
    local text, q = reader.text, sub(reader.text, pos, pos)
    local from = pos + 1
    local at = from
    while true do
        at = find(text, "[\\" .. q .. "]", at)
        if not at then
            fail(reader, pos, "unexpected end, expecting " .. q)
        end
        if sub(text, at, at) == q then
            break
        end
        at = at + 2
    end
    if not find(text, "^[ \t\r\n;{]", at + 1) then
        fail(reader, at, "unexpected text behind a closing quote")
    end
    return unescape(sub(text, from, at - 1)), at + 1
end

local function word(reader, pos)
    local text = reader.text
    local c = byte(text, pos)
    if c == 34 or c == 39 then
        return quoted(reader, pos)
    end
    local at = pos
    while true do
        at = find(text, "[ \t\r\n;{\\]", at)
        if not at then
            fail(reader, #text, 'unexpected end, expecting ";"')
        end
        c = byte(text, at)
        if c == 92 then -- a backslash takes the next byte with it
            at = at + 2
        elseif c == 123 and at > pos and byte(text, at - 1) == 36 then -- ${name}
            at = at + 1
        else
            return unescape(sub(text, pos, at - 1)), at
        end
    end
end

-- directive reads the next one: its words, and ";", "{" or "}", whichever ends it.
-- Nothing at the end of the text.
local function directive(reader)
    local words, text, pos = {}, reader.text, reader.pos
    while true do
        pos = skip(text, pos)
        if not pos then
            if #words > 0 then
                fail(reader, #text, 'unexpected end, expecting ";"')
            end
            return nil
        end
        local c = sub(text, pos, pos)
        if c == ";" or c == "{" or c == "}" then
            if (#words == 0) ~= (c == "}") then
                fail(reader, pos, "unexpected " .. quote(c))
            end
            reader.pos, reader.at = pos + 1, reader.at or pos
            return words, c
        end
        if #words == 0 then
            reader.at = pos
        end
        words[#words + 1], pos = word(reader, pos)
    end
end

local function number(s)
    local n = match(s, "^%d+$") and tonumber(s)
    return n and n <= MAX_NUMBER and n or nil
end

local UNITS = { y = 365 * 86400, M = 30 * 86400, w = 7 * 86400, d = 86400, h = 3600, m = 60, s = 1 }
local ORDER = "yMwdhms"

-- seconds reads a time such as 90, 90s or 1m30s.
local function seconds(s)
    local total, next_unit = 0, 1
    if s == "" then
        return nil
    end
    while s ~= "" do
        local digits, unit, rest = match(s, "^(%d+)(%a?)(.*)$")
        local n = digits and number(digits)
        if not n then
            return nil
        end
        if unit == "" then
            unit, next_unit = "s", #ORDER + 1
        else
            local at = find(ORDER, unit, next_unit, true)
            if not at then
                return nil
            end
            next_unit = at + 1
        end
        if next_unit > #ORDER and rest ~= "" then -- nothing follows seconds
            return nil
        end
        total, s = total + n * UNITS[unit], rest
    end
    return total <= MAX_NUMBER and total or nil
end

local function canonical_ip(af, host)
    local buf = ffi.new("char[64]")
    local bin = ffi.new("uint8_t[16]")
    if find(host, "%z") or C.inet_pton(af, host, bin) ~= 1 then
        return nil
    end
    C.inet_ntop(af, bin, buf, 64)
    return ffi.string(buf)
end

local function port_of(text)
    if text == "" then
        return 80
    end
    local n = number(sub(text, 2))
    return byte(text) == 58 and n and n >= 1 and n <= 65535 and n or nil
end

-- address is a server's address as nginx shows it, or nil and what is wrong.
local function address(url)
    local path = match(url, "^[uU][nN][iI][xX]:(.*)$")
    if path then
        if path == "" or #path > MAX_UNIX_PATH or find(path, "[%s%c]") then
            return nil, "no good path of a unix domain socket"
        end
        return "unix:" .. path
    end
    local host, rest = match(url, "^%[([^%]]*)%](.*)$")
    local ip
    if host then
        ip = canonical_ip(AF_INET6, host)
        if not ip then
            return nil, "invalid IPv6 address"
        end
        ip = "[" .. ip .. "]"
    else
        host, rest = match(url, "^([^:]*)(.*)$")
        if find(host, "[/?]") or host == "" then
            return nil, "invalid host"
        end
        ip = host == "localhost" and "127.0.0.1" or canonical_ip(AF_INET, host)
    end
    local port = port_of(rest)
    if not port then
        return nil, "invalid port"
    end
    if not ip then
        return nil, "host names are not looked up, write an address"
    end
    return ip .. ":" .. port
end

-- server reads a server directive. What is not there has nginx's default; of what is there
-- twice the last counts.
local function server(reader, words)
    local s = { weight = 1, max_conns = 0, max_fails = 1, fail_timeout = 10, backup = 0, down = 0 }
    for i = 3, #words do
        local p = words[i]
        local key, value = match(p, "^([%a_]+)=(.*)$")
        local n
        if p == "backup" or p == "down" then
            key, n = p, 1
        elseif key == "fail_timeout" then
            n = seconds(value)
        elseif key == "weight" or key == "max_conns" or key == "max_fails" then
            n = number(value)
        end
        if not n or key == "weight" and n == 0 then
            fail(reader, reader.at, "invalid parameter " .. quote(p))
        end
        s[key] = n
    end
    local addr, reason = address(words[2])
    if not addr then
        fail(reader, reader.at, reason .. " in upstream " .. quote(words[2]))
    end
    s.addr = addr
    return s
end

-- ARITY is how many arguments a directive takes, at least and at most.
local ARITY = {
    server = { 1, 1000 },
    least_conn = { 0, 0 },
    ip_hash = { 0, 0 },
    random = { 0, 2 },
    hash = { 1, 1 },
    keepalive = { 1, 1 },
    keepalive_requests = { 1, 1 },
    keepalive_time = { 1, 1 },
    keepalive_timeout = { 1, 1 },
    -- Tengine's active checks, which people's bodies have: taken with a warning.
    check = { 1, 1000 },
    check_keepalive_requests = { 1, 1000 },
    check_http_send = { 1, 1000 },
    check_http_expect_alive = { 1, 1000 },
    check_fastcgi_param = { 1, 1000 },
}

local METHODS = { least_conn = true, ip_hash = true, random = true, hash = true }
local TAKES_BACKUP = { [""] = true, least_conn = true }

local function balancing(reader, words)
    local name = words[1]
    if name == "random" and words[2] then
        if words[2] ~= "two" or words[3] and words[3] ~= "least_conn" then
            fail(reader, reader.at, "invalid parameter " .. quote(words[3] or words[2]))
        end
        return "random two"
    elseif name == "hash" then
        if words[2] == "" or find(words[2], "%c") then
            fail(reader, reader.at, "invalid key " .. quote(words[2]))
        end
        return "hash " .. words[2]
    end
    return name
end

-- upstream reads directives up to the end of the text, or of the block.
local function upstream(reader, in_block)
    local u, backups, keepalive = { method = "", servers = {} }, 0, false
    while true do
        reader.at = nil
        local words, stop = directive(reader)
        if not words or stop == "}" then
            if (words ~= nil) ~= in_block then
                fail(reader, reader.pos, words and 'unexpected "}"' or 'unexpected end, expecting "}"')
            end
            break
        end
        local name = words[1]
        local arity = ARITY[name]
        if not arity then
            fail(reader, reader.at, "unknown directive " .. quote(name))
        elseif stop == "{" then
            fail(reader, reader.at, 'unexpected "{" behind ' .. quote(name))
        elseif #words - 1 > arity[2] and name == "hash" then
            fail(reader, reader.at, quote(words[3]) .. " of hash is not known here")
        elseif #words - 1 < arity[1] or #words - 1 > arity[2] then
            fail(reader, reader.at, "invalid number of arguments in " .. quote(name))
        elseif name == "server" then
            local s = server(reader, words)
            u.servers[#u.servers + 1] = s
            backups = backups + s.backup
        elseif name == "keepalive" then
            local n = number(words[2])
            if keepalive or not n or n == 0 then
                fail(reader, reader.at, "invalid or second keepalive " .. quote(words[2]))
            end
            keepalive = true
        elseif METHODS[name] then
            if u.method ~= "" then
                fail(reader, reader.at, "a second balancing method " .. quote(name))
            end
            u.method = balancing(reader, words)
        elseif find(name, "^check") then
            u.ignored = name
        end
    end
    if #u.servers == 0 then
        fail(reader, reader.pos, "no servers are inside upstream")
    elseif backups == #u.servers then
        fail(reader, reader.pos, "no servers in upstream: all are backups")
    elseif backups > 0 and not TAKES_BACKUP[u.method] then
        fail(reader, reader.pos, match(u.method, "^%a+_?%a*") .. " does not support backup")
    end
    return u
end

local function guarded(f, ...)
    local ok, result = pcall(f, ...)
    if ok then
        return result
    elseif type(result) == "table" then
        return nil, result.reason
    end
    error(result, 0)
end

-- body reads the inside of an upstream block: { method, servers, ignored }, or nil and
-- what is wrong.
function M.body(text)
    if find(text, "%z") then
        return nil, "a zero byte"
    end
    return guarded(upstream, { text = text, pos = 1 }, false)
end

-- blocks reads `upstream NAME { ... }` blocks and hands each to use(name, upstream).
-- What is wrong ends it: an error in one block says nothing good of the next.
function M.blocks(text, use)
    return guarded(function()
        local reader = { text = text, pos = 1 }
        while true do
            reader.at = nil
            local words, stop = directive(reader)
            if not words then
                return true
            end
            if words[1] ~= "upstream" or #words ~= 2 or stop ~= "{" then
                fail(reader, reader.at, "unexpected " .. quote(words[1] or stop) ..
                    ', expecting "upstream NAME {"')
            end
            use(words[2], upstream(reader, true))
        end
    end)
end

-- names is the set of the upstreams that a text declares, in lower case, whatever else is in it.
function M.names(text)
    local set = {}
    for name in string.gmatch("\n" .. text, "\n%s*upstream%s+([^%s{;]+)") do
        set[lower(match(name, "^[\"'](.*)[\"']$") or name)] = true
    end
    return set
end

-- lines spells servers as GET /detail shows them, a line each.
function M.lines(servers)
    local out = {}
    for i, s in ipairs(servers) do
        out[i] = "server " .. s.addr .. " weight=" .. s.weight .. " max_conns=" .. s.max_conns ..
            " max_fails=" .. s.max_fails .. " fail_timeout=" .. s.fail_timeout ..
            " backup=" .. s.backup .. " down=" .. s.down .. "\n"
    end
    return concat(out)
end

-- each_server reads back what lines spelled.
function M.each_server(lines)
    return string.gmatch(lines, "server (%S+) weight=(%d+) max_conns=(%d+) max_fails=(%d+) " ..
        "fail_timeout=(%d+) backup=(%d) down=(%d)\n")
end

-- key is what names are compared by: to dyups Web and web are one upstream.
M.key = lower

return M
