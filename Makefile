# Needs make, git and Python 3.10 to 3.13; everything else is installed below this folder, every
# package with a pinned version and hash (requirements/). `make` alone lists the targets.
PYTHON = python3
UV = uv

# Training and development (with torch), the light shape that a user installs (without), the site.
VENV = .venv
BASE_VENV = .venv-base
DOCS_VENV = .venv-docs
MODEL = training/model-best
WHEEL = $(firstword $(wildcard models/tcm_multimodal-*.whl))
DEMO = structure assets/examples/examples.jsonl --images assets/examples/images --out out/demo --html

# On two cores that other programs use too, ten training steps took 6 s with one thread, 80 s with two.
export OMP_NUM_THREADS ?= 1

SHELL = bash
.DELETE_ON_ERROR:
.PHONY: help demo test test-base lint docs tables pins release clean

help:
	@echo "make demo       structure the example records; trains a pipeline first if none is shipped"
	@echo "make test       all tests"
	@echo "make test-base  the light installation works without torch"
	@echo "make lint       ruff and mypy"
	@echo "make tables     measure what docs/benchmarks.md lacks, a row at a time (hours to days)"
	@echo "make docs       the documentation as a site, in out/site"
	@echo "make pins       compile requirements/ again (needs uv)"
	@echo "make release    train, compress and package tcm_multimodal again (hours)"
	@echo "make clean      remove what the commands above made, environments included"

ifneq ($(WHEEL),)
demo: $(BASE_VENV)/.model
	@echo "== Structuring the example records"
	@$(BASE_VENV)/bin/python -m spacy_tcm $(DEMO)
else
demo: $(VENV)/.package
	@echo "== No released pipeline is shipped: training one from assets/ (at most 10 minutes, once)"
	@PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/python -m spacy project run all . --vars.config configs/ner_cpu.cfg
	@echo "== Structuring the example records"
	@$(VENV)/bin/python -m spacy_tcm $(DEMO) --model $(MODEL)
endif

test: $(VENV)/.dev
	$(VENV)/bin/python -m pytest --slow

