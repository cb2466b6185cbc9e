# make app · make test · make soak · make bench · make lint · make clean: each sets up what it needs, once.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip -qq --disable-pip-version-check
CHROMIUM := $(shell command -v chromium-headless-shell || command -v chromium)

.PHONY: app test soak bench lint clean chromium
.DELETE_ON_ERROR:

app: $(VENV)/.app-ready
	$(BIN)/python app.py

# Damaged inputs a fuzz test tries, and processes a test of sudden death kills: .ci/run takes 200 and 20.
EGGS_FUZZ_CASES ?= 20
EGGS_KILLS      ?= 3
export EGGS_FUZZ_CASES EGGS_KILLS

# Three processes of one thread each for two cores, as the browser's tests mostly wait for the page.
test: lint chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile

# What takes hours: ten times as many damaged inputs as .ci/run, five times as many kills, a server besieged for an hour.
soak: EGGS_FUZZ_CASES := 2000
soak: EGGS_KILLS := 100
soak: export EGGS_SLOW := 1
soak: $(VENV)/.dev-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --timeout 14400 tests/attack
	$(BIN)/python benchmarks/load.py --hostile --seconds 3600

bench: $(VENV)/.dev-ready
	@mkdir -p build/bench; missed=; for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; \
		$(BIN)/python $$script --quick --json build/bench/$$(basename $$script .py).json || missed="$$missed $$script"; \
	done; test -z "$$missed" || { echo "a bar is missed, or it failed:$$missed"; exit 1; }

lint: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "EGGS Explorer needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		     "Name another one: make PYTHON=python3.12 app" >&2; exit 1; }
	@echo "Setting up $(VENV), once"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.app-ready: requirements.txt | $(BIN)/python
	$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/.dev-ready: requirements.txt requirements-dev.txt | $(BIN)/python
	$(PIP) install -r requirements-dev.txt
	@touch $@ $(VENV)/.app-ready

# What building and trying the wheel needs, which only .ci/run does.
$(VENV)/.wheel-ready: requirements-wheel.txt $(VENV)/.dev-ready
	$(PIP) install -r requirements-wheel.txt
	@touch $@

# The browser tests drive Debian's chromium, by preference its build without a window, which opens a page with two thirds
# of the work. Without it they are skipped, or fail if EGGS_REQUIRE_BROWSER=1.
chromium:
ifeq ($(CHROMIUM),)
	@if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then \
		sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
		echo "Installing chromium for the browser tests"; \
		{ $$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null; } \
		|| echo "chromium could not be installed: the browser tests will be skipped" >&2; \
	else \
		echo "chromium is missing: the browser tests will be skipped (apt-get install chromium-headless-shell)" >&2; \
	fi
else
	@:
endif

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
