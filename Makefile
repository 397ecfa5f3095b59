# Each target is a plain command; read them as documentation.
# GO may name another go; VERSION goes into `cofferdam version`.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

export CGO_ENABLED ?= 0

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR    ?=

.PHONY: help build install demo test test-vm check fuzz bench clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

build: ## bin/cofferdam, bin/cofferdam-telemetry and the programs of the examples
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/cofferdam ./cmd/cofferdam-telemetry
	for app in zoobar rps draft isabelle; do \
		$(GO) build -trimpath -ldflags '-s -w' -o examples/$$app/bin/ ./examples/$$app/cmd/... || exit; \
	done

install: ## the binaries, units, profile and documents to $(DESTDIR)$(PREFIX)
	@[ -x bin/cofferdam ] && [ -x bin/cofferdam-telemetry ] || $(MAKE) --no-print-directory build
	install -D -m 755 bin/cofferdam $(DESTDIR)$(PREFIX)/bin/cofferdam
	install -D -m 755 bin/cofferdam-telemetry $(DESTDIR)$(PREFIX)/bin/cofferdam-telemetry
	for of in system user; do \
		install -d $(DESTDIR)$(PREFIX)/lib/systemd/$$of && \
		sed 's|/usr/local|$(PREFIX)|g' packaging/systemd/$$of/cofferdam@.service >$(DESTDIR)$(PREFIX)/lib/systemd/$$of/cofferdam@.service || exit; \
	done
	install -D -m 644 packaging/apparmor/cofferdam $(DESTDIR)$(SYSCONFDIR)/apparmor.d/cofferdam
	install -d $(DESTDIR)$(PREFIX)/share/doc/cofferdam
	install -m 644 README.md docs/*.md $(DESTDIR)$(PREFIX)/share/doc/cofferdam/

demo: ## the zoobar site on http://127.0.0.1:8888, privilege-separated
	@scripts/install demo
	@$(MAKE) --no-print-directory build
	@scripts/demo

test: ## everything that CI runs
	@scripts/install test
	@scripts/test

test-vm: ## the tests of isolation in virtual machines with the kernels of Debian
	@scripts/install vm
	@scripts/vm $(HOSTS)

check: ## format, vet, lint, known vulnerabilities
	@scripts/check

fuzz: ## every fuzz target for FUZZTIME (default 20s) each
	@scripts/fuzz

bench: ## our figures as ratios to named peers, measured side by side
	@scripts/install bench
	@$(MAKE) --no-print-directory build
	@scripts/bench

clean: ## what was built
	rm -rf bin examples/*/bin
