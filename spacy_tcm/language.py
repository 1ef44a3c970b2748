"""The language ``tcm``: Chinese defaults with the tokenizer of this package, and pipelines that
keep a memory budget.

Not a subclass of ``spacy.lang.zh.Chinese``: its configuration demands the fields of pkuseg.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy
from spacy.attrs import NORM, SHAPE
from spacy.lang.lex_attrs import word_shape
from spacy.lang.zh.lex_attrs import LEX_ATTRS
from spacy.lang.zh.stop_words import STOP_WORDS
from spacy.language import BaseDefaults, Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_config_from_str
from thinc.api import CupyOps

from spacy_tcm.batching import (
    Batcher,
    Counters,
    Shape,
    choose_meter,
    is_overflow,
    parse_size,
)
from spacy_tcm.errors import Errors, ModelError
from spacy_tcm.extensions import install_extensions

install_extensions()

DEFAULT_CONFIG = """
[nlp]

[nlp.tokenizer]
@tokenizers = "spacy_tcm.LexiconTokenizer.v1"
granularity = "char"

[initialize]

[initialize.tokenizer]
lexicon = null
user_terms = null
"""


def _line_end_or(getter: Callable[[str], str], text: str) -> str:
    """Line ends are one thing to a model, however a system writes them."""
    return "\n" if text in ("\r\n", "\r") else getter(text)


class TraditionalChineseMedicineDefaults(BaseDefaults):
    config = load_config_from_str(DEFAULT_CONFIG)
    lex_attr_getters = {  # noqa: RUF012
        **LEX_ATTRS,
        NORM: partial(_line_end_or, str.lower),
        SHAPE: partial(_line_end_or, word_shape),
    }
    stop_words = STOP_WORDS
    writing_system = {"direction": "ltr", "has_case": False, "has_letters": False}  # noqa: RUF012


# What the cost model is fitted on: characters in random order, so that no window comes twice.
CHARACTERS = "患者便血三天色鲜红舌淡偏暗苔薄黄腻脉弦细数，头晕胸闷气短乏力；纳差眠可，大小便调。"
# Records that wait for their turn take about so many bytes a character.
WAITING = 600


class TraditionalChineseMedicine(Language):
    """``spacy.blank("tcm")``.

    With a memory budget, `pipe` reads ahead, packs records of similar length into batches that fit
    (batch_size then means nothing), and yields them in their order; `update` adds up the gradients
    of such batches. See `set_memory_budget`.
    """

    lang = "tcm"
    Defaults = TraditionalChineseMedicineDefaults
    _batcher: Batcher | None = None

    def set_memory_budget(self, budget: str | int | None, lookahead: int = 1000) -> None:
        """Keep the peak memory of this process, or of the GPU if the pipeline is there, within a
        budget, whatever the lengths of the records. Results are the same as without.

        budget: a size such as "1GB"; None: that of the component ``multimodal_ner``, if any.
        lookahead: records that are read ahead. Passing features between components
        (``doc._.trf_data``, ``doc._.tongue_data``) are not kept on the Docs.
        The first use measures the pipeline for a second or two. RAISES ModelError then, if the
        budget is too small for it, with the least possible one.
        """
        self._batcher = None
        if budget is not None:
            gpu = any(isinstance(model.ops, CupyOps) for model in self._models())
            self._batcher = Batcher(parse_size(budget), lookahead, choose_meter(gpu))

    def fit_memory_budget(self) -> Counters | None:
        """Measure now. RETURNS: the counters of what will be done; None without a budget.

        RAISES ModelError: the budget is too small.
        """
        batcher = self._find_batcher()
        if batcher is None:
            return None
        if batcher.cost is None:
            batcher.fit(self._probe)
        return batcher.counters

    def _find_batcher(self) -> Batcher | None:
        if self._batcher is None:
            for _, pipe in self.pipeline:
                budget = (getattr(pipe, "cfg", None) or {}).get("memory_budget")
                if budget is not None:
                    self.set_memory_budget(budget)
        return self._batcher

    def _models(self) -> list[Any]:
        found = [getattr(pipe, "model", None) for _, pipe in self.pipeline]
        return [model for model in found if hasattr(model, "ops")]

    def __call__(self, text: str | Doc, **kwargs: Any) -> Doc:
        batcher = self._find_batcher()
        if batcher is None:
            return super().__call__(text, **kwargs)
        self.fit_memory_budget()
        doc = self._ensure_doc(text)
        call: Callable[[Any], Doc] = partial(super().__call__, **kwargs)
        results = []

        def work(items: list[int]) -> None:
            results.append(call(doc))

        with _raising_overflow(self):
            shape = batcher.shrink(len(doc.text), int(doc._.tongue_image is not None))
            batcher.attempt([0], shape, _again([doc], work), self._move_to_cpu)
        _drop_features(results[-1])
        return results[-1]

    def pipe(
        self, texts: Iterable[Any], *, as_tuples: bool = False, n_process: int = 1, **kwargs: Any
    ) -> Iterator[Any]:
        """As of ``Language``. RAISES ModelError: see `set_memory_budget`; or n_process is not 1."""
        batcher = self._find_batcher()
        if as_tuples or batcher is None:
            # With tuples, spaCy comes back here for the Docs.
            kwargs |= {"as_tuples": as_tuples, "n_process": n_process}
            yield from super().pipe(texts, **kwargs)
            return
        if n_process != 1:
            raise ModelError(Errors.E526)
        self.fit_memory_budget()
        pipe = partial(super().pipe, **kwargs)
        for docs in _read_ahead(map(self._ensure_doc, texts), batcher):
            yield from self._pipe_within(batcher, docs, pipe)

    def _pipe_within(
        self, batcher: Batcher, docs: list[Doc], pipe: Callable[..., Iterator[Doc]]
    ) -> list[Doc]:
        done: dict[int, Doc] = {}
        contexts = [doc._context for doc in docs]

        def work(items: list[int]) -> None:
            for i in items:
                docs[i]._context = i  # of a Doc that comes out as another one, this stays
            for doc in pipe([docs[i] for i in items], batch_size=len(items)):
                _drop_features(doc)
                number = doc._context
                doc._context = contexts[number]
                done[number] = doc

        lengths = [len(doc.text) for doc in docs]
        with _raising_overflow(self):
            try:
                batcher.run(lengths, _photo_keys(docs), _again(docs, work), self._move_to_cpu)
            except ModelError as error:  # E528: the other records are done
                self.default_error_handler(None, None, docs, error)
        return [done[i] for i in sorted(done)]  # what a component failed on is not there

    def update(
        self,
        examples: Iterable[Example],
        _: Any = None,
        *,
        sgd: Any = None,
        losses: dict[str, float] | None = None,
        exclude: Iterable[str] = (),
        **kwargs: Any,
    ) -> dict[str, float]:
        """As of ``Language``. With a memory budget in parts, whose gradients add up to those of the
        whole batch for components whose losses are sums, or means over `whole_batch`; a batch norm
        that trains, such as that of the tongue encoder's heads, sees the parts."""
        examples, losses = list(examples), {} if losses is None else losses
        batcher = self._find_batcher()
        one_pass: Callable[..., Any] = partial(
            super().update, losses=losses, exclude=exclude, **kwargs
        )
        if batcher is None or len(examples) < 2:
            return one_pass(examples, sgd=sgd)

        def work(items: list[int]) -> None:
            with batcher.part_of(examples):
                one_pass([examples[i] for i in items], sgd=False)

        batcher.run_update([len(example.predicted.text) for example in examples], work)
        if sgd is None:
            self._optimizer = self._optimizer or self.create_optimizer()
            sgd = self._optimizer
        for name, pipe in self.pipeline if sgd else ():
            if name not in exclude and getattr(pipe, "is_trainable", False):
                pipe.finish_update(sgd)  # type: ignore[attr-defined]
        return losses

    def _probe(self, shape: Shape) -> None:
        """Read a batch of a shape, as `Batcher.fit` asks."""
        generator = numpy.random.default_rng(shape.records * shape.length)
        photos = _draw_photos(shape.photos) if self._has_photos() else []
        docs = []
        for i in range(shape.records):
            text = "".join(generator.choice(list(CHARACTERS), shape.length))
            docs.append(self.make_doc(text))
            if photos:
                docs[-1]._.tongue_image = photos[i % len(photos)]
        for _ in super().pipe(docs, batch_size=len(docs)):
            pass

    def _has_photos(self) -> bool:
        return any("doc._.tongue_data" in self.get_pipe_meta(n).assigns for n in self.pipe_names)

    def _move_to_cpu(self) -> bool:
        models = [model for model in self._models() if isinstance(model.ops, CupyOps)]
        for model in models:
            model.to_cpu()
        return bool(models)


