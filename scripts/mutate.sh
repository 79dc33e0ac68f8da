#!/usr/bin/env bash
# Usage: scripts/mutate.sh [PACKAGE]
# Changes one operator of a package after the other (default ./guard), runs its tests on each change, and prints the
# changes that no test noticed. It is slow, so it is no part of CI; the last line says how long it took.
set -euo pipefail
cd "$(dirname "$0")/.."
package=${1:-./guard}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -modfile=scripts/mutate/go.mod -o "$work/gremlins" github.com/go-gremlins/gremlins/cmd/gremlins
# A change is tried by the quick tests alone: what they miss is printed, and can be tried by all of them by hand.
GOFLAGS='-failfast -vet=off -skip=TestOrdinary|TestCorpus' nice -n 19 "$work/gremlins" unleash --invert-logical --invert-loopctrl \
	--timeout-coefficient 20 "$package" >"$work/all" 2>&1 || { tail -20 "$work/all" >&2; exit 1; }
grep -E '^ *(LIVED|NOT COVERED|TIMED OUT)' "$work/all" | sed 's/^ *//' | sort || true
sed -n '/^Mutation testing completed/,$p' "$work/all"
echo "mutate.sh: $SECONDS s"
