"""Static INT8 for graphs: NNCF's post-training quantisation on real inputs, with a bound on what
may be lost. Scales are fixed by the calibration, so no output depends on what else is in a batch.
"""

import contextlib
import logging
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy
import openvino
from numpy.typing import NDArray
from openvino import op as ops
from openvino import opset13 as opset

from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.models.graphs import GraphShim, graph_to_bytes

Sample = Sequence[NDArray]
Score = Callable[[openvino.Model], float]

# What is quantised: what multiplies by weights, and the tables of embeddings (Gather). NNCF would
# also quantise means and deviations over a photo, which costs accuracy and gains no time.
_LAYERS = ("MatMul", "Convolution", "GroupConvolution")
_TABLES = ("Gather",)
# Rounded here: NNCF sees only zeros where the first state of an LSTM comes in.
_LSTM = "LSTMSequence"
# Operations that only move numbers: NNCF puts the rounding of an input before them.
_MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")
# A layer with less than this share of the multiplications stays as it is: nothing to gain.
_LEAST_SHARE = 1e-3
_RANKED_ON = 8  # samples


@dataclass(frozen=True)
class Report:
    """quantised, kept: names of layers. size: bytes of weights. score: None without a score. ms:
    median time of the first sample, in one thread if OMP_NUM_THREADS says so. samples: how many
    it was calibrated on."""

    quantised: tuple[str, ...]
    kept: tuple[str, ...]
    size_before: int
    size_after: int
    score_before: float | None
    score_after: float | None
    ms_before: float
    ms_after: float
    samples: int

    to_dict = asdict


def quantise(
    graph: openvino.Model,
    samples: Sequence[Sample],
    *,
    score: Score | None = None,
    most_lost: float = 0.003,
    transformer: bool = False,
    verbose: bool = False,
) -> tuple[openvino.Model, Report]:
    """A copy of a graph with INT8 weights and activations; the graph itself stays as it is.

    samples: real inputs, each a list of arrays in the order of the graph's inputs.
    score: how good the whole is with a graph in it, higher is better. If it falls by more than
        most_lost, the layers that do most harm go back to fp32, as few as are enough, at worst all.
    transformer: smooth the activations first (SmoothQuant, Xiao et al. 2023).
    verbose: let NNCF tell what it does.
    RAISES ModelError: there are no samples.
    """
    if not samples:
        raise ModelError(Errors.E485.format(name=graph.get_friendly_name()))
    with contextlib.nullcontext() if verbose else _quiet():
        simulated = _simulate(graph, samples, transformer)
    layers = _rounded_layers(simulated)

    def keep(names: Sequence[str]) -> openvino.Model:
        if len(names) == len(layers):
            return graph.clone()
        return _finish(_restored(simulated, graph, names))

    made = keep([]) if layers else graph.clone()
    before = after = None
    if score is not None:
        before, after = score(graph), score(made)
        if before - after > most_lost:
            worst = _by_harm(graph, simulated, layers, samples)
            made, after = _fewest(worst, keep, score, before - most_lost)
    quantised = _rounded_layers(made)
    ms_before, ms_after = _times([graph, made], samples[0])
    return made, Report(
        quantised=tuple(sorted(quantised)),
        kept=tuple(sorted(set(_layers(graph)) - set(quantised))),
        size_before=len(graph_to_bytes(graph)[1]),
        size_after=len(graph_to_bytes(made)[1]),
        score_before=before,
        score_after=after,
        ms_before=ms_before,
        ms_after=ms_after,
        samples=len(samples),
    )


def run_graph(graph: openvino.Model, samples: Sequence[Sample]) -> list[list[NDArray]]:
    """The outputs for each sample, computed as a deployed pipeline does."""
    shim = GraphShim(*graph_to_bytes(graph))
    return [shim.predict(sample) for sample in samples]


def _simulate(
    graph: openvino.Model, samples: Sequence[Sample], transformer: bool
) -> openvino.Model:
    """The graph with the rounding of INT8 (FakeQuantize) in it, its weights still in 32 bits."""
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters

    present = {node.get_type_name() for node in graph.get_ops()}
    simulated = nncf.quantize(
        graph.clone(),
        nncf.Dataset(list(samples)),
        subset_size=len(samples),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER if transformer else None,
        ignored_scope=nncf.IgnoredScope(
            names=_small_layers(graph, samples[0]),
            types=sorted(present - {*_LAYERS, *_TABLES}),
            validate=False,
        ),
        advanced_parameters=AdvancedQuantizationParameters(
            backend_params={"compress_weights": False}
        ),
    )
    return _round_lstms(simulated, samples)


