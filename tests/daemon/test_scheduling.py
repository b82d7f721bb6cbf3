"""Turns, sessions, cancels and recovery on a running daemon: real models, and a simulated NPU."""

import contextlib
import json
import os
import shutil
import signal
import socket
import threading

import pytest

from rkllmd.client import DaemonError
from tests.daemon.household import PATIENCE_SECONDS, Household
from tests.fakes.rkllm.built import NEWEST, built, make_model

HISTORY = "and then the cat walked over the roof of the neighbours "


class Wire:
    """A connection on which many requests are open at once."""

    def __init__(self, household):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_SECONDS)
        self._socket.connect(str(household.socket))
        self._lines = self._socket.makefile("rwb")
        self._ends = {}
        """Final lines that were heard while something else was waited for."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._lines.close()
        self._socket.close()

    def ask(self, identity, op="chat", **members):
        line = json.dumps({"id": identity, "op": op, **members})
        self._lines.write(line.encode() + b"\n")
        self._lines.flush()

    def hear(self, wanted):
        """The first event of which this is true."""
        for event in map(json.loads, self._lines):
            if wanted(event):
                return event
            if event.get("final"):
                self._ends[event["id"]] = event
        raise AssertionError("the daemon closed the connection")

    def end(self, identity):
        if identity in self._ends:
            return self._ends.pop(identity)
        return self.hear(lambda event: event["id"] == identity and event.get("final"))

    def begun(self, identity, kind="delta"):
        event = self.hear(lambda e: e["id"] == identity and (e["event"] == kind or e.get("final")))
        assert event["event"] == kind, event
        return event


@pytest.fixture(scope="module")
def npu(tmp_path_factory):
    """A daemon on the simulated runtime, whose faults are written to a file."""
    folder = tmp_path_factory.mktemp("npu")
    home = Household(folder, make_model(folder / "made.rkllm"))
    (home.models / "parrot" / "model.gguf").unlink()
    for name in ("parrot", "spare"):
        (home.models / name).mkdir(exist_ok=True)
        make_model(home.models / name / "model.rkllm", name=name)
    home.script = folder / "script"
    home.script.write_text("")
    home.settings += [
        f"engine.library={built(NEWEST)}", "cancel.hard_ms=300", "models.preload=all",
        "queue.run_s=3.5",
        "engine.hang_s=2", "engine.restarts_max=2", "engine.restarts_window_s=60",
    ]  # fmt: skip
    home.start(RKLLM_SIM_SCRIPT=str(home.script))
    yield home
    home.close()


@pytest.fixture
def script(npu):
    """Says what goes wrong from now on."""
    yield npu.script.write_text
    npu.script.write_text("")


def idle(household, model="parrot"):
    queue = household.ask("status")["queue"][model]
    return not queue["running"] and not queue["waiting"]


# Two sessions


def alternate(home, history):
    """Two long conversations in turns; the second and later turns compute nothing of the past."""
    for name in ("kitchen", "bath"):
        home.greedy(f"{name}: {history}", session=name, max_tokens=4)
    for turn in range(2):
        for name in ("kitchen", "bath"):
            usage = home.greedy(f"turn {turn}", session=name, max_tokens=4)["usage"]
            assert usage["prompt_tokens"] > 1200
            assert usage["prompt_tokens"] - usage["cached_tokens"] < 80, (name, turn)


def test_two_alternating_sessions_prefill_only_their_new_turns(household):
    household.start()
    alternate(household, HISTORY * 25)
    kept = list((household.cache / ".snapshots").iterdir())
    assert 1 <= len(kept) <= 2
    household.ask("session.reset", session="kitchen")
    household.ask("session.reset", session="bath")
    assert not list((household.cache / ".snapshots").iterdir())
    household.stop()
    assert not (household.cache / ".snapshots").exists()


def test_they_do_so_where_the_engine_has_no_tokenizer(npu):
    npu.ask("model.load", model="parrot")
    alternate(npu, HISTORY * 110)
    assert any((npu.cache / ".snapshots").iterdir())


def test_a_session_that_has_expired_leaves_no_snapshot(household):
    household.start()
    for name in ("kitchen", "bath"):
        household.greedy(f"{name}: " + HISTORY * 8, session=name, max_tokens=4)
    folder = household.cache / ".snapshots"
    assert list(folder.iterdir())
    file = household.folder / "rkllmd.yaml"
    file.write_text(file.read_text() + "sessions: {expire_s: 1}\n")
    household.ask("reload")
    household.until(lambda: not list(folder.iterdir()), "the end of the snapshot")


def test_what_a_session_says_does_not_depend_on_its_snapshots(household):
    talk = [("kitchen", "one " + HISTORY * 8), ("bath", "two " + HISTORY * 8),
            ("kitchen", "three"), ("bath", "four"), ("kitchen", "five")]  # fmt: skip
    said = []
    for bytes_max in (512 << 20, 0):
        household.settings.append(f"sessions.snapshot_bytes_max={bytes_max}")
        household.start()
        said.append([household.greedy(text, session=name)["text"] for name, text in talk])
        household.stop()
    assert said[0] == said[1]


# Speaking before all is said


def test_partial_transcripts_leave_only_the_rest_to_the_final_text(household):
    household.start()
    words = ("turn on the light in the kitchen and close the blinds " * 4).split()
    with household.client() as client:
        warmed = client.call("prefill", session="s")
        for count in range(5, len(words), 5):
            client.call("prefill", session="s", text=" ".join(words[:count]))
        usage = client.call(
            "chat", session="s", text=" ".join(words), temperature=0, max_tokens=8, stream=False
        )["usage"]
    assert warmed["prompt_tokens"] > 100
    assert usage["prompt_tokens"] - usage["cached_tokens"] < 30
    plain = household.greedy(" ".join(words), max_tokens=8, use_cache=False)
    assert plain["usage"]["prompt_tokens"] == usage["prompt_tokens"]


def test_a_newer_transcript_ends_the_older_one(household):
    household.start()
    with Wire(household) as wire:
        wire.ask("busy", text="go", max_tokens=1500, stream="tokens")
        wire.begun("busy")
        wire.ask("older", "prefill", session="s", text="turn on")
        wire.ask("newer", "prefill", session="s", text="turn off the")
        assert wire.end("older")["superseded"] is True
        wire.ask("final", session="s", text="turn off the light", max_tokens=2)
        assert wire.end("newer")["superseded"] is True
        wire.ask("c", "cancel", target="busy")
        assert wire.end("final")["event"] == "done"


def test_a_prefill_without_text_loads_the_model(household):
    household.settings.append("models.preload=none")
    household.start()
    assert household.ask("model.list")["models"][0]["state"] == "unloaded"
    assert household.ask("prefill")["prompt_tokens"] > 100
    answer = household.greedy("hello")
    assert answer["usage"]["prompt_tokens"] - answer["usage"]["cached_tokens"] < 30


# One conversation, several requests at a time


def said_in(household, session):
    messages = household.ask("session.show", session=session)["messages"]
    return [message["content"] for message in messages]


def test_two_turns_of_a_session_at_a_time_follow_one_another(running):
    with Wire(running) as wire, Wire(running) as other:
        wire.ask("busy", text="go", max_tokens=1500)
        wire.begun("busy")
        wire.ask("first", text="my name is Ada", session="both", max_tokens=8)
        wire.begun("first", "queued")
        other.ask("second", text="and mine?", session="both", max_tokens=8)
        assert other.begun("second", "queued")["position"] == 1
        other.ask("late", text="and mine?", session="both", deadline_ms=1)
        assert other.end("late")["code"] == "deadline"
        wire.ask("c", "cancel", target="busy")
        first, second = wire.end("first")["text"], other.end("second")["text"]
    assert said_in(running, "both") == ["my name is Ada", first, "and mine?", second]


def test_a_voice_interrupts_in_one_breath(running):
    with Wire(running) as wire:
        wire.ask("long", text="tell me a story", session="breath", max_tokens=1500)
        wire.begun("long")
        wire.ask("stop", "cancel", session="breath")
        wire.ask("heard", "session.truncate", session="breath", chars=2)
        wire.ask("next", text="what?", session="breath", max_tokens=8)
        kept, following = wire.end("heard")["kept"], wire.end("next")
    assert said_in(running, "breath") == ["tell me a story", kept, "what?", following["text"]]


def test_cancelling_a_session_ends_what_waits_in_it(running):
    with Wire(running) as wire, Wire(running) as other:
        wire.ask("runs", text="go", session="all", max_tokens=1500)
        wire.begun("runs")
        wire.ask("waits", text="x", session="all")
        wire.begun("waits", "queued")
        other.ask("c", "cancel", session="all")
        assert other.end("c")["cancelled"] == 2
        assert {wire.end("runs")["reason"], wire.end("waits")["reason"]} == {"cancelled"}


# Cancelling, wherever a request is


def test_cancel_in_the_queue_by_session_and_by_all(running):
    with Wire(running) as wire, Wire(running) as other:
        wire.ask("runs", text="go", max_tokens=1500)
        wire.begun("runs")
        wire.ask("waits", text="x", session="queue")
        wire.begun("waits", "queued")
        other.ask("c", "cancel", session="queue")
        assert other.end("c")["cancelled"] == 1
        assert wire.end("waits")["reason"] == "cancelled"
        wire.ask("c", "cancel", all=True)
        assert wire.end("runs")["reason"] == "cancelled"
    running.until(lambda: idle(running))


def test_after_a_cancel_the_session_is_still_warm(running):
    with Wire(running) as wire:
        wire.ask("first", text=HISTORY * 6, session="warm", max_tokens=1000, temperature=0)
        wire.begun("first")
        wire.ask("c", "cancel", target="first")
        first = wire.end("first")
        assert first["reason"] == "cancelled"
        wire.ask("second", text="and now?", session="warm", max_tokens=3, temperature=0)
        usage = wire.end("second")["usage"]
    # What a random model wrote is no text and may be other tokens; what it was asked is all there.
    assert usage["cached_tokens"] >= first["usage"]["prompt_tokens"] - 1


def test_an_answer_is_not_lost_with_the_worker_that_gave_it(household):
    household.settings += ["cancel.hard_ms=100", "models.settle_s=600"]
    household.start()
    with Wire(household) as wire:
        wire.ask("last", text="go", system="You are an owl. " * 20, max_tokens=1500)
        said = wire.begun("last")["text"]
        (household.models / "parrot" / "model.gguf").unlink()  # nothing comes after this worker
        os.kill(household.worker_pids()[0], signal.SIGSTOP)
        wire.ask("c", "cancel", target="last")
        last = wire.end("last")
    assert (last["event"], last.get("reason")) == ("done", "cancelled"), last
    assert last["text"].startswith(said)


def test_cancel_in_prefill_ends_the_run(running):
    with Wire(running) as wire:
        wire.ask("a", text="word " * 350, use_cache=False)
        wire.begun("a", "progress")
        wire.ask("c", "cancel", target="a")
        done = wire.end("a")
    assert (done["reason"], done["text"]) == ("cancelled", "")
    running.until(lambda: idle(running))


def test_cancel_and_deadline_in_load(npu, script):
    npu.ask("model.unload", model="spare")
    script("load_us=1500000")
    with Wire(npu) as wire:
        wire.ask("cancelled", model="spare", text="x")
        wire.ask("late", model="spare", text="x", deadline_ms=100)
        wire.ask("patient", model="spare", text="x")
        wire.begun("cancelled", "progress")
        wire.ask("c", "cancel", target="cancelled")
        assert wire.end("cancelled")["reason"] == "cancelled"
        assert wire.end("late")["code"] == "deadline"
        assert wire.end("patient")["event"] == "done"


def test_a_prefill_that_cannot_be_interrupted_ends_for_its_client_and_costs_the_worker(npu, script):
    before = npu.worker_pids()
    script("match=word word;prefill=hang once")
    with Wire(npu) as wire, Wire(npu) as other:
        wire.ask("long", text="word " * 300, use_cache=False)
        npu.until(lambda: not npu.script.exists(), "the prefill")
        other.ask("next", text="hello", temperature=0, max_tokens=5)
        other.begun("next", "queued")
        wire.ask("c", "cancel", target="long")
        assert wire.end("long")["reason"] == "cancelled"
        done = other.end("next")
    assert done["event"] == "done"
    assert done["usage"]["cache_hit"], "the replacement has the cache from its file"
    assert len(set(before) - set(npu.worker_pids())) == 1


def test_a_voice_interrupts_a_prefill_which_then_goes_on_by_itself(npu, script):
    npu.ask("model.unload", model="parrot")  # its restarts are counted anew
    words = "ahead of time " * 100
    script("match=ahead of time;prefill=hang once")
    with Wire(npu) as wire:
        wire.ask("ahead", "prefill", session="ahead", text=words)
        npu.until(lambda: not npu.script.exists(), "the prefill")
        wire.ask("voice", text="hello", priority="voice", max_tokens=5)
        assert wire.end("voice")["event"] == "done"
        ahead = wire.end("ahead")
    assert ahead["event"] == "ok"
    assert ahead["superseded"] is False
    usage = npu.greedy(words + "now", session="ahead")["usage"]
    assert ahead["prompt_tokens"] > 300
    assert usage["cached_tokens"] > 300


def test_a_deadline_that_measured_speed_rules_out_is_not_begun(npu, script):
    npu.ask("model.unload", model="parrot")  # what was measured before is forgotten
    script("prefill_us=500")
    npu.greedy("measured " * 200, use_cache=False, max_tokens=2)
    with pytest.raises(DaemonError) as caught:
        npu.greedy("unlike anything before " * 800, use_cache=False, deadline_ms=1000)
    assert caught.value.code == "deadline"
    assert npu.ask("status")["queue"]["parrot"] == {"running": False, "waiting": 0}


# Faults of the engine


@pytest.mark.parametrize("fault", ["prefill=crash once", "prefill=hang once"])
def test_what_dies_before_the_first_word_is_run_again(npu, script, fault):
    npu.ask("model.load", model="parrot")
    expected = npu.greedy("hello there")["text"]
    script(f"match=hello there;{fault}")
    answer = npu.greedy("hello there")
    assert answer["text"] == expected
    assert any("run again" in warning for warning in answer["warnings"])


def test_a_crash_after_the_first_word_is_told(npu, script):
    npu.ask("model.unload", model="parrot")
    script("match=crash please;token.3=crash once")
    with pytest.raises(DaemonError) as caught:
        npu.greedy("crash please", stream="tokens")
    assert caught.value.code == "engine_crashed"
    assert npu.greedy("hello there")["event"] == "done"


def test_a_crash_loop_is_braked_and_costs_no_other_model(npu, script):
    npu.ask("model.unload", model="spare")
    script("match=poison;prefill=crash")
    codes = set()
    for _ in range(3):
        with pytest.raises(DaemonError) as caught:
            npu.greedy("poison", model="spare")
        codes.add(caught.value.code)
    assert codes <= {"engine_crashed", "not_ready"}
    states = {one["name"]: one["state"] for one in npu.ask("model.list")["models"]}
    assert states["spare"] == "failed"
    with pytest.raises(DaemonError, match="died 3 times"):
        npu.greedy("hello", model="spare")
    assert npu.greedy("hello")["event"] == "done"
    npu.ask("model.load", model="spare")
    assert npu.greedy("hello", model="spare")["event"] == "done"


# Which models stay


def test_a_third_model_makes_the_one_unused_for_longest_leave(household, parrot):
    for name in ("two", "three"):
        household.add_model(name, parrot)
    household.start()

    def loaded():
        models = household.ask("model.list")["models"]
        return {one["name"] for one in models if one["state"] == "ready"}

    household.greedy("x", model="two", max_tokens=1)
    household.greedy("x", model="parrot", max_tokens=1)
    assert loaded() == {"parrot", "two"}
    household.greedy("x", model="three", max_tokens=1)
    assert loaded() == {"parrot", "three"}
    with Wire(household) as wire:
        for name in ("parrot", "three"):
            wire.ask(name, model=name, text="go", max_tokens=1500)
            wire.begun(name)
        with pytest.raises(DaemonError) as caught:
            household.greedy("x", model="two")
        assert caught.value.code == "not_ready"
        assert caught.value.details["loaded_max"] == 2
        household.ask("model.unload", model="three")
        assert wire.end("three")["code"] == "not_ready"


def test_a_model_that_does_not_fit_fails_with_the_numbers_and_costs_no_other(npu):
    before = npu.worker_pids()
    folder = npu.models / "zeppelin"
    folder.mkdir()
    (folder / "model.yaml").write_text("preload: false\n")
    file = make_model(folder / "model.rkllm")
    os.truncate(file, 8 << 40)  # of nothing: it takes no room on the disk
    npu.ask("reload")
    with pytest.raises(DaemonError) as caught:
        npu.greedy("hello", model="zeppelin")
    assert caught.value.code == "out_of_memory"
    assert caught.value.details["needed_bytes"] == 8 << 40
    assert 0 < caught.value.details["available_bytes"] < 8 << 40
    assert "MiB" in str(caught.value)
    assert npu.worker_pids() == before
    assert npu.greedy("hello")["event"] == "done"
    shutil.rmtree(folder)
    npu.ask("reload")


def test_what_nobody_uses_is_let_go(household):
    (household.models / "parrot" / "model.yaml").write_text("keep_alive_s: 0.5\n")
    household.start()
    household.until(lambda: household.ask("model.list")["models"][0]["state"] == "unloaded")
    assert household.greedy("hello")["event"] == "done"


# New settings


def test_new_settings_of_a_model_swap_its_worker_only_and_fail_nobody(household, parrot):
    household.add_model("other", parrot)
    household.settings += ["models.preload=all", "models.settle_s=0"]
    household.start()
    pids = {one["name"]: one for one in household.ask("model.list")["models"]}
    assert pids["parrot"]["context"] == 2048
    before = set(household.worker_pids())
    with Wire(household) as wire:
        wire.ask("long", model="parrot", text="go", max_tokens=150, stream=False)
        wire.ask("sign", "ping")
        (household.models / "parrot" / "model.yaml").write_text("context: 1024\n")
        wire.ask("reload", "reload")
        for number in range(6):
            wire.ask(number, model="parrot", text=f"x {number}", max_tokens=2, stream=False)
        ends = [wire.hear(lambda event: event.get("final")) for _ in range(9)]
    assert {end["event"] for end in ends} == {"ok", "done"}
    models = {one["name"]: one for one in household.ask("model.list")["models"]}
    assert models["parrot"]["context"] == 1024
    assert len(before & set(household.worker_pids())) == 1


def test_wrong_settings_leave_the_last_good_ones_serving(household):
    household.start()
    expected = household.greedy("hello")["text"]
    settings = household.models / "parrot" / "model.yaml"
    settings.write_text("temprature: 1\n")
    household.ask("reload")
    assert household.greedy("hello")["text"] == expected
    (household.models / "parrot" / "voice.lora").write_bytes(b"x")
    settings.write_text("lora: [{file: voice.lora}]\n")  # the engine has no adapters
    household.ask("reload")
    assert household.greedy("hello")["text"] == expected
    assert any("LoRA" in note for note in household.ask("status")["notes"])
    settings.unlink()
    household.ask("reload")
    assert not any("LoRA" in note for note in household.ask("status")["notes"])
    assert household.greedy("hello")["text"] == expected


def test_a_reload_applies_what_loaded_models_were_given(household):
    household.start()
    (before,) = household.worker_pids()
    file = household.folder / "rkllmd.yaml"
    file.write_text(file.read_text() + "engine: {threads: 1}\n")
    assert household.ask("reload")["applied"] == ["engine.threads"]
    assert household.worker_pids() != [before]
    (before,) = household.worker_pids()
    file.write_text(file.read_text() + "sampling: {temperature: 0.1}\n")
    household.ask("reload")
    assert household.worker_pids() == [before], "sampling is told with each run"


# Many


def test_those_who_do_not_read_cost_the_others_nothing(household):
    household.settings += ["socket.stall_s=600", "socket.outbox_bytes_max=65536"]
    household.start()
    with contextlib.ExitStack() as stack:
        for _ in range(500):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(household.socket))
        for number in range(50):
            deaf = stack.enter_context(socket.socket(socket.AF_UNIX))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            deaf.connect(str(household.socket))
            line = json.dumps({"id": number, "op": "help", "text": "never read"}) + "\n"
            ask = json.dumps({"id": "c", "op": "chat", "text": "x", "max_tokens": 4}) + "\n"
            deaf.sendall((line * 20 + ask).encode())
        wires = [stack.enter_context(Wire(household)) for _ in range(10)]
        for place, wire in enumerate(wires):
            for number in range(10):
                wire.ask(number, text=f"{place}", temperature=0, max_tokens=3, stream="tokens")
        answers = {}
        for place, wire in enumerate(wires):
            for _ in range(10):
                end = wire.hear(lambda event: event.get("final"))
                assert end["event"] == "done", end
                answers.setdefault(place, set()).add(end["text"])
        assert all(len(texts) == 1 for texts in answers.values())
    household.until(lambda: idle(household))


def test_a_full_queue_names_the_bound_and_the_wait(household):
    household.settings.append("queue.length_max=2")
    household.start()
    household.greedy("measured")
    with Wire(household) as wire:
        wire.ask("runs", text="go", max_tokens=1500)
        wire.begun("runs")
        for number in range(2):
            wire.ask(number, text="x", max_tokens=1)
            wire.begun(number, "queued")
        wire.ask("over", text="x")
        refused = wire.end("over")
    assert refused["code"] == "queue_full"
    assert refused["details"]["length_max"] == 2
    assert refused["details"]["wait_ms"] > 0


def test_a_run_has_an_upper_bound(npu, script):
    script("token_us=400000;answer=one two three four five six seven eight nine ten eleven twelve")
    done = npu.greedy("go on")
    assert done["reason"] == "deadline"
    assert done["text"]


@pytest.mark.parametrize("moment", ["load", "save"])
def test_a_worker_killed_while_it_starts_or_saves_is_replaced(household, moment):
    household.start(wait=False)
    household.hear("STATUS=starting")
    if moment == "load":
        pid = household.until(household.worker_pids)[0]
    else:
        household.until(lambda: list(household.cache.glob("parrot/.*")) or household.caches())
        pid = household.worker_pids()[0]
    os.kill(pid, signal.SIGKILL)
    household.hear("READY=1")
    # A build that failed is tried again by itself, but not soon.
    household.ask("cache.build", model="parrot", force=True)
    assert household.caches() == {"parrot/system": "verified"}
    threads = [threading.Thread(target=household.greedy, args=("x",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert household.greedy("hello")["usage"]["cache_hit"]
