# Copyright (c) 2026, the gpufleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the repository, so that nobody has to remember them."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
SCENARIOS = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
INVENTORIES = [ROOT / "inventories" / name for name in ("example", "single")]


def tracked_files() -> list[Path]:
    """Return the files of the repository: those git knows or would add, or all but the ignored folders."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listing.stdout.splitlines() if listing.returncode == 0 else []
    return sorted(ROOT / name for name in names if (ROOT / name).is_file())


FILES = tracked_files()


def load(path: Path):
    """Return the content of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def script(name: str, path: Path):
    """Import a script of the repository that is no part of a package."""
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


def options_of(role: str) -> dict[str, dict]:
    """Return the options of all entry points of a role."""
    points = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"].values()
    return {name: option for point in points for name, option in (point.get("options") or {}).items()}


def defaults_of(role: str) -> dict:
    """Return the defaults of a role."""
    path = ROOT / "roles" / role / "defaults" / "main.yml"
    return (load(path) if path.is_file() else None) or {}


# Roles


@pytest.mark.parametrize("role", ROLES)
def test_the_variables_of_a_role_are_those_of_its_argument_specs(role):
    documented = {name for name, option in options_of(role).items() if not option.get("required")}
    required = {name for name, option in options_of(role).items() if option.get("required")}
    assert set(defaults_of(role)) == documented
    assert not required & set(defaults_of(role)), "a required variable with a default is never missing"


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_of_a_role_are_those_of_its_argument_specs(role):
    options, defaults = options_of(role), defaults_of(role)
    documented = {name: options.get(name, {}).get("default") for name in defaults}
    assert documented == defaults


@pytest.mark.parametrize("role", ROLES)
def test_the_variables_of_a_role_begin_with_its_name(role):
    assert [name for name in defaults_of(role) if not name.startswith(f"{role}_")] == []


def described(options: dict[str, dict], above: str = "") -> list[str]:
    """Return the options, nested ones too, that have no type or no description ending in a full stop."""
    lacking = []
    for name, option in options.items():
        sentences = option.get("description") or ""
        sentences = [sentences] if isinstance(sentences, str) else sentences
        if not sentences or not all(sentence.rstrip().endswith(".") for sentence in sentences):
            lacking.append(above + name)
        if "type" not in option:
            lacking.append(f"{above}{name} (type)")
        lacking += described(option.get("options") or {}, f"{above}{name}.")
    return lacking


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_of_a_role_has_a_type_and_a_description(role):
    assert described(options_of(role)) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_a_readme_and_knows_the_variables_of_the_fleet(role):
    assert (ROOT / "roles" / role / "README.md").is_file()
    dependencies = load(ROOT / "roles" / role / "meta" / "main.yml")["dependencies"]
    # Ansible would check the variables of a dependency before preflight could say which one is misspelt.
    wanted = [] if role in ("fleet", "preflight") else ["gpufleet.swarm.fleet"]
    assert [entry["role"] for entry in dependencies] == wanted


@pytest.mark.parametrize("role", ROLES)
def test_the_tasks_of_a_role_are_in_short_files(role):
    files = (ROOT / "roles" / role / "tasks").glob("*.yml")
    long = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: lines for name, lines in long.items() if lines > 120} == {}


# Modules and playbooks


