package route

import "swallowkeeper/reason"

// Why a route is refused.
var (
	badPath      = reason.New("route-path", "path {path}: {why}", "路径 {path}：{why}")
	noSlash      = reason.New("route-path-slash", "it does not begin with /", "未以 / 开头")
	tooLong      = reason.New("route-long", "it has {n} bytes, at most {most} are allowed", "共 {n} 字节，最多允许 {most} 字节")
	isOurs       = reason.New("route-path-ours", "{path} is where gateways answer to swallowkeeper", "{path} 是网关应答 swallowkeeper 的位置")
	restLast     = reason.New("route-path-rest", "{rest} is not its last segment", "{rest} 不是最后一段")
	twoSlashes   = reason.New("route-path-slashes", "// is not allowed in a path", "路径中不允许出现 //")
	twice        = reason.New("route-variable-twice", "variable {name} is there twice", "变量 {name} 出现两次")
	star         = reason.New("route-path-star", "'*' is allowed as the last segment alone, as in /api/*", "'*' 只能单独作为最后一段，如 /api/*")
	braces       = reason.New("route-path-braces", "a brace is allowed around a whole segment alone, as in {example}", "花括号只能括住整段，如 {example}")
	badCharacter = reason.New("route-path-character", "{character} is not allowed in a path", "路径中不允许出现 {character}")
	dots         = reason.New("route-path-dots", "{segment} is not allowed as a segment", "不允许出现路径段 {segment}")
	openBrace    = reason.New("route-variable-open", "a variable has no closing brace", "变量缺少右花括号")
	wholeSegment = reason.New("route-variable-segment", "variable {name} is not a whole segment", "变量 {name} 不是完整的一段")
	badVariable  = reason.New("route-variable-name", "{name} is no name for a variable: letters, digits and _, no digit first", "{name} 不能作变量名：只能用字母、数字和 _，且不以数字开头")
	badClass     = reason.New("route-variable-class", "{class} is no character class with a quantifier, such as {examples}", "{class} 不是带量词的字符类，例如 {examples}")
	spelling     = reason.New("route-spelling", "write {right}", "应写作 {right}")

	badName  = reason.New("route-name", "name {name}: letters, digits and _ . - are allowed, and no . or - first", "名称 {name}：只允许字母、数字和 _ . -，且不以 . 或 - 开头")
	badHost  = reason.New("route-host", "host {host}: {why}", "主机 {host}：{why}")
	wildcard = reason.New("route-host-wildcard", "no wildcard is allowed", "不允许使用通配符")
	hasPort  = reason.New("route-host-port", "no port is allowed: a host is a name", "不允许带端口：主机应是名称")
	noHost   = reason.New("route-host-name", "it is no DNS name", "不是 DNS 名称")

	badMethod   = reason.New("route-method", "method {method}: allowed are {list}", "方法 {method}：只允许 {list}")
	methodOrder = reason.New("route-method-order", "methods {methods}: each once and in order", "方法 {methods}：每个一次，按字母顺序")
	badTimeout  = reason.New("route-timeout", "timeout {time} is not a whole number of milliseconds between 0s and {most}", "timeout {time} 不是 0s 与 {most} 之间的整毫秒数")

	stripAndRewrite = reason.New("route-strip-rewrite", "strip and rewrite can't both be there", "strip 与 rewrite 不能同时使用")
	badStrip        = reason.New("route-strip", "strip {strip}: path {path} does not begin with it, at most {most} can be stripped", "strip {strip}：路径 {path} 不以它开头，最多可去掉 {most}")
	nothingToStrip  = reason.New("route-strip-nothing", "strip: path {path} has nothing before its variables", "strip：路径 {path} 在变量之前没有内容")
	badRewrite      = reason.New("route-rewrite", "rewrite {to}: {why}", "重写 rewrite {to}：{why}")
	plainVariable   = reason.New("route-rewrite-variable", "{variable}: variables stand in it by their names alone", "{variable}：其中变量只写名称")
	unknownVariable = reason.New("route-rewrite-unknown", "path {path} has no variable {variable}", "路径 {path} 没有变量 {variable}")

	badAuth     = reason.New("route-auth", "auth {auth}: {why}", "鉴权 auth {auth}：{why}")
	authForm    = reason.New("route-auth-form", "it is neither a path such as /auth nor an upstream and a path such as auth/verify", "既不是 /auth 这样的路径，也不是 auth/verify 这样的 upstream 加路径")
	authItself  = reason.New("route-auth-itself", "an upstream can't be asked about its own requests", "不能让 upstream 鉴别自己的请求")
	authPattern = reason.New("route-auth-pattern", "no variable and no * is allowed", "不允许变量和 *")

	badForm     = reason.New("route-form", "route {route}: write HOST/PATH or /PATH, with options such as strip=/api behind it", "路由 {route}：应写 HOST/PATH 或 /PATH，其后可跟 strip=/api 等选项")
	badOption   = reason.New("route-option", "route option {option}: allowed are {list}", "路由选项 {option}：只允许 {list}")
	optionTwice = reason.New("route-option-twice", "route option {option} is there twice", "路由选项 {option} 出现两次")
	badValue    = reason.New("route-option-value", "route option {option}: {value} is not {want}", "路由选项 {option}：{value} 不是 {want}")
	everything  = reason.New("route-everything", "a route of every host and path is taken from [[route]] of the configuration alone", "匹配所有主机和路径的路由只能写在配置的 [[route]] 中")
	tooMany     = reason.New("route-many", "one upstream has at most {most} routes", "一个 upstream 最多 {most} 条路由")
	disagree    = reason.New("route-sides", "instances disagree about it", "各实例对它的说法不一致")
)

// Why a route does not take a request.
var (
	otherHost   = reason.New("route-other-host", "it is for host {host}", "它只用于主机 {host}")
	otherPath   = reason.New("route-other-path", "its path does not match", "路径不匹配")
	otherMethod = reason.New("route-other-method", "it is for {methods}", "它只用于 {methods}")
	moreSpecial = reason.New("route-more-special", "{route} comes before it", "{route} 优先于它")
)
