# Every target can be the first one on a new machine: it creates the virtual environment if that is missing.
# The logic is in `python -m keras_inat <command>`. A target only names its command and its variables.

$(if $(filter command line,$(origin VENV)),$(error the environment is always .venv: remove VENV))
VENV := .venv
BIN := $(VENV)/bin
# Values may be the names of photographs from anywhere, so neither make nor the shell may run what is written in them.
# Make takes the values of its command line as they are, and recipes read them from the environment, as "$$NAME".
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command line,$(origin $(name))),$(name)))
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name)))$(eval export $(name)))
others = $(filter-out $(1) ARGS PYTHON EXTRA,$(GIVEN))
# With a single target, other variables are an error, as in `make sweep TRAILS=9`. Several targets each take their own.
refuse = $(if $(word 2,$(MAKECMDGOALS)),,$(if $(others),$(error make $(MAKECMDGOALS) takes $(strip $(1) ARGS), not $(others))))
# The given variables as NAME=value words. The program divides ARGS into its words.
given = $(refuse)$(foreach name,$(filter $(GIVEN),$(1)) $(if $(value ARGS),ARGS),"$(name)=$$$(name)")
# Messages name the commands as they were typed here.
RUN_COMMAND = exec env KERAS_INAT_PROGRAM=make KERAS_INAT_MAKE=$$PPID $(BIN)/python -m keras_inat
# As `python -m pytest`, with the words of ARGS.
PYTEST = exec $(BIN)/python -P -c 'import os, shlex, sys, pytest; sys.exit(pytest.main([*sys.argv[1:], *shlex.split(os.getenv("ARGS", ""))]))'
SYSTEM_PYTHON = "$${PYTHON:-python3}"
# A machine with an NVIDIA driver gets TensorFlow with CUDA, any other machine the much smaller build for CPUs.
BUILD = $${EXTRA:-$$(nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)}
INSTALL = $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
# A Python without `ensurepip`, as that of Colab, gets its environment from uv or virtualenv.
MAKE_VENV = if $(SYSTEM_PYTHON) -c 'import ensurepip' 2>/dev/null; then $(SYSTEM_PYTHON) -m venv $(if $(wildcard $@),,--clear) $(VENV); \
	elif command -v uv >/dev/null; then uv venv --quiet --seed $(if $(wildcard $@),--allow-existing,--clear) --python $(SYSTEM_PYTHON) $(VENV); \
	else $(SYSTEM_PYTHON) -m pip install -qq --target $(VENV)-bootstrap virtualenv && \
		PYTHONPATH=$(VENV)-bootstrap $(SYSTEM_PYTHON) -m virtualenv --quiet $(if $(wildcard $@),,--clear) $(VENV) && rm -rf $(VENV)-bootstrap; fi

.DEFAULT_GOAL := help
.PHONY: help demo data sweep train-best finetune suspects backbones report predict export app cost dashboard bench replay clean-packs settings test test-all test-wheel lint audit docs clean
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

help:  ## list the targets and their variables
	@printf 'keras-inat measures how well a folder of photographs can be classified.\n\n'
	@sed -n -E 's/^([a-z-]+):[^#]*## (.*)/\1|\2/p' Makefile | awk -F'|' '{printf "  make %-12s %-82s %s\n", $$1, $$2, $$3}'
	@printf '\nAll other settings: ARGS="section.key=value ...". `make settings` lists them.\n'

demo: $(VENV)/ready-export  ## search, train, fine-tune, export and report on drawn images, offline, in minutes|ARGS
	@$(RUN_COMMAND) demo $(call given,)

data: $(VENV)/ready  ## download or unpack a data set, decode it and list what was found|ZIP URL DATA ARGS
	@$(RUN_COMMAND) data $(call given,ZIP URL DATA)

sweep: $(VENV)/ready  ## search hyperparameters; run it again to resume|DATA NAME TRIALS WORKERS CLUSTER CONFIG ARGS
	@$(RUN_COMMAND) sweep $(call given,DATA NAME TRIALS WORKERS CLUSTER CONFIG)

train-best: $(VENV)/ready  ## train a sweep's best configuration, evaluate each seed once on the test images|DATA SWEEP SEEDS NAME CLUSTER CONFIG ARGS
	@$(RUN_COMMAND) train-best $(call given,DATA SWEEP SEEDS NAME CLUSTER CONFIG)

