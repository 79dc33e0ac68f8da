#!/usr/bin/env bash
# Builds the packages of swallowkeeper: see the usage text at the end.
set -euo pipefail

main() {
	case "${1:-}" in
		-h | --help) usage; return 0 ;;
		'') ;;
		*) usage >&2; return 2 ;;
	esac
	tar --version 2>/dev/null | grep -q GNU || fail "this needs GNU tar: build on Linux"
	here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
	root=$(cd "$here/../.." && pwd)
	cd "$root"

	# The same commit gives the same bytes, whoever builds it, where and when. An abbreviated
	# commit is as long as the clone needs it, unless told.
	VERSION=${VERSION:-$(git describe --tags --always --dirty --abbrev=12)}
	SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
	PACKAGE_VERSION=$("$here/version.sh" "$VERSION" "$SOURCE_DATE_EPOCH")
	export SOURCE_DATE_EPOCH PACKAGE_VERSION
	export LC_ALL=C TZ=UTC
	export GOOS=linux CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0 GOFLAGS='-trimpath -buildvcs=false'
	umask 022

	mkdir -p "${OUT:=$root/dist}"
	OUT=$(cd "$OUT" && pwd)
	rm -f "$OUT"/swallowkeeper[-_]*.{deb,rpm,tar.gz} "$OUT/SHA256SUMS"
	# Global, for the trap runs when this function has returned.
	stage=$(mktemp -d)
	trap 'rm -rf "$stage"' EXIT

	log "swallowkeeper $PACKAGE_VERSION"
	local arch format nfpm
	nfpm=$(host go tool -C "$here/tools" -n nfpm)
	common
	for arch in ${ARCHES:-amd64 arm64}; do
		log "$arch"
		GOARCH=$arch compile "$stage/swallowkeeper"
		tarball "$arch"
		for format in deb rpm; do
			(cd "$stage" && ARCH=$arch "$nfpm" package --config "$here/nfpm.yaml" \
				--packager "$format" --target "$OUT") >/dev/null
		done
	done
	(cd "$OUT" && sha256sum swallowkeeper[-_]* >SHA256SUMS && cat SHA256SUMS)
}

compile() {
	go build -ldflags "-s -w -X main.version=$VERSION" -o "$1" ./cmd/swallowkeeper
}

# host runs a Go command for this machine rather than for the packages.
host() {
	env -u GOOS "$@"
}

# common stages what is the same on every architecture.
common() {
	local shell page
	host go build -tags man -ldflags "-X main.version=$VERSION" -o "$stage/host" ./cmd/swallowkeeper
	mkdir "$stage/completions"
	for shell in bash zsh fish; do
		"$stage/host" completion "$shell" >"$stage/completions/swallowkeeper.$shell"
	done
	"$stage/host" man --dir "$stage/man"
	for page in "$stage"/man/*.1; do
		gzip -9n "$page"
	done

	"$here/third-party.sh" >"$stage/THIRD-PARTY"
	cp LICENSE "$stage"
	cp -R "$here/maintainer" "$stage"
	cp -R dyups/lua/files "$stage/lua"
	# The values that `swallowkeeper nginx install-lua` asks for.
	sed -i -e 's|@DIR@|/usr/share/swallowkeeper/lua|; s|@UPSTREAMS@|/var/lib/swallowkeeper/dyups.upstream.conf|' \
		-e 's|@LISTEN@|unix:/run/dyups/dyups.sock|; s|@DICT@|16m|' "$stage"/lua/*.conf
	! grep -n '@[A-Z]*@' "$stage"/lua/*.conf || fail "no value for the placeholder above"

	# What stands above the first blank line says how to install by hand.
	{
		echo "# systemd unit of swallowkeeper. An upgrade overwrites it: change it with"
		echo "# \`systemctl edit swallowkeeper\`."
		sed -e '1,/^$/s/^#.*//' -e 's|/usr/local/bin/|/usr/bin/|' scripts/swallowkeeper.service | cat -s
	} >"$stage/swallowkeeper.service"
	{
		echo "; supervisor program file of swallowkeeper, for /etc/supervisor/conf.d/swallowkeeper.conf."
		sed -e '1,/^$/s/^;.*//' -e 's|/usr/local/bin/|/usr/bin/|' scripts/swallowkeeper.supervisor.conf | cat -s
	} >"$stage/swallowkeeper.supervisor.conf"
	cp scripts/swallowkeeper.toml scripts/dyups.tmpfiles.conf scripts/nginx-dyups.conf "$stage"
	chmod -R u=rwX,go=rX "$stage"
}

# tarball packs what `make install` and a person need, for machines without dpkg or rpm.
tarball() {
	local name=swallowkeeper_${PACKAGE_VERSION}_linux_$1
	local dir=$stage/tar/$name
	mkdir -p "$dir"
	cp -R "$stage"/{swallowkeeper,LICENSE,THIRD-PARTY,completions,man} "$dir"
	cp README.md scripts/swallowkeeper.{toml,service,supervisor.conf} scripts/{dyups.tmpfiles,nginx-dyups}.conf "$dir"
	chmod -R u=rwX,go=rX "$dir"
	tar -C "$stage/tar" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" \
		--owner=0 --group=0 --numeric-owner -cf - "$name" | gzip -9n >"$OUT/$name.tar.gz"
}

log() { printf 'package: %s\n' "$*" >&2; }

fail() {
	log "$*"
	exit 1
}

usage() {
	cat <<'USAGE'
usage: scripts/package/build.sh

Builds .deb, .rpm and .tar.gz for Linux on amd64 and arm64, and SHA256SUMS. The same commit and the
same Go give the same bytes. From the environment, where set:

  OUT                 the folder to put them into; default dist
  VERSION             as git describe says it; default: what git describes
  SOURCE_DATE_EPOCH   the time of all files; default: the commit's
  ARCHES              default: amd64 arm64

Exit codes: 0 built, 1 failed, 2 wrong usage.
USAGE
}

main "$@"
