.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow smoke coverage mutation fuzz kill-tests check format docs docs-serve notebook faults json bench-spine bench-accuracy bench-families bench-markers bench-rivals bench-stream bench-convert bench-predict bench-object-storage bench-processes bench-scale bench-all atlas wheel clean

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv
INSTALLED := $(VENV)/installed
CELLS := 100000
N := 100000
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 24

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable '.[demo,dev,docs,pipelines,s3]'
	@touch $@

demo: $(INSTALLED) ## Train on real cells, label others, show how well it went (SCNYM_DATA: folder of larger sets)
	$(VENV)/bin/python data/demo.py

test: $(INSTALLED) ## Run the tests of every behaviour
	$(VENV)/bin/python -m pytest -m "not slow"

test-slow: $(INSTALLED) ## Run the tests that take long: kills, damaged files, several processes, memory, pages in a browser
	$(VENV)/bin/python -m pytest -m slow

smoke: ## Convert, train, label and export with the newest packages of a Python (PYTHON=python3.13), outside of this folder
	.ci/smoke $(PYTHON)

coverage: $(INSTALLED) ## Run all tests and say which lines they do not reach, in processes that they start too
	$(VENV)/bin/python -m coverage erase
	-$(VENV)/bin/python -m coverage run -m pytest
	$(VENV)/bin/python -m coverage combine --quiet
	$(VENV)/bin/python -m coverage report

mutation: $(INSTALLED) ## Change one thing at a time in a module, and count what its tests do not notice (MODULES, MOST=100 of each)
	$(VENV)/bin/python -m pip install --quiet --editable '.[mutation]'
	$(VENV)/bin/python tests/mutation/run.py $(MODULES) $(if $(MOST),--most $(MOST))

fuzz: $(INSTALLED) ## Read damaged files of every kind (TARGETS="csv h5ad", EXECUTIONS=100000 of each)
	$(VENV)/bin/python tests/fuzz/run.py $(TARGETS) $(addprefix --scratch ,$(wildcard /dev/shm)) $(if $(EXECUTIONS),--executions $(EXECUTIONS))

kill-tests: $(INSTALLED) ## Stop every command at MOMENTS=50 random moments; it must end in the same bytes
	MOMENTS=$(or $(MOMENTS),50) $(VENV)/bin/python -m pytest tests/test_killed.py -k moment -s --timeout 7200

check: $(INSTALLED) ## Check format, lint and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright

format: $(INSTALLED) ## Format the code
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

docs: $(INSTALLED) ## Build the site into build/site; any warning ends it
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict

docs-serve: $(INSTALLED) ## Build the site and show it on this machine, anew when a page changes
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs serve

notebook: $(INSTALLED) ## Run the tutorial, and keep what it shows
	OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False docs/tutorial.ipynb

faults: $(INSTALLED) ## Make every mistake of tests/faults, and write what is said of it to docs/faults.md
	PYTHONPATH=.:tests $(VENV)/bin/python tests/faults/page.py

json: $(INSTALLED) ## Write what --json promises to docs/json.md and docs/json.schema.json
	PYTHONPATH=.:tests $(VENV)/bin/python tests/json_page.py

bench-spine: $(INSTALLED) ## Measure start-up, conversion, an epoch and prediction; write benchmarks/results/spine.md
	$(VENV)/bin/python benchmarks/bench_spine.py

bench-accuracy: $(INSTALLED) ## Measure accuracy on all labelled sets beside three rivals (WORK: folder to keep labels in)
	$(VENV)/bin/python benchmarks/rivals.py celltypist
	$(VENV)/bin/python benchmarks/bench_accuracy.py $(if $(WORK),--work $(WORK))

bench-families: $(INSTALLED) ## Compare the families of models by tissue; write benchmarks/results/families.md
	$(VENV)/bin/python benchmarks/bench_families.py

bench-markers: $(INSTALLED) ## Find known markers in real and generated cells; write benchmarks/results/markers.md
	$(VENV)/bin/python benchmarks/bench_markers.py $(if $(WORK),--work $(WORK))

bench-rivals: $(INSTALLED) ## Install annbatch and scDataset into environments of their own (Python 3.12 or newer)
	$(VENV)/bin/python benchmarks/rivals.py annbatch scdataset

bench-stream: bench-rivals ## Measure the stream beside its rivals (CELLS="100000 1000000", WORK: folder to keep files in)
	$(VENV)/bin/python benchmarks/bench_stream.py --cells $(CELLS) $(if $(WORK),--work $(WORK))

bench-convert: bench-rivals ## Measure the converter beside its rivals (CELLS, WORK as above)
	$(VENV)/bin/python benchmarks/bench_convert.py --cells $(CELLS) $(if $(WORK),--work $(WORK))

bench-predict: $(INSTALLED) ## Measure prediction; write benchmarks/results/predict.md (CELLS, WORK as above)
	$(VENV)/bin/python benchmarks/bench_predict.py --cells $(CELLS) $(if $(WORK),--work $(WORK))

bench-object-storage: $(INSTALLED) ## Measure reading from object storage beside disk; write benchmarks/results/object_storage.md
	$(VENV)/bin/python benchmarks/bench_object_storage.py $(if $(WORK),--work $(WORK))

bench-scale: $(INSTALLED) ## Measure everything at two sizes (CELLS="100000 1000000", WORK as above)
	$(VENV)/bin/python benchmarks/bench_scale.py $(if $(filter-out 100000,$(CELLS)),--cells $(CELLS)) $(if $(WORK),--work $(WORK))

bench-processes: $(INSTALLED) ## Measure training in two processes beside one; write benchmarks/results/processes.md (WORK)
	$(VENV)/bin/python benchmarks/bench_processes.py $(if $(WORK),--work $(WORK))

bench-all: bench-spine bench-accuracy bench-families bench-markers bench-stream bench-convert bench-predict bench-object-storage bench-processes bench-scale ## Run every benchmark, one after the other (hours, and 30 GB of disk)

atlas: $(INSTALLED) ## Write a synthetic atlas, atlas_N.h5ad (N: cells, WORK: folder)
	$(VENV)/bin/python benchmarks/atlas.py $(or $(WORK),.)/atlas_$(N).h5ad --n_cells $(N)

wheel: $(INSTALLED) ## Build the wheel
	$(VENV)/bin/python -m build --wheel

clean: ## Remove what was built, not what was computed
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
