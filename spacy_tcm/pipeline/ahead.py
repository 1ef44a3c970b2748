"""Work on the next batch while components further down work on this one."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def has_core_to_spare() -> bool:
    """Whether a second thread has a core to run on. Worker processes share the cores already."""
    allowed = getattr(os, "sched_getaffinity", None)  # not on every system
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    return cores > 1 and multiprocessing.parent_process() is None


def work_ahead(
    batches: Iterable[Batch], work: Callable[[Batch], Result]
) -> Iterator[tuple[Batch, Callable[[], Result]]]:
    """Each batch, in order, with a function that waits for its result and raises what the work has
    raised. Meanwhile a thread, one for all, works on the next batch.

    Batches are read in the caller's thread, one ahead; an error in reading comes in its turn.
    Closing waits for the batch in work.
    """
    source = iter(batches)
    ready: tuple[Batch, Callable[[], Result]] | None = None
    failure: Exception | None = None
    with ThreadPoolExecutor(1) as pool:
        while True:
            following = None
            try:
                batch = next(source)
                following = batch, pool.submit(work, batch).result
            except StopIteration:
                pass
            except Exception as error:
                failure = error
            if ready is not None:
                yield ready
            if failure is not None:
                raise failure
            if following is None:
                return
            ready = following
