"""Every fault of the simulated NPU runtime, one test each, through a daemon that outlives them all.

What each one may cost is in the tables: the answer comes although the worker died, or the client is
told the documented code. Meanwhile another model talks to another connection and notices nothing;
afterwards the next request works, and no NPU handle, process, descriptor or file is left.
"""

import contextlib
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rkllmd.client import DaemonError
from tests.daemon.household import Household
from tests.fakes.rkllm import device
from tests.fakes.rkllm.built import NEWEST, built, make_model

LONG = "and then the cat walked over the roof of the neighbours " * 60
MARK = "is the door shut"
"""Faults of a run are meant for prompts with these words."""


@pytest.fixture(scope="module")
def npu(tmp_path_factory):
    """A daemon with the model that has the faults, and one that must not notice."""
    folder = tmp_path_factory.mktemp("faults")
    home = Household(folder, make_model(folder / "made.rkllm"))
    (home.models / "parrot" / "model.gguf").unlink()
    for name in ("parrot", "witness"):
        (home.models / name).mkdir(exist_ok=True)
        make_model(home.models / name / "model.rkllm", name=name)
    home.script, home.device = folder / "script", folder / "renderD129"
    home.script.write_text("")
    home.device.write_text("")
    home.settings += [
        f"engine.library={built(NEWEST)}", "models.preload=all", "cancel.hard_ms=300",
        "engine.hang_s=3", "engine.load_s=5", "engine.restarts_max=1000",
        "engine.restarts_window_s=1", "cache.learn_after=0",
    ]  # fmt: skip
    home.start(RKLLM_SIM_SCRIPT=str(home.script), **{device.VARIABLE: str(home.device)})
    home.as_new = left(home)
    assert (home.as_new.workers, home.as_new.handles) == (2, 2)
    yield home
    home.close()


@dataclass
class Scene:
    """The daemon while something goes wrong in `parrot`."""

    home: Household
    expected: str

    def script(self, text):
        self.home.script.write_text(text)

    def ask(self, **members):
        return self.home.greedy(MARK, model="parrot", **members)

    def hold_something_else(self):
        """Let the engine hold nothing of the prompt that has a cache."""
        self.home.greedy("something else", model="parrot", system="Another one.", max_tokens=1)

    def rebuild(self):
        self.home.ask("cache.build", model="parrot", name="system", force=True)

    def code(self, op="chat", **members):
        """The code of the error that a request ends with."""
        with pytest.raises(DaemonError) as caught:
            self.home.ask(op, model="parrot", **members)
        return caught.value.code


@pytest.fixture
def scene(npu):
    """Has the witness talk meanwhile, and looks at what is left afterwards."""
    npu.ask("model.load", model="parrot")
    expected = npu.greedy(MARK, model="parrot")["text"]
    undisturbed = npu.greedy("hello", model="witness")["text"]
    heard, over = [], threading.Event()

    def talk():
        with npu.client() as client:
            while not heard or not over.wait(0.05):
                heard.append(client.call(
                    "chat", model="witness", text="hello", temperature=0, max_tokens=12,
                    stream=False,
                )["text"])  # fmt: skip

    witness = threading.Thread(target=talk)
    witness.start()
    yield Scene(npu, expected)
    npu.script.write_text("")
    over.set()
    witness.join()
    assert set(heard) == {undisturbed}
    assert npu.greedy(MARK, model="parrot")["text"] == expected
    assert npu.greedy("hello", model="witness")["text"] == undisturbed
    npu.until(lambda: nothing_more(npu), f"{npu.as_new} again, and not {left(npu)}")


@dataclass
class Left:
    """What there is of everything that could be left behind."""

    workers: int
    handles: int
    descriptors: int
    files: list[str]


def nothing_more(home):
    """Whether there is what was there in the beginning; it had a connection more, perhaps.

    Nobody but the workers may have the NPU's device open, and each only once.
    """
    now, as_new = left(home), home.as_new
    return (
        replace(now, descriptors=0) == replace(as_new, descriptors=0)
        and now.descriptors <= as_new.descriptors
        and device.holders(home.device) == sorted(home.worker_pids())
    )


def left(home):
    """What there is now, but for the files of sessions."""
    return Left(
        workers=len(home.worker_pids()),
        handles=device.handles(home.device),
        descriptors=len(list(Path(f"/proc/{home.process.pid}/fd").iterdir())),
        files=sorted(
            str(path.relative_to(home.cache))
            for path in home.cache.rglob("*")
            if ".snapshots" not in path.parts
        ),
    )


# In a run


