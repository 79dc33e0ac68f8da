#!/usr/bin/env bash
# Makes the images that demo/Dockerfile begins with, where none can be pulled: see the usage
# text at the end.
set -euo pipefail

main() {
	case "${1:-}" in
		-h | --help) usage; return 0 ;;
		'') ;;
		*) usage >&2; return 2 ;;
	esac
	local here dockerfile
	here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
	dockerfile=$here/../demo/Dockerfile
	debian_image=$(default_of BASE_IMAGE "$dockerfile")
	go_image=$(default_of GO_IMAGE "$dockerfile")
	suite=${debian_image#*:}
	suite=${suite%-slim}
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/swallowkeeper

	mkdir -p "$cache"
	# Global, for the trap runs when this function has returned.
	temporary=$(mktemp -d "$cache/.base.XXXXXX")
	trap 'rm -rf "$temporary"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	there "$debian_image" || debian
	there "$go_image" || golang
}

default_of() { sed -nE "s/^ARG $1=(.+)$/\1/p" "$2"; }

there() {
	if docker image inspect "$1" >/dev/null 2>&1; then
		log "$1: there"
	else
		return 1
	fi
}

# debian is a minimal Debian of the machine's own architecture, slimmed as the official image is.
debian() {
	local tree=$temporary/debian tar=$cache/debian-$suite.tar
	local mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
	if [[ ! -f "$tar" ]]; then
		type -P debootstrap >/dev/null || fail "debootstrap is not installed: scripts/setup-tests.sh installs it"
		[[ $EUID -eq 0 ]] || fail "debootstrap needs root"
		log "making a minimal Debian $suite: this happens once, and takes a minute"
		# Debian's tools are in /usr/sbin, which is not on everybody's PATH.
		PATH=$PATH:/usr/sbin:/sbin debootstrap --variant=minbase "$suite" "$tree" "$mirror" >"$temporary/log" 2>&1 ||
			fail "debootstrap: $(tail -n 20 "$temporary/log")"
		# No daemon starts because its package is installed, as in the official image.
		printf '#!/bin/sh\nexit 101\n' >"$tree/usr/sbin/policy-rc.d"
		chmod +x "$tree/usr/sbin/policy-rc.d"
		cat >"$tree/etc/dpkg/dpkg.cfg.d/docker" <<-'END'
			path-exclude /usr/share/doc/*
			path-include /usr/share/doc/*/copyright
			path-exclude /usr/share/info/*
			path-exclude /usr/share/locale/*
			path-exclude /usr/share/man/*
		END
		find "$tree/usr/share/doc" -type f ! -name copyright -delete
		rm -rf "$tree"/usr/share/{info,locale,man}/* "$tree"/var/{lib/apt/lists,cache/apt}/* "$tree"/var/log/*.log
		echo "deb $mirror $suite main" >"$tree/etc/apt/sources.list"
		tar -C "$tree" -cf "$temporary/tar" .
		mv "$temporary/tar" "$tar"
	fi
	docker import --change 'CMD ["bash"]' "$tar" "$debian_image" >/dev/null
	log "$debian_image: imported"
}

# golang is that Debian with the machine's own Go, and the authorities that the machine trusts.
golang() {
	local version
	type -P go >/dev/null || fail "go is not on the PATH"
	version=$(go env GOVERSION)
	[[ "$go_image" =~ :${version:2:4}[.-] ]] || fail "$go_image is wanted, and the machine has $version"
	tar -C "$(go env GOROOT)" --transform 's|^\.|usr/local/go|' -cf "$temporary/go.tar" .
	cat /etc/ssl/certs/ca-certificates.crt >"$temporary/ca-certificates.crt"
	cat >"$temporary/Dockerfile" <<-END
		FROM $debian_image
		ADD go.tar /
		COPY ca-certificates.crt /etc/ssl/certs/
		ENV GOTOOLCHAIN=local PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	END
	docker build --quiet -t "$go_image" "$temporary" >/dev/null
	log "$go_image: made"
}

log() { printf 'docker-base.sh: %s\n' "$*" >&2; }

fail() {
	log "$*"
	exit 1
}

usage() {
	cat <<'USAGE'
usage: scripts/docker-base.sh

Gives the Docker Engine the images that demo/Dockerfile begins with, under the names that it
has there, without a registry of images:

  debian:...-slim    a minimal Debian by debootstrap, as root, kept in the cache
  golang:...         that, with the Go and the certificate authorities of this machine

Images that are there are kept. Where images can be pulled nobody needs this: `docker build` pulls
them. $DEBIAN_MIRROR is where the packages come from, else http://deb.debian.org/debian; the cache
is ${XDG_CACHE_HOME:-$HOME/.cache}/swallowkeeper.
Exit codes: 0 all are there, 1 something is missing, 2 wrong usage.
USAGE
}

main "$@"
