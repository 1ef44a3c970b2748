"""Dynamic batch pruning: batches whose memory stays within a stated budget, for any mix of lengths.

`group_by_length` and `cut_stretches` bound the padded batches inside a component. Under a `Batcher`
whole records are packed into batches that fit the budget, by a cost model that is fitted to the
loaded pipeline, and these bounds are lowered where a single record is too long. See
`spacy_tcm.language` for how a pipeline uses it.
"""

import contextlib
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy
from thinc.compat import has_torch, torch

from spacy_tcm.errors import Errors, ModelError, Warnings, warn_once
from spacy_tcm.meters import CudaMeter, Meter, ProcessMeter

Item = TypeVar("Item")

# Tokens of one padded batch in prediction: about 0.05 GB with 23 labels; more is not faster.
MAX_PADDED = 4096
# Tokens of records that are predicted and decoded at once, where that takes no padding.
MAX_TOKENS = 2 * MAX_PADDED

# Under a budget no net is given less than this at once, and no window is shorter.
LEAST_AT_ONCE = 512
# Of the budget, what batches may plan with: the cost model is a model.
HEADROOM = 0.9
# Where nothing can be measured: bytes of a loaded pipeline, of a batch, of a character, of a photo.
ASSUMED_RESIDENT, ASSUMED = 10**9, (64e6, 40e3, 30e6)
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Bounds:
    """at_once: most tokens, padding included, of a padded batch inside a component. window: most
    tokens of a stretch of a long record."""

    at_once: int = sys.maxsize
    window: int = sys.maxsize


_UNBOUND = Bounds()
_BOUNDS: ContextVar[Bounds] = ContextVar("bounds", default=_UNBOUND)
_COUNTERS: ContextVar["Counters | None"] = ContextVar("counters", default=None)
_WHOLE: ContextVar[Sequence[Any] | None] = ContextVar("whole", default=None)


def bound_padded(most: int) -> int:
    """Most tokens of a padded batch: this, or what a memory budget lowers it to."""
    return min(most, _BOUNDS.get().at_once)


