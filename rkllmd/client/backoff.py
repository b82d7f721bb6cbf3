"""How long to wait between attempts to reach a daemon that is being restarted."""

from collections.abc import Iterator

FIRST_SECONDS = 0.05
GROWTH = 2
LONGEST_SECONDS = 5.0


def pauses(patience_s: float) -> Iterator[float]:
    """Growing pauses that are `patience_s` together."""
    pause = FIRST_SECONDS
    while patience_s > 0:
        yield min(pause, patience_s)
        patience_s -= pause
        pause = min(pause * GROWTH, LONGEST_SECONDS)
