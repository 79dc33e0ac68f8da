#!/usr/bin/env bash
# Usage: scripts/package/third-party.sh
# Prints the licences of everything that is linked into the Linux binaries, as their own files
# have them. Whoever passes a binary on must pass these on, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C GOOS=linux CGO_ENABLED=0

modules() {
	local arch format='{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}'
	for arch in amd64 arm64; do
		GOARCH=$arch go list -deps -f "$format" ./cmd/swallowkeeper
	done | sort -u
}

# entry NAME SOURCE FILE... prints the licence files of one module.
entry() {
	local name=$1 source=$2 file
	shift 2
	printf '\n%s\n%s\nSource: %s\n' "$(printf '=%.0s' {1..100})" "$name" "$source"
	for file in "$@"; do
		printf '\n--- %s ---\n\n' "${file##*/}"
		tr -d '\r' <"$file"
	done
}

echo "swallowkeeper is made of these works of others, each under its own licence."
entry "Go's standard library" "https://go.dev/dl/" "$(go env GOROOT)/LICENSE"
list=$(modules)
while read -r path version dir; do
	mapfile -t files < <(find "$dir" -maxdepth 1 -type f |
		grep -iE '/(licen[cs]e|copying|notice|patents)([._-][^/]*)?$' | sort)
	if [ ${#files[@]} -eq 0 ]; then
		echo "third-party.sh: $path $version: no licence file in $dir" >&2
		exit 1
	fi
	entry "$path $version" "https://pkg.go.dev/$path@$version" "${files[@]}"
done <<<"$list"
