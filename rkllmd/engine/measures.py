"""What an engine measures of itself."""

import os
import time
from pathlib import Path


def resident_bytes() -> int:
    """How much memory this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def milliseconds(start: float) -> float:
    """Since a moment of `perf_counter`."""
    return (time.perf_counter() - start) * 1000
