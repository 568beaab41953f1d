# `make test` and `make demo` are enough for a newcomer. `make help` lists all targets.
# Each target installs what it needs into a virtual environment of its own.
PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
BENCH := .venv-bench
PIP := -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help demo docs screenshots test check lint types requirements dist clean \
	compat canary plugin ci-example frameworks coexistence sdk-suite fuzz streams processes \
	diagnosis-score diagnosis-score-simple whatif-score trace-replay bench leaks audit sbom prices alerts \
	alerts-e2e collector phoenix mlflow jaeger clickhouse engines engines-spark engine-rows deployment backends oracle

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "%-16s %s\n", $$1, $$2}'

# ---------------------------------------------------------------- environments

# Make the environment $(1) with exactly the packages of requirements/$(2).txt, and with this checkout. A new release of
# another project cannot break it.
define locked-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "promptcache needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }
	@echo "installing into $(1) ..."
	@$(PYTHON) -m venv $(1)
	@requirements/install.sh $(1)/bin/python requirements/$(2).txt
endef

$(VENV)/.ready: pyproject.toml $(wildcard requirements/*)
	$(call locked-venv,$(VENV),dev)
	@touch $@

$(DEMO)/.ready: pyproject.toml $(wildcard requirements/*)
	$(call locked-venv,$(DEMO),demo)
	@touch $@

COMPILE = $(VENV)/bin/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	--no-header --no-emit-index-url
requirements: $(VENV)/.ready ## lock the newest packages that pyproject.toml and the tests allow
	@$(COMPILE) --group uv --output-file requirements/uv.txt
	@$(COMPILE) --extra dev --group build pyproject.toml --output-file requirements/dev.txt
	@$(COMPILE) --extra demo --group build pyproject.toml --constraint requirements/dev.txt \
		--output-file requirements/demo.txt
	@$(VENV)/bin/python tests/compat/run.py --lock
	@$(VENV)/bin/python tests/plugin/run.py --lock
	@git diff --stat requirements

# ---------------------------------------------------------------- every day

demo: $(DEMO)/.ready ## show the main job in a minute: a healthy service, a broken service, and what each costs
	@$(DEMO)/bin/python examples/demo.py

# By default one process for each core. A part of the suite runs in one process, since that starts faster. The sources
# are compiled first: where Python may write no bytecode, each of the hundreds of processes would compile them again.
test: ARGS ?= --numprocesses=auto --dist=loadscope
test: $(VENV)/.ready ## run all tests, or some of them: ARGS="tests/test_cost.py -k tier"
	@$(VENV)/bin/python -m compileall -q instrumentation exporters tests
	@$(VENV)/bin/python -m pytest $(ARGS)

docs: $(VENV)/.ready ## build the site of the documentation into .site; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --quiet --strict

screenshots: $(VENV)/.ready ## take the pictures of the page in docs/images (needs Chromium)
	@$(VENV)/bin/python -W ignore -m docs_site.screenshots

check: lint types ## run the linter, the formatter and both type checkers

lint: $(VENV)/.ready
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

types: $(VENV)/.ready
	@$(VENV)/bin/mypy
	@$(VENV)/bin/mypy --explicit-package-bases tests examples benchmarks docs_site
	@$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

dist: $(VENV)/.ready ## build wheel and source distribution, and compare the wheel with the tree (TAG=v0.2.0)
	@rm -rf dist
	@$(VENV)/bin/python -m build --no-isolation --outdir dist . > dist.log 2>&1 || { cat dist.log; exit 1; }
	@rm dist.log
	@$(VENV)/bin/python -m tests.support.wheel dist/*.whl $(TAG)

prices: $(VENV)/.ready ## compile the price table from genai-prices, and show what changed
	@$(VENV)/bin/promptcache prices build

alerts: $(VENV)/.ready ## generate the committed alerts, dashboards and statements for ClickHouse
	@$(VENV)/bin/python -c 'from promptcache_exporters.alerts.registry import regenerate_committed_files; regenerate_committed_files()'
	@$(VENV)/bin/promptcache engine clickhouse --attributes typed > deploy/clickhouse/promptcache.sql

clean: ## remove what the other targets made
	rm -rf .venv* .site .collector .jaeger .kubernetes dist sbom .pytest_cache .mypy_cache .ruff_cache .hypothesis

# ---------------------------------------------------------------- other releases, other packages

compat: ## test all call shapes on other releases of the SDKs (RELEASES="oldest newest openai==2.0.0")
	@$(PYTHON) tests/compat/run.py '$(RELEASES)'

CANARY := .venv-canary
canary: ## check that the newest SDKs, pre-releases too, still have every function that we wrap
	@$(PYTHON) -m venv $(CANARY)
	@$(CANARY)/bin/python $(PIP) --upgrade --pre openai anthropic groq google-genai
	@$(CANARY)/bin/python $(PIP) --upgrade 'aiobotocore>=3.10' websockets --editable .
	@# LiteLLM pins older SDKs than these, and aiobotocore an older botocore.
	@$(PYTHON) -m venv $(CANARY)-apart
	@$(CANARY)-apart/bin/python $(PIP) --upgrade litellm botocore --editable .
	@$(CANARY)/bin/python -m tests.canary.check; found=$$?; \
		LITELLM_LOCAL_MODEL_COST_MAP=true $(CANARY)-apart/bin/python -m tests.canary.check litellm botocore && \
		exit $$found

plugin: ## test the pytest plugin with real mocks, agents of five frameworks and the oldest pytest (ENVIRONMENTS="newest")
	@$(PYTHON) tests/plugin/run.py '$(ENVIRONMENTS)'

ci-example: $(VENV)/.ready ## run examples/ci: it passes, its pull request fails, and docs/ci.md shows what pytest prints
	@$(VENV)/bin/python tests/plugin/ci_example.py

frameworks: ## test frameworks with their real packages (FRAMEWORKS="langchain-openai litellm")
	@$(PYTHON) tests/frameworks/run.py '$(FRAMEWORKS)'

# The newest releases that ran together in November 2026. They are pinned, since pip tries release after release for
# minutes.
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
	@$(PYTHON) -m venv $(COEXISTENCE)
	@$(COEXISTENCE)/bin/python $(PIP) --editable '.[sdk,emulator]' $(COEXISTING)
	@# OpenLIT requires older SDKs than these, but works with them.
	@$(COEXISTENCE)/bin/python $(PIP) --no-deps openlit==1.45.0
	@touch $@

coexistence: $(COEXISTENCE)/.ready ## test beside other LLM instrumentations: one span for each call (OTHERS="logfire-openai ...")
	@$(COEXISTENCE)/bin/python -W ignore::RuntimeWarning -m tests.coexistence.check $(OTHERS)

SDK ?= openai
sdk-suite: $(VENV)/.ready ## run an SDK's own tests, plain and instrumented (SDK=openai, anthropic or google-genai)
	@$(VENV)/bin/python tests/sdk_suite/run.py $(SDK)

# ---------------------------------------------------------------- longer tests

fuzz: $(VENV)/.ready ## 100,000 odd requests for each provider and the emulator, and a fault at every function (two hours)
	@HYPOTHESIS_PROFILE=fuzz $(VENV)/bin/python -m pytest tests/test_fuzz.py tests/test_faults.py \
		tests/test_emulator_hostile.py $(ARGS)

harness-bench: $(VENV)/.ready ## compare the harness with the best placement, every API and documented rule (SETS=readings; half an hour)
	@$(VENV)/bin/python -m tests.oracle.harness_regret $(SETS)

harness-bytes: $(VENV)/.ready ## the same bytes of a prompt in 1,000 processes with other seeds, locales and time zones (five minutes)
	@HARNESS_SEEDS=1000 $(VENV)/bin/python -m pytest tests/test_harness_prompt.py -k seeds $(ARGS)
	@$(VENV)/bin/python benchmarks/harness.py

harness-mixes: $(VENV)/.ready ## 100,000 random mixes of layers, breakpoints, TTLs and models: the emulator refuses none (20 minutes)
	@HARNESS_MIXES=100000 $(VENV)/bin/python -m pytest tests/test_harness_random.py $(ARGS)

# Pinned, since pip tries release after release for minutes.
LAYOUTS := .venv-layouts
$(LAYOUTS)/.ready: pyproject.toml
	@echo "installing into $(LAYOUTS) ..."
	@$(PYTHON) -m venv $(LAYOUTS)
	@$(LAYOUTS)/bin/python $(PIP) --editable '.[sdk,emulator]' langchain==1.5.2 langchain-anthropic==1.7.10 \
		langchain-openai==1.7.4 'pydantic-ai-slim[anthropic,openai]==2.68.0' openai-agents==0.24.0
	@touch $@

framework-layouts: $(LAYOUTS)/.ready ## what LangChain, pydantic-ai and the Agents SDK cost, plain and by our plan (20 minutes)
	@$(LAYOUTS)/bin/python -m tests.oracle.framework_layouts $(if $(WORKLOADS),"$(WORKLOADS)")

streams: $(VENV)/.ready ## 10,000 streams of each kind, 1,000 at once, which end in every way
	@STREAMS=10000 STREAMS_AT_ONCE=1000 $(VENV)/bin/python -m pytest tests/test_load.py $(ARGS)

PROCESSES := .venv-processes
$(PROCESSES)/.ready: pyproject.toml $(wildcard requirements/*)
	$(call locked-venv,$(PROCESSES),demo)
	@$(PROCESSES)/bin/python $(PIP) pytest pytest-asyncio hypothesis gunicorn celery nbclient ipykernel
	@touch $@

processes: $(PROCESSES)/.ready ## fork a hundred times under load; gunicorn, uvicorn and celery with a killed worker; a notebook
	@PROMPTCACHE_FORKS=100 $(PROCESSES)/bin/python -m pytest tests/test_processes.py $(ARGS)
	@$(PROCESSES)/bin/python -m tests.processes.check
	@$(PROCESSES)/bin/python -m tests.processes.notebook

diagnosis-score: $(VENV)/.ready ## the exam: does the diagnosis find the place and the reason of labelled breaks (ARGS="--seeds 1")
	@$(VENV)/bin/python -m tests.breaks.exam $(ARGS)

plugin-score: $(VENV)/.ready ## recall and false alarms of the pytest plugin on the labelled breaks (ARGS="--seeds 1"; five minutes)
	@$(VENV)/bin/python -m tests.breaks.plugin_recall $(ARGS)

diagnosis-score-simple: $(VENV)/.ready ## the older score of the diagnosis, on plain words (ARGS="--seeds 1")
	@$(VENV)/bin/python -m tests.breaks.score $(ARGS)

whatif-score: $(VENV)/.ready ## predict twelve policies from one recording, run each, and compare the costs (ARGS="--seeds 2")
	@$(VENV)/bin/python -W ignore -m tests.oracle.whatif_score $(ARGS)

trace-replay: $(VENV)/.ready ## replay a public trace through the memory (TRACE=mooncake_conversation_trace.jsonl)
	@$(VENV)/bin/python benchmarks/trace_replay.py $(TRACE)

audit: $(VENV)/.ready ## look up known vulnerabilities of all dependencies; fail too where a look-up fails
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python $(PIP) pip-audit
	@$(VENV)/bin/python -m pip freeze --exclude-editable > .venv-audit/requirements.txt
	@.venv-audit/bin/python tests/audit/check.py .venv-audit/bin/pip-audit .venv-audit/requirements.txt

# Of the packages that a user installs to record and to report: the locked ones of the demo.
sbom: $(DEMO)/.ready ## write the bill of materials (CycloneDX JSON) of promptcache and its dependencies into sbom/
	@$(PYTHON) -m venv .venv-sbom
	@.venv-sbom/bin/python $(PIP) 'cyclonedx-bom>=7,<8'
	@$(DEMO)/bin/python tests/audit/sbom.py .venv-sbom/bin/cyclonedx-py $(DEMO)/bin/python sbom/promptcache.cdx.json

# ---------------------------------------------------------------- speed and memory

$(BENCH)/.ready: pyproject.toml
	@echo "installing into $(BENCH) ..."
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python $(PIP) --editable '.[sdk]'
	@$(BENCH)/bin/python $(PIP) 'openai>=3' 'anthropic>=2' openinference-instrumentation-openai \
		openinference-instrumentation-anthropic 'opentelemetry-instrumentation-genai-openai>=1.0b0' \
		'opentelemetry-instrumentation-genai-anthropic>=1.0b0'
	@# In commands of their own: for all of them at once pip tries release after release.
	@$(BENCH)/bin/python $(PIP) opentelemetry-instrumentation-openai
	@$(BENCH)/bin/python $(PIP) opentelemetry-instrumentation-anthropic
	@# OpenLIT requires older SDKs than these, but works with them.
	@$(BENCH)/bin/python $(PIP) --no-deps openlit
	@$(BENCH)/bin/python $(PIP) opentelemetry-exporter-otlp schedule xmltodict
	@touch $@

bench: $(BENCH)/.ready $(DEMO)/.ready ## measure what we add to a call, beside other instrumentations, and to a start
	@$(BENCH)/bin/python -m benchmarks.overhead
	@# The start is measured where no other instrumentation starts.
	@$(DEMO)/bin/python benchmarks/startup.py

leaks: $(BENCH)/.ready ## measure what a million calls with unique prompts, and 200,000 with unique everything, leave in memory (half an hour)
	@$(BENCH)/bin/python benchmarks/leaks.py

# ---------------------------------------------------------------- real backends

NEEDS_GO := command -v go > /dev/null || \
	{ echo "Not run: this backend is built from source, which needs Go 1.25 or newer."; exit 0; }

alerts-e2e: $(VENV)/.ready ## run the alerts in a real Prometheus and Alertmanager, from a broken prompt to the page
	@$(VENV)/bin/python -m pytest tests/alerts_e2e $(ARGS)

# The builder is pinned, as the components in deploy/collector/ are. go.mod and go.sum come from there too: the builder
# would run `go mod tidy`, which needs the modules of the components' own tests, and not every module proxy has those.
OCB := go.opentelemetry.io/collector/cmd/builder@v0.155.0
OTELCOL := .collector/otelcol-promptcache
$(OTELCOL): deploy/collector/builder.yaml deploy/collector/go.mod deploy/collector/go.sum
	@echo "building a collector, 5 to 15 minutes ..."
	@GOBIN=$(CURDIR)/.collector go install $(OCB)
	@.collector/builder --config $< --skip-compilation --skip-get-modules --skip-strict-versioning
	@cp deploy/collector/go.mod deploy/collector/go.sum .collector/build/
	@cd .collector/build && go build -trimpath -ldflags='-s -w' -o ../otelcol-promptcache .

collector: $(VENV)/.ready ## build a collector with our configuration, send spans to it and read them back (needs Go)
	@$(NEEDS_GO); $(MAKE) --no-print-directory $(OTELCOL) && \
		PROMPTCACHE_COLLECTOR=$(CURDIR)/$(OTELCOL) $(VENV)/bin/python -m pytest tests/collector $(ARGS)

# Programs and schemas come from Go modules with their own checksums.
DEPLOYMENT := .venv-deployment
MODULE_FOLDER = $$(go mod download -json $(1) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
.kubernetes/kubeconform:
	@echo "building kubeconform ..."
	@GOBIN=$(CURDIR)/.kubernetes go install github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0

$(DEPLOYMENT)/.ready:
	@$(PYTHON) -m venv $(DEPLOYMENT)
	@$(DEPLOYMENT)/bin/python $(PIP) 'cloudcoil-models-prometheus-operator>=0.80,<1' 'jsonschema>=4,<5' pyyaml
	@touch $@

deployment: $(VENV)/.ready $(DEPLOYMENT)/.ready ## check the Kubernetes resources and compose files against their schemas (needs Go)
	@$(NEEDS_GO); $(MAKE) --no-print-directory .kubernetes/kubeconform && \
		$(VENV)/bin/python -m tests.deployment.kubernetes_schemas .kubernetes/kubeconform \
			"$(call MODULE_FOLDER,k8s.io/kubectl@v0.34.1)" \
			"$(call MODULE_FOLDER,github.com/open-telemetry/opentelemetry-operator@v0.140.0)" \
			$(DEPLOYMENT)/bin/python && \
		$(DEPLOYMENT)/bin/python tests/deployment/compose_schema.py \
			"$(call MODULE_FOLDER,github.com/compose-spec/compose-go/v2@v2.9.1)" deploy/compose/compose.yaml deploy/compose/clickhouse.yaml

# Large backends have environments of their own, so that their dependencies do not change ours.
PHOENIX := .venv-phoenix
$(PHOENIX)/bin/phoenix:
	@echo "installing Arize Phoenix into $(PHOENIX), 850 MB ..."
	@$(PYTHON) -m venv $(PHOENIX)
	@$(PHOENIX)/bin/python $(PIP) arize-phoenix

MLFLOW := .venv-mlflow
$(MLFLOW)/bin/mlflow:
	@echo "installing MLflow into $(MLFLOW), 850 MB ..."
	@$(PYTHON) -m venv $(MLFLOW)
	@$(MLFLOW)/bin/python $(PIP) 'mlflow>=3.17'

backends: phoenix mlflow ## both Phoenix and MLflow (1.7 GB of packages)

phoenix: $(VENV)/.ready $(PHOENIX)/bin/phoenix ## send the demo agent's spans to Arize Phoenix and read them through its API
	@$(VENV)/bin/python examples/otlp_phoenix/run.py $(PHOENIX)/bin/phoenix

oracle: $(VENV)/.ready $(PHOENIX)/bin/phoenix ## compare our costs with those of Phoenix, which has a price table of its own
	@$(VENV)/bin/python tests/oracle/phoenix_costs.py $(PHOENIX)/bin/phoenix

mlflow: $(VENV)/.ready $(MLFLOW)/bin/mlflow ## send the demo agent's spans to MLflow and read them through its API
	@$(VENV)/bin/python -m tests.backends.mlflow_traces $(MLFLOW)/bin/mlflow

# Built from the Go module with the module's own checksums. Release 1.76 contains the Jaeger 2 of docs/jaeger.md. The
# module has no web pages, but it has the API.
JAEGER := .jaeger/jaeger
$(JAEGER):
	@echo "building a Jaeger, 5 to 15 minutes ..."
	@cd "$$(go mod download -json github.com/jaegertracing/jaeger@v1.76.0 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')" && \
		go build -trimpath -ldflags='-s -w' -o $(CURDIR)/$(JAEGER) ./cmd/jaeger

jaeger: $(VENV)/.ready ## build Jaeger and try every search of docs/jaeger.md on it (needs Go)
	@$(NEEDS_GO); $(MAKE) --no-print-directory $(JAEGER) && \
		$(VENV)/bin/python -m tests.backends.jaeger_searches $(JAEGER)

CHDB := .venv-chdb
$(CHDB)/.ready:
	@echo "installing chDB, the engine of ClickHouse, into $(CHDB), 530 MB ..."
	@$(PYTHON) -m venv $(CHDB)
	@$(CHDB)/bin/python $(PIP) 'chdb-core>=26.9' 'sqlglot>=30,<31'
	@touch $@

clickhouse: $(VENV)/.ready $(CHDB)/.ready ## write the demo agent's telemetry into ClickHouse by our collector (needs Go)
	@$(NEEDS_GO); $(MAKE) --no-print-directory $(OTELCOL) && \
		$(VENV)/bin/python -m tests.backends.clickhouse_tables $(OTELCOL) $(CHDB)/bin/python

SPARK := .venv-spark
$(SPARK)/.ready:
	@echo "installing Spark into $(SPARK), 480 MB ..."
	@$(PYTHON) -m venv $(SPARK)
	@$(SPARK)/bin/python $(PIP) 'pyspark>=4.0,<4.1'
	@touch $@

engines-spark: $(VENV)/.ready ## compare all figures on Spark with those of the local table (needs Java 17 or newer)
	@command -v java > /dev/null || { echo "Not run: Spark needs Java 17, such as Debian's default-jre-headless."; exit 0; }; \
		$(MAKE) --no-print-directory $(SPARK)/.ready && \
		$(VENV)/bin/python -m tests.backends.spark_figures $(SPARK)/bin/python $(CALLS)

engines: $(VENV)/.ready $(CHDB)/.ready ## compare all figures on SQLite, OTLP JSON, DuckDB, ClickHouse's engine and PostgreSQL (CALLS=5000)
	@$(VENV)/bin/python -m tests.backends.engine_figures $(CHDB)/bin/python $(CALLS)

ROWS ?= 1000000 10000000
engine-rows: $(VENV)/.ready $(CHDB)/.ready $(SPARK)/.ready ## time and memory of a report over many rows on each engine (an hour, 10 GB; ROWS=1000000)
	@$(VENV)/bin/python -m benchmarks.engine_rows $(ROWS) --chdb $(CHDB)/bin/python --spark $(SPARK)/bin/python
