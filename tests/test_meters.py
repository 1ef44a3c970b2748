import sys

import numpy
import pytest

from spacy_tcm.meters import CudaMeter, ProcessMeter


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_of_what_was_taken_meanwhile():
    meter = ProcessMeter()
    meter.settle()
    meter.restart()
    before = meter.peak()
    numpy.ones(16 * 2**20)  # 128 MB, given back at once
    assert meter.peak() - before > 64 * 2**20
    assert 0 < meter.now() <= meter.peak()


def test_without_proc_the_peak_is_asked_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setattr("spacy_tcm.meters.STATUS", tmp_path / "none")
    monkeypatch.setattr("spacy_tcm.meters.CLEAR", tmp_path / "none" / "none")
    meter = ProcessMeter()
    meter.restart()
    assert meter.now() is None
    assert meter.peak() > 2**20


def test_a_gpu_tells_what_its_allocator_holds():
    class Cuda:
        emptied = restarted = False

        def memory_reserved(self):
            return 3

        def max_memory_reserved(self):
            return 5

        def empty_cache(self):
            self.emptied = True

        def reset_peak_memory_stats(self):
            self.restarted = True

    cuda = Cuda()
    meter = CudaMeter(cuda)
    meter.settle()
    meter.restart()
    assert (meter.now(), meter.peak()) == (3, 5)
    assert cuda.emptied
    assert cuda.restarted
