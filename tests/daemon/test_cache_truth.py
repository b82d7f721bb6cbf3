"""Words with a cache are the words without, in whatever way the cache came to be used."""

import os
import shutil
import signal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.daemon.household import Household

LEARNED = "You control the house of the Lovelace family, politely. " * 8
PIRATE = "You are a pirate, and you answer like one. " * 6
WAYS = [
    ("ask", "system"), ("ask", "pirate"), ("ask", "learned"), ("ask", "nothing"),
    ("restart", ""), ("crash", ""), ("kill the worker", ""), ("rebuild", "system"),
    ("rebuild", "pirate"), ("lose", "system"),
]  # fmt: skip
WORDS = ["hello", "what time is it?", "1 2 3"]


@pytest.fixture
def house(tmp_path, parrot):
    """A daemon with three prompts, one of them learned."""
    home = Household(tmp_path, parrot)
    home.settings.append("engine.restarts_max=1000")
    home.write_prompt("pirate", PIRATE)
    home.start()
    for _ in range(3):
        home.greedy("hello", system=LEARNED)
    home.until(lambda: len(home.caches()) == 3 and verified(home), "learning")
    yield home
    home.close()


@pytest.fixture
def expected(house):
    """What is said without any cache."""
    return {
        (name, words): house.greedy(words, **members(name) | {"use_cache": False})["text"]
        if name != "pirate"
        else house.greedy(words, system=PIRATE, use_cache=False)["text"]
        for name in ("system", "pirate", "learned", "nothing")
        for words in WORDS
    }


def verified(home):
    return set(home.caches().values()) == {"verified"}


def members(name):
    return {
        "system": {},
        "pirate": {"use_cache": "pirate"},
        "learned": {"system": LEARNED},
        "nothing": {"system": "Nobody stored this."},
    }[name]


def do(home, way, name):
    match way:
        case "restart":
            home.restart()
        case "crash":
            home.stop(signal.SIGKILL)
            home.start()
        case "kill the worker":
            for pid in home.worker_pids():
                os.kill(pid, signal.SIGKILL)
        case "rebuild":
            home.ask("cache.build", model="parrot", name=name, force=True)
        case "lose":
            shutil.copyfile("/dev/null", home.cache / "parrot" / f"{name}.rkllm_cache")


@settings(
    max_examples=2,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.sampled_from(WAYS), st.sampled_from(WORDS)), min_size=4, max_size=6))
def test_words_are_the_same_in_every_way(house, expected, story):
    for (way, name), words in story:
        do(house, way, name)
        asked = name or "system"
        answer = house.greedy(words, **members(asked))
        assert answer["text"] == expected[asked, words], (way, name)
        if asked == "nothing":
            assert not answer["usage"]["cache_hit"]


def test_each_way_once(house, expected):
    house.until(lambda: verified(house), "peace")
    for way, name in [*WAYS, *WAYS[:3]]:
        do(house, way, name)
        for asked in ("system", "learned", "pirate"):
            answer = house.greedy("hello", **members(asked))
            assert answer["text"] == expected[asked, "hello"], (way, asked)
        house.until(lambda: verified(house), "peace")
    for asked in ("pirate", "learned", "system"):
        answer = house.greedy("hello", **members(asked))
        assert answer["usage"]["cache_hit"], "it was switched by loading a state"
        assert answer["text"] == expected[asked, "hello"]
