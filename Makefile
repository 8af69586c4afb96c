# The work is done by tasks.py, which needs nothing but Python: `python3 tasks.py book` does the same.
PYTHON ?= python3

.PHONY: book pdf test pages check nightly benchmarks clean

book pdf test pages check nightly benchmarks clean:
	@"$(PYTHON)" tasks.py $@
