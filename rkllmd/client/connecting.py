"""Where the daemon is, and how long to wait between attempts to reach one that is restarted."""

import os
from collections.abc import Iterator

DEFAULT_SOCKET = "/run/rkllmd/rkllmd.sock"
FIRST_SECONDS = 0.05
GROWTH = 2
LONGEST_SECONDS = 5.0


def default_socket() -> str:
    """The socket that is meant where none is named."""
    return os.environ.get("RKLLMD_SOCKET") or DEFAULT_SOCKET


def pauses(patience_s: float) -> Iterator[float]:
    """Growing pauses that are `patience_s` together."""
    pause = FIRST_SECONDS
    while patience_s > 0:
        yield min(pause, patience_s)
        patience_s -= pause
        pause = min(pause * GROWTH, LONGEST_SECONDS)