def _round_lstms(graph: openvino.Model, samples: Sequence[Sample]) -> openvino.Model:
    """Rounds what goes into each LSTM, its states and its weights, so that OpenVINO runs it in
    INT8.

    Its kernel has one scale for tokens and states, and one for both weights of a gate, whatever
    their roundings say: each pair gets one range. So that no few large features take all of it,
    they are made smaller, and their weights larger, by the root of their range (SmoothQuant with
    an alpha of 0.5, Xiao et al. 2023).
    """
    lstms = [node for node in graph.get_ordered_ops() if node.get_type_name() == _LSTM]
    if not lstms:
        return graph
    before = openvino.Model([node.input_value(0) for node in lstms], graph.get_parameters(), "")
    outputs = run_graph(before, samples)
    for node, seen in zip(lstms, zip(*outputs, strict=True), strict=True):
        tops = numpy.max([abs(x).max((0, 1)) for x in seen], axis=0)
        smooth = numpy.sqrt(numpy.maximum(tops, 1e-3))
        top = max(1.0, float((tops / smooth).max()))  # states are from -1 to 1
        smaller = opset.multiply(node.input_value(0), ops.Constant(1 / smooth[None, None]))
        node.input(0).replace_source_output(smaller.output(0))
        weights = [node.input_value(i).get_node().get_data() for i in (4, 5)]
        weights[0] = weights[0] * smooth
        node.input(4).replace_source_output(ops.Constant(weights[0]).output(0))
        rows = numpy.maximum(*(abs(one).max(-1, keepdims=True) for one in weights))
        for i in (0, 1):
            _round(node.input(i), -top * 128 / 127, top, 256)
        for i in (4, 5):
            _round(node.input(i), -rows, rows, 255)
    graph.validate_nodes_and_infer_types()
    return graph


def _round(place: openvino.Input, low: Any, high: Any, levels: int) -> None:
    ends = [ops.Constant(numpy.asarray(end, dtype="f")) for end in (low, high)]
    rounding = opset.fake_quantize(place.get_source_output(), *ends, *ends, levels)
    place.replace_source_output(rounding.output(0))


def _rounded_inputs(node: Any) -> list[openvino.Input]:
    """What INT8 asks to be rounded: both factors; of an LSTM, tokens, state and both weights."""
    ports = (0, 1, 4, 5) if node.get_type_name() == _LSTM else (0, 1)
    return [node.input(i) for i in ports]


def _layers(graph: openvino.Model) -> list[str]:
    """Names of what multiplies, in order of computation."""
    return [
        node.get_friendly_name()
        for node in graph.get_ordered_ops()
        if node.get_type_name() in (*_LAYERS, _LSTM)
    ]


def _rounded_layers(graph: openvino.Model) -> list[str]:
    """The layers that get all their inputs rounded."""
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    return [
        name
        for name in _layers(graph)
        if all(_rounding(place) is not None for place in _rounded_inputs(nodes[name]))
    ]


def _rounding(place: openvino.Input) -> Any:
    """The input that a FakeQuantize, or the conversion of an INT8 weight, feeds on the way to this
    place; None if there is none."""
    while True:
        node = place.get_source_output().get_node()
        if node.get_type_name() == "FakeQuantize" or _is_int8(node):
            return place
        if node.get_type_name() not in _MOVES:
            return None
        place = node.input(0)


def _is_int8(node: Any) -> bool:
    """Whether this is a scaled INT8 constant: Constant -> Convert -> Subtract? -> Multiply."""
    while node.get_type_name() in ("Multiply", "Subtract", "Convert"):
        node = node.input_value(0).get_node()
    kinds = (openvino.Type.i8, openvino.Type.u8)
    return node.get_type_name() == "Constant" and node.get_element_type() in kinds


def _restored(
    simulated: openvino.Model, original: openvino.Model, names: Sequence[str]
) -> openvino.Model:
    """A copy in which the named layers compute in 32 bits again."""
    graph = simulated.clone()
    nodes = {node.get_friendly_name(): node for node in graph.get_ops()}
    originals = {node.get_friendly_name(): node for node in original.get_ops()}
    for name in names:
        for port in _rounded_inputs(nodes[name]):
            place = _rounding(port)
            if place is not None:
                rounding = place.get_source_output().get_node()
                place.replace_source_output(rounding.input_value(0))
        # NNCF has moved the bias by the mean of what rounding did to the output.
        for place in nodes[name].output(0).get_target_inputs():
            add = place.get_node()
            twin = originals.get(add.get_friendly_name())
            if add.get_type_name() != "Add" or twin is None:
                continue
            bias = twin.input_value(1 - place.get_index()).get_node()
            if bias.get_type_name() == "Constant":
                fresh = ops.Constant(bias.get_data())
                add.input(1 - place.get_index()).replace_source_output(fresh.output(0))
    graph.validate_nodes_and_infer_types()
    return graph


