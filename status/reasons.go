package status

import "swallowkeeper/reason"

// Reasons of verdicts.
var (
	saysInSync    = reason.New("in-sync", "in sync", "一致")
	saysOutOfSync = reason.New("out-of-sync", "out of sync", "不一致")
	cannotWrite   = reason.New("not-written", "the conf file can't be written", "无法写入配置文件")
	but           = reason.New("but", "{verdict}, but {why}", "{verdict}，但{why}")
	ready         = reason.New("ready", "ready", "就绪")
	notReady      = reason.New("not-ready", "not ready", "未就绪")
	notReadyFor   = reason.New("not-ready-for", "not ready: {why}", "未就绪：{why}")
	holdsChanges  = reason.New("holds-changes", "the guard holds changes", "保护规则拦截了变更")
	holdsOne      = reason.New("holds-one", "the guard holds 1 change", "保护规则拦截了 1 项变更")
	holdsSome     = reason.New("holds-some", "the guard holds {n} changes", "保护规则拦截了 {n} 项变更")
	noHealthy     = reason.New("unserved", "{upstream} has no healthy server", "{upstream} 没有健康的服务器")
	noneHealthy   = reason.New("unserved-some", "{n} upstreams have no healthy server: {list}", "{n} 个 upstream 没有健康的服务器：{list}")
	wasDamaged    = reason.New("was-damaged", "the conf file was damaged", "配置文件曾损坏")
	andAllFrozen  = reason.New("in-sync-all-frozen", "{verdict}, and everything is frozen", "{verdict}，全部已冻结")
	andFrozen     = reason.New("in-sync-frozen", "{verdict}, and frozen: {list}", "{verdict}，已冻结：{list}")
)

// What an error means: see Plain.
var (
	diskFull       = reason.New("plain-disk-full", "disk is full", "磁盘已满")
	readOnly       = reason.New("plain-read-only", "file system is read-only", "文件系统为只读")
	refused        = reason.New("plain-refused", "refuses connections", "拒绝连接")
	noName         = reason.New("plain-no-name", "host name does not resolve", "主机名无法解析")
	noRoute        = reason.New("plain-no-route", "cannot be reached", "网络不可达")
	badCertificate = reason.New("plain-certificate", "certificate is not accepted", "证书未被接受")
	tooSlow        = reason.New("plain-timeout", "does not answer in time", "未及时应答")
	noAccess       = reason.New("plain-access", "access denied", "拒绝访问")
	noPermission   = reason.New("plain-permission", "no permission", "没有权限")
	cutOff         = reason.New("plain-cut-off", "closed the connection", "连接被对端关闭")
)
