# Every command of this repository. `make` alone lists them.
#
# `make demo` and `make test` do everything on a fresh Debian or Ubuntu with Rust: packages
# too. Outside this tree they write only to the cache folder below (and to the system's
# packages), and they leave nothing running. Any variable can be given on the command line.

cache  := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mizar
here   := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))

CARGO_TARGET_DIR ?= $(cache)/target
MIZAR_VENV       ?= $(cache)/venv
export CARGO_TARGET_DIR MIZAR_VENV

CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
PLUGIN  ?= yes
NODES   ?= 2
EVENTS  ?= 2000
ARGS    ?=

dev      = $(CARGO_TARGET_DIR)/debug
release  = $(CARGO_TARGET_DIR)/release
say      = @printf '==> %s\n'
version := $(shell sed -n 's/^version = "\(.*\)"/\1/p' $(here)/Cargo.toml | head -n 1)
# Tools that this Makefile installs for itself are found first.
export PATH := $(cache)/tools/bin:$(PATH)

# ---- Every day

.PHONY: help
help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: packages venv ## close the whole loop on CMIP6 data: event, job, result, report, PROV
	@tests/demo/demo.sh

.PHONY: test
test: packages venv modules nextest helm lint build ## check and test everything
	$(say) 'testing: documentation examples'
	@$(CARGO) test --quiet --workspace --doc
	$(say) 'testing: everything else'
	@$(CARGO) nextest run --workspace

.PHONY: faults
faults: packages build ## kill gateway, slurmctld and mizard under EVENTS=2000 events on a real Slurm (minutes)
	@MIZAR_FAULT_EVENTS=$(EVENTS) $(CARGO) test --quiet -p mizar-gateway --test lab_gateway -- --nocapture

.PHONY: conformance
conformance: packages venv ## compare every operator of mizar cube with CDO's (ARGS="--operator 'ymon*' --all")
	@$(CARGO) build --quiet --release -p mizar-cli
	@$(MIZAR_VENV)/bin/python $(here)/tests/conformance/conformance.py --mizar $(release)/mizar $(ARGS)

.PHONY: lint
lint: ## formatting and lints
	$(say) 'formatting'
	@$(CARGO) fmt --all --check
	$(say) 'lints'
	@$(CARGO) clippy --workspace --all-targets -- -D warnings

.PHONY: build
build: ## build every program and the plugin (dev profile)
	$(say) 'building'
	@$(CARGO) build --workspace --all-targets

.PHONY: doc
doc: ## build the API documentation and refuse broken links
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

.PHONY: deny
deny: ## licences, bans, sources and advisories with cargo-deny, where it is installed
	@command -v cargo-deny >/dev/null || { \
	  echo 'cargo-deny is not installed: cargo install --locked cargo-deny'; exit 1; }
	@$(CARGO) deny check

# ---- A private cluster to try things on

lab_programs = $(CARGO) build --quiet -p mizar-lab -p mizar-agent -p mizar-cli -p mizar-gateway -p mizar-preload -p mizar-collective -p spank-mizar

.PHONY: lab-up
lab-up: packages ## start a private Slurm with mizard on NODES=2 nodes
	@$(lab_programs)
	@$(dev)/mizar-lab up --nodes $(NODES) $(ARGS)

.PHONY: lab-down
lab-down: ## stop it, and leave nothing behind
	@$(CARGO) build --quiet -p mizar-lab
	@$(dev)/mizar-lab down

.PHONY: lab-env
lab-env: ## print the path of a file to source before srun, sbatch, mizar
	@$(CARGO) build --quiet -p mizar-lab
	@$(dev)/mizar-lab env

# ---- Figures (benches/README.md says what each measures)

benches = plugin mizard telemetry gateway arrays comm train infer

.PHONY: bench $(benches:%=bench-%)
bench: ## run every benchmark, one after another
	@for bench in $(benches); do $(MAKE) --no-print-directory bench-$$bench || exit $$?; done

bench-plugin: ## srun with the plugin over srun without
bench-mizard: ## cost of mizard with 50 tasks
bench-telemetry: ## cost of sampling at each rate, size of records, a day's report
bench-gateway: ## durable events per second
bench-comm: ## cost of --mizar=comm at 10,000 MPI calls a second
bench-train: ## training and all-reduce beside PyTorch (make torch first)
bench-infer: ## mizar infer and its server beside onnxruntime in Python
bench-arrays: ## the array engine beside CDO, xarray and a C loop
# What a benchmark needs of this repository; all of it unless said here. (No tract: minutes.)
bench_packages       = --workspace --bins --lib
bench_packages_gateway = -p mizar-benches -p mizar-gateway --no-default-features --bin bench_gateway --bin mizar-gateway
bench_packages_infer = -p mizar-benches -p mizar-cli --no-default-features --bin bench_infer --bin mizar
$(benches:%=bench-%): bench-%: packages venv
	@$(CARGO) build --quiet --release $(or $(bench_packages_$*),$(bench_packages))
	@$(release)/bench_$* $(ARGS)

