-- The REST API of dyups, with the statuses and texts of the module written in C. Why a
-- body was refused stands in the header X-Dyups-Error and in nginx's error log: the text
-- itself is what clients compare.

local parse = require "dyups.parse"
local state = require "dyups.state"
local static = require "dyups.static"

local concat = table.concat
local find, gmatch, gsub, lower, sub = string.find, string.gmatch, string.gsub, string.lower, string.sub

local M = {}

local function answer(status, text)
    ngx.status = status
    ngx.header["Content-Type"] = nil
    ngx.header["Content-Length"] = #text
    ngx.print(text)
end

-- printable is text from outside for a header and the log.
local function printable(s)
    return (gsub(sub(s, 1, 200), "[^\32-\126]", "?"))
end

local function refuse(status, text, reason)
    reason = printable(reason)
    ngx.log(ngx.WARN, "dyups: ", text, ": ", reason)
    ngx.header["X-Dyups-Error"] = reason
    answer(status, text)
end

-- list is the names, or the names with their servers: those of nginx's configuration too, unless
-- one of the same name was posted. A header has all names that are taken there.
local function list(detail)
    local out, posted = {}, {}
    local function add(u)
        out[#out + 1] = u.name
        out[#out + 1] = "\n"
        if detail then
            out[#out + 1] = u.lines
            out[#out + 1] = "\n"
        end
    end
    for _, key in ipairs(state.names()) do
        local u = state.get(key)
        if u then
            posted[key] = true
            add(u)
        end
    end
    for _, key in ipairs(static.keys()) do
        if not posted[key] then
            add(static.get(key))
        end
    end
    ngx.header["X-Dyups-Static"] = static.header()
    if #out == 0 then
        return ngx.exit(204)
    end
    answer(200, concat(out))
end

local function get(path)
    local of = lower(path[1] or "")
    if of == "" then
        return ngx.exit(404)
    elseif of == "list" then
        return list(false)
    elseif of == "detail" then
        return list(true)
    end
    local u = of == "upstream" and #path == 2 and (state.get(path[2]) or static.get(parse.key(path[2])))
    if not u then
        return answer(404, "")
    end
    answer(200, (gsub(u.lines, "(server %S+)[^\n]*", "%1")))
end

-- body is what was sent, nil where the request says nothing of a body.
local function body()
    if not ngx.var.http_content_length and not ngx.var.http_transfer_encoding then
        return nil
    end
    ngx.req.read_body() -- nginx bounds it: client_max_body_size
    local text = ngx.req.get_body_data()
    local path = not text and ngx.req.get_body_file()
    if path then -- longer than client_body_buffer_size
        local file = assert(io.open(path, "rb"))
        text = file:read("*a")
        file:close()
    end
    return text or ""
end

local function post(path)
    local text = body()
    if not text then
        return ngx.exit(204)
    elseif #path ~= 2 then
        return answer(404, "not support this interface")
    elseif lower(path[1]) ~= "upstream" then
        return answer(404, "not support this api")
    end
    local name = path[2]
    if #name > state.MAX_NAME then
        return refuse(500, "add server failed", "a name of more than " .. state.MAX_NAME .. " bytes")
    end
    local u, reason = parse.body(text)
    if not u then
        return refuse(500, "add server failed", reason)
    end
    local ok, err = state.put(name, u)
    if not ok then
        return refuse(500, "out of shared memory: nothing was changed",
            err .. ": lua_shared_dict dyups is full")
    end
    if u.ignored then
        local warning = u.ignored .. " is not made by this library and was left out"
        ngx.header["X-Dyups-Warning"] = warning
        ngx.log(ngx.WARN, "dyups: upstream ", printable(name), ": ", warning)
    end
    answer(200, "success")
end

local function delete(path)
    ngx.req.discard_body()
    if #path ~= 2 then
        return answer(405, "not support this interface")
    elseif lower(path[1]) ~= "upstream" then
        return answer(405, "not support this api")
    elseif not state.remove(path[2]) then
        return answer(404, "not found uptream") -- as the original spells it
    end
    answer(200, "success")
end

-- serve is for content_by_lua: it answers one call.
function M.serve()
    local path = {}
    for element in gmatch(ngx.var.uri, "[^/]+") do
        path[#path + 1] = element
    end
    local method = ngx.req.get_method()
    if method == "POST" then
        return post(path)
    elseif method == "DELETE" then
        return delete(path)
    end
    ngx.req.discard_body()
    if method == "GET" then
        return get(path)
    end
    answer(405, "")
end

return M
