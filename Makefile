# `make demo` and `make test` are all a new user needs; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Two processes of tests, each with its own threads, would fight for the cores.
TEST_PROCESSES ?= 2

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	rm -rf $(DEMO)
	$(BIN)/selfsort views digits --size 16 --views digits --out $(DEMO)/views.png
	$(BIN)/selfsort fit digits --size 16 --method simclr --views digits --epochs 60 --out $(DEMO)/digits
	$(BIN)/selfsort label $(DEMO)/digits --groups 25 --simulate digits --answers 25
	$(BIN)/selfsort refine $(DEMO)/digits --frozen --groups 10
	$(BIN)/selfsort label $(DEMO)/digits --simulate digits --answers 10
	$(BIN)/selfsort refine $(DEMO)/digits --epochs 10
	$(BIN)/selfsort certify $(DEMO)/digits --simulate digits --budget 100
	$(BIN)/selfsort predict $(DEMO)/digits digits --out $(DEMO)/predictions.csv
	$(BIN)/selfsort sort $(DEMO)/digits digits --copy --out $(DEMO)/sorted
	$(BIN)/selfsort evaluate $(DEMO)/digits digits --probe linear
	$(BIN)/selfsort report $(DEMO)/digits --sheet $(DEMO)/names.png
	@echo "To name groups yourself: $(BIN)/selfsort label $(DEMO)/digits"
	@echo "The report: $(CURDIR)/$(DEMO)/digits/report.html"

test: $(VENV)/.installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/oxlint

$(VENV)/.installed: pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
