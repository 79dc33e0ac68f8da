#!/usr/bin/env bash
# Prints the path of the newer Caddy that tests run: see the usage text at the end.
set -euo pipefail

main() {
	case "${1:-}" in
		-h | --help) usage; return 0 ;;
		'') ;;
		*) usage >&2; return 2 ;;
	esac

	if [[ -n "${CADDY_BIN:-}" ]]; then
		[[ -f "$CADDY_BIN" && -x "$CADDY_BIN" ]] || fail "CADDY_BIN=$CADDY_BIN is not an executable file"
		printf '%s\n' "$CADDY_BIN"
		return 0
	fi
	build
}

# build makes the pinned Caddy in the cache, unless it is there, and prints its path.
build() {
	local here module version cache binary
	here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
	module=$here/caddy
	version=$(sed -nE 's|^.*github\.com/caddyserver/caddy/v2 v([^ ]+).*$|\1|p' "$module/go.mod")
	[[ -n "$version" ]] || fail "$module/go.mod requires no github.com/caddyserver/caddy/v2"
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/swallowkeeper
	binary=$cache/caddy-$version

	if [[ ! -x "$binary" ]]; then
		type -P go >/dev/null || fail "go is not on the PATH; install it, or set CADDY_BIN"
		mkdir -p "$cache"
		# One builds, and whoever comes meanwhile waits for it. macOS has no flock: there both build.
		exec 9>"$cache/.caddy.lock"
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

		log "building Caddy $version into $binary"
		log "this happens once, and takes some 200 seconds of one processor"
		CGO_ENABLED=0 GOGC=400 go build -C "$module" -mod=readonly -trimpath -ldflags '-s -w' \
			-o "$temporary/caddy" . >&2
		mv -f "$temporary/caddy" "$binary"
		log "built Caddy $version in $SECONDS s"
	fi
	printf '%s\n' "$binary"
}

log() { printf 'caddy.sh: %s\n' "$*" >&2; }

fail() {
	log "$*"
	exit 1
}

usage() {
	cat <<'USAGE'
usage: scripts/caddy.sh

Prints the path of a Caddy binary that is newer than Debian's, on standard output and
nothing else:

  $CADDY_BIN                      if set
  caddy-VERSION in the cache      else: built from the module in scripts/caddy,
                                  which pins the version, unless it is there

The cache is ${XDG_CACHE_HOME:-$HOME/.cache}/swallowkeeper. Progress goes to standard error.
Exit codes: 0 printed, 1 not found or not built, 2 wrong usage.
USAGE
}

main "$@"