def text_of(file, name):
    """Return the text that a plugin assigns to a name, read without running the plugin."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and name in [getattr(target, "id", None) for target in node.targets]:
            return node.value.value
    raise AssertionError(f"{file} assigns no {name}")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_a_module_says_how_it_behaves_in_check_and_diff_mode(module):
    documentation = yaml.safe_load(text_of(module, "DOCUMENTATION"))
    assert documentation["module"] == module.stem
    attributes = documentation.get("attributes", {})
    if fragment := documentation.get("extends_documentation_fragment"):
        file = ROOT / "plugins" / "doc_fragments" / f"{fragment.removeprefix('gpufleet.swarm.')}.py"
        attributes = {**yaml.safe_load(text_of(file, "DOCUMENTATION"))["attributes"], **attributes}
    for name in ("check_mode", "diff_mode", "idempotent"):
        assert attributes[name]["support"] in ("full", "partial", "none", "N/A")
        assert attributes[name]["description"]
    assert yaml.safe_load(text_of(module, "EXAMPLES"))
    assert yaml.safe_load(text_of(module, "RETURN"))


def test_every_playbook_stands_in_the_index_of_the_docs_and_no_other():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", index, re.MULTILINE)
    assert sorted(listed) == PLAYBOOKS


def test_every_page_of_the_docs_is_linked_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def test_every_decision_stands_in_the_list_of_decisions():
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs" / "decisions").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in listed} == set()


MARKDOWN = [path for path in FILES if path.suffix == ".md"]


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_links_to_what_exists(page):
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


# Commands


def test_every_molecule_scenario_is_run_by_a_goal():
    run = script("run_goals", ROOT / "scripts" / "run.py")
    names = [step.name for step in run.goals(None)["test-full"]]
    assert {f"molecule {scenario}" for scenario in SCENARIOS} <= set(names)
    assert {"molecule single", "molecule fleet"} <= {step.name for step in run.goals(None)["test"]}


def test_every_verification_of_a_scenario_has_tests():
    # molecule takes a folder without tests for a success.
    config = load(ROOT / ".config" / "molecule" / "config.yml")
    sequence = [step.split() for step in config["scenario"]["test_sequence"]]
    folders = [path for action, *paths in sequence if action == "verify" for path in paths]
    for folder in [*folders, config["verifier"]["directory"]]:
        assert list((ROOT / "molecule" / "fleet" / folder).glob("test_*.py")), folder


def test_every_command_of_the_readme_is_a_target():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in MARKDOWN:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) - targets == set(), page


def test_the_continuous_integration_runs_make_test():
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda path: path.name)
def test_an_inventory_to_copy_sets_variables_that_exist(inventory):
    known = {name for role in ROLES for name in options_of(role)}
    files = [inventory / "hosts.yml", *inventory.glob("group_vars/*.yml")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    set_here = set(re.findall(r"^\s*(\w+_\w+):(?! *$)", text, re.MULTILINE)) | set(
        re.findall(r"^ *(\w+_\w+):$", text, re.MULTILINE)
    )
    hosts = {"this_machine"}
    unknown = {name for name in set_here - known - hosts if not name.startswith("ansible_")}
    assert unknown == set()


def test_the_inventory_of_the_readme_is_one_ansible_can_read():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)[1]
    assert len(block.splitlines()) <= 15
    assert set(yaml.safe_load(block)["all"]["children"]) == {"managers", "workers"}


def test_the_picture_is_up_to_date():
    drawing = script("draw_fleet", ROOT / "docs" / "draw_fleet.py")
    picture = (ROOT / "docs" / "fleet.svg").read_text(encoding="utf-8")
    assert picture == drawing.draw(), "run make picture"


def test_the_exceptions_for_passwords_are_the_documented_ones():
    page = (ROOT / "docs" / "systems" / "linto.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \| `([A-Z_]+)` \| `(\w+)` \|$", page, re.MULTILINE)
    documented = {
        (f"linto_{service}", variable)
        for services, variable, secret in rows
        for service in re.findall(r"`([^`]+)`", services)
        # What the user brings is not generated, so no test of a fleet meets it.
        if not secret.startswith("linto_")
    }
    source = (ROOT / "molecule" / "shared" / "tests" / "test_secrets.py").read_text(encoding="utf-8")
    constant = next(
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and node.targets[0].id == "ENVIRONMENT_EXCEPTIONS"
    )
    tested = {
        (service, variable) for service, names in ast.literal_eval(constant).items() for variable in names
    }
    assert documented == tested


# Files


def test_the_collection_needs_what_the_pinned_ansible_carries():
    galaxy, requirements = load(ROOT / "galaxy.yml"), load(ROOT / "requirements.yml")
    assert {entry["name"]: entry["version"] for entry in requirements["collections"]} == galaxy[
        "dependencies"
    ]
    assert load(ROOT / "meta" / "runtime.yml")["requires_ansible"] == ">=2.19.0"


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_the_requirements_are_pinned(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    loose = [
        line
        for line in lines
        if line and not line.startswith("#") and not re.fullmatch(r"[\w.-]+==[\d.]+", line)
    ]
    assert loose == []


HEADER = (
    "# Copyright (c) 2026, the gpufleet contributors",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "# SPDX-License-Identifier: GPL-3.0-or-later",
)


def test_every_python_file_carries_its_licence():
    lacking = []
    for path in FILES:
        if path.suffix == ".py":
            head = path.read_text(encoding="utf-8").splitlines()[:6]
            if not set(HEADER) <= set(head) and path.stat().st_size:
                lacking.append(str(path.relative_to(ROOT)))
    assert lacking == []


def has_code(text: str) -> bool:
    """Return whether a Python file holds more than comments and a docstring."""
    return any(
        not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.parse(text).body
    )


def test_every_python_file_treats_annotations_alike():
    lacking = []
    for path in FILES:
        if path.suffix == ".py":
            text = path.read_text(encoding="utf-8")
            if has_code(text) and "\nfrom __future__ import annotations\n" not in text:
                lacking.append(str(path.relative_to(ROOT)))
    assert lacking == []


# Where packages come from on a machine that has no mirror; documentation may name these.
PUBLIC = {"pypi.org", "files.pythonhosted.org", "deb.debian.org", "security.debian.org", "archive.ubuntu.com"}
# Built from pieces, so that this file does not find itself.
UNFINISHED = [f"{left}{right}" for left, right in (("TO", "DO"), ("FIX", "ME"), ("XX", "X "))]


def mirrors() -> set[str]:
    """Return the hosts this machine gets its packages from."""
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    apt = [*Path("/etc/apt").glob("*.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join([pip.stdout, *(path.read_text(encoding="utf-8") for path in apt if path.is_file())])
    return set(re.findall(r"https?://(?:[^@/\s]*@)?([\w.-]+)", text)) - PUBLIC


def test_no_file_names_the_machine_it_was_written_on_or_is_unfinished():
    words, found = [f"{ROOT}/", f"{ROOT.parent}/shared", *mirrors(), *UNFINISHED], {}
    for path in FILES:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        # The licence is not ours to word.
        if path.name != "LICENSE" and (here := [word for word in words if word in text]):
            found[str(path.relative_to(ROOT))] = here
    assert found == {}
