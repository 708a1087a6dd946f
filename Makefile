# Everything a newcomer needs: `make demo` runs the main job, `make test` tests everything, `make check` is the gate.
# Each target sets up what it needs inside target/; nothing is installed outside it.

CARGO ?= cargo
TOOLS := target/tools
DENY := $(TOOLS)/bin/cargo-deny
FUZZ := $(TOOLS)/bin/cargo-fuzz
FUZZ_SECONDS ?= 10
DEMO_SECONDS ?= 120
RESULTS ?=
INPUT ?=
IMAGE ?= xdt-queue-proxy
CONTAINER ?= $(shell command -v podman || command -v docker)
STATIC := target/static
PYTHON ?= python3
PYTHON_ENV := $(CURDIR)/target/python/venv
COST_SECONDS ?= 30
SOAK_MINUTES ?= 10

.PHONY: help demo cost smoke sweep readme-table test test-quick test-python test-pythons test-slow soak wheel check fmt clippy doc deny fuzz build release clean

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## Debug binaries of the whole workspace
	$(CARGO) build --workspace --bins

release: ## Release binaries of the main job
	$(CARGO) build --release -p xdt-queue-proxy -p xdt-cluster -p xdt-patterns -p xdt-bench

static: ## The sidecar as the image has it: one release binary that needs no libraries, in target/static/
	host=$$(rustc -vV | sed -n 's/^host: //p') && \
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release -p xdt-queue-proxy --target $$host --target-dir $(STATIC) && \
	cp $(STATIC)/$$host/release/xdt-queue-proxy $(STATIC)/xdt-queue-proxy
	XDT_STATIC_BINARY=$(CURDIR)/$(STATIC)/xdt-queue-proxy $(CARGO) test -p xdt-queue-proxy --test image -- --ignored

image: ## The sidecar's container image; IMAGE=name, CONTAINER=podman or docker
	@test -n "$(CONTAINER)" || { echo "image: needs podman or docker"; exit 1; }
	$(CONTAINER) build -f Containerfile -t $(IMAGE) \
		--build-arg XDT_COMMIT=$$(git describe --always --abbrev=7 --exclude='*' --dirty 2>/dev/null) .

demo: release ## The main job: real objects between two functions, every way, and a report; INPUT=path for your own files
	./target/release/xdt-bench demo --seconds $(DEMO_SECONDS) $(if $(INPUT),--input '$(INPUT)')

cost: ## What the sidecar itself costs: CPU, latency, memory, start-up (docs/cost.md)
	$(CARGO) build --release -p xdt-queue-proxy -p xdt-bench
	./target/release/xdt-bench cost --seconds $(COST_SECONDS)

smoke: release ## The main job in a few seconds, without the stores
	./target/release/xdt-bench demo --seconds 20 --sizes 10KB,1MB --backends inline,xdt-sf,xdt-ct,xdt-auto,grpc-stream,tcp

sweep: release ## Every pattern by every backend as published, under an hour on an idle machine; takes up RESULTS=folder again
	./target/release/xdt-bench sweep --profile published $(if $(RESULTS),--out '$(RESULTS)')

readme-table: release ## The README's table from a result folder: RESULTS=folder
	@test -n "$(RESULTS)" || { echo "readme-table: which results? make readme-table RESULTS=benchmarks/results/…"; exit 1; }
	./target/release/xdt-bench table '$(RESULTS)' --into README.md

test: test-quick test-python test-slow ## Everything: unit, property, process and slow tests, Rust and Python

test-quick: build ## Unit, property and process tests
	$(CARGO) test --workspace --no-fail-fast

# The tests run on the wheel, installed like a user's, in an environment below target/.
test-python: $(PYTHON_ENV)/installed ## The Python package: its wheel, built and tested against real sidecars
	$(CARGO) build -p xdt-queue-proxy --bins
	cd sdk-python && CARGO_TARGET_DIR=$(CURDIR)/target $(PYTHON_ENV)/bin/maturin build --quiet --profile dev \
		--out $(CURDIR)/target/python/wheels
	$(PYTHON_ENV)/bin/pip install --quiet --disable-pip-version-check --force-reinstall --no-deps \
		target/python/wheels/xdt-*-cp39-abi3-*.whl
	cd sdk-python && XDT_BINARIES=$(CURDIR)/target/debug $(PYTHON_ENV)/bin/python -m pytest -q \
		-o cache_dir=$(CURDIR)/target/python/cache

test-pythons: test-python ## The same wheel with every other CPython that is here (python3.9, python3.10, …)
	@for version in 3.9 3.10 3.11 3.12 3.13 3.14; do \
		python$$version -c '' 2>/dev/null || continue; \
		echo "python$$version"; env=$(CURDIR)/target/python/venv-$$version; \
		python$$version -m venv $$env && $$env/bin/pip install --quiet --disable-pip-version-check --force-reinstall \
			pytest==8.4.2 target/python/wheels/xdt-*-cp39-abi3-*.whl || exit 1; \
		(cd sdk-python && XDT_BINARIES=$(CURDIR)/target/debug $$env/bin/python -m pytest -q -p no:cacheprovider \
			tests/test_buffers.py tests/test_verbs.py tests/test_async.py tests/test_exceptions.py tests/test_process.py) || exit 1; \
	done

wheel: $(PYTHON_ENV)/installed ## The Python package as users install it, in target/python/release/
	cd sdk-python && CARGO_TARGET_DIR=$(CURDIR)/target $(PYTHON_ENV)/bin/maturin build --out $(CURDIR)/target/python/release

$(PYTHON_ENV)/installed: sdk-python/requirements-test.txt
	$(PYTHON) -m venv $(PYTHON_ENV)
	$(PYTHON_ENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

test-slow: release ## Gigabytes through two release sidecars
	$(CARGO) test -p xdt-queue-proxy --test memory -- --ignored --test-threads 1

soak: build ## Mixed transfers over a breaking link for SOAK_MINUTES minutes; memory, descriptors and held bytes must return to the start
	SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test -p xdt-queue-proxy --test stream -- --ignored --nocapture memory_descriptors

check: fmt clippy doc deny test smoke fuzz ## All gates, as CI runs them

fmt: ## Formatting
	$(CARGO) fmt --all --check

clippy: ## Lints, warnings denied
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p xdt --no-default-features -- -D warnings

doc: ## Documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

deny: $(DENY) ## Licences, sources, banned crates
	$(DENY) check bans licenses sources

$(DENY):
	$(CARGO) install --locked --root $(TOOLS) cargo-deny@0.20.2

fuzz: ## Each fuzz target for FUZZ_SECONDS seconds; needs a nightly toolchain
	@if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then \
		$(MAKE) --no-print-directory fuzz-run; \
	else echo "fuzz: skipped, no nightly toolchain here"; fi

.PHONY: fuzz-run
fuzz-run: $(FUZZ)
	@for target in $$(PATH=$(CURDIR)/$(TOOLS)/bin:$$PATH $(CARGO) +nightly fuzz list --fuzz-dir queue-proxy/fuzz); do \
		echo "fuzz: $$target"; \
		PATH=$(CURDIR)/$(TOOLS)/bin:$$PATH $(CARGO) +nightly fuzz run --fuzz-dir queue-proxy/fuzz --target-dir target/fuzz $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=0 -verbosity=0 || exit 1; \
	done; echo "fuzz: all targets ran"

$(FUZZ):
	$(CARGO) install --locked --root $(TOOLS) cargo-fuzz@0.13.2

clean: ## Removes everything that was built
	$(CARGO) clean
