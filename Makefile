# Each target is a line or three; the work is in Python (halab) and in .ci/setup.
PY := .venv/bin/python

.PHONY: setup run test check bench mutants exercises clean lab nbval drills soak book

setup: ## install what is missing: Debian packages and .venv
	@sh .ci/setup

run: setup ## the whole chain: image, lab, every chapter to its graded end
	$(PY) -m halab run

test: setup ## the tests of this project (the live ones need root or sudo)
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy
	$(PY) -m pytest $(wildcard tests/unit tests/notebooks tests/live)

check: ## grade the lab as it is now
	$(PY) -m halab check

bench: setup ## figures, printed with what they are measured against
	$(PY) -m tests.bench

mutants: setup ## break a running cluster in every way we know, and see that the checks notice
	HALAB_NAME=mutants $(PY) -m halab run && HALAB_NAME=mutants $(PY) -m halab exec -- \
		$(PY) -m tests.mutants --healthy 20 --table tests/mutants/MATRIX.md; code=$$?; HALAB_NAME=mutants $(PY) -m halab down; exit $$code

exercises: setup ## leave every exercise blank, one at a time, and see that its checks notice
	HALAB_NAME=exercises $(PY) -m halab up --empty && HALAB_NAME=exercises $(PY) -m halab exec -- \
		$(PY) -m tests.exercises; code=$$?; HALAB_NAME=exercises $(PY) -m halab down; exit $$code

clean: ## end the lab, and remove what can be made again (not the image, not runs/)
	-test ! -x $(PY) || $(PY) -m halab down
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache halab.egg-info

lab nbval drills soak book:
	@echo "make $@ is not there yet: a later issue of the project brings it" >&2; exit 2
