# Two of these do everything on a fresh Debian machine with Go: make demo, make test.

TOOL     := go tool -modfile=scripts/tools/go.mod
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
FUZZTIME ?= 5s
SEEDS    ?= 20000
WORLD    ?= .

.PHONY: help build demo test short lint fuzz simulate mutate bench profile allocs consul caddy screenshots install package clean

help: #? print this list
	@sed -n 's/^\([a-z]*\):.*#? \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

build: #? build bin/swallowkeeper
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/swallowkeeper ./cmd/swallowkeeper
	@mkdir -p demo/bin && cp bin/swallowkeeper demo/bin/ # for docker build demo/

demo: build #? see all of it at work on this machine, with nothing installed: STORY=docker, say
	bin/swallowkeeper demo $(if $(STORY),--story $(STORY))

test: #? set up what the tests need, and run them all
	scripts/test.sh $(TEST_JSON)

short: #? the tests that need nothing but Go
	go test -short ./...

lint: #? linters, formatting, go.mod, shell scripts
	$(TOOL) golangci-lint run ./...
	go vet ./...
	go mod tidy --diff
	shellcheck scripts/*.sh scripts/package/*.sh demo/image/*.sh .ci/run

fuzz: #? every fuzz target for FUZZTIME (5s)
	scripts/fuzz.sh $(FUZZTIME)

simulate: #? the whole controller in SEEDS (20000) worlds of trouble; see simulation/doc.go
	GOGC=1600 go test ./simulation -count 1 -timeout 0 -args -seeds $(SEEDS) -replayed 40 -times 5 -plays 100

mutate: #? change one operator of package guard after the other: which does no test notice?
	scripts/mutate.sh ./guard

bench: #? what changes cost, in one table: WORLD=https/1000 for less, LONG=1, KEEP=1; docs/performance.md
	scripts/setup-tests.sh
	scripts/bench.sh --world '$(WORLD)' $(if $(LONG),--long) $(if $(KEEP),--keep)

profile: #? profiles of ours under changes, in dist/profiles: WORLD as above
	scripts/bench.sh --world '$(WORLD)' --programs ours --profile dist/profiles

allocs: #? what inner loops allocate, beside scripts/allocs.txt
	scripts/allocs.sh

consul: #? build the real Consul that tests use, and print its path
	scripts/consul.sh

caddy: #? build a newer Caddy than Debian's that tests use, and print its path
	scripts/caddy.sh

# It builds nothing: under sudo there is often no Go on the PATH.
install: #? what make build made, into /usr/local; systemd units, example configuration
	@test -x bin/swallowkeeper || { echo "run make build first" >&2; exit 1; }
	install -D -m 755 bin/swallowkeeper $(DESTDIR)/usr/local/bin/swallowkeeper
	install -D -m 644 scripts/swallowkeeper.service $(DESTDIR)/etc/systemd/system/swallowkeeper.service
	install -D -m 644 scripts/dyups.tmpfiles.conf $(DESTDIR)/etc/tmpfiles.d/swallowkeeper.conf
	install -D -m 644 scripts/nginx-dyups.conf $(DESTDIR)/etc/systemd/system/nginx.service.d/dyups-socket.conf
	test -e $(DESTDIR)/etc/swallowkeeper.toml || install -D -m 640 \
		$$(getent group swallowkeeper >/dev/null && echo -g swallowkeeper) \
		scripts/swallowkeeper.toml $(DESTDIR)/etc/swallowkeeper.toml

screenshots: #? take the pictures of the page in docs/images anew
	SWALLOWKEEPER_SCREENSHOTS=1 go test ./status/page -count 1 -run TestInTheBrowser

package: #? .deb, .rpm and tarballs for Linux on amd64 and arm64, in dist/
	scripts/package/build.sh

clean: #? remove what was built
	rm -rf bin demo/bin dist
