#!/usr/bin/env bash
# Usage: scripts/fuzz.sh [TIME]
# Runs every fuzz target of the repository for TIME (default 5s), one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s}
count=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
fuzz() { go test "./${file%/*}" -run '^$' -fuzz "^$target\$" -fuzztime "$time" 2>&1 | tee "$log"; }
while IFS=: read -r file target; do
	count=$((count + 1))
	echo "fuzz $target in ${file%/*} for $time"
	# Where the time is up while a worker is at an input, go test may call that a failure. One that is
	# one has written its input.
	if ! fuzz; then
		if grep -q 'Failing input' "$log" || ! grep -q 'context deadline exceeded' "$log"; then exit 1; fi
		echo "fuzz $target once more: its time was up within an input"
		fuzz
	fi
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -oHE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
echo "$count fuzz targets ran"
[ "$count" -gt 0 ]
