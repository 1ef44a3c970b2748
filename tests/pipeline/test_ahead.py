import threading

import pytest

from spacy_tcm.pipeline import ahead
from spacy_tcm.pipeline.ahead import has_core_to_spare, work_ahead


def test_the_next_batch_is_worked_on_while_the_last_is_out():
    started = [threading.Event() for _ in range(3)]
    caller = threading.get_ident()
    threads = set()

    def work(i):
        started[i].set()
        threads.add(threading.get_ident())
        return 10 * i

    for i, result in work_ahead(range(3), work):
        assert result() == 10 * i
        if i < 2:
            assert started[i + 1].wait(10), "though nobody has asked for it"
    assert len(threads) == 1
    assert caller not in threads
    assert list(work_ahead([], work)) == []


def test_what_fails_fails_in_its_turn():
    def work(i):
        if i == 1:
            raise KeyError(i)
        return i

    found = []
    for i, result in work_ahead(range(3), work):
        try:
            found.append(result())
        except KeyError:
            found.append(f"no {i}")
    assert found == [0, "no 1", 2]


def test_an_error_in_reading_comes_after_what_was_read():
    def batches():
        yield 0
        yield 1
        raise OSError("unreadable")

    results = work_ahead(batches(), lambda i: i)
    assert [next(results)[1]() for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="unreadable"):
        next(results)


def test_closing_ends_the_thread():
    working, may_end = threading.Event(), threading.Event()

    def work(i):
        if i:
            working.set()
            may_end.wait(10)
        return i

    before = threading.active_count()
    results = work_ahead(iter(range(100)), work)
    next(results)
    assert working.wait(10)
    may_end.set()
    results.close()
    assert threading.active_count() == before
    assert list(results) == []


def test_a_core_is_needed(monkeypatch):
    monkeypatch.setattr(ahead.os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert not has_core_to_spare()
    monkeypatch.setattr(ahead.os, "sched_getaffinity", lambda pid: {2, 3}, raising=False)
    assert has_core_to_spare()
    monkeypatch.setattr(ahead.multiprocessing, "parent_process", object)
    assert not has_core_to_spare(), "a worker"
    monkeypatch.undo()
    monkeypatch.delattr(ahead.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: None)
    assert not has_core_to_spare()
