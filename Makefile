# Each target is a line or three; the work is in Python (halab) and in .ci/setup.
PY := .venv/bin/python

.PHONY: setup run lab test test-chapters test-lab test-vm check nbval record book bench mutants exercises clean drills soak

setup: ## install what is missing: Debian packages and .venv
	@sh .ci/setup

run: setup ## the whole chain: image, lab, every chapter to its graded end
	$(PY) -m halab run

lab: setup ## JupyterLab inside the lab host, in your browser; your own copies of the chapters are in work/
	$(PY) -m halab lab

test: ## the tests of this project (the live ones need root or sudo; those of JupyterLab drive Chromium)
	@sh .ci/setup chromium openvswitch-switch slirp4netns sudo
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
	$(PY) -m pytest --numprocesses 2 tests/unit tests/notebooks
	$(PY) -m pytest tests/live/test_machine.py
	@$(MAKE) --jobs=2 --output-sync=line test-chapters test-lab # labs of their own, side by side: both mostly wait

CHAPTERS := $(addprefix tests/live/test_,journey.py nbval.py nbgrader.py)
test-chapters:
	$(PY) -m pytest $(CHAPTERS)

test-lab:
	$(PY) -m pytest tests/live tests/browser $(addprefix --ignore=,$(CHAPTERS) tests/live/test_machine.py)

test-vm: ## the chapters on emulated machines get the same verdicts as on containers (long: every instruction is emulated)
	@HALAB_ENGINE=vm HALAB_BRIDGE=openvswitch sh .ci/setup
	$(PY) -m pytest tests/vm

check: ## grade the lab as it is now
	$(PY) -m halab check

bench: setup ## figures, printed with what they are measured against
	$(PY) -m tests.bench

mutants: setup ## break a running cluster in every way we know, and see that the checks notice
	$(PY) -m tests.mutants.matrix --labs 2 --table tests/mutants/MATRIX.md

nbval: setup ## run every chapter on a fresh lab, and compare what it prints with what is committed
	export HALAB_NAME=nbval; $(PY) -m halab down && $(PY) -m halab up --empty && \
		$(PY) -m halab exec -- $(PY) -m tests.nbval; code=$$?; $(PY) -m halab down; exit $$code

record: run ## run the chain, and keep what the chapters printed in notebooks/
	$(PY) -m halab.record

book: setup ## the executed chapters as a site to read, in build/book/html
	$(PY) -m halab.book

exercises: setup ## leave every exercise blank, one at a time, and see that its checks notice
	HALAB_NAME=exercises $(PY) -m halab up --empty && HALAB_NAME=exercises $(PY) -m halab exec -- \
		$(PY) -m tests.exercises; code=$$?; HALAB_NAME=exercises $(PY) -m halab down; exit $$code

clean: ## end the lab, and remove what can be made again (not the image, not runs/)
	-test ! -x $(PY) || $(PY) -m halab down
	rm -rf build .venv .mypy_cache .pytest_cache .ruff_cache halab.egg-info

drills: setup ## every fault ten times, without fencing and with it, on labs side by side; goes on where it was ended
	$(PY) -m halab.drills

soak:
	@echo "make $@ is not there yet: a later issue of the project brings it" >&2; exit 2
