# make run     set everything up, then carry out the example (or TASK="…" FILES="a.csv b.csv")
# make coding  set everything up, then let the model fix the bug in a copy of examples/coding_assistant
# make triage  set everything up, then let the model sort 60 support tickets, and compare with labels
# make test    set everything up, then run all tests
# make test-fast  the tests that need neither Docker, nor a model server, nor a package index
# make soak    the tests that take longer than all the others together (as root: some start Docker daemons)
# make fuzz    play damaged model output at what reads it, and hostile guests at the host (COUNT=1000000 inputs,
#              GUESTS=1000; some minutes each)
# make eval-smoke  a few tasks of each suite under two policies (minutes; `fastslow eval` has the whole)
# make bench   measure the sandbox beside four other libraries (as root; writes docs/sandbox-benchmarks.md)
# make bench-loop  measure the loop beside bare httpx and five other frameworks (writes docs/loop-benchmarks.md)
# make check   formatting, lint, types and import rules
# make clean   remove what was made in this folder (weights and engine stay in your cache)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := run
.DELETE_ON_ERROR:
.PHONY: run coding triage test test-fast soak fuzz eval-smoke bench bench-loop check clean setup

EXAMPLE := examples/data_analysis

# The words of a task reach the shell through the environment, so quotes, backquotes and `$$` in them stay as they are.
ifdef TASK
override export TASK := $(value TASK)
FILES ?=
else
export TASK := $(file < $(EXAMPLE)/task.txt)
FILES ?= $(EXAMPLE)/orders.csv
endif
export FILES

run: .venv/installed
	@files=(); for file in $$FILES; do files+=(--file "$$file"); done; \
	.venv/bin/fastslow run "$${files[@]}" -- "$$TASK"

# The run works on a copy, and its change is applied to that one: this repository stays as it is.
coding: .venv/installed
	@copy=$$(mktemp -d); cp -r examples/coding_assistant "$$copy/project"; \
	.venv/bin/fastslow code "Fix the failing test." --dir "$$copy/project" --test "python -m unittest -q" --apply; \
	echo "The fixed project is in $$copy/project"

triage: .venv/installed
	@mkdir -p fastslow-out
	@.venv/bin/fastslow map "$$(< examples/workflows/triage/prompt.txt)" --input examples/workflows/triage/tickets.csv \
	  --id id --schema examples/workflows/triage/ticket.json --out fastslow-out/triage.jsonl
	@.venv/bin/python examples/workflows/triage/accuracy.py fastslow-out/triage.jsonl

# The tests start the server themselves; what takes long before that is done here, where its progress is seen.
test: .venv/installed-dev
	@.venv/bin/fastslow setup
	@.venv/bin/pytest

test-fast: .venv/installed-dev
	@.venv/bin/pytest -n auto -m "not docker and not engine and not index"

soak: .venv/installed-dev
	@.venv/bin/fastslow sandbox build
	@.venv/bin/pytest tests/soak

fuzz: .venv/installed-dev
	@.venv/bin/python -m tests.fuzz --count $(or $(COUNT),1000000)
	@.venv/bin/python -m tests.fuzz.guests --count $(or $(GUESTS),1000)

eval-smoke: .venv/installed-dev
	@for suite in workflows:1 single:4 chat:4 bfcl:5; do \
	  .venv/bin/fastslow eval "$${suite%:*}" --n "$${suite#*:}" --policy auto --policy never \
	    --at-once 4 --budget turns=8 --out "fastslow-eval/smoke/$${suite%:*}"; done

bench: .venv/installed-dev
	@.venv/bin/fastslow sandbox build
	@.venv/bin/python -m benchmarks.sandbox

bench-loop: .venv/installed-dev
	@.venv/bin/python -m benchmarks.loop

check: .venv/installed-dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

clean:
	rm -rf .venv *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache fastslow-out fastslow-eval
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/installed: pyproject.toml | .venv/bin/python
	@$(call phase,Installing fastslow into .venv,its own environment leaves the system's Python alone)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	@$(call phase,Installing fastslow and its test tools into .venv,its own environment leaves the system's Python alone)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch .venv/installed $@

.venv/bin/python:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "fastslow needs Python 3.11 or newer as python3" >&2; exit 1; }
	@python3 -c 'import venv, ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "Python's venv module is missing; on Debian: sudo apt-get install python3-venv" >&2; exit 1; fi; \
	  echo "▸ Installing Debian's python3-venv (why: Python's own venv module is a package there)"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -qqy --no-install-recommends python3-venv >/dev/null; }
	@python3 -m venv .venv

phase = printf '▸ %s (why: %s)\n' "$(1)" "$(2)"
