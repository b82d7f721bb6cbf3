"""Each metric moves when that happens which it counts, on a running daemon."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from rkllmd.board.parse import Board, Temperature
from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.store import Store
from rkllmd.service.metrics import of_board
from tests.http.wire import chat_bytes, connected, read_until

SAMPLE = re.compile(r"rkllmd_(\w+)(?:\{(.*)\})? (.+)")
GARDEN = {
    "cache_name": "garden",
    "prompt": "You are a gardener. Answer in one short sentence. " * 3,
}


def samples(home):
    """Every sample, by the words of its name and labels."""
    found = {}
    for line in home.http.get("/metrics").body.decode().splitlines():
        if match := SAMPLE.fullmatch(line):
            labels = re.findall(r'\w+="([^"]*)"', match[2] or "")
            found[" ".join([match[1], *(one for one in labels if one != "parrot")])] = float(
                match[3]
            )
    return found


def ask_speaking(home):
    home.http.call("POST", "/ask", b"count my sentences")


def kill_worker(home):
    home.http.chat()
    (pid,) = home.worker_pids()
    os.kill(pid, signal.SIGKILL)
    assert home.http.chat().status == 200


def reload_model(home):
    home.http.post("/v1/models/unload", {"model": "parrot"})
    home.http.post("/v1/models/load", {"model": "parrot"})


def leave(home):
    with connected(home.port, chat_bytes(max_tokens=1900, stream=True)) as sock:
        read_until(sock, b"content")


def give_way(home):
    members = {"text": "go", "max_tokens": 1500, "temperature": 0, "stream": "tokens"}
    with home.client() as client:
        events = client.events("chat", priority="background", **members)
        next(event for event in events if event["event"] == "delta")
        home.greedy("hello", priority="voice")
        next(event for event in events if event["event"] == "delta")


@pytest.mark.parametrize(
    ("event", "moved"),
    [
        (
            lambda home: home.http.chat("count me"),
            [
                "requests_total chat length http",
                "http_requests_total POST /v1/chat/completions 200",
                "first_token_seconds_count hit",
                "prefill_seconds_count hit",
                "last_token_seconds_count",
                "queue_wait_seconds_count",
                "load_seconds_count",
                "tokens_total prefilled",
                "tokens_total cached",
                "tokens_total generated",
            ],
        ),
        (
            lambda home: home.http.chat("count me", use_cache=False),
            ["first_token_seconds_count miss", "prefill_seconds_count miss"],
        ),
        (ask_speaking, ["first_sentence_seconds_count hit", "http_requests_total POST /ask 200"]),
        (
            lambda home: home.http.chat(model="none"),
            [
                "requests_total chat unknown_model http",
                "http_requests_total POST /v1/chat/completions 404",
            ],
        ),
        (lambda home: home.http.get("/nothing"), ["http_requests_total other 404"]),
        (lambda home: home.ask("ping"), ["requests_total ping ok socket"]),
        (leave, ["cancel_seconds_count", "worker_freed_seconds_count cancelled"]),
        (give_way, ["worker_freed_seconds_count give_way"]),
        (reload_model, ["model_loads_total", "http_requests_total POST /v1/models/load 200"]),
        (
            kill_worker,
            ["worker_crashes_total signal", "worker_restarts_total", "model_loads_total"],
        ),
        (
            lambda home: home.ask("cache.verify", name="system"),
            ["cache_changes_total verified", "requests_total cache.verify ok socket"],
        ),
    ],
    ids=lambda one: one[0].replace(" ", "_") if isinstance(one, list) else "",
)
def test_what_happens_is_counted(home, event, moved):
    before = samples(home)
    event(home)
    home.until(
        lambda: all(samples(home).get(one, 0) > before.get(one, 0) for one in moved), str(moved)
    )


def test_a_caches_life_is_counted(own_home):
    home = own_home.start()
    before = samples(home)
    assert home.http.post("/v1/cache/parrot", GARDEN).status == 201
    after = samples(home)
    for change in ("built", "verified"):
        name = f"cache_changes_total {change}"
        assert after[name] == before[name] + 1, "what is built is proved"
    assert after["cache_entries verified"] == before["cache_entries verified"] + 1
    assert after["cache_bytes"] > before["cache_bytes"]
    assert after["cache_free_bytes"] > 0

    home.stop()
    with Store(home.cache) as store:
        entry = store.find(ModelName("parrot"), CacheName("garden"))
        staging = store.stage(*entry.key)
        staging.path.write_bytes(b"whole, and nonsense")
        store.commit(staging, entry, store.text(*entry.key))
    home.start()
    assert home.ask("cache.verify", name="garden")["broken"]
    told = samples(home)
    assert told["cache_changes_total broken"] == 1
    assert told["cache_changes_total verified"] == told["cache_changes_total built"] == 1

    with (home.folder / "rkllmd.yaml").open("a") as config:
        config.write("cache: {bytes_max: 1}\n")
    home.ask("reload")
    home.until(lambda: samples(home).get("cache_changes_total evicted"), "the eviction")


def test_who_waits_and_who_runs_is_told(own_home):
    home = own_home.start()
    with ThreadPoolExecutor(1, "asyncio_") as pool:
        with connected(home.port, chat_bytes(max_tokens=1900, stream=True)) as first:
            read_until(first, b"content")
            second = pool.submit(home.http.chat)
            home.until(
                lambda: (now := samples(home))["queue_length"] == now["running"] == 1,
                "one that waits and one that runs",
            )
        assert second.result().status == 200
    now = samples(home)
    assert (now["queue_length"], now["running"], now["ready"]) == (0, 0, 1)
    assert now["uptime_seconds"] > 0
    assert now["model_memory_bytes"] > 0


def test_a_board_with_an_npu_is_told():
    warm = (Temperature("soc-thermal", 44.4),)
    board = Board(None, None, None, (45, 4), (), warm, None, ())
    gauges = {one.name: one.samples for one in of_board(board)}
    assert [one.value for one in gauges["rkllmd_npu_load_percent"]] == [45, 4]
    (warmth,) = gauges["rkllmd_temperature_celsius"]
    assert (warmth.labels, warmth.value) == ({"sensor": "soc-thermal"}, 44.4)


def test_what_has_not_happened_has_its_family(http):
    text = http.get("/metrics").body.decode()
    for family in (
        "first_token_seconds histogram", "queue_wait_seconds histogram", "cancel_seconds histogram",
        "first_sentence_seconds histogram", "last_token_seconds histogram",
        "load_seconds histogram", "prefill_seconds histogram",
        "queue_length gauge", "worker_crashes_total counter", "worker_restarts_total counter",
        "cache_changes_total counter", "npu_load_percent gauge", "temperature_celsius gauge",
    ):  # fmt: skip
        assert f"# TYPE rkllmd_{family}\n" in text, family
