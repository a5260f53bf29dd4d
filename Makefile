# One command makes the book, one proves it. `make help` lists them all.
#
# Each chapter is executed once, in _exec/, and the pages are built from there. Nothing is redone whose
# inputs did not change; a change anywhere in ntkbook/ executes every chapter again.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
PORT   ?= 8000
N      ?= 3

BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CHAPTERS  := $(wildcard book/*.ipynb)
EXECUTED  := $(CHAPTERS:book/%=_exec/%)
OTHERS    := $(shell find book -type f ! -name '*.ipynb' ! -path '*/.*')
COPIED    := $(OTHERS:book/%=_exec/%)
# The pages show the students' versions of the assignments, not the solutions.
HOMEWORK  := $(wildcard book/assignments/*.ipynb)
HANDED    := $(if $(HOMEWORK),_exec/assignments/.handed_out)
PAGES     := _build/html/.built

.DELETE_ON_ERROR:
.PHONY: help install lock licences book executed test seeds mutate mutate-book colab assignments versions lint types serve bench bench-gpu table1 small-data vendor clean accept-equations FORCE

help:  ## list the commands
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 20

install: $(INSTALLED)  ## create .venv with the exact versions of requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
# Where torch is built for CUDA, its own list of exact versions brings the libraries of the device.
	PYTHONWARNINGS="ignore:Editable installation" $(BIN)/python -m pip install --quiet --no-build-isolation --editable .
	@touch $@

book: $(INSTALLED)  ## execute every chapter and build the pages in _build/html
	@$(BIN)/python -m ntkbook.verify check
	@$(MAKE) --no-print-directory -j$(JOBS) executed
	@$(MAKE) --no-print-directory $(PAGES)
	@echo "The book is built. Open _build/html/index.html, or run: make serve"

executed: $(EXECUTED)

# The fingerprint of all that a chapter's results depend on besides itself: rewritten only when a file's
# content changed, appeared or went, or another seed is asked for.
_exec/.package: FORCE
	@mkdir -p _exec
	@{ find ntkbook -name '*.py' | LC_ALL=C sort | xargs cksum; cksum requirements.lock; \
		echo "seed $$NTKBOOK_SEED"; } > $@.new
	@cmp -s $@.new $@ || cp $@.new $@
	@rm $@.new

# A chapter is executed aside and moved into place when it has succeeded, so that an interrupted
# run leaves nothing that looks executed. One thread each: JOBS chapters run at a time.
_exec/%.ipynb: book/%.ipynb _exec/.package | $(INSTALLED)
	@mkdir -p _exec/.running
	@cp $< _exec/.running/$*.ipynb
	OMP_NUM_THREADS=1 $(BIN)/pytest -p no:cacheprovider -p no:xdist --quiet --nbmake --overwrite \
		--nbmake-timeout=300 _exec/.running/$*.ipynb
	@mv _exec/.running/$*.ipynb $@

$(COPIED): _exec/%: book/%
	@mkdir -p $(@D)
	@cp $< $@

$(HANDED): $(HOMEWORK) _exec/.package | $(INSTALLED)
	@$(BIN)/python -m ntkbook.assignments student $(HOMEWORK) --to $(@D) > /dev/null
	@mkdir -p $(@D)
	@touch $@

$(PAGES): $(EXECUTED) $(COPIED) $(HANDED) _config.yml _toc.yml
	$(BIN)/jupyter-book build _exec --config _config.yml --toc $(CURDIR)/_toc.yml --path-output . \
		-n -W --keep-going --quiet
	@touch $@

test: lint types book  ## everything: lint, types, chapters, pages, and all tests
	$(BIN)/pytest -n $(JOBS)

lock:  ## write requirements.lock and environment.yml with hashes; PIN="name==1.2 ..." changes versions
	@PYTHON=$(PYTHON) PIN="$(PIN)" bash .ci/lock

licences: $(INSTALLED)  ## write THIRD-PARTY.md, the licences of all dependencies
	@PYTHON=$(PYTHON) bash .ci/licences

seeds: $(INSTALLED)  ## N=3: run every chapter with N other seeds
	@rm -rf _seeds
	@for seed in $$(seq 101 $$((100 + $(N)))); do mkdir -p _seeds/$$seed; cp book/*.ipynb _seeds/$$seed; done
	@ls _seeds/*/*.ipynb | OMP_NUM_THREADS=1 xargs -P $(JOBS) -I{} sh -c '\
		NTKBOOK_SEED=$$(basename $$(dirname {})) $(BIN)/pytest -p no:cacheprovider -p no:xdist --quiet \
		--nbmake --nbmake-timeout=300 {} > {}.log 2>&1 && echo "passed {}" || { cat {}.log; echo "FAILED {}"; exit 1; }'

mutate: $(INSTALLED)  ## SAMPLE=75 SEED=0: change the package's mathematics, count what the tests notice; resumes
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation $(if $(SAMPLE),--sample $(SAMPLE)) --seed $(or $(SEED),0) --write

mutate-book: $(INSTALLED)  ## change the statements that the book checks, write book/mutants.md; resumes
	OMP_NUM_THREADS=1 $(BIN)/python -m ntkbook.verify.mutation --seconds $(or $(SECONDS),1.5) --table book/mutants.md

colab: $(INSTALLED)  ## write a self-contained notebook for each chapter to _colab/
	@rm -rf _colab
	@$(BIN)/python -m ntkbook.colab --to _colab
	@$(BIN)/python -m ntkbook.assignments student $(HOMEWORK) --to _colab/assignments

assignments: $(INSTALLED)  ## write the students' assignments, without solutions, to _assignments/
	@rm -rf _assignments
	@$(BIN)/python -m ntkbook.assignments student $(HOMEWORK) --to _assignments

versions:  ## tests and Colab notebooks on the oldest and newest versions; resumes; SIDE=oldest runs one
	@$(PYTHON) tests/run_versions.py $(SIDE) --jobs $(JOBS)

lint: $(INSTALLED)  ## ruff: errors, style, formatting, docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)  ## mypy --strict on the package
	$(BIN)/mypy

serve: book  ## serve the pages on this machine
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

bench: $(INSTALLED)  ## run every benchmark that takes minutes, and print its table
	@for file in $(filter-out benchmarks/table1.py benchmarks/cntk_gpu.py benchmarks/small_data.py,$(wildcard benchmarks/*.py)); do \
		echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-gpu: $(INSTALLED)  ## measure the GPU engines (needs a CUDA device)
	$(BIN)/python benchmarks/cntk_gpu.py

table1: $(INSTALLED)  ## CIFAR-10 accuracies of the CNTK with 2,000 images; resumes (needs NTKBOOK_DATA)
	$(BIN)/python benchmarks/table1.py

small-data: $(INSTALLED)  ## NTK against SVM, forest and MLP on 25 small tables; resumes (up to 30 minutes)
	$(BIN)/python benchmarks/small_data.py

accept-equations: $(INSTALLED)  ## LABEL="eq-a eq-b": accept equations whose text and check you have read
	@$(BIN)/python -m ntkbook.verify accept $(LABEL)

vendor:  ## fetch the scripts under book/_static/vendor again (needs npm)
	sh book/_static/vendor/fetch.sh

clean:  ## remove what the build made (not .venv)
	rm -rf _exec _build _colab _seeds _assignments _mutation _versions _mutants .pytest_cache .mypy_cache .ruff_cache
