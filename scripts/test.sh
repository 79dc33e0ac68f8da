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

	scripts/consul.sh >"$work/consul" 2> >(tee "$work/consul.log" >&2) &
	consul=$!
	# Behind all else: only one package waits for it.
	nice -n 19 scripts/caddy.sh >"$work/caddy" 2> >(tee "$work/caddy.log" >&2) &
	caddy=$!
	scripts/setup-tests.sh --without-consul

	# As make build builds: what one has compiled serves all, in whichever folder the repository is.
	GOFLAGS="$(go env GOFLAGS) -trimpath"
	export GOFLAGS
	# Each program with the race detector sleeps for a second before it ends, and tests start hundreds of them.
	export GORACE="atexit_sleep_ms=50 ${GORACE:-}"

	local list package imports page with=() without=() early=() last=() failed=0 beside=
	# The longest come first: at the end there is always a short one for a processor that would be idle. The page's come
	# when those with a real Docker are over: Chromium drops what it loads whenever that makes or removes a network.
	list=$(go list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}} ' \
		./demo/imagetest ./registry/docker ./demo/walktest ./cmd/... ./registry/consul ./scripts/package ./dyups ./dyups/lua \
		./registry/probe ./simulation ./registry/file ./status/page ./status ./guard ./tracing ./persist/... ./docs/... ./...)
	while read -r package imports; do
		case "/$package $imports " in
			*/caddytestserver\ *) last+=("$package") ;;
			*/consultestserver\ *) with+=("$package") ;;
			*)
				without+=("$package")
				if [[ $package == */status/page ]]; then page=$package; else early+=("$package"); fi
				;;
		esac
	done <<<"$list"

	: >"$json"
	if kill -0 "$consul" 2>/dev/null; then
		log "Consul is being built; meanwhile the ${#early[@]} packages that need none"
		# The build goes first: the tests that wait for it are the longest.
		(
			renice -n 5 -p "$BASHPID" >/dev/null
			run "$work/without" $(($(nproc) + 1)) "${early[@]}"
		) &
		beside=$!
		last+=("$page") # the image's tests come late then
		without=()
	fi
	if wait "$consul"; then
		if ! kill -0 "$caddy" 2>/dev/null; then # it is there, or never will be
			without=("${last[@]}" "${without[@]}")
			last=()
		fi
		with+=("${without[@]}")
		log "${#with[@]} packages, with Consul: $(cat "$work/consul")"
		# Most tests wait for nginx, Consul or Docker most of their time: a package keeps a third of a processor busy.
		run "$work/with" $(($(nproc) * 2 + 1)) "${with[@]}" || failed=1
	else
		log "Consul could not be built: see above"
		failed=1
	fi
	consul=
	[[ -z "$beside" ]] || wait "$beside" || failed=1
	beside=
	if wait "$caddy"; then
		[[ ${#last[@]} -eq 0 ]] || run "$work/last" "$(nproc)" "${last[@]}" || failed=1
	else
		log "Caddy could not be built: see above"
		failed=1
	fi
	caddy=
	cat "$work"/*.events >>"$json"
	if cat "$work"/*.flaky 2>/dev/null | grep .; then
		log "flaky: each of these failed once and was run again. That is a fault of the test or of the product"
	fi
	log "all of it took $SECONDS s"
	return "$failed"
}

# run FILE AT_ONCE PACKAGE... tests packages with the race detector, and writes their events to FILE.events. What go vet
# finds is make lint's to find. Nobody debugs these binaries: without DWARF they link in half the time.
run() {
	local again=()
	# Whole tests, and few: what fails twice fails, and so does whatever has a data race.
	[[ "${RERUN_FAILED:-}" != 1 ]] || again=(--rerun-fails=1 --rerun-fails-max-failures=3 --rerun-fails-run-root-test
		--rerun-fails-abort-on-data-race --rerun-fails-report "$1.flaky")
	go tool -modfile=scripts/tools/go.mod gotestsum --format pkgname --jsonfile "$1.events" "${again[@]}" \
		--packages "${*:3}" -- -race -vet=off -ldflags=-w -count 1 -p "$2" -timeout 20m
}

# leave ends the build, if it still runs, and removes what is not needed any more.
leave() {
	[[ -z "${consul:-}" ]] || kill "$consul" 2>/dev/null || true
	[[ -z "${caddy:-}" ]] || kill "$caddy" 2>/dev/null || true
	[[ -z "${beside:-}" ]] || kill "$beside" 2>/dev/null || true
	rm -rf "$work"
}

log() { printf 'test.sh: %s\n' "$*"; }

usage() {
	cat <<'USAGE'
usage: scripts/test.sh [FILE]

Sets up what the tests need (scripts/setup-tests.sh) and runs them all with the race
detector. The first time it builds a real Consul and a newer Caddy, beside the tests that need
none. FILE, if given, gets the events of all tests as go test -json writes them.
RERUN_FAILED=1 runs a test that failed once more, alone, where at most three failed: one
that passes then is named as flaky at the end.
Exit codes: 0 all passed, 1 some did not, 2 wrong usage.
USAGE
}

main "$@"
