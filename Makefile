# Needs Go, make and, for a real ClickHouse in tests and in the example, npm. Nothing else.
.DEFAULT_GOAL := help
.PHONY: help run run-engine run-program check test engine lint format vet staticcheck tidy security gosec govulncheck bench soak fuzz sim chaos bench-bus bench-store exchange pause monitoring-check monitoring-deep

# Arguments of the example: make run ARGS='--source live --for 0'
ARGS ?=
# Packages to test: make test PKG=./orderbook
PKG ?= ./...
# Packages tested at a time: make test P=1
P ?=
# Further flags of go test: make test PKG=./natsbus TESTARGS='-run TestRun -v'
TESTARGS ?=
# With RACE=-race, lint and monitoring-check use the packages that make test has compiled
RACE ?=
# What make check compares with
BASE ?= main
FUZZTIME ?= 10s
SEEDS ?= 10000
KILLS ?= 200
SEED ?= 1
BENCH ?= .
COUNT ?= 1

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOSEC := github.com/securego/gosec/v2/cmd/gosec@v2.30.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
COMPOSE := github.com/compose-spec/compose-go/v2/cmd@v2.16.2
BANNER := ************************************************************************

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | column -t -s @ 2>/dev/null || \
	 sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

run: ## Run the whole pipeline: exchange, NATS and ClickHouse in one process (ARGS='--help' for its options)
	@$(MAKE) --no-print-directory -j2 run-engine run-program
	@exec ./bin/marketprism run $(ARGS)

# The two parts of run that take time, side by side.
run-engine:
	@$(engine-or-dsn)

run-program:
	@[ -x bin/marketprism ] || echo "program: compiling bin/marketprism, a minute the first time (Go fetches what it has not cached, up to 110 MB)" >&2
	@go build -buildvcs=false -ldflags=-w -o bin/marketprism ./examples/marketprism

# With CLICKHOUSE_DSN the programs use that server.
engine-or-dsn = if [ -z "$$CLICKHOUSE_DSN" ]; then ./internal/chserver/engine/install.sh; fi

check: ## Check a change in seconds: format, vet and the fast tests of what changed against main (BASE=commit)
	@BASE='$(BASE)' .ci/check

# What is left out is listed at the end. With CI=true it is a failure.
test: ## Run all tests with the race detector (PKG=./orderbook for one package)
	@race=-race; left=; \
	./internal/chserver/engine/install.sh || \
	  left='  every test that needs ClickHouse: chstore, its engine, and the whole pipeline'; \
	if [ "$$(go env CGO_ENABLED)" != 1 ]; then \
	  race=; left="$$left\n  the race detector, since there is no C compiler"; fi; \
	if [ -n "$$left" ] && [ "$$CI" = true ]; then printf "CI may not leave out:\n$$left\n" >&2; exit 1; fi; \
	echo "go test $$race -shuffle=on -timeout 20m $(P:%=-p %) $(PKG) $(TESTARGS)"; \
	go test $$race -shuffle=on -timeout 20m $(P:%=-p %) $(PKG) $(TESTARGS); status=$$?; \
	if [ -n "$$left" ]; then printf "$(BANNER)\nLEFT OUT:\n$$left\n$(BANNER)\n" >&2; fi; \
	exit $$status

engine: ## Install the ClickHouse engine that tests and the example start (npm, pinned; about 180 MB)
	@./internal/chserver/engine/install.sh

lint: format vet staticcheck tidy ## Check formatting, go vet, staticcheck and that go.mod is tidy

format:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then gofmt -d $$unformatted; exit 1; fi

vet:
	go vet $(RACE) ./...

# The flags of RACE are for the packages, not for the tool.
staticcheck:
	go run -exec "env 'GOFLAGS=$$(go env GOFLAGS) $(RACE)'" $(STATICCHECK) ./...

tidy:
	go mod tidy -diff

security: gosec govulncheck ## Check with gosec, and with govulncheck, which needs vuln.go.dev

# Left out: G115, conversions of numbers, since decoders check bounds themselves and are fuzzed; G104, errors of closing
# and of hashes. A line that is right all the same says why: #nosec G304 -- the folder is a setting.
gosec:
	go run $(GOSEC) -quiet -tests=false -exclude=G104,G115 -exclude-dir=internal/bench -exclude-dir=internal/intruder ./...

govulncheck:
	go run $(GOVULNCHECK) ./...

bench: ## Run the benchmarks of the README (BENCH=regexp, COUNT=n)
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./orderbook ./binance

bench-bus: ## Measure the bus beside nats.go by hand (ARGS='-records 5000 -rounds 2'), or books from it (ARGS='-books 1300')
	go run ./internal/bench/bus $(ARGS)

bench-store: ## Measure the archive on a real ClickHouse: writing, size, book at a moment, scan (ARGS='-rows 100000 -day 1h')
	@./internal/chserver/engine/install.sh
	go build -buildvcs=false -o bin/bench-store ./internal/bench/store
	./bin/bench-store $(ARGS)

exchange: ## Measure what the books of a whole exchange cost (ARGS='-duration 1m -spread 0')
	go run ./internal/bench/exchange $(ARGS)

pause: ## Stop the driver of a whole exchange for 20 and 70 seconds, then a collector for 5 and its bus for 60; empty a disk queue (15 minutes)
	go test -run '^TestPause$$' -v -timeout 0 ./binance -pause $(ARGS)
	go test -run '^(TestPause|TestDrain)$$' -v -timeout 0 ./internal/integration -pause

soak: ## Run the pipeline at the load of a whole exchange for 10 minutes (ARGS='--for 3m --count 300' for less)
	@$(engine-or-dsn)
	go build -buildvcs=false -o bin/marketprism ./examples/marketprism
	./bin/marketprism soak $(ARGS)

fuzz: ## Run each fuzz test for FUZZTIME (10s)
	@set -e; for pkg in $$(go list $(PKG)); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "== $$pkg $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$pkg; \
	  done; \
	done

sim: ## Run SEEDS (10000) seeds of the simulations of the order book and, for each market, of the driver
	go test -run '^TestSimulation$$' -timeout 0 ./orderbook ./binance -seeds=$(SEEDS)

chaos: ## Kill publisher, consumer and NATS server KILLS (200) times between them; then archiver, ClickHouse and NATS KILLS times each (SEED=n)
	go test -run '^TestKillStorm$$' -v -timeout 0 ./internal/integration -kills=$(KILLS) -seed=$(SEED)
	@./internal/chserver/engine/install.sh
	go test -run '^TestKillAnything$$' -v -timeout 0 ./internal/chaos -kills=$(KILLS) -seed=$(SEED)

# .ci/monitoring installs what is needed.
monitoring-check: ## Check rules, alerts, dashboards, units and the whole monitoring chain with the real tools
	@./internal/chserver/engine/install.sh
	@cd examples/marketprism/deploy && echo "compose-go compose.yaml" && go run $(COMPOSE) compose.yaml >/dev/null
	MONITORING=1 GOFLAGS="$$(go env GOFLAGS) $(RACE)" go test -count=1 -vet=off -shuffle=on -timeout 20m ./examples/marketprism/metrics ./examples/marketprism/monitoring

monitoring-deep: ## Build Loki and the OpenTelemetry Collector (20 minutes, once) and send the program's logs through them
	@./internal/chserver/engine/install.sh
	.ci/monitoring-deep
