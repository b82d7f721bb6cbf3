"""When a stored state is loaded: only when what is held is worth less."""

from pathlib import Path

import pytest

from rkllmd.promptcache.index import Stored
from rkllmd.runs import Prompt, RunStats
from rkllmd.scheduling.states import wants_load, was_hit

SYSTEM = Prompt.of_tokens([1, 2, 3, 4])
STORED = Stored("system", SYSTEM, 4, Path("state"))
PROMPT = Prompt.of_tokens([1, 2, 3, 4, 9])


@pytest.mark.parametrize(
    ("held", "stored", "expected"),
    [
        (None, None, False),
        (None, STORED, True),
        (Prompt.of_tokens([]), STORED, True),
        (Prompt.of_tokens([1, 2, 3]), STORED, True),
        (Prompt.of_tokens([1, 2, 3, 5, 6]), STORED, True),
        (SYSTEM, STORED, False),
        (Prompt.of_tokens([1, 2, 3, 4, 7, 8]), STORED, False),
        (Prompt.of_text("abc"), STORED, True),
        (Prompt.of_tokens([7]), None, False),
    ],
)
def test_load_or_keep(held, stored, expected):
    assert wants_load(held, PROMPT, stored) is expected


@pytest.mark.parametrize(
    ("cached", "expected"), [(0, False), (2, False), (3, True), (4, True), (5, True)]
)
def test_a_hit_is_what_the_engine_counted(cached, expected):
    stats = RunStats(5, 5 - cached, cached, 1, 1.0, 1.0, "stop")
    assert was_hit(STORED, stats) is expected
    assert not was_hit(None, stats)
