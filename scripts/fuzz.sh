#!/usr/bin/env bash
# Usage: scripts/fuzz.sh [TIME]
# Runs every fuzz target of the repository for TIME (default 5s), one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-5s}
count=0
while IFS=: read -r file target; do
	count=$((count + 1))
	echo "fuzz $target in ${file%/*} for $time"
	go test "./${file%/*}" -run '^$' -fuzz "^$target\$" -fuzztime "$time"
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -oHE '^func Fuzz[A-Za-z0-9_]*' | sed 's/func //')
echo "$count fuzz targets ran"
[ "$count" -gt 0 ]
