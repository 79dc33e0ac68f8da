#!/usr/bin/env bash
# Usage: scripts/package/version.sh DESCRIPTION EPOCH
# Prints the package version for what git describes, such that dpkg and rpm sort as people do:
# a release candidate before its release, a commit after the tag that it builds on, and what
# has no tag (yet), by the time of the commit, before everything else.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }

version=${1%-dirty} after=
if [[ $version =~ ^(.*)-([0-9]+)-(g[0-9a-f]+)$ ]]; then
	version=${BASH_REMATCH[1]} after=+${BASH_REMATCH[2]}.${BASH_REMATCH[3]}
fi
if [[ $version =~ ^v?([0-9]+\.[0-9]+\.[0-9]+)$ ]]; then
	version=${BASH_REMATCH[1]}
elif [[ $version =~ ^v?([0-9]+\.[0-9]+\.[0-9]+)-([0-9A-Za-z.-]+)$ ]]; then
	# Neither may have a hyphen in what they call a version.
	version=${BASH_REMATCH[1]}~${BASH_REMATCH[2]//-/.}
elif [[ $version =~ ^[0-9a-f]{7,40}$ ]]; then
	after=+$(TZ=UTC printf '%(%Y%m%d%H%M%S)T' "$2").g$version version=0.0.0
else
	echo "version.sh: $1: allowed is a tag such as v1.2.3 or v1.2.3-rc1, or what git describes" >&2
	exit 1
fi
if [ "$1" != "${1%-dirty}" ]; then
	after=${after:-+0}.dirty
fi
printf '%s\n' "$version$after"