@pytest.mark.parametrize("fault", [
    "prefill=crash", "prefill=abort", "prefill=exit", "prefill=hang", "token.1=crash",
])  # fmt: skip
def test_what_ends_a_worker_before_a_word_is_said(scene, fault):
    scene.script(f"match={MARK};{fault} once")
    answer = scene.ask()
    assert answer["text"] == scene.expected
    assert any("run again" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(("fault", "code"), [
    ("crash", "engine_crashed"), ("exit", "engine_crashed"), ("hang", "engine_hung"),
    ("error", "engine_error"),
])  # fmt: skip
def test_what_ends_a_run_in_its_middle(scene, fault, code):
    scene.script(f"match={MARK};token.3={fault} once")
    assert scene.code(text=MARK, temperature=0, stream="tokens") == code


def test_an_error_in_prefill(scene):
    scene.script(f"match={MARK};prefill=error once")
    assert scene.code(text=MARK) == "engine_error"


def test_odd_events_change_no_answer(scene):
    for odd in ("noise=3", "late_finish_ms=20", "waiting_bytes=1", "ignore_abort_ms=50"):
        scene.script(odd)
        assert scene.ask()["text"] == scene.expected, odd


def test_a_token_without_text_is_left_out(scene):
    scene.script(f"match={MARK};answer= one two three;null_text=2")
    answer = scene.ask()
    assert answer["text"].split() == ["one", "three"]


def test_an_abort_that_comes_late_still_ends_the_run(scene):
    scene.script(f"match={MARK};ignore_abort_ms=100;token_us=5000;answer=" + " more" * 400)
    with scene.home.client() as client:
        events = client.events("chat", model="parrot", text=MARK, session="late", stream="tokens")
        next(event for event in events if event["event"] == "delta")
        scene.home.ask("cancel", session="late")
        assert list(events)[-1]["reason"] == "cancelled"


# In init


@pytest.mark.parametrize("fault", ["crash", "exit", "hang"])
def test_a_load_that_dies_is_tried_again(scene, fault):
    scene.home.ask("model.unload", model="parrot")
    scene.script(f"init={fault} once")
    assert scene.ask()["text"] == scene.expected


@pytest.mark.parametrize(("setting", "code", "remedy"), [
    ("init=error", "load_failed", "could not load"),
    ("init=silent", "load_failed", "could not load"),
    ("init=oom", "out_of_memory", "unload another one"),
    ("npu_core_num=9", "load_failed", "more NPU cores"),
])  # fmt: skip
def test_a_load_that_is_refused_says_why(scene, setting, code, remedy):
    scene.home.ask("model.unload", model="parrot")
    scene.script(setting)
    with pytest.raises(DaemonError, match=remedy) as caught:
        scene.ask()
    assert caught.value.code == code
    scene.script("")
    scene.home.ask("model.load", model="parrot")


def test_a_context_over_the_models_limit_names_the_limit(scene):
    scene.home.ask("model.unload", model="parrot")
    settings = scene.home.models / "parrot" / "model.yaml"
    settings.write_text("context: 8192\n")
    scene.home.ask("reload")
    with pytest.raises(DaemonError, match="at most 4096") as caught:
        scene.ask()
    assert caught.value.code == "load_failed"
    settings.unlink()
    scene.home.ask("reload")


# In the state's files


@pytest.mark.parametrize("fault", ["crash", "hang"])
def test_a_worker_that_dies_while_it_loads_a_state(scene, fault):
    scene.hold_something_else()
    scene.script(f"load={fault} once")
    answer = scene.ask()
    assert answer["text"] == scene.expected
    assert any("run again" in warning for warning in answer["warnings"])
    scene.rebuild()  # at a second death the state would be put aside


def test_a_state_that_the_runtime_refuses(scene):
    scene.hold_something_else()
    scene.script("load=error")
    answer = scene.ask()
    assert answer["text"] == scene.expected
    assert answer["usage"]["cache_hit"] is False
    assert any("could not be loaded" in warning for warning in answer["warnings"])
    scene.script("")
    scene.rebuild()


@pytest.mark.parametrize("fault", ["crash", "hang", "half", "error", "torn", "empty", "none"])
def test_a_state_that_is_not_saved_costs_that_cache_only(scene, fault):
    ends = {"crash", "hang", "half", "error"}
    scene.script(f"save={fault}" + (" once" if fault in ends else ""))
    with contextlib.suppress(DaemonError):
        scene.rebuild()
    answer = scene.ask()
    assert answer["text"] == scene.expected
    assert answer["usage"]["cache_hit"] is True, "the one before goes on serving"


@pytest.mark.parametrize("fault", ["crash", "half"])
def test_a_worker_that_dies_while_it_saves_a_session(scene, fault):
    home = scene.home
    talk = (LONG, "hello", "and then?")
    whole = [home.greedy(text, model="parrot", session="alone")["text"] for text in talk]
    home.greedy(talk[0], model="parrot", session="kept")
    scene.ask()
    home.greedy(talk[1], model="parrot", session="kept")
    kept = set((home.cache / ".snapshots").iterdir())
    scene.script(f"save={fault} once")
    other = scene.ask()
    assert other["text"] == scene.expected
    assert any("run again" in warning for warning in other["warnings"])
    assert not home.script.exists(), "it died while it saved"
    assert set((home.cache / ".snapshots").iterdir()) <= kept, "half a file is left"
    assert home.greedy(talk[2], model="parrot", session="kept")["text"] == whole[2]