def _finish(graph: openvino.Model) -> openvino.Model:
    """Rounded weights become INT8 constants; what NNCF itself ends with."""
    from openvino._offline_transformations import compress_quantize_weights_transformation

    compress_quantize_weights_transformation(graph)
    return graph


def _by_harm(
    graph: openvino.Model, simulated: openvino.Model, layers: list[str], samples: Sequence[Sample]
) -> list[str]:
    """The layers, first that which brings the outputs closest to fp32 when it alone is restored."""
    some = samples[:: -(-len(samples) // _RANKED_ON)]
    wanted = run_graph(graph, some)
    errors = {
        name: _error(wanted, run_graph(_restored(simulated, graph, [name]), some))
        for name in layers
    }
    return sorted(layers, key=errors.__getitem__)


def _fewest(
    worst: list[str],
    keep: Callable[[Sequence[str]], openvino.Model],
    score: Score,
    least: float,
) -> tuple[openvino.Model, float]:
    """The graph with as few of the worst layers in fp32 as give at least this score, found by
    bisection, and its score.

    `nncf.quantize_with_accuracy_control` does the like, but puts weights from before SmoothQuant
    where activations stay smoothed, and one layer a step takes too many scores on a CPU.
    """
    scores: dict[int, float] = {}

    def is_enough(n: int) -> bool:
        scores[n] = score(keep(worst[:n]))
        return scores[n] >= least

    n = 1 + bisect_left(range(1, len(worst)), True, key=is_enough)
    made = keep(worst[:n])
    return made, scores[n] if n in scores else score(made)


def _error(wanted: list[list[NDArray]], found: list[list[NDArray]]) -> float:
    """Mean squared error as a share of the mean square, summed over the outputs."""
    total = 0.0
    for pairs in zip(
        *(zip(a, b, strict=True) for a, b in zip(wanted, found, strict=True)), strict=True
    ):
        off = sum(float(((a.astype("f8") - b) ** 2).sum()) for a, b in pairs)
        total += off / max(1e-12, sum(float((a.astype("f8") ** 2).sum()) for a, _ in pairs))
    return total


def _small_layers(graph: openvino.Model, sample: Sample) -> list[str]:
    """Layers with hardly any of the multiplications that this sample needs."""
    fixed = graph.clone()
    fixed.reshape({i: list(array.shape) for i, array in enumerate(sample)})
    counts = {}
    for node in fixed.get_ops():
        kind = node.get_type_name()
        if kind in _LAYERS:
            weights = list(node.input(1).get_partial_shape().get_max_shape())
            if kind == "MatMul":
                each = weights[-1 if node.get_attributes()["transpose_b"] else -2]
            else:
                each = math.prod(weights[1 if kind == "Convolution" else 2 :])
            made = math.prod(node.output(0).get_partial_shape().get_max_shape())
            counts[node.get_friendly_name()] = each * made
    total = sum(counts.values())
    return [name for name, count in counts.items() if count < _LEAST_SHARE * total]


def _times(graphs: Sequence[openvino.Model], sample: Sample, rounds: int = 5) -> list[float]:
    """Milliseconds of each, the median of interleaved rounds after one to warm up."""
    shims = [GraphShim(*graph_to_bytes(graph)) for graph in graphs]
    took: list[list[float]] = [[] for _ in shims]
    for _ in range(rounds + 1):
        for shim, times in zip(shims, took, strict=True):
            start = time.perf_counter()
            shim.predict(sample)
            times.append(1000 * (time.perf_counter() - start))
    return [float(numpy.median(times[1:])) for times in took]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No log lines and no progress bars of NNCF, and nothing from torch on missing compilers."""
    import rich

    loggers = [logging.getLogger(name) for name in ("nncf", "torch.utils.cpp_extension")]
    levels = [logger.level for logger in loggers]
    console = rich.get_console()
    was_quiet, console.quiet = console.quiet, True
    import nncf  # noqa: F401  (sets its own level)

    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        console.quiet = was_quiet
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
