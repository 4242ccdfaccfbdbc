# Two commands do all the set-up: `make figures` and `make test`. Each makes .venv itself.

PYTHON ?= python3
RESULTS ?= results
FIGURES ?= figures
# quick, or full for the paper's protocol
SCALE ?= quick
BIN := .venv/bin
# Models as small as the bundled ones run fastest on one thread.
export OMP_NUM_THREADS ?= 1

.PHONY: figures test test-processors test-lowest test-gpu torture lint docs tutorial bench bench-gpu families families-gpu reference clean

# Draws the shipped reference run at once, then measures with as many commands at a time as there
# are cores: a quarter of an hour on two.
figures: .venv/ready
	$(BIN)/stepimp reproduce --scale $(SCALE) --results $(RESULTS) --out $(FIGURES)

WORKERS ?= 2
PYTEST := -m pytest -q -n $(WORKERS) --durations=10

test: .venv/ready
	$(BIN)/python $(PYTEST)

# Processors add up in different orders. The tests of what is computed, again: under the lowest and the highest
# instruction sets of this machine, and with sums perturbed (tests/hostile.py).
NUMERIC := tests/kernels tests/models tests/curves tests/sampling tests/quality tests/search tests/training \
	tests/schedules -k "not compile"
BEST := $(shell grep -qsw avx512f /proc/cpuinfo && echo AVX512 || echo AVX2)
LOWEST := MKL_ENABLE_INSTRUCTIONS=SSE4_2 MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default \
	OPENBLAS_CORETYPE=Prescott NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4"
HIGHEST := MKL_ENABLE_INSTRUCTIONS=$(BEST) MKL_CBWR=$(BEST) ONEDNN_MAX_CPU_ISA=DEFAULT \
	ATEN_CPU_CAPABILITY=$(shell echo $(BEST) | tr A-Z a-z)
test-processors: .venv/ready
	$(LOWEST) $(BIN)/python $(PYTEST) $(NUMERIC)
	$(HIGHEST) $(BIN)/python $(PYTEST) $(NUMERIC)
	$(BIN)/python $(PYTEST) --hostile 0 $(NUMERIC)

# Kills, full disks, two runs at once and damaged files; such as TORTURE="--minutes 60 --seed 7".
torture: .venv/ready
	$(BIN)/python tests/torture $(TORTURE)

# The lowest versions that setup.py declares, without `datasets` and the tests that read text with it.
test-lowest: .venv-lowest/ready
	.venv-lowest/bin/python $(PYTEST)

