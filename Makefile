# Every target starts by bringing .venv up to date; scripts/run.py announces, times and counts the steps.
PYTHON ?= python3
LAB_HOSTS ?= 3
LAB_MANAGERS ?= 1
SCENARIO ?=
SUITE ?=
VENV := .venv/bin/python
export LAB_HOSTS LAB_MANAGERS
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-full integration lint sanity units molecule bench lab lab-down status build picture clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv:  ## the controller's virtual environment, pinned, in .venv
	@$(PYTHON) scripts/venv.py

demo: venv  ## three hosts of the lab, from nothing to LinTO over HTTPS
	@$(VENV) scripts/run.py demo

test: venv  ## lint, unit tests, ansible-test sanity, and whole fleets in the lab
	@$(VENV) scripts/run.py test

test-full: venv  ## `make test`, then the slow tests of modules and roles on live Engines
	@$(VENV) scripts/run.py test-full

integration: venv  ## the slow tests alone; one suite of them: make integration SUITE=acme
	@$(VENV) scripts/run.py integration $(SUITE)

lint: venv  ## ruff, yamllint, ansible-lint
	@$(VENV) scripts/run.py lint

sanity: venv  ## ansible-test sanity on the built collection
	@$(VENV) scripts/run.py sanity

units: venv  ## the tests that need no host
	@$(VENV) scripts/run.py units

molecule: venv  ## one scenario: make molecule SCENARIO=fleet; without a name all of them
	@$(VENV) scripts/run.py molecule $(SCENARIO)

bench: venv  ## what a second run and a deploy without changes cost, on the lab that stands
	@$(VENV) tests/benchmarks/noop.py
	@$(VENV) tests/benchmarks/stack.py

lab: venv  ## the hosts of the lab: make lab LAB_HOSTS=3 LAB_MANAGERS=1
	@$(VENV) -m lab up --hosts $(LAB_HOSTS) --managers $(LAB_MANAGERS)

lab-down: venv  ## remove the lab, its networks and its volumes
	@$(VENV) -m lab down

status: venv  ## what stands in the lab: hosts, nodes, services
	@$(VENV) -m lab status
	@.venv/bin/ansible-playbook -i inventories/lab playbooks/status.yml

build: venv  ## the collection as a tarball, in .cache
	@.venv/bin/ansible-galaxy collection build --force --output-path .cache

picture: venv  ## draw docs/fleet.svg again
	@$(VENV) docs/draw_fleet.py

clean:  ## what the other targets made, the lab excepted
	@rm -rf .venv .cache .ansible .pytest_cache .ruff_cache .hypothesis
