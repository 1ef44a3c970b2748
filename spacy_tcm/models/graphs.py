"""Networks as graphs that OpenVINO runs: what a deployed pipeline has instead of torch modules."""

import gc
import multiprocessing
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy
import srsly
from numpy.typing import NDArray
from thinc.api import Model
from thinc.shims.shim import Shim

from spacy_tcm.errors import Errors, ModelError

# What was compiled before a fork waits, also to end, for threads that are not in the new process.
# So there it is never let go: neither by us nor, where it was garbage already, by the collector.
_OF_PARENT: list[Any] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=gc.freeze)


class GraphShim(Shim):
    """One graph in OpenVINO's format, compiled where it is first used.

    xml, weights: the two parts of an OpenVINO IR; both empty until it is loaded.
    """

    def __init__(self, xml: bytes = b"", weights: bytes = b""):
        super().__init__(None)
        self.xml, self.weights = xml, weights
        self._compiled: Any = None
        self._compiled_in = os.getpid()
        self._lock = threading.Lock()

    def __call__(self, inputs: Any, is_train: bool) -> Any:
        if is_train:
            raise ModelError(Errors.E470)
        return self.predict(inputs), lambda d: inputs

    def predict(self, inputs: Sequence[NDArray]) -> list[NDArray]:
        """inputs: in the order of the graph's. RETURNS: its outputs, in order, as own arrays."""
        if self._compiled_in != os.getpid():
            _OF_PARENT.append(self._compiled)
            self._compiled, self._compiled_in = None, os.getpid()
            self._lock = threading.Lock()
        # OpenVINO refuses to be called by two threads at once.
        with self._lock:
            if self._compiled is None:
                self._compiled = compile_graph(self.xml, self.weights)
            results = self._compiled(list(inputs), share_inputs=True)
            return [numpy.array(results[i]) for i in range(len(results))]

    def to_bytes(self) -> bytes:
        return srsly.msgpack_dumps({"xml": self.xml, "weights": self.weights})

    def from_bytes(self, data: bytes) -> "GraphShim":
        parts = srsly.msgpack_loads(data)
        self.xml, self.weights = parts["xml"], parts["weights"]
        self._compiled = None
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"xml": self.xml, "weights": self.weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def wrap_graph(name: str) -> Model:
    """An empty Thinc layer for a graph; `set_graph` or loading fills it."""
    return Model(name, _forward, shims=[GraphShim()])


def set_graph(layer: Model, graph: Any) -> None:
    """Put an ``openvino.Model`` into a layer made by `wrap_graph`."""
    xml, weights = graph_to_bytes(graph)
    layer.shims[0] = GraphShim(xml, weights)


def get_graph(layer: Model) -> Any:
    """The ``openvino.Model`` of a layer, to be changed."""
    shim: Any = layer.shims[0]
    import openvino

    return openvino.Core().read_model(shim.xml, shim.weights)


def graph_to_bytes(graph: Any) -> tuple[bytes, bytes]:
    """An ``openvino.Model`` as the two parts of its IR."""
    import openvino

    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.xml"
        openvino.serialize(graph, path)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def compile_graph(xml: bytes, weights: bytes) -> Any:
    """Ready to be called with a list of inputs. As many threads as OMP_NUM_THREADS says, or as
    OpenVINO finds right; one in a worker process, since there are several of these."""
    import openvino

    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # On some processors OpenVINO would compute in 16 bits, and results depend on which it is.
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if multiprocessing.parent_process() is not None:
        settings["INFERENCE_NUM_THREADS"] = 1
    elif threads.isdecimal() and int(threads):
        settings["INFERENCE_NUM_THREADS"] = int(threads)
    core = openvino.Core()
    return core.compile_model(core.read_model(xml, weights), "CPU", settings)


def _forward(model: Model, inputs: Sequence[NDArray], is_train: bool) -> Any:
    return model.shims[0](inputs, is_train)
