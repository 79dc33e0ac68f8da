#!/usr/bin/env bash
# Sets up what `make test` needs on a Debian machine: see the usage text at the end.
set -euo pipefail

# package: the command, or the file, that shows that it is there.
needed=(
	shellcheck:shellcheck      # the shell scripts
	supervisor:supervisord     # swallowkeeper.supervisor.conf
	systemd:systemd-analyze    # swallowkeeper.service
	debootstrap:debootstrap    # a clean Debian to install the packages into
	rpm:rpm                    # the .rpm
	nginx:nginx                # dyups/lua on a stock nginx
	"libnginx-mod-http-lua:${NGINX_MODULES:-/usr/lib/nginx/modules}/ngx_http_lua_module.so"
	curl:curl                  # the README's quick start
	docker.io:dockerd          # the demo image
	etcd-server:etcd           # the registry etcd
	etcd-client:etcdctl        # a page's walk
	dnsmasq-base:dnsmasq       # the registry dns
	caddy:caddy                # the gateway caddy
	docker-compose:docker-compose
	chromium:chromium          # the page
	"fonts-liberation:${FONTS:-/usr/share/fonts/truetype}/liberation/LiberationSans-Regular.ttf" # its Latin text
	"fonts-dejavu-core:${FONTS:-/usr/share/fonts/truetype}/dejavu/DejaVuSans.ttf"              # another one's, for a test
	"fonts-wqy-microhei:${FONTS:-/usr/share/fonts/truetype}/wqy/wqy-microhei.ttc"              # its Chinese text
	prometheus:promtool        # the alerts, the dashboard and the metrics
)

main() {
	case "${1:-}" in
		-h | --help) usage; return 0 ;;
		'' | --without-consul) ;;
		*) usage >&2; return 2 ;;
	esac
	local here consul
	here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

	type -P go >/dev/null || fail "go is not on the PATH: install it from https://go.dev/dl/"
	log "Go: $(go env GOVERSION)"
	packages
	if [[ "${1:-}" != --without-consul ]]; then
		consul=$("$here/consul.sh")
		log "Consul: $consul"
		log "Caddy: $("$here/caddy.sh")"
	fi
	tengine
	log "ready"
}

# packages installs what is missing, and says what is skipped where there is no apt.
packages() {
	local entry missing=()
	for entry in "${needed[@]}"; do
		# Some are in /usr/sbin, which is not on everybody's PATH.
		if PATH=$PATH:/usr/sbin type -P "${entry#*:}" >/dev/null || [[ -f ${entry#*:} ]]; then
			log "${entry%%:*}: there"
		else
			missing+=("${entry%%:*}")
		fi
	done
	# On Linux go test -race builds with cgo.
	if type -P apt-get >/dev/null && ! gcc -E - <<<'#include <stdio.h>' >/dev/null 2>&1; then
		missing+=(gcc libc6-dev)
	fi
	[[ ${#missing[@]} -gt 0 ]] || return 0
	if ! type -P apt-get >/dev/null; then
		log "no apt-get here: the tests that need these are skipped: ${missing[*]}"
		return 0
	fi
	log "installing ${missing[*]}"
	as_root apt-get update -qq >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2
	[[ " ${missing[*]} " != *" etcd-server "* ]] || no_daemon etcd
	[[ " ${missing[*]} " != *" caddy "* ]] || no_daemon caddy
	log "installed ${missing[*]}"
}

# no_daemon ends the daemon that Debian starts when it installs one: tests start their own, and an open one is nobody's wish.
no_daemon() {
	if PATH=$PATH:/usr/sbin type -P invoke-rc.d >/dev/null; then
		as_root env PATH="$PATH:/usr/sbin:/sbin" invoke-rc.d --quiet "$1" stop >&2 || true
		as_root env PATH="$PATH:/usr/sbin:/sbin" update-rc.d "$1" disable >&2 || true
	fi
}

as_root() {
	if [[ $EUID -eq 0 ]]; then
		"$@"
	elif type -P sudo >/dev/null; then
		sudo "$@"
	else
		fail "this needs root, and there is no sudo: run as root: $*"
	fi
}

tengine() {
	if [[ -z "${TENGINE_BIN:-}" ]]; then
		log "Tengine: TENGINE_BIN is not set; its tests are skipped, all others use the double in dyups/dyupstest"
	elif [[ -x "$TENGINE_BIN" ]]; then
		log "Tengine: $TENGINE_BIN"
	else
		fail "TENGINE_BIN=$TENGINE_BIN is not an executable file"
	fi
}

log() { printf 'setup-tests.sh: %s\n' "$*"; }

fail() {
	printf 'setup-tests.sh: %s\n' "$*" >&2
	exit 1
}

usage() {
	cat <<'USAGE'
usage: scripts/setup-tests.sh [--without-consul]

Sets up what the tests need, and says what it found and did:

  Go                                must be there
  shellcheck, supervisor, systemd,  from Debian where missing, as root or through sudo
  debootstrap, rpm,                 (Debian starts the daemons of supervisor, docker.io, nginx and prometheus)
  nginx, libnginx-mod-http-lua, curl,
  gcc with libc6-dev,
  prometheus (for its promtool),
  fonts-liberation, fonts-dejavu-core,
  fonts-wqy-microhei,
  chromium                          or the browser that CHROME_BIN names
  dnsmasq-base, etcd-client         (the programs alone: no daemon)
  etcd-server, caddy                (their daemons are stopped again, and do not start by themselves)
  docker.io, docker-compose         (demo/imagetest starts dockerd where none runs, and ends it)
  Consul                            scripts/consul.sh: built once, then kept in the cache
                                    (--without-consul: not now)
  a newer Caddy                     scripts/caddy.sh: the same, after that
  Tengine                           never installed: TENGINE_BIN names one that you built

It may run again at any time, does nothing where all is there, and needs no root then. Where
there is no apt-get (macOS) it names what is missing, whose tests are skipped, and goes on.
Exit codes: 0 ready, 1 something is missing and can't be had, 2 wrong usage.
USAGE
}

main "$@"