# ---- Installation

share      = $(DESTDIR)$(PREFIX)/share
module_dir = $(share)/modulefiles/mizar

.PHONY: install
install: ## build in release and install under PREFIX=/usr/local, DESTDIR= (PLUGIN=no: without Slurm)
	$(say) 'building in release'
	@$(CARGO) build --release -p mizar-cli -p mizar-agent -p mizar-gateway -p mizar-slurm -p mizar-preload -p mizar-collective $(if $(filter yes,$(PLUGIN)),-p spank-mizar)
	$(say) 'installing to $(DESTDIR)$(PREFIX)'
	@install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/slurm $(module_dir) \
	  $(DESTDIR)$(PREFIX)/lib/systemd/system $(share)/man/man1 $(share)/doc/mizar/examples \
	  $(share)/bash-completion/completions $(share)/zsh/site-functions \
	  $(share)/fish/vendor_completions.d
	@install -d $(DESTDIR)$(PREFIX)/include $(share)/mizar/python
	@install -m 644 runtime/preload/include/mizar.h runtime/collective/include/mizar_collective.h $(DESTDIR)$(PREFIX)/include/
	@install -m 644 runtime/preload/python/mizar.py $(share)/mizar/python/
	@# As below: running programs have it mapped.
	@for library in libmizar_comm.so libmizar_collective.so; do \
	  install -m 755 $(release)/$$library $(DESTDIR)$(PREFIX)/lib/.$$library.new && \
	  mv -f $(DESTDIR)$(PREFIX)/lib/.$$library.new $(DESTDIR)$(PREFIX)/lib/$$library || exit 1; done
	@install -m 755 $(release)/mizar $(release)/mizard $(release)/mizar-gateway $(release)/mizar-submit-as $(DESTDIR)$(PREFIX)/bin/
ifeq ($(PLUGIN),yes)
	@# A rename swaps the plugin whole: a half-written one would be loaded by a running slurmd.
	@install -m 755 $(release)/libspank_mizar.so $(DESTDIR)$(PREFIX)/lib/slurm/.spank_mizar.so.new
	@mv -f $(DESTDIR)$(PREFIX)/lib/slurm/.spank_mizar.so.new $(DESTDIR)$(PREFIX)/lib/slurm/spank_mizar.so
endif
	@install -m 644 modulefiles/mizar/$(version) modulefiles/mizar/$(version).lua $(module_dir)/
	@for unit in $(wildcard daemon/*/*/*.service); do \
	  sed -E 's|^ExecStart=/usr(/local)?/|ExecStart=$(PREFIX)/|' $$unit > $(DESTDIR)$(PREFIX)/lib/systemd/system/$${unit##*/}; done
	@install -m 644 examples/*.sbatch $(wildcard daemon/*/*.example.* daemon/*/deploy/*.toml slurm-plugin/*.example) $(share)/doc/mizar/examples/
	@$(release)/mizar man > $(share)/man/man1/mizar.1
	@for command in cube infer ps top report plot comm-bench tune doctor train completions man; do \
	  $(release)/mizar man $$command > $(share)/man/man1/mizar-$$command.1 || exit 1; done
	@$(release)/mizar completions bash > $(share)/bash-completion/completions/mizar
	@$(release)/mizar completions zsh > $(share)/zsh/site-functions/_mizar
	@$(release)/mizar completions fish > $(share)/fish/vendor_completions.d/mizar.fish
	@$(release)/mizar-gateway generate man > $(share)/man/man1/mizar-gateway.1
	@$(release)/mizar-gateway generate bash > $(share)/bash-completion/completions/mizar-gateway
	@$(release)/mizar-gateway generate zsh > $(share)/zsh/site-functions/_mizar-gateway
	@$(release)/mizar-gateway generate fish > $(share)/fish/vendor_completions.d/mizar-gateway.fish
	@echo 'Next, on every node: README.md, "How a site installs it".'

# ---- What the commands above need

.PHONY: packages
packages:
	@tests/tools/packages.sh

.PHONY: venv
venv: packages
	@tests/tools/venv.sh >/dev/null

.PHONY: mlflow
mlflow: packages ## fetch MLflow for the tests that talk to it (350 MB; they skip without it)
	@tests/tools/mlflow.sh >/dev/null

.PHONY: torch
torch: packages ## fetch PyTorch for the tests of mizar.ddp and bench-train (5 GB; they skip without it)
	@tests/tools/torch.sh >/dev/null

.PHONY: modules
modules: packages
	@tests/tools/modules.sh

.PHONY: nextest
nextest:
	@tests/tools/nextest.sh

.PHONY: helm
helm: venv
	@tests/tools/helm.sh
