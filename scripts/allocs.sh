#!/usr/bin/env bash
# Compares what inner loops allocate with scripts/allocs.txt: see the usage text at the end.
set -euo pipefail

# more is the share by which the allocations of a benchmark may grow.
more=0.10

main() {
	case "${1:-}" in
		-h | --help) usage; return 0 ;;
		'' | --update) ;;
		*) usage >&2; return 2 ;;
	esac
	cd "$(dirname "${BASH_SOURCE[0]}")/.."
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	local packages
	packages=$(git grep -l --untracked '^func BenchmarkFlat' -- '*_test.go' | xargs -n 1 dirname | sort -u | sed 's|^|./|')
	[[ -n "$packages" ]] || fail "no benchmark is named BenchmarkFlat…"
	# shellcheck disable=SC2086 # one word a package
	go test $packages -run '^$' -bench '^BenchmarkFlat' -benchmem -benchtime 10x -cpu 1 >"$work/now.txt" || { cat "$work/now.txt"; return 1; }
	if [[ "${1:-}" == --update ]]; then
		# How long they take is this machine's, and not compared.
		sed -E 's/[0-9.]+ ns\/op[[:space:]]*//; /^(cpu|ok|PASS)/d' "$work/now.txt" >scripts/allocs.txt
		log "wrote scripts/allocs.txt: $(grep -c allocs/op scripts/allocs.txt) benchmarks"
		return 0
	fi
	compare scripts/allocs.txt "$work/now.txt"
}

# compare prints benchstat's table, and fails where a benchmark allocates more, is gone or has no figure to compare with.
compare() {
	local benchstat=(go tool -modfile=scripts/tools/go.mod benchstat -ignore 'cpu,goos,goarch' -filter '.unit:allocs/op') bad
	"${benchstat[@]}" "before=$1" "now=$2"
	# Columns of the CSV: name, before, its spread, now, its spread, change, significance.
	bad=$("${benchstat[@]}" -format csv "before=$1" "now=$2" 2>/dev/null | awk -F , -v more="$more" '
		$2 == "allocs/op" || $2 == "B/op" { unit = $2; next }
		unit != "allocs/op" || $1 == "" || $1 == "geomean" || $1 ~ /^pkg: / { next }
		$2 == "" { print $1 ": scripts/allocs.txt has no figure for it" ; next }
		$4 == "" { print $1 ": it is in scripts/allocs.txt, and no benchmark any more" ; next }
		$4 > $2 * (1 + more) { print $1 ": " $4 " allocations, before " $2 }')
	[[ -z "$bad" ]] || fail "$bad
where that is meant: scripts/allocs.sh --update"
	log "no benchmark allocates more than $more above scripts/allocs.txt"
}

log() { printf 'allocs.sh: %s\n' "$*"; }

fail() {
	printf 'allocs.sh: %s\n' "$*" >&2
	exit 1
}

usage() {
	cat <<'USAGE'
usage: scripts/allocs.sh [--update]

Runs every benchmark whose name begins with BenchmarkFlat, prints benchstat's comparison of their
allocations with scripts/allocs.txt, and fails where one allocates over a tenth more than there, is
missing there, or is gone. It compares no times: those are the machine's.

  --update   write scripts/allocs.txt anew

Exit codes: 0 none allocates more, 1 one does, or a benchmark failed, 2 wrong usage.
USAGE
}

main "$@"