def set_memory_budget(nlp: Language, budget: str | int | None, lookahead: int = 1000) -> None:
    """`TraditionalChineseMedicine.set_memory_budget`, for any pipeline.

    RAISES ModelError: it is one of another language, or budget is no size.
    """
    if not isinstance(nlp, TraditionalChineseMedicine):
        raise ModelError(Errors.E529.format(lang=nlp.lang))
    nlp.set_memory_budget(budget, lookahead)


def _read_ahead(docs: Iterable[Doc], batcher: Batcher) -> Iterator[list[Doc]]:
    """As many as may wait at a time."""
    ahead: list[Doc] = []
    size = 0
    for doc in docs:
        ahead.append(doc)
        size += len(doc.text) * WAITING
        if len(ahead) == batcher.lookahead or size > batcher.room / 4:
            yield ahead
            ahead, size = [], 0
    if ahead:
        yield ahead


def _photo_keys(docs: Sequence[Doc]) -> list[Any]:
    images = [doc._.tongue_image for doc in docs]
    return [x if isinstance(x, str | bytes | None) else id(x) for x in images]


def _again(docs: Sequence[Doc], work: Callable[[list[int]], None]) -> Callable[[list[int]], None]:
    """Work that may be done again: with the photos as they were, which crop_only replaces."""
    images = [doc._.tongue_image for doc in docs]

    def work_again(items: list[int]) -> None:
        for i in items:
            docs[i]._.tongue_image = images[i]
        work(items)

    return work_again


