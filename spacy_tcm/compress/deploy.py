"""A trained pipeline becomes one that runs without torch and transformers."""

import warnings
from functools import partial
from typing import Any, cast

import openvino
import torch
from spacy.language import Language
from spacy.util import load_model_from_config
from thinc.api import Config, Model
from torch import nn

from spacy_tcm.compress.deploy_subwords import read_subwords
from spacy_tcm.compress.deploy_tongue import deploy_tongue
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.models import text_graph
from spacy_tcm.models.graphs import set_graph
from spacy_tcm.models.multimodal_crf import MultimodalModel, read_potentials
from spacy_tcm.models.tongue_listener import TongueListener, build_tongue_listener
from spacy_tcm.models.transformer import WindowedTransformer
from spacy_tcm.models.weights import get_module
from spacy_tcm.models.windows import cut_all
from spacy_tcm.nets.characters import Characters
from spacy_tcm.nets.text_encoder import TextEncoder
from spacy_tcm.nets.text_graph import TaggerGraph
from spacy_tcm.nets.tongue import TongueNet

# What a deployed pipeline is made of, and what becomes of it.
_GRAPHS = {
    "multimodal_ner": "spacy_tcm.MultimodalGraph.v1",
    "tongue_encoder": "spacy_tcm.TongueGraph.v1",
}


def deploy(
    nlp: Language, encoder: TextEncoder | None = None, tongue: TongueNet | None = None
) -> Language:
    """A pipeline that finds what nlp finds, in 32 bits, for use only: its nets are graphs. Saved,
    it loads where torch and transformers are not installed.

    encoder: a pruned encoder in place of the transformer's. tongue: a pruned net in place of the
    tongue encoder's.
    RAISES ModelError: the pipeline has a part for which there is no graph.
    """
    factories = {name: nlp.get_pipe_meta(name).factory for name in nlp.pipe_names}
    ners = [name for name, factory in factories.items() if factory == "multimodal_ner"]
    if len(ners) != 1:
        raise ModelError(Errors.E472.format(count=len(ners)))
    config = nlp.config
    base = Config({part: config.get(part, {}) for part in ("nlp", "paths", "system")})
    kept = [name for name, factory in factories.items() if factory != "transformer"]
    components: dict[str, Any] = {}
    models: dict[str, Model] = {}
    for name in kept:
        pipe: Any = nlp.get_pipe(name)
        components[name] = dict(nlp.get_pipe_config(name))
        if factories[name] == "multimodal_ner":
            components[name]["model"] = _ner_config(nlp, pipe.model)
            models[name] = _deploy_ner(nlp, pipe.model, components[name]["model"], encoder)
        elif factories[name] == "tongue_encoder":
            models[name] = deploy_tongue(pipe, tongue)
            components[name]["model"] = _tongue_config(models[name])
        elif isinstance(model := getattr(pipe, "model", None), Model) and any(
            node.shims for node in model.walk()
        ):  # what has only Thinc's own layers needs no graph
            raise ModelError(Errors.E473.format(name=name, found=factories[name]))
    small = {
        "nlp": {**base.interpolate()["nlp"], "pipeline": kept, "disabled": []},
        "components": components,
    }
    deployed = load_model_from_config(Config(small), auto_fill=True)
    deployed.vocab.from_bytes(nlp.vocab.to_bytes())
    tokenizer, ours = cast(Any, nlp.tokenizer), cast(Any, deployed.tokenizer)
    ours.from_bytes(tokenizer.to_bytes())
    for name in kept:
        old, new = cast(Any, nlp.get_pipe(name)), cast(Any, deployed.get_pipe(name))
        if name in models:
            new.model.from_bytes(models[name].to_bytes())
            new.cfg.update(old.cfg)
        elif hasattr(old, "to_bytes"):
            new.from_bytes(old.to_bytes())
    about = {k: v for k, v in nlp.meta.items() if k not in _FOUND_ANEW}
    deployed.meta.update(about)
    return deployed


