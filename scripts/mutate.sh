#!/usr/bin/env bash
# Usage: scripts/mutate.sh [PACKAGE]
# Changes one operator of a package after the other (default ./guard, without the packages below it), runs its tests on
# each change, and prints the changes that no test noticed. It is no part of CI; the last line says how long it took.
#
# What makes it affordable: each change is compiled once, without vet, inlining and debug information. The quick tests go
# first, and only a change that they miss is tried by SLOW too. A test that does not end has noticed.
set -euo pipefail
cd "$(dirname "$0")/.."
package=${1:-./guard}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
go build -modfile=scripts/mutate/go.mod -o "$work/gremlins" github.com/go-gremlins/gremlins/cmd/gremlins
export GO SLOW
GO=$(command -v go)
SLOW=${SLOW-'^(TestOrdinary|TestCorpus)$'}
mkdir "$work/bin"
cp scripts/mutate/go.sh "$work/bin/go"
PATH=$work/bin:$PATH nice -n 19 "$work/gremlins" unleash --workers "$(nproc)" --timeout-coefficient 1000 --exclude-files '.+/' \
	--invert-logical --invert-loopctrl --invert-assignments --remove-self-assignments \
	"$package" >"$work/all" 2>&1 || { tail -20 "$work/all" >&2; exit 1; }
grep -E '^ *(LIVED|NOT COVERED|TIMED OUT)' "$work/all" | sed 's/^ *//' | sort || true
sed -n '/^Mutation testing completed/,$p' "$work/all"
echo "mutate.sh: $SECONDS s"
