"""What holds for all tests: one thread, no network, slow tests only on request."""

import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Before torch and NumPy are imported; the test's own child processes inherit it. Two cores are
# shared by everything that runs, and forked workers deadlock in libraries that started threads.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

import spacy_tcm  # noqa: E402, F401  (before any test imports openvino, which would call home)

# A deadline per example fails on a busy machine for no fault of the code.
settings.register_profile("spacy_tcm", deadline=None, print_blob=True)
settings.load_profile("spacy_tcm")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def is_local(host: object) -> bool:
    """Whether a host name or address is this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Connections and look-ups beyond this machine fail: everything must work offline."""

    def guard(original, host_of):
        def guarded(*args, **kwargs):
            host = host_of(*args)
            if not is_local(host):
                pytest.fail(f"A test reached for the network ({host}).")
            return original(*args, **kwargs)

        return guarded

    def host_of_address(self, address):
        return address[0] if isinstance(address, tuple) else None  # a Unix socket is local

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guard(getattr(socket.socket, name), host_of_address))
        patch.setattr(socket, "getaddrinfo", guard(socket.getaddrinfo, lambda host, *rest: host))
        yield


# The light installation, acted out in the full one: the training packages cannot be found, and the
# entry points of other packages that need them are not there. `make test-base` tries the real one.
LIGHT = """
import sys

hidden = {"captum", "nncf", "safetensors", "scipy", "spacy_transformers", "tokenizers", "torch",
          "torch_pruning", "torchcrf", "torchvision", "transformers"}

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"{name} is not part of the light installation", name=name)

sys.meta_path.insert(0, Hide())
import catalogue
everything = catalogue.Registry._get_entry_points
catalogue.Registry._get_entry_points = lambda registry: [
    point for point in everything(registry) if point.value.partition(".")[0] not in hidden
]
"""


def run_alone(script: str, *args: str) -> str:
    """The last line that a script prints in a fresh interpreter: this one has imported all."""
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        capture_output=True,
        text=True,
        encoding="utf8",
        timeout=300,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="session")
def narrow() -> dict[str, object]:
    """Overrides that make a transformer config small enough to train in a test."""
    return {
        "components.transformer.model.get_spans.max_subwords": 48,
        "components.transformer.model.get_spans.overlap": 8,
        "components.tongue_encoder.model.image_size": 32,
        "components.tongue_encoder.model.stem": 4,
        "components.tongue_encoder.model.inner": [4, 4],
        "components.tongue_encoder.model.depths": [1, 1],
        "components.tongue_encoder.model.width": 8,
        "components.multimodal_ner.model.heads": 4,
        "components.multimodal_ner.model.hidden": 12,
    }
