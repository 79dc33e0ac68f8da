#!/bin/sh
# After the files came: dpkg says "configure" and the old version if there is one, rpm how many
# there are. A first installation starts nothing: it steers traffic, and its configuration is not
# yet that of this machine. An upgrade restarts what runs; nginx goes on meanwhile.
set -e
case "$1/$2" in
	configure/ | 1/*) first=yes ;;
	configure/* | [2-9]/*) first=no ;;
	*) exit 0 ;;
esac
if command -v systemd-tmpfiles >/dev/null; then
	systemd-tmpfiles --create swallowkeeper.conf || true
fi
# Where systemd is not at work, in an image for one, nobody else makes it.
[ -d /run/dyups ] || install -d -m 0750 -g swallowkeeper /run/dyups
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
	[ $first = yes ] || systemctl try-restart swallowkeeper.service || true
fi
if [ $first = yes ]; then
	echo "swallowkeeper: edit /etc/swallowkeeper.toml, then: systemctl enable --now swallowkeeper"
fi
