#!/bin/sh
# Makes a Debian, or a Debian with a Tengine, into the demo image. demo/Dockerfile runs it
# in the image, as root; $NGINX_BIN is the nginx of the base image, if there is one.
set -eu
cd "$(dirname "$0")"
conf=/etc/swallowkeeper
state=/var/lib/swallowkeeper

packages="supervisor ca-certificates"
if "$NGINX_BIN" -V 2>&1 | grep -q dyups; then
	flavour=tengine
	path=$(command -v "$NGINX_BIN")
	[ "$path" = /usr/sbin/nginx ] || ln -s "$path" /usr/sbin/nginx
elif [ "$NGINX_BIN" != nginx ]; then
	echo "NGINX_BIN=$NGINX_BIN: not there, or without the dyups module" >&2
	exit 1
else
	flavour=lua
	packages="$packages nginx libnginx-mod-http-lua"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # these are words
apt-get install -qq -y --no-install-recommends $packages
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/*.log

# A number of its own, for whoever mounts a folder at $state.
useradd --uid 10001 --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin swallowkeeper
install -d -o swallowkeeper -g swallowkeeper "$state"
install -d "$conf" "$conf/gateway"
install -m 0644 nginx.conf supervisord.conf "$conf"
install -m 0755 health.sh /usr/local/bin/swallowkeeper-health
install -m 0755 nginx.sh /usr/local/bin/swallowkeeper-nginx
if [ "$flavour" = lua ]; then
	swallowkeeper nginx install-lua --dir "$conf/gateway" --listen unix:/tmp/dyups/api.sock \
		--upstreams "$state/dyups.upstream.conf" >/dev/null
else
	install -m 0644 tengine/dyups.conf tengine/proxy.conf "$conf/gateway"
fi
# What is wrong with the configuration shows now and not at the first start.
GATEWAY_HOSTS="* www.example.com=web" swallowkeeper-nginx -t -q
rm -rf /tmp/nginx* /tmp/dyups /tmp/hosts.conf
