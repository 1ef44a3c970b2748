"""How much memory this process takes now, and how much it took at most."""

import contextlib
import ctypes
import sys
from functools import cache
from pathlib import Path
from typing import Any, Protocol

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter(Protocol):
    """In bytes; None where the system does not tell."""

    def now(self) -> int | None: ...
    def peak(self) -> int | None:
        """The most since `restart`, or since the process began."""

    def restart(self) -> None:
        """Measure the peak anew, where that is possible."""

    def settle(self) -> None:
        """Give back to the system what was freed."""


class ProcessMeter:
    """Of the process. Linux tells all (proc(5): VmRSS, VmHWM, clear_refs); where only the peak is
    told (`getrusage`), there is no now."""

    def now(self) -> int | None:
        return _read_status().get("VmRSS")

    def peak(self) -> int | None:
        found = _read_status().get("VmHWM")
        if found is not None or sys.platform == "win32":
            return found
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def restart(self) -> None:
        with contextlib.suppress(OSError):
            CLEAR.write_text("5")

    def settle(self) -> None:
        trim = _malloc_trim()
        if trim is not None:
            trim(0)


class CudaMeter:
    """Of torch's allocator on the current GPU."""

    def __init__(self, cuda: Any):
        self._cuda = cuda

    def now(self) -> int:
        return self._cuda.memory_reserved()

    def peak(self) -> int:
        return self._cuda.max_memory_reserved()

    def restart(self) -> None:
        self._cuda.reset_peak_memory_stats()

    def settle(self) -> None:
        self._cuda.empty_cache()


def _read_status() -> dict[str, int]:
    """VmRSS and VmHWM; {} where there is no /proc."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.startswith(("VmRSS", "VmHWM")))
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in pairs}


@cache
def _malloc_trim() -> Any:
    """glibc's; None elsewhere."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