def _drop_features(doc: Doc) -> None:
    for name in ("trf_data", "tongue_data"):
        if Doc.has_extension(name):
            doc._.set(name, None)


def _draw_photos(count: int) -> list[Any]:
    from spacy_tcm.images.render import random_attributes, render_tongue

    return [render_tongue(random_attributes(seed), seed=seed) for seed in range(count)]


@contextlib.contextmanager
def _raising_overflow(nlp: Language) -> Iterator[None]:
    """That memory ran out is raised through spaCy's error handlers, which may swallow errors."""
    pipes = [pipe for _, pipe in nlp.pipeline if hasattr(pipe, "set_error_handler")]
    handlers = [pipe.get_error_handler() for pipe in pipes]  # type: ignore[attr-defined]
    default = nlp.default_error_handler
    for pipe, handler in zip(pipes, handlers, strict=True):
        pipe.set_error_handler(partial(_handle, handler))
    nlp.default_error_handler = partial(_handle, default)
    try:
        yield
    finally:
        nlp.default_error_handler = default
        for pipe, handler in zip(pipes, handlers, strict=True):
            pipe.set_error_handler(handler)


def _handle(handler: Callable[..., None], name: Any, pipe: Any, docs: Any, error: Any) -> None:
    if is_overflow(error):
        raise error
    handler(name, pipe, docs, error)
