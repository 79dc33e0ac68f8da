#!/usr/bin/env bash
# Runs all tests: see the usage text at the end.
set -euo pipefail

main() {
	case "${1:-}" in
		-h | --help) usage; return 0 ;;
		-*) usage >&2; return 2 ;;
	esac
	json=${1:-/dev/null}
	cd "$(dirname "${BASH_SOURCE[0]}")/.."
	work=$(mktemp -d)
	trap 'leave' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM

	scripts/setup-tests.sh --without-consul
	# The build yields to the tests, whose timing is part of what they test.
	nice -n 10 scripts/consul.sh >"$work/consul" 2> >(tee "$work/consul.log" >&2) &
	consul=$!

	local list with=() without=() failed=0
	list=$(go list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}} ' ./...)
	while read -r package imports; do
		case "/$package $imports " in
			*/consultestserver\ *) with+=("$package") ;;
			*) without+=("$package") ;;
		esac
	done <<<"$list"

	: >"$json"
	log "the ${#without[@]} packages that need no Consul"
	run "${without[@]}" || failed=1
	kill -0 "$consul" 2>/dev/null && log "waiting for Consul to be built"
	wait "$consul" || { log "Consul could not be built: see above"; exit 1; }
	consul=
	log "the ${#with[@]} packages that need Consul: $(cat "$work/consul")"
	run "${with[@]}" || failed=1
	log "all of it took $SECONDS s"
	return "$failed"
}

# run tests packages with the race detector, and adds the events to the JSON file.
run() {
	local status=0
	go tool -modfile=scripts/tools/go.mod gotestsum --format pkgname --jsonfile "$work/events" -- \
		-race -timeout 20m "$@" || status=$?
	cat "$work/events" >>"$json"
	return "$status"
}

# leave ends the build, if it still runs, and removes what is not needed any more.
leave() {
	[[ -z "${consul:-}" ]] || kill "$consul" 2>/dev/null || true
	rm -rf "$work"
}

log() { printf 'test.sh: %s\n' "$*"; }

usage() {
	cat <<'USAGE'
usage: scripts/test.sh [FILE]

Sets up what the tests need (scripts/setup-tests.sh) and runs them all with the race
detector. The first time it builds a real Consul, beside the tests that need none. FILE,
if given, gets the events of all tests as go test -json writes them.
Exit codes: 0 all passed, 1 some did not, 2 wrong usage.
USAGE
}

main "$@"
