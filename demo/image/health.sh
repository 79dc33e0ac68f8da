#!/bin/bash
# Whether the container does its work: nginx answers, and swallowkeeper runs. It does not ask
# Consul: while that is gone the traffic goes on, and a restart of the gateway mends nothing.
set -euo pipefail

# The port shows what the API answers on its socket.
exec 3<>/dev/tcp/127.0.0.1/8081
printf 'GET /list HTTP/1.0\r\n\r\n' >&3
read -r _ status _ <&3
case ${status%$'\r'} in
	200 | 204) ;;
	*)
		echo "nginx: the dyups API answers ${status%$'\r'}"
		exit 1
		;;
esac

if [ -n "${SWALLOWKEEPER_STATUS_ADDRESS-}" ]; then
	exec 4<>"/dev/tcp/127.0.0.1/${SWALLOWKEEPER_STATUS_ADDRESS##*:}"
	printf 'GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&4
	read -r _ status _ <&4
	if [ "${status%$'\r'}" != 200 ]; then
		echo "swallowkeeper is not well: $(tail -n 1 <&4)"
		exit 1
	fi
fi
echo "nginx answers, swallowkeeper works"
