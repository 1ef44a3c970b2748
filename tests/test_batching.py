import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_tcm.batching import (
    HEADROOM,
    LEAST_AT_ONCE,
    MAX_PADDED,
    PROBES,
    SMALLEST,
    WARM_UP,
    Batcher,
    CostModel,
    Shape,
    cut_stretches,
    find_unique,
    format_size,
    group_by_length,
    group_by_total,
    is_overflow,
    parse_size,
    whole_batch,
)
from spacy_tcm.errors import ModelError

TRUE = CostModel(fixed=3e6, linear=2e4, square=2.0, kept=5e3, photo=4e6)


class FakeMeter:
    """A process that takes as much as a cost model says."""

    def __init__(self, resident=10**9, true=TRUE):
        self.resident, self.true = resident, true
        self.highest = resident

    def read(self, shape):
        self.highest = max(self.highest, self.resident + int(self.true.predict(shape)))

    def now(self):
        return self.resident

    def peak(self):
        return self.highest

    def restart(self):
        self.highest = self.resident

    def settle(self):
        pass


def make_batcher(budget=2 * 10**9, **kwargs):
    meter = FakeMeter(**kwargs)
    batcher = Batcher(budget, meter=meter)
    batcher.fit(meter.read)
    return batcher


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_every_item_once_and_padding_bounded(lengths, most):
    groups = list(group_by_length(lengths, most))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert group
        longest = max(lengths[i] for i in group)
        assert longest * len(group) <= most or len(group) == 1


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 100))
def test_every_item_once_and_total_bounded(lengths, most):
    groups = list(group_by_total(lengths, most))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert group
        assert sum(lengths[i] for i in group) <= most or len(group) == 1
    assert [lengths[i] for group in groups for i in group] == sorted(lengths)


def test_a_long_record_does_not_pad_the_others():
    assert list(group_by_length([5, 10_000, 6, 4], 100)) == [[3, 0, 2], [1]]


@given(st.integers(0, 500), st.integers(1, 60), st.integers(0, 30))
def test_stretches(length, size, context):
    parts = cut_stretches(length, size, context)
    used = [i for part in parts for i in range(part.first, part.last)]
    assert used == list(range(length))
    for part in parts:
        assert 0 < part.last - part.first <= size
        assert part.start == max(0, part.first - context)
        assert part.end == min(length, part.last + context)


@pytest.mark.parametrize(
    ("size", "found"),
    [("1GB", 10**9), ("1.5 GiB", 3 * 2**29), ("512mb", 512 * 10**6), (77, 77), ("2B", 2)],
)
def test_sizes(size, found):
    assert parse_size(size) == found


@pytest.mark.parametrize("size", ["", "1", "GB", "-1GB", "0MB", "1TB", 0, "١GB"])
def test_what_is_no_size(size):
    with pytest.raises(ModelError, match="E527"):
        parse_size(size)


@given(st.integers(1, 10**12))
def test_a_size_told_is_enough(size):
    assert parse_size(format_size(size)) >= size


def test_identical_windows_once():
    assert find_unique(["a", "b", "a", "c", "b"]) == ([0, 1, 3], [0, 1, 0, 2, 1])


def test_the_cost_model_is_found():
    shapes = [WARM_UP, SMALLEST, *PROBES, Shape(3, 700, 2)]
    found = CostModel.fit([(shape, TRUE.predict(shape)) for shape in shapes])
    for shape in (*shapes, Shape(9, 1500, 5), Shape(1, 50_000, 1, 1024)):
        assert found.predict(shape) == pytest.approx(TRUE.predict(shape), rel=1e-6)


costs = st.lists(st.floats(0, 1e9), min_size=5, max_size=5)


@given(costs, st.integers(1, 5), st.booleans())
def test_no_probe_costs_more_than_predicted_and_more_never_costs_less(measured, count, photos):
    shapes = [shape._replace(photos=shape.photos * photos) for shape in (SMALLEST, *PROBES)]
    samples = list(zip(shapes, measured, strict=True))[:count]
    found = CostModel.fit(samples)
    assert min(found) >= 0
    for shape, cost in samples:
        assert found.predict(shape) >= cost * (1 - 1e-6) - 1
    assert found.predict(Shape(2, 900, 2)) >= found.predict(Shape(1, 900, 1))


lengths = st.lists(st.one_of(st.integers(0, 600), st.integers(5_000, 60_000)), max_size=30)


@given(lengths, st.data(), st.integers(1_200, 4_000))
def test_every_record_once_within_the_budget(lengths, data, megabytes):
    photos = data.draw(
        st.lists(
            st.sampled_from([None, "a", "b", "c"]), min_size=len(lengths), max_size=len(lengths)
        )
    )
    batcher = make_batcher(megabytes * 10**6)
    seen = []
    for items, shape in batcher.pack(lengths, photos):
        seen += items
        assert shape.length == max(lengths[i] for i in items)
        assert shape.records == len(items)
        assert shape.photos == len({photos[i] for i in items} - {None})
        cost = TRUE.predict(shape)
        if len(items) > 1:
            assert shape.total <= MAX_PADDED
            assert cost <= batcher.room * (1 + 1e-6)
        else:
            assert cost <= batcher.room * (1 + 1e-6) or shape.at_once == LEAST_AT_ONCE
    assert sorted(seen) == list(range(len(lengths)))


def test_records_with_one_photo_come_together():
    photos = ["same" if i % 5 == 0 else None for i in range(20)]
    batches = list(make_batcher().pack(list(range(100, 120)), photos))
    (shown,) = [shape.photos for _, shape in batches if shape.photos]
    assert shown == 1
    done = []
    batcher = make_batcher()
    batcher.run(list(range(100, 120)), photos, done.extend)
    assert batcher.counters.identical_photos == 3
    assert batcher.counters.records == 20
    assert batcher.counters.longest == 119


