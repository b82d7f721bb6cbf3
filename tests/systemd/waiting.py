"""Waiting for what another machine does by itself."""

import time

PATIENCE_SECONDS = 60
PAUSE_SECONDS = 0.2


def until(is_so, pause_s=PAUSE_SECONDS):
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(pause_s)
