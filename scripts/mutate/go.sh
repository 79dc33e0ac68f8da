#!/usr/bin/env bash
# Stands in for go where gremlins calls it: see scripts/mutate.sh. GO is the real one.
set -uo pipefail
for package; do :; done # the last word
case " $* " in
*" -coverprofile "*) # says that all is covered: a profile has no block for the conditions of a case
	while [ "$1" != -coverprofile ]; do shift; done
	"$GO" test -vet=off -short "$package" >&2 || exit 1
	{
		echo "mode: set"
		# shellcheck disable=SC2016 # a Go template
		"$GO" list -f '{{$p := .ImportPath}}{{range .GoFiles}}{{$p}}/{{.}}:1.1,99999.1 1 1{{"\n"}}{{end}}' "$package" | grep .
	} >"$2"
	;;
*" -failfast "*) # tries one change
	trap 'rm -f "$GOTMPDIR/$$.test"' EXIT
	"$GO" test -c -vet=off -gcflags="-l -dwarf=false" -ldflags="-s -w" -o "$GOTMPDIR/$$.test" "$package" >/dev/null 2>&1 ||
		exit 2 # it does not compile
	ulimit -v 16000000 # one that does not end takes all the memory that it can get
	quick() { "$GOTMPDIR/$$.test" -test.failfast -test.timeout 60s "$@" >/dev/null 2>&1; }
	quick -test.skip "$SLOW" && quick -test.timeout 180s -test.run "$SLOW" || exit 1
	;;
*)
	exec "$GO" "$@"
	;;
esac
