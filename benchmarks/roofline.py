"""How many operations OpenVINO graphs have to do, and how many a second this machine can do."""

import statistics
from collections.abc import Callable, Iterator
from math import prod
from time import perf_counter
from typing import Any
from unittest.mock import patch

# Rows of the product, inner width, width, and how many of them in a chain.
ROWS, WIDTH, CHAIN = 2048, 1024, 4


def count(nlp: Any, action: Callable[[], Any]) -> dict[str, float]:
    """Multiplications and additions (two for each pair) of matrix products, convolutions, attention
    and LSTMs, padding included, that an action causes, by component of the pipeline."""
    from spacy_tcm.models.graphs import GraphShim

    owners = {
        id(shim): name
        for name, pipe in nlp.pipeline
        if hasattr(pipe, "model") and hasattr(pipe.model, "walk")
        for shim in find_shims(pipe.model)
    }
    seen: list[tuple[GraphShim, tuple[tuple[int, ...], ...]]] = []
    predict = GraphShim.predict

    def watched(self: GraphShim, inputs: Any) -> Any:
        seen.append((self, tuple(tuple(array.shape) for array in inputs)))
        return predict(self, inputs)

    with patch.object(GraphShim, "predict", watched):
        action()
    known: dict[tuple[int, tuple[tuple[int, ...], ...]], float] = {}
    found: dict[str, float] = {}
    for shim, shapes in seen:
        key = (id(shim), shapes)
        if key not in known:
            known[key] = count_graph(shim.xml, shim.weights, shapes)
        owner = owners.get(id(shim), "other")
        found[owner] = found.get(owner, 0.0) + known[key]
    return found


def find_shims(model: Any) -> Iterator[Any]:
    """Of a Thinc model, its layers and what it refers to."""
    for layer in model.walk():
        yield from layer.shims
        for name in layer.ref_names:
            ref = layer.maybe_get_ref(name)
            if ref is not None and ref is not layer:
                for inner in ref.walk():
                    yield from inner.shims


def count_graph(xml: bytes, weights: bytes, shapes: tuple[tuple[int, ...], ...]) -> float:
    """Of one call. shapes: of its inputs.

    RAISES ValueError: the graph has a loop, whose operations would not be counted.
    """
    import openvino

    if any(0 in shape for shape in shapes):
        # No photo: OpenVINO cannot tell the shapes of nothing. So twice the records with one and
        # with two photos, in which the operations are linear.
        one, two = (
            count_graph(
                xml,
                weights,
                tuple(
                    tuple(n or some for n in shape) if 0 in shape else (2 * shape[0], *shape[1:])
                    for shape in shapes
                ),
            )
            for some in (1, 2)
        )
        return (2 * one - two) / 2
    graph = openvino.Core().read_model(xml, weights)
    graph.reshape(
        {port: openvino.PartialShape(list(s)) for port, s in zip(graph.inputs, shapes, strict=True)}
    )
    return sum(map(_count_node, graph.get_ordered_ops()))


def _count_node(node: Any) -> float:
    kind = node.get_type_name()
    if kind in ("TensorIterator", "Loop", "If"):
        raise ValueError(f"{kind} in the graph: its operations would not be counted")
    if kind not in _KINDS:
        return 0.0
    inputs = [list(port.get_shape()) for port in node.inputs()]
    return 2.0 * _KINDS[kind](node, inputs, list(node.output(0).get_shape()))


def _of_matmul(node: Any, inputs: list[list[int]], out: list[int]) -> int:
    inner = inputs[0][-2 if node.get_attributes()["transpose_a"] else -1]
    return prod(out) * inner


def _of_lstm(node: Any, inputs: list[list[int]], out: list[int]) -> int:
    """inputs: data, two states, lengths, weights (directions, 4 hidden, width), recurrent ones."""
    batch, length = inputs[0][:2]
    return batch * length * (prod(inputs[4]) + prod(inputs[5]))


def _of_attention(node: Any, inputs: list[list[int]], out: list[int]) -> int:
    """inputs: queries (..., length, size), keys, values."""
    return prod(inputs[0][:-1]) * inputs[1][-2] * (inputs[0][-1] + inputs[2][-1])


_KINDS: dict[str, Callable[[Any, list[list[int]], list[int]], int]] = {
    "MatMul": _of_matmul,
    "Convolution": lambda node, inputs, out: prod(out) * prod(inputs[1][1:]),
    "GroupConvolution": lambda node, inputs, out: prod(out) * prod(inputs[1][2:]),
    "LSTMSequence": _of_lstm,
    "ScaledDotProductAttention": _of_attention,
}


def gemm_peaks(rounds: int = 5) -> dict[str, float]:
    """Operations a second of large matrix products: NumPy's; OpenVINO's in 32 bits, of 8-bit
    integers with the rounding to 8 bits between them, and in bf16 where the processor has it."""
    import numpy

    generator = numpy.random.default_rng(0)
    x = generator.standard_normal((ROWS, WIDTH), dtype=numpy.float32)
    w = generator.standard_normal((WIDTH, WIDTH), dtype=numpy.float32) / WIDTH**0.5
    runs: dict[str, tuple[Callable[[], Any], int]] = {"fp32, NumPy": (lambda: x @ w, 1)}
    chains = [("fp32, OpenVINO", "f32", False), ("INT8, OpenVINO", "f32", True)]
    if has_bf16():
        chains.append(("bf16, OpenVINO", "bf16", False))
    for name, hint, quantised in chains:
        compiled = _compile(_chain(w, quantised), hint)
        runs[name] = (lambda compiled=compiled: compiled([x], share_inputs=True), CHAIN)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, (run, _) in runs.items():
            start = perf_counter()
            run()
            if number:  # the first warms up
                taken[name].append(perf_counter() - start)
    one = 2.0 * ROWS * WIDTH * WIDTH
    return {name: one * n / statistics.median(taken[name]) for name, (_, n) in runs.items()}


def has_bf16() -> bool:
    """Whether this processor computes with them; others only imitate it, slowly."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _chain(w: Any, quantised: bool) -> Any:
    """A graph of products in a row; quantised: of integers, as NNCF would make it."""
    import numpy
    import openvino
    from openvino import opset13 as ops

    x = data = ops.parameter([ROWS, WIDTH], numpy.float32)
    for _ in range(CHAIN):
        weight: Any = ops.constant(w)
        if quantised:
            x = ops.fake_quantize(x, *map(numpy.float32, (-4, 4, -4, 4)), 256)
            scale = numpy.float32(abs(w).max() / 127)
            weight = ops.convert(ops.constant(numpy.round(w / scale).astype(numpy.int8)), "f32")
            weight = ops.multiply(weight, ops.constant(scale))
        x = ops.matmul(x, weight, False, False)
    return openvino.Model([x], [data], "products")


def _compile(graph: Any, hint: str) -> Any:
    """As `spacy_tcm.models.graphs` does, but in the precision asked for."""
    import os

    import openvino

    settings: dict[str, Any] = {"NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": hint}
    settings["INFERENCE_NUM_THREADS"] = int(os.environ["OMP_NUM_THREADS"])
    return openvino.Core().compile_model(graph, "CPU", settings)
