# `make demo` and `make test` are all a new user needs; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# The index to take PyTorch from, such as PyTorch's own without CUDA, which is a third of the size: see the README.
TORCH_INDEX ?=
# Two processes of tests, each with its own threads, would fight for the cores.
TEST_PROCESSES ?= 2

define install
test -d $(VENV) || $(PYTHON) -m venv $(VENV)
$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --index-url $(TORCH_INDEX) torch torchvision)
$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable "$(1)"
endef

# Which parts of it to play, and how: `make fuzz FUZZ="pictures --size 0.1"`. It goes on where it was stopped.
FUZZ ?=
# Which benchmarks to run, and how: `make bench BENCH="clustering linkage --quick"`.
BENCH ?=

.PHONY: demo test test-slow lint fuzz bench lock clean

demo: $(VENV)/.installed
	rm -rf $(DEMO)
	$(BIN)/python examples/photographs.py $(DEMO)/photographs
	$(BIN)/selfsort fit $(DEMO)/photographs --out $(DEMO)/photos
	$(BIN)/selfsort label $(DEMO)/photos --simulate $(DEMO)/photographs --answers 6
	$(BIN)/selfsort refine $(DEMO)/photos
	$(BIN)/selfsort sort $(DEMO)/photos $(DEMO)/photographs --out $(DEMO)/photos-sorted
	$(BIN)/selfsort report $(DEMO)/photos --sheet $(DEMO)/photos.png
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
	@echo "To name groups yourself: $(BIN)/selfsort label $(DEMO)/photos"
	@echo "The reports: $(CURDIR)/$(DEMO)/photos/report.html and $(CURDIR)/$(DEMO)/digits/report.html"

test: $(VENV)/.installed-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not slow"

# The tests that `make test` leaves out, as they would double its time: most of the browser's, long trainings, further
# values of a parameter. To be run before a release and after a change to the pages.
test-slow: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile -m slow

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/oxlint

# Attacks by seeded chance, for an hour or so; docs/trust.md says of what, and what came out.
fuzz: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m fuzz $(FUZZ)

# Speed compared with other tools, for an hour or two: one table, build/bench.md. docs/speed.md says what is measured.
bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks $(BENCH)

$(VENV)/.installed: pyproject.toml requirements.lock
	$(call install,.)
	@touch $@

$(VENV)/.installed-test: pyproject.toml requirements.lock
	$(call install,.[test])
	@touch $@ $(VENV)/.installed

# The tools compared with may not exist for this machine: their benchmarks then say so.
$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable ".[bench]" || true
	@touch $@

# Takes the newest versions of everything but PyTorch, for `make demo`, `make test` and CI alike.
lock: $(VENV)/.installed-test
	mkdir -p build
	$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --report build/lock.json ".[test]"
	$(BIN)/python .ci/lock.py build/lock.json > build/requirements.lock
	mv build/requirements.lock requirements.lock

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
