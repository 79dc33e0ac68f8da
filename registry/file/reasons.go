package file

import "swallowkeeper/reason"

var (
	inFile       = reason.New("file-in", "it stands in file {file}", "它写在文件 {file} 中")
	unhealthy    = reason.New("file-unhealthy", "its file says healthy = false", "其文件写明 healthy = false")
	upstreamStay = reason.New("file-upstream-stays", "its upstream stays as it is: {why}", "所属 upstream 保持原样：{why}")
	noAddress    = reason.New("file-address", "{text} is no address with a port", "{text} 不是带端口的地址")
	noPort       = reason.New("file-port", "{text} is no port", "{text} 不是端口")
	noBackups    = reason.New("file-backup", "the balancing method {method} takes no backup servers", "负载均衡方式 {method} 不支持备用服务器")
)