def test_a_budget_too_small_names_the_least():
    with pytest.raises(ModelError, match="E525") as error:
        make_batcher(1_050 * 10**6)
    least = parse_size(str(error.value).split("at least ")[1].split(",")[0])
    assert least > 1_050 * 10**6
    make_batcher(least)
    with pytest.raises(ModelError, match="E525"):
        make_batcher(least - 2 * 10**6)


def test_probes_that_might_not_fit_are_left_out():
    read = []
    meter = FakeMeter()
    batcher = Batcher(1_150 * 10**6, meter=meter)
    batcher.fit(lambda shape: (read.append(shape), meter.read(shape)))
    assert SMALLEST in read
    assert len(read) < 2 + len(PROBES)
    assert batcher.counters.peak_bytes <= HEADROOM * batcher.budget
    for shape in (Shape(1, 300, 1), Shape(4, 200, 4), Shape(1, 9_000, 0, LEAST_AT_ONCE)):
        assert batcher.predict(shape) >= TRUE.predict(shape) * 0.99


def test_where_nothing_can_be_measured_a_guess_is_made():
    class Blind(FakeMeter):
        def now(self):
            return None

        peak = now

    batcher = Batcher(2 * 10**9, meter=Blind())
    batcher.fit(lambda shape: None)
    assert 0 < batcher.room < 10**9
    assert batcher.predict(SMALLEST) > 0
    with pytest.raises(ModelError, match="E525"):
        Batcher(10**9, meter=Blind()).fit(lambda shape: None)


def test_what_cost_more_than_predicted_counts_for_the_next():
    batcher = make_batcher()
    shape = Shape(4, 512)
    before = batcher.predict(shape)
    batcher.meter.restart()
    batcher.counters.peak_bytes = 0

    def work(items):
        batcher.meter.highest = batcher.meter.resident + int(2 * before)

    batcher.attempt([0, 1, 2, 3], shape, work)
    assert batcher.predict(shape) == pytest.approx(2 * before, rel=1e-3)


def test_more_than_the_budget_is_told():
    batcher = make_batcher()

    def work(items):
        batcher.meter.highest = 3 * 10**9

    with pytest.warns(UserWarning, match="W480"):
        batcher.attempt([0], Shape(1, 90_000), work)


def bounds():
    """(most at once, longest stretch) that components see."""
    stretch = cut_stretches(10_000, 2048, 0)[0]
    return len(next(iter(group_by_length([1] * 40_000, 30_000)))), stretch.last


def test_overflow_halves_then_shortens_then_leaves_the_gpu():
    batcher = make_batcher()
    seen, where = [], ["gpu"]

    def work(items):
        seen.append((tuple(items), bounds(), where[0]))
        if len(items) > 1 or (3 in items and where == ["gpu"]):
            raise MemoryError

    def move_to_cpu():
        moved, where[0] = where[0] == "gpu", "cpu"
        return moved

    batcher.attempt([1, 2, 3], Shape(3, 9_000), work, move_to_cpu)
    normal = (MAX_PADDED, 2000)
    assert seen == [
        ((1, 2, 3), normal, "gpu"),
        ((1,), normal, "gpu"),
        ((2, 3), normal, "gpu"),
        ((2,), normal, "gpu"),
        ((3,), normal, "gpu"),
        ((3,), (1024, 1000), "gpu"),
        ((3,), (512, 500), "gpu"),
        ((3,), (512, 500), "cpu"),
    ]
    counters = batcher.counters
    assert (counters.splits, counters.shortened, counters.moved_to_cpu) == (2, 2, 1)
    assert counters.records == 3
    assert "ran out 5 times" in str(counters)
    assert bounds() == (30_000, 2000)


def test_a_record_that_never_fits_is_an_error_and_the_others_are_done():
    batcher, done = make_batcher(), []

    def work(items):
        if 1 in items:
            raise MemoryError
        done.extend(items)

    with pytest.raises(ModelError, match="E528"):
        batcher.run([10, 20, 30], [None] * 3, work)
    assert sorted(done) == [0, 2]


def test_other_errors_are_not_taken_for_overflow():
    def work(items):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape"):
        make_batcher().run([1, 2], [None] * 2, work)


@pytest.mark.parametrize(
    ("error", "overflow"),
    [
        (MemoryError(), True),
        (numpy._core._exceptions._ArrayMemoryError((1,), numpy.dtype("f")), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("Exception from src/inference: std::bad_alloc"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})(), True),
        (RuntimeError("other"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_overflow(error, overflow):
    assert is_overflow(error) is overflow


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=30), st.integers(1_200, 3_000))
def test_parts_of_an_update_fit_what_the_parts_before_have_cost(lengths, megabytes):
    true = CostModel(fixed=1e6, linear=9e4)
    batcher = make_batcher(megabytes * 10**6, true=true)
    parts = []

    def work(items):
        parts.append(items)
        batcher.meter.read(Shape(len(items), max(lengths[i] for i in items), at_once=10**9))

    batcher.run_update(lengths, work)
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    for part in parts:
        shape = Shape(len(part), max(lengths[i] for i in part), at_once=10**9)
        first = len(part) == 1 or shape.total <= LEAST_AT_ONCE
        assert first or true.predict(shape) <= batcher.room * (1 + 1e-6)


def test_the_whole_batch_is_known_to_its_parts():
    assert whole_batch(iter("ab")) == ["a", "b"]
    with make_batcher().part_of("abcd"):
        assert whole_batch("ab") == "abcd"
    assert whole_batch("ab") == ["a", "b"]