test-base: $(BASE_VENV)/.model
	$(BASE_VENV)/bin/python tests/base_install.py

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Nothing is fetched while it builds, and nothing that it builds would be: docs/hooks.py looks.
docs: $(DOCS_VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict --quiet
	@echo "== out/site/index.html"

# Universal: one file serves Python 3.10 to 3.13 on every system, by environment markers. The
# smaller files are constrained by the largest, so that a package has one version in all.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-annotate --no-emit-index-url --custom-compile-command "make pins"
pins:
	$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml requirements/build.in --extra train --extra graph --extra dev -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra train -c requirements/dev.txt -o requirements/train.txt
	$(COMPILE) pyproject.toml --extra graph -c requirements/dev.txt -o requirements/graph.txt
	$(COMPILE) pyproject.toml --extra docs -c requirements/dev.txt -o requirements/docs.txt
	$(COMPILE) pyproject.toml --extra peers -c requirements/dev.txt -o requirements/peers.txt
	$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/base.txt
	$(COMPILE) requirements/build.in -c requirements/dev.txt -o requirements/build.txt

# What models/ holds. REAL: more records to train on, and PHOTOS, TEXTS: what nets are tuned by,
# where you have better ones than this repository (models/README.md says what the release had).
RELEASE = training/release
REAL =
PHOTOS = corpus/images
TEXTS = corpus/release.jsonl
PROJECT = PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/python -m spacy project run
release: $(VENV)/.package
	@$(PROJECT) corpus .
	@cat corpus/train.jsonl $(REAL) > corpus/release.jsonl
	@$(PROJECT) release . --vars.config configs/release.cfg --vars.run $(RELEASE) \
		--vars.train corpus/release.jsonl --vars.tuning_texts $(TEXTS) --vars.tuning_photos $(PHOTOS)
	@rm -f models/tcm_multimodal-*.whl
	@$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --wheel-dir models $(RELEASE)/package/tcm_multimodal-*/
	@cd models && sha256sum tcm_multimodal-*.whl > SHA256SUMS

# Every row of docs/benchmarks.md that its JSON file lacks; stopped, it goes on where it was. GOLD: a
# folder with gold23.train.jsonl and gold23.dev.jsonl, TONGUES: one with labels.csv and images/;
# neither is part of this repository. PEERS: the python of an environment with requirements/peers.txt.
# What needs one that is not given is skipped.
GOLD =
TONGUES =
PEERS =
TRAINED = $(RELEASE)/calibrated
BENCH = cd benchmarks && $(abspath $(VENV))/bin/python wall.py
CORPUS = ../corpus
tables: $(VENV)/.dev $(BASE_VENV)/.model
	@$(PROJECT) corpus .
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(WHEEL)
	$(BENCH) experiments.py experiments.json $(CORPUS) $(if $(GOLD),--gold $(abspath $(GOLD)))
	$(BENCH) shapes.py shapes.json $(CORPUS) --light $(abspath $(BASE_VENV))/bin/python
	$(BENCH) growth.py growth.json $(CORPUS)/train.jsonl --picture ../docs/growth.png
	$(BENCH) fields.py fields.json $(CORPUS) --model tcm_multimodal --before tcm_sections tcm_context
	$(BENCH) rules.py rules.json $(CORPUS) --min-support 0.004
	$(if $(GOLD),$(BENCH) peers.py peers.json $(CORPUS) --models ../training/peers --gold $(abspath $(GOLD)) $(if $(PEERS),--peers $(PEERS)),@echo "Skipped without GOLD: peers")
	$(if $(TONGUES),$(BENCH) fusion.py fusion.json $(CORPUS) $(abspath $(TONGUES)) --steps 400,@echo "Skipped without TONGUES: what the gate is worth by real photos")
	$(if $(and $(GOLD),$(TONGUES),$(wildcard $(TRAINED))),$(BENCH) compression.py compression.json ../$(TRAINED) --texts $(CORPUS)/train.jsonl --scored $(abspath $(GOLD))/gold23.dev.jsonl --photos $(abspath $(TONGUES)),@echo "Skipped without GOLD, TONGUES or a pipeline of make release: pruning")
	$(VENV)/bin/python benchmarks/readme.py

clean:
	rm -rf $(VENV) $(BASE_VENV) $(DOCS_VENV) corpus training metrics out build dist project.lock
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find spacy_tcm tests assets benchmarks -name __pycache__ -prune -exec rm -rf {} +

# Environments. A stamp file says that a step is done; a new pin makes the environment anew.
# $(call install,ENVIRONMENT,REQUIREMENTS): of pip's output, only the large downloads are shown.
define install
	@set -o pipefail; PYTHONUNBUFFERED=1 $(1)/bin/python -m pip install --disable-pip-version-check \
		--require-hashes --no-build-isolation -r $(2) \
		| { grep --line-buffered -oE '(Downloading|Using cached) .*\(([0-9]{2,}\.[0-9] MB|.* GB)\)' || true; }
endef
define create
	@$(PYTHON) -c 'import sys; ok = (3, 10) <= sys.version_info < (3, 14); sys.exit(None if ok else \
		"Python 3.10 to 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv --clear $(1)
	$(call install,$(1),requirements/build.txt)
endef
define install_package
	@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
endef

$(VENV)/.train: requirements/build.txt requirements/train.txt
	@echo "== Setting up $(VENV) for training: about 6 GB, most of it torch (several minutes)"
	$(call create,$(VENV))
	$(call install,$(VENV),requirements/train.txt)
	@touch $@

$(VENV)/.package: $(VENV)/.train pyproject.toml
	$(call install_package,$(VENV))

$(VENV)/.dev: $(VENV)/.package requirements/dev.txt
	@echo "== Adding the development tools to $(VENV)"
	$(call install,$(VENV),requirements/dev.txt)
	@touch $@

$(BASE_VENV)/.base: requirements/build.txt requirements/base.txt
	@echo "== Setting up $(BASE_VENV), the light shape"
	$(call create,$(BASE_VENV))
	$(call install,$(BASE_VENV),requirements/base.txt)
	@touch $@

$(BASE_VENV)/.package: $(BASE_VENV)/.base pyproject.toml
	$(call install_package,$(BASE_VENV))

$(BASE_VENV)/.model: $(BASE_VENV)/.package $(WHEEL)
	@echo "== Installing $(notdir $(WHEEL))"
	@$(BASE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(WHEEL)
	@touch $@

$(DOCS_VENV)/.docs: requirements/build.txt requirements/docs.txt
	@echo "== Setting up $(DOCS_VENV), what the documentation is built with"
	$(call create,$(DOCS_VENV))
	$(call install,$(DOCS_VENV),requirements/docs.txt)
	@touch $@
