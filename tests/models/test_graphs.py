import gc
import os
import signal
import time

import numpy
import pytest

from spacy_tcm.models.graphs import GraphShim, graph_to_bytes

openvino = pytest.importorskip("openvino")


def make_shim():
    from openvino import opset13 as ops

    data = ops.parameter([-1, 2], numpy.float32)
    return GraphShim(*graph_to_bytes(openvino.Model([ops.multiply(data, data)], [data], "square")))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_worker_does_not_end_graphs_that_were_garbage_before_it_was_forked():
    """It would wait for ever for their threads, which are not there."""
    gc.collect()
    gc.disable()
    try:
        shim = make_shim()
        x = numpy.ones((1, 2), numpy.float32)
        assert shim.predict([x])[0].tolist() == [[1, 1]]
        circle = [shim]
        circle.append(circle)
        del shim, circle
        pid = os.fork()
        if pid == 0:
            gc.collect()
            os._exit(0)
    finally:
        gc.enable()
    until = time.monotonic() + 20
    ended = (0, None)
    while ended[0] == 0 and time.monotonic() < until:
        ended = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended == (pid, 0)
