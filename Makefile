# Every target makes what it needs, the virtual environment first of all, and can be run first on a new machine.
# The logic is in `python -m keras_inat <command>`; a target only names its command and its variables.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A machine with an NVIDIA driver gets TensorFlow with CUDA, any other the much smaller one for CPUs.
EXTRA ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
quote = '$(subst ','\'',$(1))'
# What stands on make's command line of a list of variables, and what stands there besides.
named = $(foreach name,$(1),$(if $(filter command line,$(origin $(name))),$(name)))
others = $(filter-out $(1) ARGS PYTHON EXTRA VENV,$(call named,$(.VARIABLES)))
# With a single target the latter are an error, as in `make sweep TRAILS=9`; several targets take from them what is theirs.
refuse = $(if $(word 2,$(MAKECMDGOALS)),,$(if $(others),$(error make $(MAKECMDGOALS) takes $(strip $(1) ARGS), not $(others))))
# The former as NAME=value words, safe against any character, and ARGS.
given = $(refuse)$(foreach name,$(call named,$(1)),$(call quote,$(name)=$($(name)))) $(ARGS)
RUN_COMMAND = $(BIN)/python -m keras_inat

.DEFAULT_GOAL := help
.PHONY: help demo data sweep sweep-chief sweep-worker train-best finetune backbones report predict cost dashboard bench replay clean-packs settings test test-all lint clean
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

help:  ## list the targets and their variables
	@printf 'keras-inat: how well can a folder of photographs be classified?\n\n'
	@sed -n -E 's/^([a-z-]+):[^#]*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-12s %-82s %s\n", $$1, $$2, $$3}'
	@printf '\nAll else: ARGS="section.key=value ...", as listed by `make settings`.\n'

demo: $(VENV)/ready  ## the whole story on drawn organisms, offline, on a CPU, in minutes|ARGS
	@$(RUN_COMMAND) demo $(call given,)

data: $(VENV)/ready  ## download nature_12K.zip, or take another; unpack, decode, report|ZIP URL DATA ARGS
	@$(RUN_COMMAND) data $(call given,ZIP URL DATA)

sweep: $(VENV)/ready  ## Bayesian search of hyperparameters; run again, it goes on where it stopped|DATA NAME TRIALS WORKERS CONFIG ARGS
	@$(RUN_COMMAND) sweep $(call given,DATA NAME TRIALS WORKERS CONFIG)

sweep-chief: $(VENV)/ready  ## one sweep on several machines: this one proposes its trials|DATA NAME TRIALS CHIEF CONFIG ARGS
	@$(RUN_COMMAND) sweep-chief $(call given,DATA NAME TRIALS CHIEF CONFIG)

sweep-worker: $(VENV)/ready  ## and this one trains them, with the same settings and folder|CHIEF DATA NAME TRIALS WORKERS CONFIG ARGS
	@$(RUN_COMMAND) sweep-worker $(call given,CHIEF DATA NAME TRIALS WORKERS CONFIG)

train-best: $(VENV)/ready  ## train a sweep's best configuration fully, judge it once a seed on the test images|DATA SWEEP SEEDS NAME CONFIG ARGS
	@$(RUN_COMMAND) train-best $(call given,DATA SWEEP SEEDS NAME CONFIG)

finetune: $(VENV)/ready  ## adapt a pretrained backbone: head, topk, full, gradual, lpft or all of them|DATA STRATEGY BACKBONE WEIGHTS UNFREEZE SEEDS NAME CONFIG ARGS
	@$(RUN_COMMAND) finetune $(call given,DATA STRATEGY BACKBONE WEIGHTS UNFREEZE SEEDS NAME CONFIG)

backbones: $(VENV)/ready  ## the pretrained networks to adapt: accuracy, size, pixels
	@$(RUN_COMMAND) backbones $(call given,)

report: $(VENV)/ready  ## one page with the evidence: reports/index.html; STRICT=1 fails if it lacks anything|RUNS STRICT ARGS
	@$(RUN_COMMAND) report $(call given,RUNS STRICT)

predict: $(VENV)/ready  ## class probabilities and an explanation picture, for an image or a folder|RUN IMAGE ARGS
	@$(RUN_COMMAND) predict $(call given,RUN IMAGE)

cost: $(VENV)/ready  ## parameters, computations and memory, layer by layer and in closed form|CONFIG ARGS
	@$(RUN_COMMAND) cost $(call given,CONFIG)

dashboard: $(VENV)/ready  ## TensorBoard (scalars, HParams) over runs/|ARGS
	@$(RUN_COMMAND) dashboard $(call given,)

bench: $(VENV)/ready  ## how fast it is, as ratios of two things run side by side|DATA ARGS
	@$(RUN_COMMAND) bench $(call given,DATA)

replay: $(VENV)/ready  ## how many epochs a search needs, replayed from recorded trials: docs/sweep.md|ARGS
	@$(RUN_COMMAND) replay $(call given,)

clean-packs: $(VENV)/ready  ## remove decoded pixels of images that have changed or are gone|ARGS
	@$(RUN_COMMAND) clean-packs $(call given,)

settings: $(VENV)/ready  ## every setting with its default and meaning
	@$(RUN_COMMAND) settings $(call given,)

test: $(VENV)/ready-dev  ## the test suite|ARGS
	@$(BIN)/python -m pytest $(ARGS)

test-all: $(VENV)/ready-dev  ## and the slow ones: every backbone by every strategy|ARGS
	@$(BIN)/python -m pytest -m '' $(ARGS)

lint: $(VENV)/ready-dev  ## linters and type checker
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:  ## remove the environment and caches; data/, runs/ and reports/ stay
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info build

# An environment without its mark was interrupted while it was made, and is made anew.
$(VENV)/ready: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "error: Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=python3.x" >&2; exit 2; }
	@echo "Installing into $(VENV) (TensorFlow for $(EXTRA)); this is done once and takes a few minutes."
	@$(PYTHON) -m venv $(if $(wildcard $@),,--clear) $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRA)]'
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRA),dev]'
	@touch $@
