#!/usr/bin/env bash
# Usage: scripts/package/rootfs.sh
# Prints the path of a tar with a clean Debian 12 (minbase, with systemd and procps), on standard
# output and nothing else. It is made once, as root, and then kept in ${XDG_CACHE_HOME:-$HOME/.cache}.
set -euo pipefail

suite=bookworm
cache=${XDG_CACHE_HOME:-$HOME/.cache}/swallowkeeper
tar=$cache/debian-$suite-systemd.tar
if [ ! -f "$tar" ]; then
	mkdir -p "$cache"
	# Made beside its target and renamed: nobody ever sees half of it.
	temporary=$(mktemp -d "$cache/.rootfs.XXXXXX")
	trap 'rm -rf "$temporary"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	echo "rootfs.sh: making $tar; this happens once" >&2
	debootstrap --variant=minbase --include=systemd,procps "$suite" "$temporary/root" \
		"${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >&2
	rm -rf "$temporary"/root/var/cache/apt/archives/*.deb "$temporary"/root/var/lib/apt/lists/*
	tar -C "$temporary/root" --numeric-owner -cf "$temporary/tar" .
	mv "$temporary/tar" "$tar"
fi
printf '%s\n' "$tar"
