#!/bin/sh
# After the files went. The conf file of the upstreams stays, for nginx may include it; only
# dpkg's purge takes it. The account stays in any case: it may own files elsewhere.
set -e
case "$1" in
	remove | 0)
		rmdir /run/dyups 2>/dev/null || true # unless nginx has its socket there
		if [ -d /run/systemd/system ]; then
			systemctl daemon-reload || true
		fi
		;;
	purge) rm -rf /var/lib/swallowkeeper ;;
esac