# Of a pipeline's meta.json, what it says of its parts.
_FOUND_ANEW = {
    "lang",
    "spacy_version",
    "pipeline",
    "components",
    "disabled",
    "factories",
    "labels",
    "vectors",
    "requirements",
}


def _ner_config(nlp: Language, model: MultimodalModel) -> dict[str, Any]:
    config: dict[str, Any] = {
        "@architectures": _GRAPHS["multimodal_ner"],
        "tongue": None,
        "lexicon": bool(model.get_ref("lexicon").get_dim("nO")),
    }
    tongue: Any = model.maybe_get_ref("tongue")
    if tongue is not None:
        if not isinstance(tongue, TongueListener):
            raise ModelError(Errors.E475.format(found=tongue.name))
        config["tongue"] = {
            "@architectures": "spacy_tcm.TongueListener.v1",
            "width": tongue.get_dim("nO"),
            "upstream": tongue.upstream_name,
        }
    transformer = _transformer(nlp, model)
    if transformer is not None:
        spans = transformer.attrs["get_spans"]
        if not isinstance(spans, partial) or spans.func is not cut_all:
            raise ModelError(Errors.E474.format(found="another get_spans"))
        config.update(spans.keywords)
    return config


def _tongue_config(model: Model) -> dict[str, Any]:
    segmenter = model.maybe_get_ref("segmenter")
    config: dict[str, Any] = {
        "@architectures": _GRAPHS["tongue_encoder"],
        "width": model.get_dim("nO"),
        "image_size": model.attrs["image_size"],
        "balanced": model.attrs["balanced"],
        "segmenter": None,
    }
    if segmenter is not None:
        size = segmenter.attrs["image_size"]
        config["segmenter"] = {"@architectures": "spacy_tcm.SegmenterGraph.v1", "image_size": size}
    return config


def _deploy_ner(
    nlp: Language, trained: MultimodalModel, config: dict[str, Any], encoder: TextEncoder | None
) -> MultimodalModel:
    """The model of a trained ``multimodal_ner`` as one of ``spacy_tcm.MultimodalGraph.v1``."""
    tagger = get_module(trained.get_ref("tagger"))
    if tagger is None:
        raise ModelError(Errors.E401.format(name="Tagger"))
    settings = {k: v for k, v in config.items() if k not in ("@architectures", "tongue")}
    tongue = config["tongue"]
    if tongue is not None:
        tongue = build_tongue_listener(tongue["width"], tongue["upstream"])
    model = text_graph.build_multimodal_graph(tongue, **settings)
    model.set_dim("nO", trained.get_dim("nO"))
    potentials = read_potentials(trained.get_ref("crf"))
    for name, value in potentials._asdict().items():
        model.get_ref("crf").set_param(name, value)

    parts = _token_parts(trained.get_ref("tok2vec"))
    transformer = _transformer(nlp, trained)
    width = tagger.arch.width
    if transformer is not None:
        if encoder is None:
            try:
                encoder = TextEncoder.from_bert(transformer.transformer)
            except ValueError as error:
                raise ModelError(Errors.E474.format(found=error)) from None
        most = min(transformer.tokenizer.model_max_length, encoder.arch.positions)
        if not transformer.tokenizer.is_fast:
            raise ModelError(Errors.E422)
        description = transformer.tokenizer.backend_tokenizer.to_str()
        model.attrs["subwords"] = read_subwords(description)
        model.attrs["most_subwords"] = most
        model.attrs["width"] = encoder.arch.width
        set_graph(model.get_ref("encoder"), export_encoder(encoder))
    characters = parts.get("rows")
    if characters is not None:
        model.attrs["tables"] = {
            "attributes": characters.attributes,
            "seeds": characters.seeds,
            "rows": characters.rows,
        }
    graph = TaggerGraph(tagger, characters, tuple(parts))
    model.attrs["inputs"] = graph.inputs
    vectors = 0 if transformer is None else width - (0 if characters is None else characters.width)
    set_graph(model.get_ref("tagger"), export_tagger(graph, tagger, vectors))
    return model


