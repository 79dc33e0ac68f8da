#!/bin/bash
# Whether the container does its work: nginx answers, and swallowkeeper runs. It does not ask
# Consul: while that is gone the traffic goes on, and a restart of the gateway mends nothing.
set -euo pipefail

exec 3<>/dev/tcp/127.0.0.1/18882
printf 'GET /list HTTP/1.0\r\n\r\n' >&3
read -r _ status _ <&3
case ${status%$'\r'} in
	200 | 204) ;;
	*)
		echo "nginx: the dyups API answers ${status%$'\r'}"
		exit 1
		;;
esac

lock=${SWALLOWKEEPER_PERSIST_PATH%/*}/.${SWALLOWKEEPER_PERSIST_PATH##*/}.lock
if ! [[ $(<"/proc/$(<"$lock")/comm") == swallowkeeper ]]; then
	echo "swallowkeeper does not run: its log says why"
	exit 1
fi
echo "nginx answers, swallowkeeper runs"
