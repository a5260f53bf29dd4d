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
LOCKED    := $(BIN)/python -m pip install --quiet --require-hashes --no-deps
INSTALLED := $(VENV)/.installed
CHAPTERS  := $(wildcard book/*.ipynb)
EXECUTED  := $(CHAPTERS:book/%=_exec/%)
OTHERS    := $(shell find book -type f ! -name '*.ipynb' ! -path '*/.*')
COPIED    := $(OTHERS:book/%=_exec/%)
# The pages show the students' versions of the assignments, not the solutions.
HOMEWORK  := $(wildcard book/assignments/*.ipynb)
HANDED    := $(if $(HOMEWORK),_exec/assignments/.handed_out)
PAGES     := _build/html/.built
SEEDED    := $(foreach seed,$(shell seq 101 $$((100 + $(N)))),$(CHAPTERS:book/%.ipynb=_seeds/$(seed)/%.passed))

# The printed book needs these packages of Debian, besides a few minutes.
TEX := texlive-xetex texlive-latex-extra texlive-fonts-recommended latexmk fonts-texgyre fonts-texgyre-math fonts-dejavu

.DELETE_ON_ERROR:
.PHONY: help install lock licences book executed pdf epub test seeds seeded mutate mutate-book colab assignments versions lint types serve bench bench-gpu table1 small-data vendor clean accept-equations FORCE

help:  ## list the commands
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 20

install: $(INSTALLED)  ## create .venv with the exact versions of requirements.lock; TORCH=cuda for a GPU

CPU_BUILD := $(VENV)/lib/*/site-packages/torch-*+cpu.dist-info
REPLACED  := $(if $(filter cuda,$(TORCH)),$(wildcard $(CPU_BUILD)))

$(INSTALLED): requirements.lock requirements-cpu.lock requirements-cuda.lock pyproject.toml $(if $(REPLACED),FORCE)
# An interrupted installation can leave half a package that pip takes for a whole one: begin anew then.
	$(PYTHON) -m venv $(if $(REPLACED)$(wildcard $(VENV)/.installing),--clear) $(VENV)
	@touch $(VENV)/.installing
# For Linux the usual registry has torch for CUDA alone. The small build is what pip is asked for first, and
# what it then takes for the version in the list; where pip finds none, the other one comes with its libraries.
ifneq ($(TORCH),cuda)
	@$(LOCKED) -r requirements-cpu.lock > $(VENV)/.torch 2>&1 || { \
		grep -q "No matching distribution" $(VENV)/.torch || { cat $(VENV)/.torch >&2; exit 1; }; \
		echo "note: pip finds no build of torch without CUDA, and takes the one with it (3 GB more); see README.md" >&2; }
endif
	$(LOCKED) -r requirements.lock
	@ls -d $(CPU_BUILD) > /dev/null 2>&1 || $(LOCKED) -r requirements-cuda.lock
	PYTHONWARNINGS="ignore:Editable installation" $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
	@rm $(VENV)/.installing

book: $(INSTALLED)  ## execute every chapter and build the pages in _build/html
	@$(BIN)/python -m ntkbook.verify check
	@$(MAKE) --no-print-directory -j$(JOBS) executed
	@$(MAKE) --no-print-directory $(PAGES)
	@echo "The book is built. Open _build/html/index.html, or run: make serve"

executed: $(EXECUTED)

# The fingerprint of all that a chapter's results depend on besides itself: rewritten only when a file's
# content changed, appeared or went, or another seed is asked for.
_exec/.package _seeds/.package: FORCE
	@mkdir -p $(@D)
	@{ find ntkbook -name '*.py' | LC_ALL=C sort | xargs cksum; cksum requirements.lock; \
		echo "seed $$NTKBOOK_SEED"; } > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# A chapter is executed aside and moved into place when it has succeeded, so that an interrupted
# run leaves nothing that looks executed. It gets the date of its beginning: a chapter that was edited
# while it ran is executed again. One thread each: JOBS chapters run at a time.
_exec/%.ipynb: book/%.ipynb _exec/.package | $(INSTALLED)
	@mkdir -p _exec/.running
	@touch _exec/.running/$*.began
	@cp $< _exec/.running/$*.ipynb
	OMP_NUM_THREADS=1 $(BIN)/pytest -p no:cacheprovider -p no:xdist --quiet --nbmake --overwrite \
		--nbmake-timeout=300 _exec/.running/$*.ipynb
	@touch -r _exec/.running/$*.began _exec/.running/$*.ipynb
	@mv _exec/.running/$*.ipynb $@

$(COPIED): _exec/%: book/%
	@mkdir -p $(@D) _exec/.running
	@cp $< _exec/.running/$(subst /,--,$*)
	@mv _exec/.running/$(subst /,--,$*) $@

$(HANDED): $(HOMEWORK) _exec/.package | $(INSTALLED)
	@$(BIN)/python -m ntkbook.assignments student $(HOMEWORK) --to $(@D) > /dev/null
	@mkdir -p $(@D)
	@touch $@

# A build that failed or was interrupted has read pages whose warnings the next one would not see again,
# and may have left half a page: begin anew then.
$(PAGES): $(EXECUTED) $(COPIED) $(HANDED) _config.yml _toc.yml
	@if [ -e _build/.building ]; then rm -rf _build/html _build/.doctrees; fi
	@mkdir -p _build
	@touch _build/.building
	$(BIN)/jupyter-book build _exec --config _config.yml --toc $(CURDIR)/_toc.yml --path-output . \
		-n -W --keep-going --quiet
	@touch $@
	@rm _build/.building

pdf: $(INSTALLED)  ## the book on paper: _build/ntkbook.pdf (needs xelatex and latexmk)
	@command -v xelatex > /dev/null && command -v latexmk > /dev/null || { \
		echo "make pdf needs xelatex and latexmk: apt-get install $(TEX)" >&2; exit 1; }
	@$(MAKE) --no-print-directory -j$(JOBS) executed
	@$(MAKE) --no-print-directory _build/ntkbook.pdf

epub: $(INSTALLED)  ## the book for e-readers: _build/ntkbook.epub (needs chromium)
	@command -v chromium > /dev/null || command -v google-chrome > /dev/null || { \
		echo "make epub needs a browser, in which MathJax turns formulas into MathML: apt-get install chromium" >&2; exit 1; }
	@$(MAKE) --no-print-directory -j$(JOBS) executed
	@$(MAKE) --no-print-directory _build/ntkbook.epub

# LaTeX goes on without a letter that no font has and without the target of a reference, and lets what is too
# high run over the foot of the page: not here.
_build/ntkbook.pdf: $(EXECUTED) $(COPIED) $(HANDED) _config.yml _toc.yml
	$(BIN)/jupyter-book build _exec --config _config.yml --toc $(CURDIR)/_toc.yml --path-output _build/pdf \
		--builder latex -n -W --keep-going --quiet
	cd _build/pdf/_build/latex && latexmk -pdfxe -interaction=nonstopmode -halt-on-error ntkbook.tex > latexmk.out 2>&1 \
		|| { tail -30 latexmk.out; exit 1; }
	@! grep -E "Missing character|LaTeX Warning: .* undefined|Float too large|Overfull .vbox \(([5-9]|[0-9]{2,})\." _build/pdf/_build/latex/ntkbook.log
	@cp _build/pdf/_build/latex/ntkbook.pdf $@

_build/ntkbook.epub: $(EXECUTED) $(COPIED) $(HANDED) _config.yml _toc.yml
	$(BIN)/jupyter-book build _exec --config _config.yml --toc $(CURDIR)/_toc.yml --path-output _build/epub \
		--builder custom --custom-builder epub -n -W --keep-going --quiet
	@cp _build/epub/_build/epub/ntkbook.epub $@

test: lint types book  ## everything: lint, types, chapters, pages, and all tests
	$(BIN)/pytest -n $(JOBS)

lock:  ## write requirements.lock and environment.yml with hashes; PIN="name==1.2 ..." changes versions
	@PYTHON=$(PYTHON) PIN="$(PIN)" bash .ci/lock

licences: $(INSTALLED)  ## write THIRD-PARTY.md, the licences of all dependencies
	@PYTHON=$(PYTHON) bash .ci/licences

seeds: $(INSTALLED)  ## N=3: run every chapter with N other seeds; resumes
	@mkdir -p _seeds
	@: > _seeds/.now
	@$(MAKE) --no-print-directory --keep-going -j$(JOBS) seeded || { \
		echo "Not all passed. What passed is not repeated: make seeds goes on from here."; exit 1; }
	@echo "All $(words $(SEEDED)) runs passed, $$(($(words $(SEEDED)) - $$(grep -c . _seeds/.now))) of them before."

seeded: $(SEEDED)

# What passed with the same chapter, package and seed is not repeated. The mark has the date of its beginning.
.SECONDEXPANSION:
_seeds/%.passed: book/$$(notdir $$*).ipynb _seeds/.package | $(INSTALLED)
	@mkdir -p $(@D)
	@rm -f $@
	@cp $< _seeds/$*.ipynb
	@NTKBOOK_SEED=$(notdir $(@D)) OMP_NUM_THREADS=1 $(BIN)/pytest -p no:cacheprovider -p no:xdist --quiet \
		--nbmake --nbmake-timeout=300 _seeds/$*.ipynb > _seeds/$*.log 2>&1 \
		|| { cat _seeds/$*.log; echo "FAILED _seeds/$*.ipynb"; exit 1; }
	@touch -r _seeds/$*.ipynb $@
	@echo "passed _seeds/$*.ipynb" | tee -a _seeds/.now

mutate: $(INSTALLED)  ## SAMPLE=60 SEED=0 LIMIT=60: change the package's mathematics, count what the tests notice; resumes
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(LIMIT),--limit $(LIMIT)) --seed $(or $(SEED),0) --write

mutate-book: $(INSTALLED)  ## change the statements that the book checks, write book/mutants.md; resumes
	OMP_NUM_THREADS=1 $(BIN)/python -m ntkbook.verify.mutation --seconds $(or $(SECONDS),1.5) --table book/mutants.md

# Both are written aside and moved when they are complete.
colab: $(INSTALLED)  ## write a self-contained notebook for each chapter to _colab/
	@rm -rf _build/colab
	@$(BIN)/python -m ntkbook.colab --to _build/colab > /dev/null
	@$(BIN)/python -m ntkbook.assignments student $(HOMEWORK) --to _build/colab/assignments > /dev/null
	@rm -rf _colab
	@mv _build/colab _colab
	@find _colab -name '*.ipynb' | LC_ALL=C sort

assignments: $(INSTALLED)  ## write the students' assignments, without solutions, to _assignments/
	@rm -rf _build/assignments
	@$(BIN)/python -m ntkbook.assignments student $(HOMEWORK) --to _build/assignments > /dev/null
	@rm -rf _assignments
	@mv _build/assignments _assignments
	@find _assignments -name '*.ipynb' | LC_ALL=C sort

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
