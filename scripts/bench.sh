#!/usr/bin/env bash
# Measures what changes cost: see the usage text at the end.
set -euo pipefail

main() {
	local args=() world=. keep=
	while [[ $# -gt 0 ]]; do
		case $1 in
			-h | --help) usage; return 0 ;;
			--long) args+=(-long) ;;
			--keep) keep=yes ;;
			--world) world=${2:?--world needs a value}; shift ;;
			--programs) args+=(-programs "${2:?--programs needs a value}"); shift ;;
			--profile) args+=(-profile "$(realpath -m "${2:?--profile needs a folder}")"); shift ;;
			*) usage >&2; return 2 ;;
		esac
		shift
	done
	cd "$(dirname "${BASH_SOURCE[0]}")/.."
	[[ -z "${BASE:-}" ]] || BASE=$(realpath "$BASE")
	CONSUL_BIN=$(scripts/consul.sh)
	CONSUL_TEMPLATE_BIN=${CONSUL_TEMPLATE_BIN:-$(template)}
	export BASE CONSUL_BIN CONSUL_TEMPLATE_BIN
	results=$PWD/docs/bench.json
	if [[ -z "$keep" ]]; then
		results=$(mktemp)
		trap 'rm -f "$results"' EXIT
		rm "$results"
	fi
	go test ./bench -run '^$' -bench "Reach/$world" -benchtime 1x -timeout 0 -args -json "$results" "${args[@]}"
	[[ -z "$keep" ]] || go run -C scripts/chart . "$results" "$PWD/docs/images/bench.svg" "$PWD/docs/performance.md"
}

# template builds the pinned consul-template in the cache, unless it is there, and prints its path.
template() {
	local module version binary
	module=$PWD/scripts/consul-template
	version=$(sed -nE 's|^.*github\.com/hashicorp/consul-template v([^ ]+).*$|\1|p' "$module/go.mod")
	binary=${XDG_CACHE_HOME:-$HOME/.cache}/swallowkeeper/consul-template-$version
	if [[ ! -x "$binary" ]]; then
		echo "bench.sh: building consul-template $version into $binary" >&2
		mkdir -p "${binary%/*}"
		CGO_ENABLED=0 go build -C "$module" -trimpath -ldflags '-s -w' -o "$binary.new" github.com/hashicorp/consul-template >&2
		mv "$binary.new" "$binary"
	fi
	printf '%s\n' "$binary"
}

usage() {
	cat <<'USAGE'
usage: scripts/bench.sh [--world WORLD] [--programs LIST] [--long] [--keep] [--profile FOLDER]

Measures what a change costs and how long it takes to the traffic, between a real Consul at its default
limits and a Tengine with four workers, and prints one table: swallowkeeper beside its floor, the program
of before and consul-template with a reload. docs/performance.md explains the figures.

  --world WORLD     only these: https/10, plain/1000$, https and so on; a regular expression. A world is a way
                    to Consul (https, plain, plain-one: all on one node) and a number of services
  --programs LIST   only these, of ours,base,consul-template
  --long            100 changes a second for ten minutes, not for one
  --keep            put the results into docs/bench.json, the table into docs/performance.md and the picture
                    into docs/images/bench.svg. What was not measured stays as it was
  --profile FOLDER  profiles of ours, for go tool pprof: WORLD-change-cpu.pprof and so on

  BASE=FILE                 the swallowkeeper of before
  TENGINE_BIN=FILE          a Tengine with dyups; without it the double of dyups, which reloads nothing
  CONSUL_TEMPLATE_BIN=FILE  a consul-template; else the one that scripts/consul-template pins is built

All of it takes about an hour. Exit codes: 0 measured, 1 something was not in sync, 2 wrong usage.
USAGE
}

main "$@"
