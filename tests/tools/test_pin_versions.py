"""The pinned versions go with the ranges that the library promises to work with, and name no place to get them."""

import tomllib
from collections import defaultdict

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tools.pin_versions import PROJECT, without_pins

TEXT = PROJECT.read_text(encoding="utf-8")
FILE = tomllib.loads(TEXT)
PINS = [Requirement(pin) for pin in FILE["tool"]["uv"]["constraint-dependencies"]]


def test_every_package_that_a_clone_installs_is_pinned_within_its_range() -> None:
    versions: dict[str, set[str]] = defaultdict(set)
    for pin in PINS:
        (version,) = pin.specifier
        assert version.operator == "=="
        versions[canonicalize_name(pin.name)].add(version.version)
    project = FILE["project"]
    extras = project["optional-dependencies"]
    development = [Requirement(line) for line in FILE["dependency-groups"]["dev"]]
    wanted = [Requirement(line) for line in project["dependencies"]] + development
    wanted += [Requirement(line) for own in development if own.name == project["name"]
               for extra in own.extras for line in extras[extra]]  # fmt: skip
    for requirement in wanted:
        if requirement.name == project["name"]:
            continue
        found = versions[canonicalize_name(requirement.name)]
        assert found, f"{requirement.name} is not pinned; run tools/pin_versions.py"
        assert all(SpecifierSet(str(requirement.specifier)).contains(version) for version in found), requirement


def test_one_version_of_each_package_holds_here() -> None:
    here: dict[str, list[str]] = defaultdict(list)
    environment = {name: str(value) for name, value in default_environment().items()}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(environment):
            here[canonicalize_name(pin.name)].append(str(pin.specifier))
    assert {name: found for name, found in here.items() if len(found) > 1} == {}


def test_pins_hold_no_address_and_can_be_taken_out() -> None:
    assert "://" not in "".join(map(str, PINS))
    free = without_pins(TEXT)
    assert tomllib.loads(free)["tool"]["uv"]["constraint-dependencies"] == []
    assert without_pins(free) == free
