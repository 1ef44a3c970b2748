"""The metadata, the entry points and the pins."""

import re
import socket
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest
import spacy
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from spacy import registry

import spacy_tcm

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]
ENTRY_POINTS = [
    (group, name, target)
    for group, points in PROJECT["entry-points"].items()
    for name, target in points.items()
]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    "windows": {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64"},
}


def test_version_has_one_source():
    assert spacy_tcm.__version__ == PROJECT["version"] == distribution("spacy-tcm").version
    literal = re.compile(rf"[\"']{re.escape(PROJECT['version'])}[\"']")
    repeated = [
        path.relative_to(ROOT)
        for path in sorted((ROOT / "spacy_tcm").rglob("*.py"))
        if literal.search(path.read_text("utf-8"))
    ]
    assert not repeated, "Use spacy_tcm.__version__ instead of the number."
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## [{PROJECT['version']}]" in changelog or "## [Unreleased]" in changelog


def test_metadata():
    assert PROJECT["license"] == "MIT"
    assert (ROOT / PROJECT["readme"]).is_file()
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])
    supported = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 20) if f"3.{minor}.0" in supported]
    assert minors == list(PYTHONS)
    listed = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert listed == minors
    assert set(PROJECT["optional-dependencies"]) == {"train", "graph", "peers", "docs", "dev"}
    base = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    assert not base & {"torch", "torchvision", "transformers", "spacy-transformers"}


def test_installed_entry_points_are_those_of_pyproject():
    """Else the installation is older than pyproject.toml: install again with `pip install -e .`."""
    installed = {
        (point.group, point.name, point.value) for point in distribution("spacy-tcm").entry_points
    }
    assert installed == set(ENTRY_POINTS)


@pytest.mark.parametrize(("group", "name", "target"), ENTRY_POINTS)
def test_entry_point(group, name, target):
    """Each resolves to a function or class of ours, and spaCy finds the same one by its name."""
    (point,) = entry_points(group=group, name=name)
    loaded = point.load()
    assert callable(loaded)
    assert loaded.__module__ == target.partition(":")[0]
    kind = group.removeprefix("spacy_")
    if kind == "span_getters":
        pytest.importorskip("spacy_transformers")  # this registry is its own
    if kind == "factories":
        assert spacy.Language.has_factory(name), "the module must register it by Language.factory"
        assert spacy.Language.get_factory_meta(name).factory == name
    else:
        assert registry.get(kind, name) is loaded
    if kind not in ("factories", "languages", "cli"):
        assert re.fullmatch(r"spacy_tcm\.\w+\.v\d+", name)


def read_pins(name: str) -> list[tuple[Requirement, int]]:
    """The pins of a file of requirements/, each with the number of its hashes."""
    pins: list[tuple[Requirement, int]] = []
    for line in (ROOT / "requirements" / name).read_text("utf-8").splitlines():
        line = line.removesuffix("\\").strip()
        if line.startswith("--hash"):
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line)
            pins[-1] = (pins[-1][0], pins[-1][1] + 1)
        elif line and not line.startswith("#"):
            pins.append((Requirement(line), 0))
    return pins


@pytest.mark.parametrize("name", ["build.txt", "base.txt", "train.txt", "docs.txt", "dev.txt"])
def test_pins_are_exact_and_hashed(name):
    pins = read_pins(name)
    assert pins
    for pin, hashes in pins:
        assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{pin} is not exact"
        assert hashes, f"{pin} has no hash"
        assert pin.url is None
    text = (ROOT / "requirements" / name).read_text("utf-8")
    assert not re.search(r"https?:|file:|--(extra-)?index|--find-links|\.(org|com|io)\b", text)
    assert "/" not in text, "paths do not belong into the pins"


def pinned(pins: list[tuple[Requirement, int]], python: str, system: str) -> dict[str, str]:
    """The version of each package that is installed under one Python on one system."""
    environment = {
        **SYSTEMS[system],
        "python_version": python,
        "python_full_version": f"{python}.9",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }
    found: dict[str, str] = {}
    for pin, _ in pins:
        if pin.marker is None or pin.marker.evaluate(environment):
            assert pin.name not in found, f"{pin.name} is pinned twice for Python {python}"
            found[pin.name] = str(pin.specifier).removeprefix("==")
    return found


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_pins_satisfy_pyproject(python, system):
    extras = PROJECT["optional-dependencies"]
    needed = {
        "base.txt": PROJECT["dependencies"],
        "train.txt": [*PROJECT["dependencies"], *extras["train"]],
        "docs.txt": [*PROJECT["dependencies"], *extras["docs"]],
        "dev.txt": [*PROJECT["dependencies"], *extras["train"], *extras["dev"]],
        "build.txt": PYPROJECT["build-system"]["requires"],
    }
    pins = {name: pinned(read_pins(name), python, system) for name in needed}
    for name, requirements in needed.items():
        for requirement in map(Requirement, requirements):
            version = pins[name].get(canonicalize_name(requirement.name))
            assert version, f"{name} lacks {requirement}: run `make pins`"
            assert requirement.specifier.contains(version), f"{name}: {requirement} is {version}"
        differing = {k: v for k, v in pins[name].items() if pins["dev.txt"].get(k, v) != v}
        assert not differing, f"{name} and dev.txt pin different versions: run `make pins`"
    assert not {"torch", "torchvision", "transformers"} & set(pins["base.txt"])


def test_network_is_blocked():
    """The guard of conftest.py works: no other test can reach the network unseen."""
    blocked = pytest.raises(pytest.fail.Exception, match="network")
    with blocked:
        socket.create_connection(("192.0.2.1", 80), timeout=1)  # an address reserved for examples
    with blocked:
        socket.getaddrinfo("example.invalid", 80)
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