# Type checkers do not follow setup.py's mapping of folders to packages: they get a tree of links.
TREE := build/tree/stepimp
lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf $(TREE) && mkdir -p $(TREE) && ln -s $(CURDIR)/stepimp/* $(CURDIR)/commands $(CURDIR)/plots $(TREE)
	$(BIN)/mypy -p stepimp

# The site, into build/site. Warnings are errors, dead links among them.
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Runs the tutorial; `make tutorial TUTORIAL=docs` writes the outputs that the site shows.
TUTORIAL ?= build
tutorial: export STEPIMP_RESULTS = ../build/tutorial
tutorial: export PYTHONWARNINGS = ignore:IProgress not found
tutorial: .venv/ready
	rm -rf build/tutorial
	$(BIN)/jupyter-nbconvert --log-level ERROR --to notebook --execute docs/tutorial.ipynb \
		--ExecutePreprocessor.record_timing=False --output-dir $(TUTORIAL) --output tutorial

bench: .venv/ready
	$(BIN)/python tests/bench_sampler.py
	$(BIN)/python tests/bench_curves.py
	$(BIN)/python tests/bench_quality.py
	$(BIN)/python tests/bench_search.py
	$(BIN)/python tests/bench_workers.py
	$(BIN)/python tests/bench_train.py

# On a GPU, in the order of docs/gpus.md: with the torch of PYTHON, in place, without .venv and network.
GPU := PYTHONPATH=. $(PYTHON)
STAGES ?= kernels,body,sampler,curves,train
LIMIT ?= 240
test-gpu:
	$(GPU) $(PYTEST) tests/test_gpu.py tests/kernels
bench-gpu:
	$(GPU) tests/bench_gpu.py --only $(STAGES) --limit $(LIMIT) --out $(RESULTS)

# The recipe of the bundled families and their judges: about three hours on one idle CPU core
# with bf16, by the rates of its steps. Resumes where it was; more --steps continue a finished training.
TRAIN := $(BIN)/stepimp train --bf16 --compile --weights float16 --vocab-size 260 --schedule trapezoid --snapshots 500
DOCS := --data docs --length 256 --batch-size 32 --steps 6000
CODE := --data code --length 128 --batch-size 64 --steps 6000
figures families families-gpu reference: export STEPIMP_YES = 1
families: .venv/ready
	$(TRAIN) runs/docs $(DOCS) --depths 4,6,8,10,12
	$(TRAIN) runs/docs-seed3 $(DOCS) --depths 12 --seed 3
	$(BIN)/stepimp family add runs/docs 12b_seed2 runs/docs-seed3/12b --seed-of 12b
	$(BIN)/stepimp judge runs/docs --data docs --bf16 --steps 5000
	$(TRAIN) runs/code $(CODE) --depths 4,8
	$(TRAIN) runs/code $(CODE) --depths 12 --seed 3 --baseline-seed 2
	$(BIN)/stepimp judge runs/code --data code --bf16 --steps 2500

# A larger family on a GPU, in pieces of MINUTES (run it again until it ends without an error). TOKENS is made beforehand by
# `stepimp train --prepare tokens.safetensors runs/large --data docs --vocab-size 260 --length 512`; needs torch,
# transformers, accelerate and tokenizers, not datasets.
TOKENS ?= tokens.safetensors
STEPS ?= 20000
MINUTES ?= 8
families-gpu:
	$(PYTHON) -m stepimp train runs/large --data $(TOKENS) --length 512 --width 256 --heads 4 --batch-size 64 \
		--steps $(STEPS) --depths 4,6,8,10,12 --baseline-seed 2 --bf16 --compile --weights float16 \
		--schedule trapezoid --snapshots 2000 --minutes $(MINUTES)

# The run that fixtures/reference holds; the gallery is drawn from it. What samples runs in bf16, several times as fast
# where the blocks run as one function; the curves are in fp32.
LIGHTS := --light 4b --light 6b --light 8b --light 10b
ALL_DOCS := --heavy 12b $(LIGHTS) --baseline 12b_seed2 --sequences 1000 --points 50
ALL_CODE := --family code --heavy 12b --light 4b --light 8b --baseline 12b_seed2 --sequences 500
FAST := --dtype bfloat16
COMPARE := $(BIN)/stepimp compare $(FAST)
OVER_N := $(RESULTS)/over-masked
reference: export STEPIMP_RESULTS = $(RESULTS)/reference
reference: .venv/ready
	$(BIN)/stepimp kl $(ALL_DOCS)
	$(BIN)/stepimp recommend --budget 0.25
	$(BIN)/stepimp kl --heavy 12b $(LIGHTS) --baseline 12b_seed2 --by-masked --points 64 --out $(OVER_N)
	STEPIMP_RESULTS=$(OVER_N) $(BIN)/stepimp recommend --over masked --light 4b
	STEPIMP_RESULTS=$(OVER_N) $(BIN)/stepimp plan --forwards 64 $(LIGHTS)
	cp $(OVER_N)/plan-* $(OVER_N)/recommend_masked-* $(STEPIMP_RESULTS)
	$(COMPARE) $(LIGHTS) --samples 128
	$(COMPARE) --samples 2000
	$(COMPARE) --prefix-length 64 --samples 1000
	$(COMPARE) --prefix-length 32 --samples 1000
	$(COMPARE) --fractions 0:1:0.1 --samples 104
	$(BIN)/stepimp search --samples 160 $(FAST)
	$(BIN)/stepimp profile --samples 16
	STEPIMP_RESULTS=$(OVER_N) $(BIN)/stepimp compare --policies --light 4b --sequences 200 --samples 64 $(FAST)
	cp $(OVER_N)/policies-* $(STEPIMP_RESULTS)
	$(BIN)/stepimp kl $(ALL_CODE)
	$(COMPARE) --family code --steps 128 --samples 1200
	rm -f fixtures/reference/*.json
	cp $(STEPIMP_RESULTS)/*.json fixtures/reference/
	$(BIN)/python docs/make_gallery.py

.venv/ready: setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,dev,docs]"
	touch $@

.venv-lowest/ready: setup.py pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

clean:
	rm -rf .venv .venv-lowest build dist *.egg-info
