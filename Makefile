# make lab    opens JupyterLab on the series       make test   runs the tests and the notebooks
# make run    executes the series without a screen make lint   ruff and the type checker
# make bench  measurements to repeat               make lock   renews the tested versions
# make page   the playground that needs no Python, into build/page
# make site   the notebooks and the library's reference as pages with a search, into build/site
# make results  the comparison of all models anew, into docs/ and the README
# make refresh  executes the notebooks in place, before a commit
# make reliability  the page of what was broken on purpose, from the tests that broke it
# make series  every notebook on another data set, Fashion-MNIST where its files are installed
# make launch  links to Colab and Binder in the notebooks, once the repository lies on GitHub
# make oldest  `make test` with the oldest versions that pyproject.toml allows
# make audit  known weaknesses of the tested versions, asked of their public lists
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
INSTALLED := $(VENV)/.installed

# The venv's own kernel comes before one of the same name in the user's home.
export JUPYTER_PREFER_ENV_PATH := 1

# Python keeps what it has compiled, also where an image or a shell tells it not to: every notebook
# and command is a process of its own, and each would compile PyTorch anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: lab test run page site refresh results reliability series launch oldest audit lint bench lock clean

lab: $(INSTALLED)
	$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" \
	    --LabApp.default_url=/lab/tree/$(firstword $(NOTEBOOKS)) \
	    $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

# Two workers share two cores: one thread each, or they slow each other down. (Tests
# beside notebooks; two notebooks at once take longer, as training is bound by memory.)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
SERIES := tests/test_other_data.py
# A run of all tests also holds docs/reliability.md against what they did.
RELIABILITY := --reliability=check

test: $(INSTALLED)
	$(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=900 \
	    $(NOTEBOOKS) tests --ignore=$(SERIES) $(if $(ARGS),,$(RELIABILITY)) $(ARGS)

# Its notebooks may go to both workers: there is little to train.
series: $(INSTALLED)
	$(PYTEST) --dist load $(SERIES) $(ARGS)

launch: $(INSTALLED)
	$(BIN)/python -m tools.launch

reliability: $(INSTALLED)
	$(PYTEST) -m reliability --reliability=write tests

oldest: $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-oldest
	$(BIN)/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct \
	    --editable '.[dev]'
	touch .venv-oldest/.installed
	$(MAKE) test VENV=.venv-oldest RELIABILITY=

audit: $(INSTALLED)
	$(BIN)/uv tool run pip-audit --requirement requirements.txt --no-deps --disable-pip

# Widget states are left out: a page without a kernel shows the still picture instead.
NBCONVERT := $(BIN)/jupyter nbconvert --log-level=WARN
EXECUTE := $(NBCONVERT) --to notebook --execute --ExecutePreprocessor.timeout=1800 \
    --ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False
# Of a progress bar only the last state is kept.
TIDY := $(NBCONVERT) --to notebook --inplace --CoalesceStreamsPreprocessor.enabled=True

run: $(INSTALLED)
	mkdir -p build/notebooks
	$(EXECUTE) --output-dir build/notebooks $(NOTEBOOKS)
	$(TIDY) $(NOTEBOOKS:%=build/%)
	$(NBCONVERT) --to html --embed-images --output-dir build/html $(NOTEBOOKS:%=build/%)
	@echo "executed notebooks: build/notebooks, pages: build/html"

# The sources stand in page/, onnxruntime-web with them; the models come from the checkpoints.
page: $(INSTALLED)
	rm -rf build/page
	OMP_NUM_THREADS=1 $(BIN)/python -m cvae_utils.export --out build/page

# The notebooks as they are stored; a warning is an error. The playground goes in beside them.
site: $(INSTALLED)
	rm -rf build/site
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -qEW --keep-going -c docs/site -d build/doctrees . build/site
	OMP_NUM_THREADS=1 $(BIN)/python -m cvae_utils.export --out build/site/playground --home ../docs/site/index.html
	@echo "the site: build/site; with the playground in it, it needs a web server:"
	@echo "  $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site"

# Before a commit: the notebooks in place, with fresh outputs.
refresh: $(INSTALLED)
	$(EXECUTE) --inplace $(NOTEBOOKS)
	$(TIDY) $(NOTEBOOKS)

results: $(INSTALLED)
	$(BIN)/python -m cvae_utils evaluate --all --out docs
	sed -i.old -e '/^<!-- comparison -->/,/^<!-- end -->/{//!d;}' \
	    -e '/^<!-- comparison -->/r docs/comparison.md' README.md && rm README.md.old

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.epoch $(ARGS)
	$(BIN)/python -m benchmarks.peers $(ARGS)
	$(BIN)/python -m benchmarks.switches
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.import_time
	$(BIN)/python -m benchmarks.widgets
	$(BIN)/python -m benchmarks.page

lock: $(INSTALLED)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	    --upgrade --no-header --no-annotate --quiet -o requirements.txt

clean:
	rm -rf $(VENV) .venv-oldest build

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))

# uv takes seconds where pip takes minutes; it resolves nothing here, the versions are fixed.
# A venv that works is kept: without the network, one made anew could not be filled.
$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c '$(FITS)' || \
	    { echo "Python 3.11 to 3.14 is needed, $(PYTHON) is another: make PYTHON=python3.12 ..."; exit 1; }
	$(BIN)/python -c 'import pip; $(FITS)' 2> /dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@
