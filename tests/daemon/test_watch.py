"""What a daemon tells whoever watches."""

import contextlib
import itertools
import os
import signal

import pytest

from rkllmd.board.reading import read_board
from rkllmd.client import BadRequest
from rkllmd.operations.watching import heat
from tests.board.test_board import ROCK, tree


@contextlib.contextmanager
def watching(home, *kinds, **members):
    """The news of these kinds, as they come."""
    with home.client() as client:
        events = client.events("watch", kinds=kinds, **members)
        with contextlib.closing(events):
            yield (event["data"] for event in events if event["event"] == "event")


def priorities(news):
    running = news["running"] and news["running"]["priority"]
    return running, [one["priority"] for one in news["waiting"]]


def test_the_queue_is_told_as_it_grows_is_overtaken_and_ends(running):
    with (
        watching(running, "queue") as news,
        contextlib.ExitStack() as leaving,
    ):
        assert priorities(next(news)) == (None, []), "how it is comes first"
        for priority in ("normal", "normal", "voice"):
            client = leaving.enter_context(running.client())
            answer = client.events("chat", text="go", max_tokens=1500, priority=priority)
            next(answer)  # it runs, or it was told that it waits
            leaving.callback(answer.close)
        seen = list(itertools.takewhile(
            lambda one: priorities(one) != ("normal", ["voice", "normal"]), news
        ))  # fmt: skip
        assert [priorities(one) for one in seen] == [("normal", []), ("normal", ["normal"])]
        leaving.close()
        assert {"model": "parrot", "running": None, "waiting": []} in news


def test_heat_is_told_at_once(running):
    with watching(running, "thermal") as news:
        assert next(news).keys() == {"celsius", "hertz"}


def test_heat_of_a_board(tmp_path):
    assert heat(read_board(tree(tmp_path, ROCK))) == {
        "celsius": {"soc-thermal": 44, "thermal_zone1": -2},
        "hertz": {"dmc": 2_112_000_000, "fdab0000.npu": 10**9, "cpu0-3": 1_800_000_000},
    }


def test_the_log_is_told_from_a_level_up(running):
    kinds = ("state", "log")
    with watching(running, *kinds, level="info") as info, watching(running, *kinds) as important:
        assert next(info) == next(important) == {"state": "ready"}, "they are heard from here on"
        running.greedy("hello", max_tokens=2)
        line = next(one for one in info if one["room"] == "rkllmd.requests")
        assert line["level"] == "info"
        assert "parrot" in line["message"]
        for pid in running.worker_pids():
            os.kill(pid, signal.SIGKILL)
        line = next(one for one in important if one["room"] == "rkllmd.worker")
        assert line["level"] == "warning"
        assert "SIGKILL" in line["message"]
    running.until(lambda: running.ask("model.show")["models"][0]["state"] == "ready", "a worker")


def test_a_level_that_there_is_not_is_refused(running):
    with pytest.raises(BadRequest, match="level"), watching(running, "log", level="loud") as news:
        next(news)


def test_what_a_watcher_did_not_name_is_not_told(running):
    with watching(running, "cache", "state") as news:
        assert next(news) == {"state": "ready"}
