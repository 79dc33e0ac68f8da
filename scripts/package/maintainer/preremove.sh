#!/bin/sh
# Before the files go: an upgrade (dpkg says "upgrade", rpm 1) keeps the service as it is.
set -e
case "$1" in
	remove | 0) ;;
	*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl stop swallowkeeper.service || true
fi
if command -v systemctl >/dev/null; then
	systemctl --no-reload disable swallowkeeper.service >/dev/null 2>&1 || true
fi
