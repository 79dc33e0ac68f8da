-- Finds the upstreams of nginx's own configuration, which no call of the API changes. Whoever
-- writes the conf file has to know them: where nginx includes that file, a second upstream of
-- the same name keeps nginx from starting.
--
-- Stock nginx has no way to ask for them, so this reads the structures in nginx's memory, whose
-- first fields have kept their places since nginx 1.11.5. Nothing is read but by a system call,
-- which fails where a plain look would crash, and nothing is believed unless the upstream of
-- dyups.conf is found among them. Where that fails, Lua's own module of upstreams is asked,
-- which is rarely installed.

local ffi = require "ffi"

local C = ffi.C
local cast, new = ffi.cast, ffi.new
local concat, find, format, lower, match = table.concat, string.find, string.format, string.lower, string.match

ffi.cdef [[
int dyups_pipe(int fds[2]) __asm__("pipe");
int dyups_close(int fd) __asm__("close");
intptr_t dyups_read(int fd, void *buf, size_t count) __asm__("read");
intptr_t dyups_write(int fd, const void *buf, size_t count) __asm__("write");
extern void *dyups_cycle __asm__("ngx_cycle");
extern char dyups_http_module[] __asm__("ngx_http_module");
extern char dyups_upstream_module[] __asm__("ngx_http_upstream_module");
]]

local WORD = ffi.sizeof("uintptr_t")
local MOST_BYTES = 4096   -- at once: a pipe takes as many without waiting
local MOST_UPSTREAMS = 1000000
local MOST_SERVERS = 10000
local MOST_NUMBER = 2147483647
local CREATED = 1         -- NGX_HTTP_UPSTREAM_CREATE: an upstream block, no host of a proxy_pass
local MOST_HEADER = 16384 -- of the names in a header: nginx and clients bound it

-- The blocks of dyups.conf. They carry the traffic of all others and are no upstream of anybody's.
local OWN = { dyups = true, dyups_http = true, dyups_auth = true }

local M = {}

local function fail(reason)
    error({ reason = reason }, 0)
end

-- reader copies memory through a pipe: write(2) answers EFAULT for what is not there.
local function reader()
    local fds = new("int[2]")
    if C.dyups_pipe(fds) ~= 0 then
        fail("no pipe")
    end
    local r = {}
    local function copy(at, buf, n)
        if n > MOST_BYTES then
            fail("a length of " .. n)
        end
        local wrote = tonumber(C.dyups_write(fds[1], cast("void *", at), n))
        if wrote > 0 then -- a part, where memory ends
            C.dyups_read(fds[0], buf, wrote)
        end
        if wrote ~= n then
            fail("an address without memory")
        end
        return buf
    end
    function r.words(at, n)
        return copy(at, new("uintptr_t[?]", n), n * WORD)
    end
    function r.word(at)
        return r.words(at, 1)[0]
    end
    function r.text(len, at)
        len = tonumber(len)
        return len == 0 and "" or ffi.string(copy(at, new("uint8_t[?]", len), len), len)
    end
    -- array is where the elements of an ngx_array_t are, how many, and the size of each.
    function r.array(at, most)
        local a = r.words(at, 4)
        local count, size, room = tonumber(a[1]), tonumber(a[2]), tonumber(a[3])
        if count > room or count > most then
            fail("an array of " .. count .. " in the room of " .. room)
        end
        return a[0], count, size
    end
    function r.close()
        C.dyups_close(fds[0])
        C.dyups_close(fds[1])
    end
    return r
end

local function line(addr, weight, max_conns, max_fails, fail_timeout, backup, down)
    return format("server %s weight=%d max_conns=%d max_fails=%d fail_timeout=%d backup=%d down=%d\n",
        match(addr or "", "^%S+$") or "-", weight, max_conns, max_fails, fail_timeout, backup, down)
end

-- server spells an ngx_http_upstream_server_t as /detail shows one.
local function server(r, at)
    local s = r.words(at, 11)
    local n = {}
    for i = 4, 7 do
        n[i] = tonumber(s[i])
        if n[i] > MOST_NUMBER then
            fail("a number of " .. n[i])
        end
    end
    local addr = r.text(s[0], s[1])
    if s[3] > 0 then
        local a = r.words(s[2], 4)
        addr = r.text(a[2], a[3])
    end
    return line(addr, n[4], n[5], n[6], n[7], tonumber(s[10] % 2), s[9] ~= 0 and 1 or 0)
end

