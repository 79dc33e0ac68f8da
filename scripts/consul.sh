#!/usr/bin/env bash
# Prints the path of the Consul binary that tests run: see the usage text at the end.
set -euo pipefail

main() {
	case "${1:-}" in
		-h | --help) usage; return 0 ;;
		'') ;;
		*) usage >&2; return 2 ;;
	esac

	if [[ -n "${CONSUL_BIN:-}" ]]; then
		[[ -f "$CONSUL_BIN" && -x "$CONSUL_BIN" ]] || fail "CONSUL_BIN=$CONSUL_BIN is not an executable file"
		printf '%s\n' "$CONSUL_BIN"
		return 0
	fi
	# type -P, unlike command -v, sees neither functions nor aliases.
	type -P consul && return 0
	build
}

# build makes the pinned Consul in the cache, unless it is there, and prints its path.
build() {
	local here module version cache binary
	here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
	module=$here/consul
	version=$(sed -nE 's|^.*github\.com/hashicorp/consul v([^ ]+).*$|\1|p' "$module/go.mod")
	[[ -n "$version" ]] || fail "$module/go.mod requires no github.com/hashicorp/consul"
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/swallowkeeper
	binary=$cache/consul-$version

	if [[ ! -x "$binary" ]]; then
		type -P go >/dev/null || fail "go is not on the PATH; install it, or set CONSUL_BIN"
		mkdir -p "$cache"
		# One builds, and whoever comes meanwhile waits for it. macOS has no flock: there both build.
		exec 9>"$cache/.consul.lock"
		! type -P flock >/dev/null || flock 9
		if [[ -x "$binary" ]]; then
			printf '%s\n' "$binary"
			return 0
		fi
		# Built beside its target and renamed: nobody ever sees half a binary.
		# Global, for the trap runs when this function has returned.
		temporary=$(mktemp -d "$cache/.build.XXXXXX")
		trap 'rm -rf "$temporary"' EXIT
		trap 'exit 130' INT
		trap 'exit 143' TERM

		log "building Consul $version into $binary"
		log "this happens once: about five minutes on two cores, and 1.6 GB of modules come first"
		# Without cgo: as HashiCorp builds it, and no C compiler is needed. The compiler itself collects less garbage.
		CGO_ENABLED=0 GOGC=400 go build -C "$module" -mod=readonly -trimpath -ldflags '-s -w' \
			-o "$temporary/consul" github.com/hashicorp/consul >&2
		mv -f "$temporary/consul" "$binary"
		log "built Consul $version in $SECONDS s"
	fi
	printf '%s\n' "$binary"
}

log() { printf 'consul.sh: %s\n' "$*" >&2; }

fail() {
	log "$*"
	exit 1
}

usage() {
	cat <<'USAGE'
usage: scripts/consul.sh

Prints the path of a Consul binary, on standard output and nothing else:

  $CONSUL_BIN                     if set
  consul                          if on the PATH
  consul-VERSION in the cache     else: built from the module in scripts/consul,
                                  which pins the version, unless it is there

The cache is ${XDG_CACHE_HOME:-$HOME/.cache}/swallowkeeper. Progress goes to standard error.
Exit codes: 0 printed, 1 not found or not built, 2 wrong usage.
USAGE
}

main "$@"
