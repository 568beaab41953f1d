# `make demo` and `make test` are all a newcomer needs; every target makes the virtual environment that it runs in.
PYTHON ?= python3
VENV := .venv
BENCH := .venv-bench
DEMO := .venv-demo
COMMA := ,
PIP := -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz streams check lint types sdk-suite compat frameworks diagnosis-score trace-replay \
	requirements dist bench leaks processes canary audit coexistence prices alerts alerts-e2e collector phoenix mlflow jaeger clickhouse backends oracle clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ \t/' | sort

define new-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "promptcache needs Python 3.11 or newer: make PYTHON=python3.12 $@"; exit 2; }
	@echo "installing into $(1) ..."
	@$(PYTHON) -m venv $(1) && $(3)
	@touch $(1)/.ready
endef
# Install exactly the packages of requirements/$(2).txt. A release of another project cannot break these environments.
locked-venv = $(call new-venv,$(1),$(2),requirements/install.sh $(1)/bin/python requirements/$(2).txt)
# Install the newest packages that pyproject.toml allows.
newest-venv = $(call new-venv,$(1),$(2),$(1)/bin/python $(PIP) --editable '.[$(2)]')

$(DEMO)/.ready: pyproject.toml $(wildcard requirements/*)
	$(call locked-venv,$(DEMO),demo)

$(VENV)/.ready: pyproject.toml $(wildcard requirements/*)
	$(call locked-venv,$(VENV),dev)

COMPILE = $(VENV)/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	--no-header --no-emit-index-url
requirements: $(VENV)/.ready ## renew all locked packages: the newest that pyproject.toml and the tests allow
	@$(COMPILE) --group uv --output-file requirements/uv.txt
	@$(COMPILE) --extra dev --group build pyproject.toml --output-file requirements/dev.txt
	@$(COMPILE) --extra demo --group build pyproject.toml --constraint requirements/dev.txt --output-file requirements/demo.txt
	@$(VENV)/bin/python tests/compat/run.py --lock
	@git diff --stat requirements

demo: $(DEMO)/.ready ## the main job in a minute: a healthy service, a broken one, and what each costs
	@$(DEMO)/bin/python examples/demo.py

# One process for each core. `make test ARGS="tests/test_cost.py -k tier"` runs in one process, which starts faster.
test: ARGS ?= --numprocesses=auto --dist=loadgroup
test: $(VENV)/.ready ## the whole test suite, or a part of it: ARGS="tests/test_cost.py -k tier"
	@$(VENV)/bin/python -m pytest $(ARGS)

fuzz: $(VENV)/.ready ## 100,000 odd requests a provider, and a fault at every site in every call shape (an hour)
	@HYPOTHESIS_PROFILE=fuzz $(VENV)/bin/python -m pytest tests/test_fuzz.py tests/test_faults.py $(ARGS)

streams: $(VENV)/.ready ## 10,000 streams of each kind, 1,000 at once, ended in every way
	@STREAMS=10000 STREAMS_AT_ONCE=1000 $(VENV)/bin/python -m pytest tests/test_load.py $(ARGS)

check: lint types ## what the house rules can be checked by

lint: $(VENV)/.ready
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

types: $(VENV)/.ready
	@$(VENV)/bin/mypy && $(VENV)/bin/mypy --explicit-package-bases tests examples benchmarks
	@$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

SDK ?= openai
sdk-suite: $(VENV)/.ready ## an SDK's own tests, plain and instrumented (SDK=openai, anthropic, google-genai)
	@$(VENV)/bin/python tests/sdk_suite/run.py $(SDK)

compat: ## the call-shape matrix against older releases of the SDKs (RELEASES="oldest openai==2.0.0"; two at a time)
	@$(PYTHON) tests/compat/run.py '$(RELEASES)'

frameworks: ## frameworks with their real packages, each in its own environment (FRAMEWORKS="langchain-openai litellm")
	@$(PYTHON) tests/frameworks/run.py '$(FRAMEWORKS)'

# The newest of each that ran together in November 2026. Pinned: pip alone tries release after release, for minutes.
COEXISTENCE := .venv-coexistence
COEXISTING := openai==3.52.0 anthropic==2.11.0 aiobotocore==3.10.0 boto3==1.43.117 opentelemetry-sdk==1.45.2 \
	$(foreach sdk,openai anthropic bedrock,opentelemetry-instrumentation-genai-$(sdk)==1.3b0) \
	$(foreach sdk,openai anthropic bedrock,opentelemetry-instrumentation-$(sdk)==0.62.4) \
	opentelemetry-instrumentation-botocore==0.66b2 openinference-instrumentation-openai==0.1.66 \
	openinference-instrumentation-anthropic==3.1.0 openinference-instrumentation-bedrock==0.1.61 \
	logfire==5.2.0 langfuse==5.0.4 opentelemetry-exporter-otlp==1.45.2 schedule xmltodict pytest hypothesis
OTHERS := $(foreach sdk,openai anthropic,$(foreach kind,official openllmetry openinference logfire openlit,$(kind)-$(sdk))) \
	langfuse-openai native-anthropic botocore official-bedrock openllmetry-bedrock openinference-bedrock
$(COEXISTENCE)/.ready: pyproject.toml Makefile
	@echo "installing into $(COEXISTENCE) ..."
	@$(PYTHON) -m venv $(COEXISTENCE) && $(COEXISTENCE)/bin/python $(PIP) --editable '.[emulator]' $(COEXISTING)
	@# It names older SDKs than these as what it can do, and runs with these when nobody asks.
	@$(COEXISTENCE)/bin/python $(PIP) --no-deps openlit==1.45.0
	@touch $@

coexistence: $(COEXISTENCE)/.ready ## beside other LLM instrumentations: one span a call, theirs left untouched (OTHERS="logfire-openai ...")
	@$(COEXISTENCE)/bin/python -W ignore::RuntimeWarning -m tests.coexistence.check $(OTHERS)

PROCESSES := .venv-processes
$(PROCESSES)/.ready: pyproject.toml
	$(call newest-venv,$(PROCESSES),demo)
	@$(PROCESSES)/bin/python $(PIP) pytest pytest-asyncio hypothesis gunicorn celery

processes: $(PROCESSES)/.ready ## a hundred forks under load, and gunicorn, uvicorn and celery with a worker killed
	@PROMPTCACHE_FORKS=100 $(PROCESSES)/bin/python -m pytest tests/test_processes.py $(ARGS)
	@$(PROCESSES)/bin/python -m tests.processes.check

CANARY := .venv-canary
canary: ## whether the newest SDKs, pre-releases too, still have every function that we stand at
	@$(PYTHON) -m venv $(CANARY) && $(CANARY)/bin/python $(PIP) --upgrade --pre openai anthropic groq google-genai && \
		$(CANARY)/bin/python $(PIP) --upgrade 'aiobotocore>=3.10' websockets --editable .
	@# LiteLLM asks for older SDKs than the others, aiobotocore for an older botocore.
	@$(PYTHON) -m venv $(CANARY)-apart && $(CANARY)-apart/bin/python $(PIP) --upgrade litellm botocore --editable .
	@$(CANARY)/bin/python -m tests.canary.check; found=$$?; \
		LITELLM_LOCAL_MODEL_COST_MAP=true $(CANARY)-apart/bin/python -m tests.canary.check litellm botocore && exit $$found

audit: $(VENV)/.ready ## known vulnerabilities of what we depend on; what cannot be looked up fails too
	@$(PYTHON) -m venv .venv-audit && .venv-audit/bin/python $(PIP) pip-audit
	@$(VENV)/bin/python -m pip freeze --exclude-editable > .venv-audit/requirements.txt
	@.venv-audit/bin/python tests/audit/check.py .venv-audit/bin/pip-audit .venv-audit/requirements.txt

leaks: $(BENCH)/.ready ## what a million calls with unique prompts leave behind in memory (half an hour)
	@$(BENCH)/bin/python benchmarks/leaks.py

diagnosis-score: $(VENV)/.ready ## labelled breaks: how often the diagnosis says where and why (ARGS="--seeds 1")
	@$(VENV)/bin/python -m tests.breaks.score $(ARGS)

trace-replay: $(VENV)/.ready ## a public trace through the memory (TRACE=mooncake_conversation_trace.jsonl)
	@$(VENV)/bin/python benchmarks/trace_replay.py $(TRACE)

dist: $(VENV)/.ready ## build the wheel and the source distribution, and compare the wheel with the tree (TAG=v0.2.0)
	@rm -rf dist && $(VENV)/bin/python -m build --no-isolation --outdir dist . > /dev/null
	@$(VENV)/bin/python -m tests.support.wheel dist/*.whl $(TAG)

prices: $(VENV)/.ready ## compiles the price table anew from genai-prices, and shows what changed
	@$(VENV)/bin/promptcache prices build

alerts: $(VENV)/.ready ## generates the committed alerts and dashboards anew
	@$(VENV)/bin/python -c 'from promptcache_exporters.alerts.registry import write_committed_files; write_committed_files()'

alerts-e2e: $(VENV)/.ready ## the alerts against a real Prometheus and Alertmanager, from a broken prompt to the page
	@$(VENV)/bin/python -m pytest tests/alerts_e2e $(ARGS)

# Pinned, as the components in deploy/collector/ are. The modules come from there too: `go mod tidy`, which the builder
# would run, also wants what the components' own tests need, and not every module proxy has that.
OCB := go.opentelemetry.io/collector/cmd/builder@v0.155.0
OTELCOL := .collector/otelcol-promptcache
$(OTELCOL): deploy/collector/builder.yaml deploy/collector/go.mod deploy/collector/go.sum
	@echo "building a collector, 5 to 15 minutes ..."
	@GOBIN=$(CURDIR)/.collector go install $(OCB)
	@.collector/builder --config $< --skip-compilation --skip-get-modules --skip-strict-versioning
	@cp deploy/collector/go.mod deploy/collector/go.sum .collector/build/
	@cd .collector/build && go build -trimpath -ldflags='-s -w' -o ../otelcol-promptcache .

collector: $(VENV)/.ready ## builds a real collector with our configuration, sends it spans, reads them back (needs Go)
	@if command -v go > /dev/null; then $(MAKE) --no-print-directory $(OTELCOL) && \
		PROMPTCACHE_COLLECTOR=$(CURDIR)/$(OTELCOL) $(VENV)/bin/python -m pytest tests/collector $(ARGS); \
	else echo "Not run: a collector is built from source, and there is no Go toolchain here (1.25 or newer)."; fi

$(BENCH)/.ready: pyproject.toml
	$(call newest-venv,$(BENCH),sdk)
	@$(BENCH)/bin/python $(PIP) 'openai>=3' 'anthropic>=2' openinference-instrumentation-openai \
		openinference-instrumentation-anthropic 'opentelemetry-instrumentation-genai-openai>=1.0b0' \
		'opentelemetry-instrumentation-genai-anthropic>=1.0b0'
	@# Apart from each other: together pip tries release after release.
	@$(BENCH)/bin/python $(PIP) opentelemetry-instrumentation-openai
	@$(BENCH)/bin/python $(PIP) opentelemetry-instrumentation-anthropic
	@# It names older SDKs than these as what it can do.
	@$(BENCH)/bin/python $(PIP) --no-deps openlit && $(BENCH)/bin/python $(PIP) opentelemetry-exporter-otlp schedule xmltodict

bench: $(BENCH)/.ready $(DEMO)/.ready ## what we add to a call beside other instrumentations, and to a start
	@$(BENCH)/bin/python -m benchmarks.overhead
	@# Where no other instrumentation starts with it.
	@$(DEMO)/bin/python benchmarks/startup.py

# Big packages that only stand opposite ours, each in an environment of its own: what they depend on is not what we do.
OTLP := .venv-otlp
PHOENIX := .venv-phoenix
MLFLOW := .venv-mlflow
$(OTLP)/.ready: pyproject.toml
	$(call newest-venv,$(OTLP),demo$(COMMA)otlp)

$(PHOENIX)/bin/phoenix:
	@echo "installing Arize Phoenix into $(PHOENIX), 850 MB ..."
	@$(PYTHON) -m venv $(PHOENIX) && $(PHOENIX)/bin/python $(PIP) arize-phoenix

$(MLFLOW)/bin/mlflow:
	@echo "installing MLflow into $(MLFLOW), 850 MB ..."
	@$(PYTHON) -m venv $(MLFLOW) && $(MLFLOW)/bin/python $(PIP) 'mlflow>=3.17'

phoenix: $(OTLP)/.ready $(PHOENIX)/bin/phoenix ## the demo agent's spans in a real Arize Phoenix, read back through its API
	@$(OTLP)/bin/python examples/otlp_phoenix/run.py $(PHOENIX)/bin/phoenix

mlflow: $(OTLP)/.ready $(MLFLOW)/bin/mlflow ## the demo agent's spans in a real MLflow, read back through its API
	@$(OTLP)/bin/python -m tests.backends.mlflow_traces $(MLFLOW)/bin/mlflow

# Built from the module itself, by its own list of checksums. Release 1.76 holds the Jaeger 2 that the page is about; its
# web pages are not in the module, its API is.
JAEGER := .jaeger/jaeger
$(JAEGER):
	@echo "building a Jaeger, 5 to 15 minutes ..."
	@cd "$$(go mod download -json github.com/jaegertracing/jaeger@v1.76.0 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" && \
		go build -trimpath -ldflags='-s -w' -o $(CURDIR)/$(JAEGER) ./cmd/jaeger

jaeger: $(OTLP)/.ready ## builds a real Jaeger and tries every search of docs/jaeger.md on it (needs Go)
	@if command -v go > /dev/null; then $(MAKE) --no-print-directory $(JAEGER) && \
		$(OTLP)/bin/python -m tests.backends.jaeger_searches $(JAEGER); \
	else echo "Not run: Jaeger is built from source, and there is no Go toolchain here (1.25 or newer)."; fi

CHDB := .venv-chdb
$(CHDB)/.ready:
	@echo "installing chDB, ClickHouse's engine, into $(CHDB), 530 MB ..."
	@$(PYTHON) -m venv $(CHDB) && $(CHDB)/bin/python $(PIP) 'chdb-core>=26.9' && touch $@

clickhouse: $(OTLP)/.ready $(CHDB)/.ready ## the demo agent's spans and counters in ClickHouse's tables, by our collector (needs Go)
	@if command -v go > /dev/null; then $(MAKE) --no-print-directory $(OTELCOL) && \
		$(OTLP)/bin/python -m tests.backends.clickhouse_tables $(OTELCOL) $(CHDB)/bin/python; \
	else echo "Not run: a collector is built from source, and there is no Go toolchain here (1.25 or newer)."; fi

backends: phoenix mlflow ## both: a real Phoenix and a real MLflow hold what the demo agent did (1.7 GB of packages)

oracle: $(OTLP)/.ready $(PHOENIX)/bin/phoenix ## a real Phoenix prices the same calls from its own table
	@$(OTLP)/bin/python tests/oracle/phoenix_costs.py $(PHOENIX)/bin/phoenix

clean: ## removes what the other targets made
	rm -rf .venv* .collector .jaeger dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