-- servers lists those of an upstream. What it can't read of them it leaves open: the name counts.
local function servers(r, at)
    local lines = {}
    if at ~= 0 then
        local elements, count, size = r.array(at, MOST_SERVERS)
        for i = 0, count - 1 do
            local ok, text = pcall(server, r, elements + i * size)
            lines[#lines + 1] = ok and text or nil
        end
    end
    return lines[1] and concat(lines) or line(nil, 1, 0, 1, 10, 0, 0)
end

-- walk hands every upstream to use(name, is_block, read_servers).
local function walk(r, use)
    local http = r.word(r.word(cast("uintptr_t", C.dyups_cycle))
        + WORD * r.word(cast("uintptr_t", C.dyups_http_module) + WORD))
    local main = r.word(r.word(http) + WORD * r.word(cast("uintptr_t", C.dyups_upstream_module)))
    local elements, count, size = r.array(main + 2 * WORD, MOST_UPSTREAMS) -- behind an ngx_hash_t
    if size ~= WORD then
        fail("elements of " .. size .. " bytes")
    end
    for i = 0, count - 1 do
        local at = r.word(elements + i * WORD)
        local u = r.words(at, 8) -- an ngx_http_upstream_srv_conf_t
        use(r.text(u[6], u[7]), u[5] % 2 == CREATED, function() return servers(r, u[4]) end)
    end
end

local function from_memory(use)
    local ok, err = pcall(function()
        local r = reader()
        local walked, why = pcall(walk, r, use)
        r.close()
        if not walked then
            error(why, 0)
        end
    end)
    if not ok then
        return nil, type(err) == "table" and err.reason or err
    end
    return true
end

-- from_module asks ngx_http_lua_upstream_module.
local function from_module(use)
    local ok, upstream = pcall(require, "ngx.upstream")
    if not ok then
        return nil, "no Lua module of upstreams"
    end
    for _, name in ipairs(upstream.get_upstreams()) do
        local host = match(name, "^(.-):%d+$") or name
        use(host, host == name, function()
            local lines = {}
            for _, s in ipairs(upstream.get_servers(name) or {}) do
                local addr = type(s.addr) == "table" and s.addr[1] or s.addr or s.name
                lines[#lines + 1] = line(addr, s.weight or 1, s.max_conns or 0, s.max_fails or 1,
                    s.fail_timeout or 10, s.backup and 1 or 0, s.down and 1 or 0)
            end
            return lines[1] and concat(lines) or line(nil, 1, 0, 1, 10, 0, 0)
        end)
    end
    return true
end

-- find_all collects what a source has, without what the conf file declares: where nginx includes the
-- file those are in nginx's configuration too, and the API changes them.
local function find_all(source, declared)
    local found = { names = {}, blocks = {}, order = {} }
    local seen_own = false
    local ok, err = source(function(name, is_block, read_servers)
        local key = lower(name)
        seen_own = seen_own or key == "dyups"
        if declared[key] or find(name, "[%z\r\n]") or name == "" then
            return
        end
        found.names[key] = true
        if is_block and not OWN[key] and not found.blocks[key] then
            found.blocks[key] = { name = name, lines = read_servers() }
            found.order[#found.order + 1] = key
        end
    end)
    if ok and not seen_own then
        ok, err = nil, "the upstream dyups is not among them"
    end
    return ok and found, err
end

local known = { names = {}, blocks = {}, order = {} }
local header = "?"

-- header_of lists what a registered service could be called, for an answer's header.
local function header_of(names)
    local list, length = {}, 0
    for key in pairs(names) do
        if find(key, "^[%w_.-]+$") and not find(key, "^[%d.]+$") then
            list[#list + 1] = key
            length = length + #key + 1
        end
    end
    table.sort(list)
    return length <= MOST_HEADER and concat(list, " ") or "?"
end

-- start runs when nginx reads its configuration, before there are workers. declared is the names
-- of the conf file, in lower case.
function M.start(declared)
    for _, source in ipairs({ from_memory, from_module }) do
        local found, err = find_all(source, declared)
        if found then
            known, header = found, header_of(found.names)
            return
        end
        ngx.log(ngx.NOTICE, "dyups: the upstreams of nginx's configuration were not found: ", err)
    end
    ngx.log(ngx.WARN, "dyups: which upstreams nginx's configuration has is not known: ",
        "have nginx not include the conf file, which this library reads by itself")
end

-- get is { name, lines } of an upstream block of nginx's configuration, or nil.
function M.get(key)
    return known.blocks[key]
end

-- keys lists those blocks in the order of nginx's configuration.
function M.keys()
    return known.order
end

-- header is every name that is taken in nginx's configuration, hosts of its proxy_pass included,
-- or "?" where that is not known.
function M.header()
    return header
end

return M
