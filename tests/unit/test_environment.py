"""pyproject.toml is the truth; environment.yml and requirements.lock must say the same."""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
Bounds = dict[str, SpecifierSet]


def bounds(lines: list[str]) -> Bounds:
    """Canonical name -> bounds. An extra, a marker or a name said twice has no place in either file."""
    found: Bounds = {}
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} is said twice"
        assert not requirement.extras, f"{name} has extras"
        assert not requirement.marker, f"{name} has a marker"
        found[name] = requirement.specifier
    return found


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted() -> Bounds:
    extras = project()["optional-dependencies"]
    return bounds([*project()["dependencies"], *extras["dev"], *extras["book"]])


def environment() -> list:
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def pip_part() -> list[str]:
    (part,) = [entry["pip"] for entry in environment() if isinstance(entry, dict)]
    return part


def conda_part() -> Bounds:
    return bounds([entry for entry in environment() if isinstance(entry, str)])


def pins() -> dict[str, set[Version]]:
    """name -> every version that requirements.lock pins it to (one for each Python that needs its own)."""
    found: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.M):
        found.setdefault(canonicalize_name(name), set()).add(Version(version))
    return found


def test_environment_and_pyproject_agree_name_by_name_and_bound_by_bound() -> None:
    conda = conda_part()
    told = {**{n: b for n, b in conda.items() if n not in ("python", "pip")}, **bounds(pip_part())}
    assert told == wanted()


def test_no_dependency_is_said_both_to_conda_and_to_pip() -> None:
    assert set(conda_part()) & set(bounds(pip_part())) == set()


def test_libvirt_python_comes_by_pip_because_it_follows_the_systems_libvirt() -> None:
    assert list(bounds(pip_part())) == ["libvirt-python"]
    assert "pip" in conda_part()


def test_environment_asks_for_the_same_python() -> None:
    assert conda_part()["python"] == SpecifierSet(project()["requires-python"])


def test_every_dependency_has_a_lower_bound() -> None:
    assert [n for n, b in wanted().items() if not any(s.operator == ">=" for s in b)] == []


def test_what_a_student_runs_has_an_upper_bound() -> None:
    assert [n for n, b in bounds(project()["dependencies"]).items() if not any(s.operator == "<" for s in b)] == []


@pytest.mark.parametrize("name", sorted(wanted()))
def test_the_lock_pins_each_dependency_within_its_bounds(name: str) -> None:
    versions = pins().get(name, set())
    assert versions, f"{name} is not in requirements.lock"
    assert {v for v in versions if v not in wanted()[name]} == set()


def test_everything_in_the_lock_has_a_hash() -> None:
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text())
    assert [e.split()[0] for e in entries if "==" in e and "--hash=sha256:" not in e] == []


def test_the_lock_names_no_place_to_download_from() -> None:
    assert not re.search(r"(?m)^\s*(-i|--index-url|--extra-index-url|--find-links)|https?://", (ROOT / "requirements.lock").read_text())


def test_everything_that_is_imported_is_a_dependency_of_our_own() -> None:
    files = [*ROOT.glob("halab/*.py"), *ROOT.glob("checks/*.py"), *ROOT.glob("tests/*/*.py")]
    found = re.findall(r"(?m)^ *(?:from|import) (\w+)", "\n".join(f.read_text() for f in files))
    ours = {"halab", "checks", "tests", *(f.stem for f in files)}
    owners = metadata.packages_distributions()
    foreign = {canonicalize_name(owners[n][0]) for n in {*found} - ours - sys.stdlib_module_names if n in owners}
    assert foreign - set(wanted()) == set()


def test_the_version_is_the_packages_own() -> None:
    import halab

    assert project()["version"] == halab.__version__