finetune: $(VENV)/ready  ## fine-tune a pretrained backbone: head, topk, full, gradual, lpft or all|DATA STRATEGY BACKBONE WEIGHTS UNFREEZE SEEDS NAME CLUSTER CONFIG ARGS
	@$(RUN_COMMAND) finetune $(call given,DATA STRATEGY BACKBONE WEIGHTS UNFREEZE SEEDS NAME CLUSTER CONFIG)

suspects: $(VENV)/ready  ## list the images whose labels are probably wrong|DATA BACKBONE WEIGHTS NAME CONFIG ARGS
	@$(RUN_COMMAND) suspects $(call given,DATA BACKBONE WEIGHTS NAME CONFIG)

backbones: $(VENV)/ready  ## list the pretrained networks: accuracy, size, pixel range
	@$(RUN_COMMAND) backbones $(call given,)

report: $(VENV)/ready  ## write reports/index.html; STRICT=1 fails if a required section is missing|RUNS STRICT ARGS
	@$(RUN_COMMAND) report $(call given,RUNS STRICT)

predict: $(VENV)/ready  ## class probabilities and an attribution map, for an image or a folder|RUN IMAGE ARGS
	@$(RUN_COMMAND) predict $(call given,RUN IMAGE)

export: $(VENV)/ready-export  ## the model for other programs: ONNX, LiteRT or SavedModel, compared with Keras|RUN FORMAT ARGS
	@$(RUN_COMMAND) export $(call given,RUN FORMAT)

app: $(VENV)/ready-export  ## write a page that classifies images in the browser, and a Hugging Face Space; --serve opens it here|RUN ARGS
	@$(RUN_COMMAND) app $(call given,RUN)

cost: $(VENV)/ready  ## parameters, multiply-accumulates and memory, by layer and in closed form|CONFIG ARGS
	@$(RUN_COMMAND) cost $(call given,CONFIG)

dashboard: $(VENV)/ready  ## open TensorBoard (scalars, HParams) on runs/|ARGS
	@$(RUN_COMMAND) dashboard $(call given,)

bench: $(VENV)/ready  ## measure speed, as ratios of two things run together|DATA ARGS
	@$(RUN_COMMAND) bench $(call given,DATA)

replay: $(VENV)/ready-dev  ## compare search methods on recorded trials; see docs/sweep.md|ARGS
	@$(RUN_COMMAND) replay $(call given,)

clean-packs: $(VENV)/ready  ## remove decoded pixels of images that were changed or deleted|ARGS
	@$(RUN_COMMAND) clean-packs $(call given,)

settings: $(VENV)/ready  ## list every setting with its default and description
	@$(RUN_COMMAND) settings $(call given,)

test: $(VENV)/ready-dev  ## run the tests|ARGS
	@$(PYTEST)

test-all: $(VENV)/ready-dev  ## run the slow tests as well: every backbone with every strategy|ARGS
	@$(PYTEST) -m ''

test-wheel: $(VENV)/ready-dev  ## build the wheel, install it into a new environment and use it there
	@$(BIN)/python tests/wheel.py $(SYSTEM_PYTHON)

lint: $(VENV)/ready-dev  ## run the linters and the type checker
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

audit: $(VENV)/ready-audit  ## look up the pinned packages in the database of known vulnerabilities; needs a network
	@$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off || \
		{ echo "error: a package has a known vulnerability, or it could not be looked up" >&2; exit 1; }

docs: $(VENV)/ready-docs  ## build the documentation site into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "documentation: site/index.html"

clean:  ## remove the environment and the caches; keep data/, runs/ and reports/
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info build dist site

# An environment without the file `ready` is incomplete and is created again.
$(VENV)/ready: setup.cfg pyproject.toml constraints.txt
	@case "$(BUILD)" in cpu | cuda) ;; *) echo "error: EXTRA must be cpu or cuda" >&2; exit 2; esac
	@$(SYSTEM_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "error: Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=python3.x" >&2; exit 2; }
	@echo "Installing into $(VENV) (TensorFlow for $(BUILD)); this happens once and takes a few minutes."
	@$(MAKE_VENV)
	@$(INSTALL) --editable ".[$(BUILD),tracking]"
	@touch $@

$(VENV)/ready-export: $(VENV)/ready
	@$(INSTALL) --editable ".[$(BUILD),tracking,export]"
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@$(INSTALL) --editable ".[$(BUILD),tracking,formats,cluster,export,dev]"
	@touch $@

$(VENV)/ready-audit: $(VENV)/ready
	@$(INSTALL) --editable ".[$(BUILD),tracking,audit]"
	@touch $@

$(VENV)/ready-docs: $(VENV)/ready
	@$(INSTALL) --editable ".[$(BUILD),tracking,docs]"
	@touch $@