def group_by_length(lengths: Sequence[int], max_padded: int) -> Iterator[list[int]]:
    """Group items of similar length.

    lengths: tokens of each item. max_padded: most tokens of a group, padding included; an item
        longer than that is a group alone. A memory budget may lower it.
    YIELDS: indices into lengths, shortest items first; each index comes exactly once.
    """
    max_padded = bound_padded(max_padded)
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and lengths[i] * (len(group) + 1) > max_padded:
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def group_by_total(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Like `group_by_length`, for what is not padded. most: tokens of a group, all added up."""
    most = bound_padded(most)
    group: list[int] = []
    total = 0
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and total + lengths[i] > most:
            yield group
            group, total = [], 0
        group.append(i)
        total += lengths[i]
    if group:
        yield group


class Stretch(NamedTuple):
    """A part of a long text: read from start to end, of which the results from first to last are
    used, so that each of these was read with what stands around it."""

    start: int
    end: int
    first: int
    last: int


def cut_stretches(length: int, size: int, context: int) -> list[Stretch]:
    """Stretches whose used parts join to the whole text.

    size: most tokens of a used part. context: tokens read before and behind it, as far as
        there are any. A text of up to size tokens is one stretch; no tokens, none.
    A memory budget may lower size, where there is not even memory for one stretch.
    """
    size = min(size, _BOUNDS.get().window)
    count = -(-length // size)
    bounds = [i * length // count for i in range(count + 1)] if count else [0]
    return [
        Stretch(max(0, first - context), min(length, last + context), first, last)
        for first, last in pairwise(bounds)
    ]


def find_unique(keys: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """For encoding identical windows once.

    RETURNS: the place of each different key's first copy, and for each key the place in that list.
    """
    number: dict[Hashable, int] = {}
    place = [number.setdefault(key, len(number)) for key in keys]
    first: list[int] = []
    for i, n in enumerate(place):
        if n == len(first):
            first.append(i)
    count_windows(len(keys), len(first))
    return first, place


def count_windows(windows: int, different: int) -> None:
    """For the counters of a memory budget, if there is one: of so many windows, only those that are
    different are encoded."""
    counters = _COUNTERS.get()
    if counters is not None:
        counters.windows += windows
        counters.identical_windows += windows - different


def whole_batch(examples: Iterable[Item]) -> Sequence[Item]:
    """The batch that these examples are part of, where a memory budget splits an update; else they
    themselves. A loss that is a mean is one over the whole batch, so that the gradients of the
    parts add up to the gradient of the whole."""
    found = _WHOLE.get()
    return list(examples) if found is None else found


def parse_size(size: str | int) -> int:
    """Bytes of "256MB", "1.5 GiB": B, KB, MB, GB (of 1000) or KiB, MiB, GiB (of 1024); or a number
    of bytes. RAISES ModelError: it is none of these, or not above 0."""
    text = f"{size}B" if isinstance(size, int) else size
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMG]?I?B)\s*", text.upper(), re.ASCII)
    if found is None or found[2] not in _UNITS or float(found[1]) * _UNITS[found[2]] < 1:
        raise ModelError(Errors.E527.format(size=size))
    return int(float(found[1]) * _UNITS[found[2]])


def format_size(size: float) -> str:
    """In MB, rounded up, so that it is enough as a budget."""
    return f"{-int(-size // 10**6)}MB"


class Shape(NamedTuple):
    """Of a batch: records, characters of the longest, different photos; and `Bounds.at_once`."""

    records: int
    length: int
    photos: int = 0
    at_once: int = MAX_PADDED

    @property
    def total(self) -> int:
        return self.records * self.length

    @property
    def inside(self) -> int:
        """Characters that a net is given at once."""
        return min(self.total, self.at_once)

    @property
    def terms(self) -> tuple[float, ...]:
        """What each term of the cost model is multiplied by."""
        squares = self.inside * min(self.length, self.at_once)
        return (1, self.inside, squares, self.total - self.inside, max(1, self.photos))


class CostModel(NamedTuple):
    """Bytes of a batch of n records of length L with m photos, above those of the idle pipeline:
    ``c0 + n (c1 L + c2 L**2) + m c3``, where of more characters than pass a net at once the others
    cost less: only what is kept of them."""

    fixed: float = 0.0
    linear: float = 0.0
    square: float = 0.0
    kept: float = 0.0
    photo: float = 0.0

    def predict(self, shape: Shape) -> float:
        return float(numpy.dot(self, shape.terms))

    @classmethod
    def fit(cls, samples: Sequence[tuple[Shape, float]], square: bool = True) -> "CostModel":
        """Least squares, no term below 0, then raised until no sample costs more than predicted.

        square: whether samples tell n L from n L**2: several of one total, of other lengths.
        """
        x = numpy.array([shape.terms for shape, _ in samples], dtype=float)
        y = numpy.array([cost for _, cost in samples], dtype=float)
        varied = [len(set(column)) > 1 for column in x.T.tolist()]
        # A term that was not varied cannot be told apart: of fixed and photo, one has all.
        photos = any(shape.photos for shape, _ in samples)
        terms = [i for i in range(5) if varied[i] and (square or i != 2)]
        if not varied[4]:
            terms.append(4 if photos else 0)
        else:
            terms.append(0)
        scale = numpy.abs(x).max(0) + (x == 0).all(0)
        found = numpy.zeros(5)
        while terms:
            solution = numpy.linalg.lstsq(x[:, terms] / scale[terms], y, rcond=None)[0]
            if solution.min() >= 0:
                found[terms] = solution / scale[terms]
                break
            del terms[int(solution.argmin())]
        if not varied[1]:  # one length: all of it by the character
            found[1] = max(0.0, (y / x[:, 1]).max())
        if not varied[3]:
            found[3] = found[1] + found[2] * LEAST_AT_ONCE
        rest = float((y - x @ found).max())
        found[4 if photos and not varied[4] else 0] += max(0.0, rest)
        return cls(*found.tolist())


@dataclass
class Counters:
    """What a `Batcher` did. Sizes in bytes; longest: characters of the longest record. splits,
    shortened, moved_to_cpu: how often memory ran out all the same, and what was done."""

    budget_bytes: int
    peak_bytes: int = 0
    records: int = 0
    batches: int = 0
    windows: int = 0
    identical_windows: int = 0
    identical_photos: int = 0
    longest: int = 0
    splits: int = 0
    shortened: int = 0
    moved_to_cpu: int = 0

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    def __str__(self) -> str:
        saved = f"{self.identical_windows:,} windows, {self.identical_photos:,} photos seen before"
        trouble = self.splits + self.shortened + self.moved_to_cpu
        return (
            f"Memory: {format_size(self.peak_bytes)} of {format_size(self.budget_bytes)}, "
            f"{self.batches:,} batches, longest record {self.longest:,} characters, {saved}"
            + (f", ran out {trouble:,} times and went on" if trouble else "")
        )


WARM_UP = Shape(1, 64, 1, LEAST_AT_ONCE)
SMALLEST = Shape(1, LEAST_AT_ONCE, 1, LEAST_AT_ONCE)
PROBES = (
    Shape(4, 64, 4, LEAST_AT_ONCE),
    Shape(16, 128, 1, 2048),
    Shape(1, 2048, 1, 2048),
    Shape(1, 4096, 1, LEAST_AT_ONCE),
)


@dataclass
class Batcher:
    """Packs records into batches that keep the whole process within a budget.

    budget: bytes. lookahead: records that are read ahead and sorted by length.
    """

    budget: int
    lookahead: int = 1000
    meter: Meter = field(default_factory=ProcessMeter)

    def __post_init__(self) -> None:
        self.counters = Counters(self.budget)
        self.cost: CostModel | None = None
        self._resident = ASSUMED_RESIDENT  # by the idle pipeline
        self._scale = 1.0  # how much more than predicted a batch has cost
        self._updates: list[tuple[Shape, float]] = []

    @property
    def room(self) -> float:
        """Bytes that the next batch may take."""
        return HEADROOM * self.budget - self._taken()

    def _taken(self) -> int:
        now = self.meter.now()
        return self._resident if now is None else now

    def fit(self, run: Callable[[Shape], None]) -> None:
        """Fit the cost model. run: let the pipeline read a batch of a shape, photos or not.

        RAISES ModelError: not even the smallest batch fits.
        """
        run(WARM_UP)
        self.meter.settle()
        self._resident = self.meter.now() or self.meter.peak() or ASSUMED_RESIDENT
        smallest = self._measure(run, SMALLEST)
        if smallest is None:
            fixed, linear, photo = ASSUMED
            self.cost = CostModel(fixed, linear, 0.0, linear / 4, photo)
            smallest = self.cost.predict(SMALLEST)
        if smallest > HEADROOM * self.budget - self._resident:
            raise ModelError(
                Errors.E525.format(
                    budget=format_size(self.budget),
                    least=format_size((self._resident + smallest) / HEADROOM),
                )
            )
        if self.cost is not None:
            return
        samples = [(SMALLEST, smallest)]
        for probe in PROBES:
            # One that might not fit is left out; that makes the others' terms larger.
            if smallest * max(probe.photos, probe.total / SMALLEST.total) <= self.room:
                samples.append((probe, self._measure(run, probe) or 0.0))
        self.cost = CostModel.fit(samples)

    def _measure(self, run: Callable[[Shape], None], shape: Shape) -> float | None:
        self.meter.settle()
        self.meter.restart()
        with self._within(Bounds(shape.at_once)):
            run(shape)
        peak = self._note_peak()
        return None if peak is None else max(0.0, peak - self._resident)

    def _note_peak(self) -> int | None:
        peak = self.meter.peak()
        self.counters.peak_bytes = max(self.counters.peak_bytes, peak or 0)
        return peak

    @contextlib.contextmanager
    def _within(self, bounds: Bounds, counters: Counters | None = None) -> Iterator[None]:
        before = _BOUNDS.set(bounds), _COUNTERS.set(counters)
        try:
            yield
        finally:
            _BOUNDS.reset(before[0])
            _COUNTERS.reset(before[1])

    def predict(self, shape: Shape) -> float:
        """Bytes that a batch will take above what there is."""
        assert self.cost is not None
        return self._scale * self.cost.predict(shape)

    def pack(
        self, lengths: Sequence[int], photos: Sequence[Hashable | None]
    ) -> Iterator[tuple[list[int], Shape]]:
        """Batches of records, the longest first; those with one photo together, where they fit.

        lengths: characters of each record. photos: what tells its photo from others; None: none.
        YIELDS: indices, each exactly once, and the shape. Reads the memory before each batch.
        """
        sharing: dict[Hashable, list[int]] = {}
        for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
            sharing.setdefault(("alone", i) if photos[i] is None else photos[i], []).append(i)
        waiting = list(sharing.values())[::-1]
        while waiting:
            self._make_room(lengths[waiting[-1][0]])
            room, group = self.room, list[int]()
            longest, different = 0, set[Hashable]()
            while waiting:
                more = waiting[-1]
                shown = (different | {photos[more[0]]}) - {None}
                # After a photo's records were halved, longer ones may follow.
                shape = Shape(len(group) + len(more), max(longest, lengths[more[0]]), len(shown))
                if shape.total > MAX_PADDED or self.predict(shape) > room:
                    break
                group += waiting.pop()
                longest, different = shape.length, shown
            if group:
                yield group, Shape(len(group), longest, len(different))
            elif len(waiting[-1]) > 1:
                whole = waiting.pop()
                waiting += [whole[len(whole) // 2 :], whole[: len(whole) // 2]]
            else:
                (item,) = waiting.pop()
                yield [item], self.shrink(lengths[item], int(photos[item] is not None))

    def shrink(self, length: int, photos: int) -> Shape:
        """Of a single record, with as much at once as fits."""
        shape = Shape(1, length, photos)
        while self.predict(shape) > self.room and shape.at_once > LEAST_AT_ONCE:
            shape = shape._replace(at_once=max(LEAST_AT_ONCE, shape.at_once // 2))
        return shape

    def _make_room(self, length: int) -> None:
        if self.predict(Shape(1, max(length, MAX_PADDED), 1)) > self.room:
            self.meter.settle()

    def run(
        self,
        lengths: Sequence[int],
        photos: Sequence[Hashable | None],
        work: Callable[[list[int]], None],
        move_to_cpu: Callable[[], bool] = lambda: False,
    ) -> None:
        """All records, in batches.

        work: of a batch, by indices; done again for a part of it where memory runs out.
        move_to_cpu: what is tried last; returns whether there was anything to move.
        RAISES ModelError: a record does not fit even so; the others were worked on.
        """
        too_long = None
        for items, shape in self.pack(lengths, photos):
            shown = [photos[i] for i in items if photos[i] is not None]
            self.counters.identical_photos += len(shown) - len(set(shown))
            self.counters.longest = max(self.counters.longest, shape.length)
            try:
                self.attempt(items, shape, work, move_to_cpu)
            except ModelError as error:
                too_long = error
        if too_long is not None:
            raise too_long

    def attempt(
        self,
        items: list[int],
        shape: Shape,
        work: Callable[[list[int]], None],
        move_to_cpu: Callable[[], bool] = lambda: False,
    ) -> None:
        """One batch; where memory runs out, in halves, then in shorter windows, then on the CPU."""
        waiting = [(items, Bounds(shape.at_once))]
        before, expected = self.meter.now(), self.predict(shape)
        too_long: ModelError | None = None
        while waiting:
            items, bounds = waiting.pop()
            try:
                with self._within(bounds, self.counters):
                    work(items)
            except Exception as error:
                if not is_overflow(error):
                    raise
            else:
                self.counters.batches += 1
                self.counters.records += len(items)
                continue
            self.meter.settle()
            if len(items) > 1:
                self.counters.splits += 1
                half = len(items) // 2
                waiting += [(items[half:], bounds), (items[:half], bounds)]
            elif bounds.at_once > LEAST_AT_ONCE:
                self.counters.shortened += 1
                less = max(LEAST_AT_ONCE, min(bounds.at_once, MAX_PADDED) // 4)
                waiting.append((items, Bounds(less, less)))
            elif move_to_cpu():
                self.counters.moved_to_cpu += 1
                waiting.append((items, bounds))
            else:
                too_long = ModelError(Errors.E528)
        highest = self.counters.peak_bytes
        peak = self._note_peak()
        if peak is not None and before is not None and peak > max(highest, before + expected):
            self._scale *= (peak - before) / max(1.0, expected)
        if (peak or 0) > max(highest, self.budget):
            warn_once(Warnings.W480.format(budget=format_size(self.budget), length=shape.length))
        if too_long is not None:
            raise too_long

    def run_update(self, lengths: Sequence[int], work: Callable[[list[int]], None]) -> None:
        """A training batch in parts that fit. What a part costs is learned from the parts before;
        the first is small. work: the update with a part, which adds to the gradients."""
        waiting = sorted(range(len(lengths)), key=lengths.__getitem__)
        while waiting:
            self.meter.settle()
            self.meter.restart()
            before, room = self._taken(), self.room
            longest = lengths[waiting[-1]]
            part = [waiting.pop()]
            while waiting and self._part_fits(Shape(len(part) + 1, longest), room):
                part.append(waiting.pop())
            with self._within(Bounds(), self.counters):
                work(part)
            self.counters.batches += 1
            self.counters.records += len(part)
            self.counters.longest = max(self.counters.longest, longest)
            peak = self._note_peak()
            if peak is not None:
                shape = Shape(len(part), longest, at_once=sys.maxsize)
                self._updates = [*self._updates[-49:], (shape, max(0.0, peak - before))]

    def _part_fits(self, shape: Shape, room: float) -> bool:
        if not self._updates:
            return shape.total <= LEAST_AT_ONCE
        most = max(seen.total for seen, _ in self._updates)
        cost = CostModel.fit(self._updates, square=False).predict(
            shape._replace(at_once=sys.maxsize)
        )
        return shape.total <= max(2 * most, LEAST_AT_ONCE) and cost <= room

    @contextlib.contextmanager
    def part_of(self, whole: Sequence[Any]) -> Iterator[None]:
        """Meanwhile `whole_batch` gives this."""
        before = _WHOLE.set(whole)
        try:
            yield
        finally:
            _WHOLE.reset(before)


def choose_meter(gpu: bool) -> Meter:
    """gpu: whether the pipeline is there."""
    if gpu and has_torch and torch.cuda.is_available():
        return CudaMeter(torch.cuda)
    return ProcessMeter()


def is_overflow(error: BaseException) -> bool:
    """Whether memory ran out: torch and OpenVINO say so in the text only."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("not enough memory", "can't allocate memory", "out of memory", "bad_alloc")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@contextlib.contextmanager
def forkable_torch(n_process: int) -> Iterator[None]:
    """With worker processes, torch computes in one thread meanwhile: a forked worker would wait for
    ever for the threads that torch started here before, often while the pipeline was loaded."""
    if n_process == 1 or not has_torch:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