def _token_parts(tok2vec: Model) -> dict[str, Characters | None]:
    """What a token's vector is made of: "vectors", of the transformer, and "rows", in their order.

    RAISES ModelError: there is something else in it."""
    from thinc.layers.concatenate import forward as concatenate

    layers = tok2vec.layers if tok2vec._func is concatenate else [tok2vec]
    parts: dict[str, Characters | None] = {}
    for layer in layers:
        if _listener(layer) is not None:
            name, part = "vectors", None
            poolings = [found for found in layer.walk() if found.name.startswith("reduce_")]
            if [pooling.name for pooling in poolings] != ["reduce_mean"]:
                raise ModelError(Errors.E475.format(found="a pooling other than reduce_mean"))
        else:
            try:
                name, part = "rows", Characters(layer)
            except ValueError as error:
                raise ModelError(Errors.E475.format(found=error)) from None
        if name in parts:
            raise ModelError(Errors.E475.format(found="two parts of one kind"))
        parts[name] = part
    return parts


def _listener(model: Model) -> Model | None:
    return next((node for node in model.walk() if node.name == "transformer-listener"), None)


def _transformer(nlp: Language, model: MultimodalModel) -> WindowedTransformer | None:
    """The transformer that the entity recognizer listens to, if it does."""
    listener = _listener(model.get_ref("tok2vec"))
    if listener is None:
        return None
    upstream = getattr(listener, "upstream_name", "*")
    for name in nlp.pipe_names:
        if nlp.get_pipe_meta(name).factory == "transformer" and upstream in ("*", name):
            found = cast(Any, nlp.get_pipe(name)).model
            if not isinstance(found, WindowedTransformer):
                raise ModelError(Errors.E474.format(found=found.name))
            return found
    raise ModelError(Errors.E474.format(found="none"))


def export_encoder(encoder: TextEncoder) -> openvino.Model:
    """Inputs: ids (rows, length) int32, mask (rows, length) bool. Output: (rows, length, width)."""
    example = (torch.ones(2, 16, dtype=torch.int32), torch.ones(2, 16, dtype=torch.bool))
    graph = _convert(encoder, example)
    graph.reshape({0: [-1, -1], 1: [-1, -1]})
    return graph


def export_tagger(graph: TaggerGraph, tagger: Any, vectors: int) -> openvino.Model:
    """vectors: the width of what the encoder gives. Inputs and outputs: see `TaggerGraph`."""
    arch = tagger.arch
    examples = {
        "vectors": torch.zeros(3, 16, vectors),
        "rows": torch.zeros(
            3,
            16,
            0 if graph.characters is None else 4 * len(graph.characters.rows),
            dtype=torch.int32,
        ),
        "lexicon": torch.zeros(3, 16, arch.lexicon),
        "regions": torch.zeros(2, 9, arch.tongue),
        "lengths": torch.tensor([16, 7, 0], dtype=torch.int32),
    }
    some = [examples[name] for name in graph.inputs]
    converted = _convert(graph, tuple(some))
    free = {"vectors": 2, "rows": 2, "lexicon": 2, "regions": 2, "lengths": 1}
    converted.reshape(
        {
            i: [-1] * free[name] + list(examples[name].shape[free[name] :])
            for i, name in enumerate(graph.inputs)
        }
    )
    for port, name in zip(converted.inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
    return converted


def _convert(net: nn.Module, example: tuple[torch.Tensor, ...]) -> openvino.Model:
    was_training = net.training
    net.eval()
    try:
        # Traced, not exported: a photo more or less, also none, is then one and the same graph.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # torch's own checks of shapes
            return openvino.convert_model(net, example_input=example)
    finally:
        net.train(was_training)
